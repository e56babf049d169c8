"""Weight files: tensors only, nothing executed, and the right network or a message that helps."""

from __future__ import annotations

import json
import os
import pickle
import struct

import pytest
import safetensors.torch
import torch

from toolkit import plugins
from toolkit.errors import SecurityError, UserError
from toolkit.model.weights_file import load_network, read_tensors


def espcn(scale=3):
    torch.manual_seed(0)
    return plugins.load("archs", "espcn").build(scale=scale, channels=3).eval()


def stored(tmp_path, content, name="weights.pth"):
    path = tmp_path / name
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapped", ["params_ema", "params", "state_dict", "model", "plain"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_come_off(tmp_path, wrapped, prefix):
    state = espcn().state_dict()
    named = {prefix + name: tensor for name, tensor in state.items()}
    content = named if wrapped == "plain" else {wrapped: named, "epoch": 3}
    read = read_tensors(stored(tmp_path, content))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_the_averaged_weights_are_preferred(tmp_path):
    state = espcn().state_dict()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    read = read_tensors(stored(tmp_path, {"params": zeros, "params_ema": state}))
    assert torch.equal(read["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path, kind):
    state = {name: tensor.to(kind) for name, tensor in espcn().state_dict().items()}
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    read = read_tensors(path)
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    assert torch.equal(read["conv1.bias"], state["conv1.bias"].float())


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_by_name_and_never_run(tmp_path, zipped):
    canary, path = tmp_path / "canary", tmp_path / "evil.pth"
    content = {"conv1.weight": torch.ones(2), "x": Canary(canary)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content["x"]))
    with pytest.raises(SecurityError, match=r"wants to run `(posix|nt).mkdir`"):
        load_network(path, arch=None, scale=2)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists()  # the canary does sing where a file is trusted


def test_a_whole_pickled_module_is_refused(tmp_path):
    with pytest.raises(SecurityError, match=r"toolkit\.archs\.espcn\.Espcn"):
        read_tensors(stored(tmp_path, espcn()))


def safetensors_bytes(tmp_path):
    path = tmp_path / "good.safetensors"
    safetensors.torch.save_file({"a": torch.ones(3), "b": torch.ones(2, 2)}, path)
    return path.read_bytes()


def with_header(raw, change):
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + raw[8 + length :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:5],
        lambda raw: raw[:-2],
        lambda raw: struct.pack("<Q", 1 << 40) + raw[8:],
        lambda raw: with_header(raw, lambda h: h["b"].update(data_offsets=[4, 20])),
        lambda raw: with_header(raw, lambda h: h["b"].update(data_offsets=[12, 4000])),
        lambda raw: with_header(raw, lambda h: h["a"].update(shape=[1 << 40])),
    ],
    ids=["empty", "no-header", "cut", "header-too-long", "overlap", "past-end", "shape"],
)
def test_a_lying_safetensors_header_is_refused(tmp_path, damage):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(damage(safetensors_bytes(tmp_path)))
    with pytest.raises(UserError, match="damaged safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_pth_is_refused(tmp_path, share):
    path = stored(tmp_path, espcn().state_dict())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(UserError, match="damaged or cut off"):
        read_tensors(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named_with_its_index(tmp_path, value):
    state = espcn().state_dict()
    state["conv2.weight"][3, 2, 1, 0] = value
    with pytest.raises(
        UserError, match=r"`conv2.weight` holds `(nan|inf)` at index \[3, 2, 1, 0\]"
    ):
        read_tensors(stored(tmp_path, state))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="no tensors"):
        read_tensors(stored(tmp_path, content))


def test_missing_file_and_unknown_suffix(tmp_path):
    with pytest.raises(UserError, match="no such weight file"):
        read_tensors(tmp_path / "none.pth")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"`\.h5` is not a weight file"):
        read_tensors(tmp_path / "weights.h5")


@pytest.mark.parametrize("arch", [None, "espcn"])
def test_the_network_of_a_file_computes_what_was_stored(tmp_path, arch):
    module = espcn()
    loaded = load_network(stored(tmp_path, module.state_dict()), arch=arch, scale=3)
    picture = torch.rand(1, 3, 8, 9)
    with torch.no_grad():
        assert torch.equal(loaded(picture), module(picture))


def test_what_shapes_do_not_tell_can_be_stated(tmp_path):
    path = stored(tmp_path, espcn().state_dict())
    picture = torch.rand(1, 3, 8, 9)
    with torch.no_grad():
        plain = load_network(path, arch="espcn", scale=3)(picture)
        squashed = load_network(path, arch="espcn", scale=3, hyper={"final": "sigmoid"})(picture)
    assert torch.allclose(squashed, torch.sigmoid(plain))


def message(path, arch, scale):
    with pytest.raises(UserError) as caught:
        load_network(path, arch=arch, scale=scale)
    return caught.value.problem


def test_a_wrong_scale_is_told_with_the_tensor_that_disagrees(tmp_path):
    assert message(stored(tmp_path, espcn(3).state_dict()), "espcn", 2) == (
        "this `espcn` upscales by 3, not by 2:\n"
        "  `conv3.weight` is [27, 32, 3, 3], not [12, 32, 3, 3]\n"
        "  `conv3.bias` is [27], not [12]"
    )


def test_a_wrong_architecture_is_told(tmp_path):
    assert message(stored(tmp_path, espcn().state_dict()), "compact", 3) == (
        "this is not `compact`, which explains 0% of the tensors (not in it: `convN.weight`, "
        "`convN.bias`; missing: `body.N.bias`, `body.N.weight`)"
    )


def test_the_nearest_architecture_and_what_is_missing_are_told(tmp_path):
    state = espcn().state_dict()
    del state["conv3.bias"]
    assert message(stored(tmp_path, state), None, 3) == (
        "no architecture explains these 5 tensors; the nearest is `espcn`, 100% of them:\n"
        "  missing `conv3.bias` [27]"
    )


def test_a_foreign_network_is_told_by_the_names_it_has_too_many(tmp_path):
    state = {"conv_first.weight": torch.ones(8, 3, 3, 3), "gate.0.fc.weight": torch.ones(4, 8)}
    told = message(stored(tmp_path, state), None, 2)
    assert "the nearest is `edsr`, 50% of them" in told and "not in it: `gate.N.fc.weight`" in told
