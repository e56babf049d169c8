"""The ONNX Runtime backend: what it writes is what its kernels run in 8 bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from quant_networks import anchored, psnr_db, quantized, residual, target, tensor

from toolkit.backends import onnxruntime as plug
from toolkit.errors import UserError
from toolkit.quant.carried import kept_rounded


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ort")
    network, plan, _ = quantized(anchored(), folder)
    return plug.lower(network, plan, target("onnxruntime"), folder, "tiny")


def run(artefact, value):
    session = plug.open(artefact, threads=1)
    try:
        return session.run(value)
    finally:
        session.close()


def test_names_contract_and_free_sizes(made):
    assert [a.path.name for a in made] == ["tiny.float32.onnx", "tiny.int8.onnx"]
    assert [a.precision for a in made] == ["float32", "int8"]
    for artefact in made:
        assert artefact.contract.input.shape == (1, 3, None, None)
        assert artefact.contract.tile is None
        assert artefact.contract.output.dtype == "float32"
    assert run(made[1], tensor(1, 20, 30)).shape == (1, 3, 40, 60)


def test_float_file_is_the_network_and_carries_nothing_else(made):
    plain = run(made[0], tensor())
    reference = anchored()
    onnx.save(reference, made[0].path.parent / "reference.onnx")
    import onnxruntime as ort

    session = ort.InferenceSession(made[0].path.parent / "reference.onnx")
    assert np.abs(session.run(None, {"lr": tensor()})[0] - plain).max() < 1e-4
    assert kept_rounded(onnx.load(made[0].path)) == {}


def test_int8_file_is_close_to_float(made):
    assert psnr_db(run(made[1], tensor()), run(made[0], tensor())) > 48


def test_all_work_of_the_int8_file_runs_in_integer_kernels(made):
    operators = plug.operators(made[1])
    macs = {o.kind: o.macs for o in operators if o.macs}
    assert set(macs) == {"QLinearConv"}
    total = 360 * 640 * (3 * 12 * 25 + 12 * 12 * 9 + 12 * 12 * 9)
    assert sum(o.macs for o in operators) == total
    assert all(o.precision == "int8" for o in operators if o.macs)
    assert "DepthToSpace" not in {o.kind for o in operators}  # value by value on one thread
    # one rounding of the picture in, one restoring of the picture out, none between
    assert [o.kind for o in operators].count("QuantizeLinear") == 1
    assert [o.kind for o in operators].count("DequantizeLinear") == 1


def test_no_work_of_the_float_file_counts_as_int8(made):
    operators = plug.operators(made[0])
    assert {o.precision for o in operators if o.macs} == {"float32"}
    assert sum(o.macs for o in operators) == sum(o.macs for o in plug.operators(made[1]))


def test_layers_left_float_are_shown_as_float(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path, float_nodes=["node_body"])
    int8 = plug.lower(network, plan, target("onnxruntime"), tmp_path, "tiny")[1]
    shares = {}
    for operator in plug.operators(int8):
        if operator.macs:
            shares[operator.name] = operator.precision
    assert shares == {"node_head": "int8", "node_body": "float32", "node_tail": "int8"}


def test_residual_add_runs_in_8_bits(tmp_path):
    network, plan, _ = quantized(residual(), tmp_path)
    int8 = plug.lower(network, plan, target("onnxruntime"), tmp_path, "tiny")[1]
    kinds = {o.kind: o.precision for o in plug.operators(int8)}
    assert kinds["QLinearAdd"] == "int8"
    assert "Add" not in kinds


def test_tile_fixes_the_sizes(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    made = plug.lower(network, plan, target("onnxruntime", tile=(24, 32)), tmp_path, "tiny")
    for artefact in made:
        assert artefact.contract.tile == (24, 32)
        assert run(artefact, tensor(1, 24, 32)).shape == (1, 3, 48, 64)
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            run(artefact, tensor(1, 25, 32))
    assert sum(o.macs for o in plug.operators(made[1])) == 24 * 32 * 3492


def test_without_a_plan_only_float_is_written(tmp_path):
    network, _, _ = quantized(anchored(), tmp_path)
    made = plug.lower(network, None, target("onnxruntime"), tmp_path, "tiny")
    assert [a.precision for a in made] == ["float32"]
    assert not (tmp_path / "tiny.int8.onnx").exists()


def test_same_input_gives_the_same_bytes(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (plug.lower(network, plan, target("onnxruntime"), f, "x") for f in folders)
    assert all(a.path.read_bytes() == b.path.read_bytes() for a, b in zip(one, two, strict=True))


def test_truncated_file_is_refused_by_name(made, tmp_path):
    import dataclasses

    cut = tmp_path / "cut.onnx"
    cut.write_bytes(made[1].path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"(?s)ONNX Runtime refuses.*cut\.onnx"):
        plug.open(dataclasses.replace(made[1], path=cut), threads=1)


def test_16_bit_activations_lose_almost_nothing(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    build = replace(target("onnxruntime").builds[0], scheme="onnxruntime_a16w8")
    device = replace(target("onnxruntime"), builds=(build,))
    float32, wide = plug.lower(network, plan, device, tmp_path, "tiny")
    model = onnx.load(wide.path)
    quantizers = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert {kinds[n.input[2]] for n in quantizers} == {onnx.TensorProto.UINT16}
    assert {kinds[n] for n in kinds if n.endswith("weight.int8")} == {onnx.TensorProto.INT8}
    narrow = plug.lower(network, plan, target("onnxruntime"), tmp_path, "narrow")[1]
    reference = run(float32, tensor())
    gain = psnr_db(run(wide, tensor()), reference) - psnr_db(run(narrow, tensor()), reference)
    assert gain > 3
