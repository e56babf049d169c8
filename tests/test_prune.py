"""Pruning: what is removed is exactly what nobody reads any more, whatever the graph looks like."""

from __future__ import annotations

import dataclasses
import io
import warnings

import networks
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from torch import nn

from toolkit import plugins
from toolkit.contracts import StepInput
from toolkit.errors import UserError
from toolkit.images.sets import folder_set
from toolkit.model.channels import channels_of
from toolkit.model.contract import ImageContract
from toolkit.model.graph import arrays, copy_of
from toolkit.model.layer_sizes import layer_channels, layer_positions, macs_of, parameters_of
from toolkit.model.network import read_network, write_network
from toolkit.model.opset import at_opset
from toolkit.model.pruning import (
    ChannelStatistics,
    check_prunable,
    choose,
    importance,
    pruned_to_macs,
    pruned_to_ratio,
    separated,
    without,
)
from toolkit.model.torch_bridge import to_onnx
from toolkit.steps import prune

# Networks of the zoo whose channels are mixed everywhere: attention over windows, or sizes that
# exporters compute from the channels.
NOT_PRUNABLE = {"safmn_x3", "window_attention_x2", "padded_borders_x2", "pad_and_crop_x2"}


def run(model, picture):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {model.graph.input[0].name: picture})[0]


def noise(channels, height=16, width=24, seed=0):
    return np.random.default_rng(seed).random((1, channels, height, width), np.float32)


def exported(module, channels=3):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.rand(1, channels, 16, 16),),
            buffer,
            opset_version=17,
            dynamo=False,
            input_names=["lr"],
            output_names=["sr"],
            dynamic_axes={"lr": {2: "h", 3: "w"}},
        )
    return separated(onnx.load_from_string(buffer.getvalue()))


def flat_statistics(model, channels):
    """As if every channel had mean 0 and variance 1: the weights alone decide."""
    stored = arrays(model.graph)
    counts = {
        role.node: stored[role.weight].shape[role.axis] * role.groups
        for role in channels.roles
        if role.kind == "read"
    }
    return {n: ChannelStatistics(mean=np.zeros(c), variance=np.ones(c)) for n, c in counts.items()}


def masked(model, channels, removed):
    """The same graph at full size in which nobody reads the removed channels."""
    copy = copy_of(model)
    weights = {name: value.copy() for name, value in arrays(copy.graph).items()}
    for role in channels.roles:
        if role.kind == "read":
            moved = np.moveaxis(weights[role.weight], role.axis, 0)
            moved[[i for i, unit in enumerate(role.labels) if unit in removed]] = 0
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in weights.items())
    return copy


def check_same_as_masked(model, channels, removed, *pictures):
    smaller = without(model, channels, removed, flat_statistics(model, channels))
    onnx.checker.check_model(smaller, full_check=True)
    for picture in pictures:
        expected, found = run(masked(model, channels, removed), picture), run(smaller, picture)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    return smaller


@pytest.mark.parametrize("name", sorted(set(networks.NAMES) - NOT_PRUNABLE))
def test_the_smaller_graph_computes_what_the_masked_one_does(name):
    model = separated(at_opset(networks.onnx_of(name), 17))
    channels = channels_of(model)
    worth = importance(model, channels, flat_statistics(model, channels))
    removed = choose(channels, worth, ratio=0.4, multiple=1)
    count = networks.build(name).channels
    smaller = check_same_as_masked(
        model, channels, removed, noise(count), noise(count, 32, 16, seed=1)
    )
    assert parameters_of(smaller) < parameters_of(model)


@pytest.mark.parametrize("name", sorted(NOT_PRUNABLE))
def test_a_network_that_cannot_lose_channels_is_refused_with_the_reasons(name):
    channels = channels_of(separated(at_opset(networks.onnx_of(name), 17)))
    with pytest.raises(UserError, match=r"no channel .*\n  \d+ channels of `.*: "):
        check_prunable(channels, 1)


class Groups(nn.Module):
    """Two groups, then a convolution that reads both."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=2)
        self.tail = nn.Conv2d(24, 12, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.tail(F.relu(self.grouped(F.relu(self.head(x))))), 2)


class Gate(nn.Module):
    """Half of the channels multiplies the other half."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x):
        first, second = self.head(x).split(12, 1)
        return F.pixel_shuffle(self.tail(first * second), 2)


class Parts(nn.Module):
    """Slices of unequal size that go different ways."""

    def __init__(self):
        super().__init__()
        self.head, self.inner = nn.Conv2d(3, 20, 3, padding=1), nn.Conv2d(14, 14, 1)
        self.tail = nn.Conv2d(20, 12, 3, padding=1)

    def forward(self, x):
        y = F.relu(self.head(x))
        return F.pixel_shuffle(self.tail(torch.cat([y[:, :6], self.inner(y[:, 6:])], 1)), 2)


