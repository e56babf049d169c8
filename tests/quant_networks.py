"""Tiny networks, pictures and targets for the tests of quantization and of its backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolkit.contracts import StepInput
from toolkit.images.decode import write_png
from toolkit.images.sets import ImageFile, ImageSet
from toolkit.model.contract import ImageContract
from toolkit.model.network import read_network, write_network
from toolkit.model.quant_plan import read_plan
from toolkit.spec.target import Build, OperatorLimits, Target
from toolkit.steps import quantize

PARAMS = {
    "patches": 6, "patch_px": 40, "charts": True, "rung": "rounding", "float_nodes": [],
    "mixed_macs_share": 0.3, "seed": 0,
}  # fmt: skip


class Graph:
    """Appends nodes to an ONNX graph; every method returns the name of its result."""

    def __init__(self, channels=3, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants, self.channels = [], {}, channels

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], f"node_{name}", **attributes))
        return name

    def constant(self, name, value):
        self.constants[name] = value
        return name

    def conv(self, source, name, into, out, kernel=3, *, gain=1.0, sizes=None, undo=None):
        """`sizes` multiplies output channels, to make some loud; `undo` divides input channels."""
        weight = self.rng.normal(0, gain / (kernel * into**0.5), (out, into, kernel, kernel))
        if undo is not None:
            weight = weight / undo[None, :, None, None]
        bias = self.rng.normal(0, 0.05, out)
        if sizes is not None:
            weight, bias = weight * sizes[:, None, None, None], bias * sizes
        names = [
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        return self.node("Conv", [source, *names], name, pads=[kernel // 2] * 4)

    def model(self, output):
        def info(name, channels, height):
            shape = [1, channels, height, f"{height}_width"]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in self.constants.items()]
        graph = helper.make_graph(
            self.nodes, "tiny", [info("lr", self.channels, "low")],
            [info(output, self.channels, "high")], stored,
        )  # fmt: skip
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)


def anchored(*, loud=1.0, activation="Relu", channels=3, seed=0):
    """conv, activation, conv, activation, conv + input repeated, shuffle x2, clip.

    With `loud` some channels of the body are that much larger than the others.
    """
    g = Graph(channels, seed)
    sizes = np.where(np.arange(12) % 3 == 0, loud, 1.0)

    def active(source, name):
        if activation == "PRelu":
            slopes = g.rng.uniform(0.02, 0.4, (12, 1, 1)).astype(np.float32)
            return g.node("PRelu", [source, g.constant(f"{name}.slope", slopes)], name)
        return g.node(activation, [source], name)

    a = active(g.conv("lr", "head", channels, 12, 5, sizes=sizes), "a")
    b = active(g.conv(a, "body", 12, 12, gain=1.0, sizes=sizes, undo=sizes), "b")
    tail = g.conv(b, "tail", 12, channels * 4, gain=0.5, undo=sizes)
    for c in range(channels):
        ends = [g.constant(f"at{c}{i}", np.array([c + i], np.int64)) for i in range(2)]
        g.node("Slice", ["lr", *ends, g.constant("axis", np.array([1], np.int64))], f"lr{c}")
    repeated = [f"lr{c}" for c in range(channels) for _ in range(4)]
    anchor = g.node("Concat", repeated, "anchor", axis=1)
    total = g.node("Add", [tail, anchor], "total")
    wide = g.node("DepthToSpace", [total], "wide", blocksize=2, mode="CRD")
    limits = [g.constant(n, np.array(v, np.float32)) for n, v in (("zero", 0.0), ("one", 1.0))]
    g.node("Clip", [wide, *limits], "sr")
    return g.model("sr")


def residual():
    """A body with one residual add of two features, then conv and shuffle."""
    g = Graph(3, 3)
    first = g.node("Relu", [g.conv("lr", "head", 3, 8)], "first")
    second = g.node("Relu", [g.conv(first, "one", 8, 8)], "second")
    total = g.node("Add", [g.conv(second, "two", 8, 8, gain=0.5), first], "total")
    tail = g.conv(total, "tail", 8, 12, gain=0.7)
    g.node("DepthToSpace", [tail], "sr", blocksize=2, mode="CRD")
    return g.model("sr")


def tanh_network():
    """conv, tanh, conv, shuffle, sigmoid; one channel before the tanh is very large."""
    g = Graph(3, 5)
    sizes = np.where(np.arange(8) == 2, 400.0, 1.0)
    a = g.node("Tanh", [g.conv("lr", "head", 3, 8, sizes=sizes)], "a")
    wide = g.node("DepthToSpace", [g.conv(a, "tail", 8, 12)], "wide", blocksize=2, mode="CRD")
    g.node("Sigmoid", [wide], "sr")
    return g.model("sr")


CONTRACT = ImageContract(scale=2, halo_px=4)


def picture(height=96, width=96, seed=0):
    """uint8 (H, W, 3): smooth shapes, edges and a little texture, 0 to 255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(rng.uniform(3, 25) * x + rng.uniform(3, 25) * y + p) for p in range(3)]
    image = (
        128
        + 60 * np.stack(waves, 2)
        + 50 * (x > y)[:, :, None]
        + rng.normal(0, 4, (height, width, 3))
    )
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def photographs(folder: Path, count=3, side=120):
    """An image set on disk."""
    files = []
    for seed in range(count):
        path = folder / f"photo{seed}.png"
        write_png(path, picture(side, side, seed))
        files.append(ImageFile(name=path.name, path=path, digest=f"{seed}"))
    return ImageSet(name="calibration", files=tuple(files))


def tensor(seed=9, height=48, width=56, channels=3):
    """A float32 NCHW picture in [0, 1] that calibration has not seen."""
    planes = picture(height, width, seed)[:, :, :channels].transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None] / np.float32(255))


def target(backend, **build):
    """A target with one build."""
    builds = (Build(backend=backend, scheme=backend, **build),)
    limits = OperatorLimits(refused={})
    return Target(
        name="bench", title="bench", builds=builds, limits=limits, rules=(), gates={},
        path=Path("bench.yaml"), facts={},
    )  # fmt: skip


def quantized(model: onnx.ModelProto, folder: Path, contract=CONTRACT, **params):
    """Run the step: (network, plan, facts) of `model`."""
    folder.mkdir(exist_ok=True)
    given = StepInput(
        network=write_network(model, contract, folder / "given.onnx"),
        params={**PARAMS, **params},
        calibration=photographs(folder),
        work=folder,
        show=lambda progress: None,
    )
    facts = quantize.run(given, folder)
    return read_network(folder / "network.onnx"), read_plan(folder / "plan.json"), facts


def psnr_db(a, b):
    """Between two float pictures of white 1."""
    error = np.mean((np.clip(a, 0, 1).astype(np.float64) - np.clip(b, 0, 1)) ** 2)
    return float(-10 * np.log10(max(error, 1e-20)))