class Spread(nn.Module):
    """A depthwise convolution with two outputs for each input."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 10, 3, padding=1)
        self.depth = nn.Conv2d(10, 20, 3, padding=1, groups=10)
        self.tail = nn.Conv2d(20, 12, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.tail(self.depth(self.head(x))), 2)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (Groups, [8, 12, 12]),
        (Gate, [12, 12]),
        (Parts, [4 + 7, 7, 12]),
        (Spread, [5, 10, 12]),
    ],
)
def test_ties_inside_a_graph_are_kept(kind, left):
    torch.manual_seed(0)
    model = exported(kind())
    channels = channels_of(model)
    worth = importance(model, channels, flat_statistics(model, channels))
    removed = choose(channels, worth, ratio=0.5, multiple=1)
    smaller = check_same_as_masked(model, channels, removed, noise(3), noise(3, 9, 31))
    assert list(layer_channels(smaller).values()) == left


def arch(name, scale, **hyper):
    torch.manual_seed(0)
    plug = plugins.load("archs", name)
    module = plug.collapse(plug.build(scale=scale, **hyper)).eval()
    count = next(p for p in module.parameters() if p.dim() == 4).shape[1]
    return separated(to_onnx(module, channels=count, scale=scale)), count


ARCHS = [
    ("abpn", 3, {}),
    ("compact", 4, {"features": 24, "layers": 2}),
    ("edsr", 4, {"features": 24, "blocks": 2}),
    ("espcn", 3, {}),
    ("fsrcnn", 2, {}),
    ("sesr", 2, {"wide": 32}),
]


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize(("name", "scale", "hyper"), ARCHS, ids=[a[0] for a in ARCHS])
def test_layers_keep_a_multiple_of_channels(name, scale, hyper, multiple):
    model, count = arch(name, scale, **hyper)
    channels = channels_of(model)
    statistics = flat_statistics(model, channels)
    smaller = pruned_to_ratio(model, channels, statistics, ratio=0.4, multiple=multiple)
    before, after = layer_channels(model), layer_channels(smaller)
    changed = [layer for layer in before if before[layer] != after[layer]]
    assert changed and all(after[layer] % multiple == 0 for layer in changed)
    last = list(before)[-1]
    assert after[last] == before[last]
    for height, width in ((12, 10), (7, 19)):
        picture = run(smaller, noise(count, height, width))
        assert picture.shape == (1, count, height * scale, width * scale)


def test_channels_before_a_pixel_shuffle_go_in_groups():
    model, _ = arch("edsr", 4, features=24, blocks=2)
    channels = channels_of(model)
    statistics = flat_statistics(model, channels)
    after = layer_channels(pruned_to_ratio(model, channels, statistics, ratio=0.5, multiple=1))
    assert list(after.values())[-4:] == [12, 48, 48, 3]  # after the body, two stages, the picture


def with_constant_channels():
    """16 channels of which 5 are the same everywhere, whatever the picture."""
    torch.manual_seed(0)
    head, tail = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)
    with torch.no_grad():
        head.weight[[1, 4, 5, 9, 15]] = 0
        head.bias[[1, 4, 5, 9, 15]] = 3.0
    return exported(nn.Sequential(head, nn.ReLU(), tail, nn.PixelShuffle(2)))


def test_constant_channels_go_first_and_their_mean_stays():
    model = with_constant_channels()
    channels = channels_of(model)
    statistics = prune.channel_statistics(model, channels, [noise(3, seed=s) for s in range(3)])
    smaller = pruned_to_ratio(model, channels, statistics, ratio=5 / 16, multiple=1)
    assert list(layer_channels(smaller).values()) == [11, 12]
    picture = noise(3, seed=9)
    difference = np.abs(run(smaller, picture) - run(model, picture))[:, :, 2:-2, 2:-2]
    assert difference.max() < 1e-5


def test_statistics_are_those_of_what_is_read():
    model = with_constant_channels()
    patches = [noise(3, seed=1), noise(3, 8, 8, seed=2)]
    statistics = prune.channel_statistics(model, channels_of(model), patches)
    pixels = np.concatenate([p.transpose(1, 0, 2, 3).reshape(3, -1) for p in patches], 1)
    first, second = statistics.values()
    assert np.allclose(first.mean, pixels.mean(1)) and np.allclose(first.variance, pixels.var(1))
    assert np.allclose(second.mean[[1, 4, 5, 9, 15]], 3.0)
    assert np.allclose(second.variance[[1, 4, 5, 9, 15]], 0.0)


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_a_share_of_the_macs_is_kept_to(share):
    model, _ = arch("compact", 2, features=24, layers=3)
    channels = channels_of(model)
    smaller = pruned_to_macs(
        model, channels, flat_statistics(model, channels), share=share, multiple=1
    )
    positions = layer_positions(model)
    assert 0.8 * share < macs_of(smaller, positions) / macs_of(model, positions) <= share


def test_macs_are_counted_where_they_are_done():
    model, _ = arch("fsrcnn", 2)
    # 12,464 weights, each used once for a pixel of the input (Dong et al. 2016, table 1)
    assert macs_of(model, layer_positions(model)) == 12_464 * 360 * 640


def test_a_share_that_cannot_be_reached_is_refused():
    model, _ = arch("compact", 2, features=12, layers=1)
    channels = channels_of(model)
    with pytest.raises(UserError, match=r"`macs_share: 0.1` cannot be reached"):
        pruned_to_macs(model, channels, flat_statistics(model, channels), share=0.1, multiple=8)


def photographs(folder, count=8):
    """Waves of all directions: interpolating them is learnt in seconds."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0:96, 0:96]
    for index in range(count):
        picture = np.full((96, 96, 3), 128.0)
        for _ in range(6):
            a, b = rng.uniform(-0.9, 0.9, 2)
            wave = np.sin(a * rows + b * columns + rng.uniform(0, 6))
            picture += rng.uniform(0, 25, 3) * wave[..., None]
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small trained SESR as a spine, and the folder it was trained on."""
    from toolkit.train.loop import TrainSettings, train
    from toolkit.train.pairs import read_pairs

    folder = tmp_path_factory.mktemp("trained")
    pictures = photographs(tmp_path_factory.mktemp("pictures"))
    sesr = plugins.load("archs", "sesr")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = sesr.build(scale=2, features=12, blocks=2, wide=24)
    pairs, _ = read_pairs(pictures, scale=2, luma_only=True, exclude=(), holdout_every=4)
    settings = TrainSettings(
        steps=200, batch=8, lr_px=16, learning_rate=2e-3, warmup_steps=20, ema=0.98
    )
    train(module, pairs, settings, scale=2, checkpoint=folder / "train.ckpt")
    model = to_onnx(sesr.collapse(module), channels=1, scale=2)
    contract = ImageContract(scale=2, color="luma", halo_px=6)
    return write_network(model, contract, folder / "network.onnx"), pictures


def given(trained, tmp_path, **params):
    network, pictures = trained
    defaults = {
        "images": str(pictures), "exclude": (), "holdout_every": 4, "learning_rate": 2e-3,
        "batch": 8, "lr_px": 16, "threads": 1, "seed": 0, "finetune_steps": 0,
    }  # fmt: skip
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    talk = []
    step = StepInput(
        network=network,
        params={**defaults, **params},
        calibration=folder_set(pictures, "calibration"),
        work=work,
        show=talk.append,
    )
    return step, out, talk


def test_the_step_writes_a_smaller_network_of_the_same_contract(trained, tmp_path):
    step, out, _ = given(trained, tmp_path, ratio=0.5)
    facts = prune.run(step, out)
    smaller = read_network(out / "network.onnx")
    assert smaller.contract == step.network.contract
    assert smaller.path.stat().st_size < 0.6 * step.network.path.stat().st_size
    assert facts["parameters"][1] < 0.5 * facts["parameters"][0]
    assert facts["macs_360x640"][1] < 0.5 * facts["macs_360x640"][0]
    assert list(facts["channels"].values()) == [[12, 6]] * 3 + [[4, 4]]
    model = onnx.load(smaller.path)
    assert run(model, noise(1, 12, 20)).shape == (1, 1, 24, 40)
    assert run(model, noise(1, 31, 9)).shape == (1, 1, 62, 18)


def test_the_same_input_gives_the_same_bytes(trained, tmp_path):
    digests = []
    for turn in ("first", "second"):
        (tmp_path / turn).mkdir()
        step, out, _ = given(trained, tmp_path / turn, ratio=0.25, finetune_steps=3)
        prune.run(step, out)
        digests.append(read_network(out / "network.onnx").digest)
    assert digests[0] == digests[1]


def test_fine_tuning_wins_back_quality(trained, tmp_path):
    step, out, talk = given(trained, tmp_path, ratio=0.5, finetune_steps=120)
    facts = prune.run(step, out)
    psnr_db = facts["holdout_psnr_db"]
    assert psnr_db["pruned"] < psnr_db["unpruned"]
    assert psnr_db["pruned"] + 0.5 < psnr_db["finetuned"]
    assert talk[-1].done == talk[-1].total == 120
    assert (facts["training_images"], facts["holdout_images"]) == (6, 2)
    assert list(layer_channels(onnx.load(out / "network.onnx")).values()) == [6, 6, 6, 4]


def test_a_fine_tune_that_harms_is_not_shipped(trained, tmp_path):
    step, out, _ = given(trained, tmp_path, ratio=0.25, finetune_steps=4, learning_rate=1.0)
    psnr_db = prune.run(step, out)["holdout_psnr_db"]
    assert psnr_db["finetuned"] < psnr_db["pruned"]
    (tmp_path / "plain").mkdir()
    plain, plain_out, _ = given(trained, tmp_path / "plain", ratio=0.25)
    prune.run(plain, plain_out)
    assert (out / "network.onnx").read_bytes() == (plain_out / "network.onnx").read_bytes()


def test_the_recipe_wins_over_the_targets_multiple(trained, tmp_path):
    step, out, _ = given(trained, tmp_path, ratio=0.25, channel_multiple=2)
    step = dataclasses.replace(step, channel_multiple=4)
    assert next(iter(prune.run(step, out)["channels"].values())) == [12, 10]
    step = dataclasses.replace(step, params={**step.params, "channel_multiple": None})
    assert next(iter(prune.run(step, out)["channels"].values())) == [12, 8]
