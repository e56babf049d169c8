"""Small networks that really upscale: random features, and a last layer fitted to photographs.

The fit is one ridge regression on the calibration pictures that ship, so a network is a second's
work, is the same every time, and loses something visible when it is converted wrongly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from toolkit.images.decode import read_rgb
from toolkit.images.luma import rgb_to_ycbcr
from toolkit.images.resize import low_resolution
from toolkit.images.sets import shipped_folder

FIT_PICTURES = 6
FIT_PX = 144  # edge of the square of each picture that is fitted to
RIDGE = 3e-2
SPARE = 0.2  # random filters are mostly small: ranges as after training


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a fitted network looks like."""

    name: str
    scale: int = 2
    color: str = "rgb"
    white: float = 1.0
    activation: str = "Relu"  # or "PRelu", "Tanh", "LeakyRelu"
    features: int = 12
    depth: int = 1  # convolutions before the last one
    skip: bool = False  # a residual add of features, as in EDSR
    anchor: str = "concat"  # the picture repeated; "resize": bilinear, beside the shuffle; "none"
    clip: bool = False
    edge: bool = False  # borders are continued by edge pixels instead of zeros
    seed: int = 0

    @property
    def channels(self) -> int:
        return 1 if self.color == "luma" else 3


class _Graph:
    def __init__(self, kind: Kind) -> None:
        self.kind, self.nodes, self.constants = kind, [], {}
        self.rng = np.random.default_rng([kind.scale, kind.features, kind.depth, kind.seed])

    def node(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, name, value):
        self.constants[name] = np.asarray(value)
        return name

    def conv(self, source, name, weight, bias):
        reach = weight.shape[2] // 2
        pads = [reach] * 4
        if self.kind.edge:
            ends = self.constant(f"{name}.pads", np.array([0, 0, reach, reach] * 2, np.int64))
            source = self.node("Pad", [source, ends], f"{name}.padded", mode="edge")
            pads = [0] * 4
        values = [
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        return self.node("Conv", [source, *values], name, pads=pads)

    def active(self, source, name):
        kind = self.kind.activation
        if kind == "PRelu":
            slopes = self.rng.uniform(0.05, 0.4, (self.kind.features, 1, 1)).astype(np.float32)
            return self.node(kind, [source, self.constant(f"{name}.slope", slopes)], name)
        more = {"alpha": 0.1} if kind == "LeakyRelu" else {}
        return self.node(kind, [source], name, **more)

    def model(self, output, channels):
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, *size])
            for name, count, size in (
                ("lr", self.kind.channels, ("h", "w")),
                (output, channels, ("H", "W")),
            )
        ]
        stored = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, self.kind.name, ends[:1], ends[1:], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def _body(g: _Graph) -> str:
    kind, source, into = g.kind, "lr", g.kind.channels
    for layer in range(kind.depth):
        edge_px = 5 if layer == 0 else 3
        shape = (kind.features, into, edge_px, edge_px)
        weight = g.rng.normal(0, SPARE, shape) / (1 if layer == 0 else 2)
        reach = edge_px // 2
        weight[:, :, reach, reach] += g.rng.normal(0, 0.5, shape[:2])
        bias = g.rng.normal(0, 0.2, kind.features)
        if layer == 0:
            weight = weight / kind.white
        if kind.activation == "Tanh":
            weight, bias = weight * 0.6, bias * 0.6
        made = g.active(g.conv(source, f"conv{layer}", weight, bias), f"features{layer}")
        if kind.skip and layer > 0:
            made = g.node("Add", [made, source], f"sum{layer}")
        source, into = made, kind.features
    return source


def _planes(rgb, kind: Kind):
    """uint8 planes (h, w, C) as the network reads them."""
    if kind.color == "luma":
        return rgb_to_ycbcr(rgb)[:, :, :1]
    return rgb if kind.color == "rgb" else rgb[:, :, ::-1]


def _nchw(planes, kind: Kind):
    return np.ascontiguousarray(planes.transpose(2, 0, 1)[None] * np.float32(kind.white / 255))


@functools.cache
def _photographs():
    paths = sorted((shipped_folder() / "calibration").glob("*.webp"))[:: 32 // FIT_PICTURES]
    middles = []
    for path in paths[:FIT_PICTURES]:
        rgb = read_rgb(path)
        top, left = (rgb.shape[0] - FIT_PX) // 2, (rgb.shape[1] - FIT_PX) // 2
        middles.append(rgb[top : top + FIT_PX, left : left + FIT_PX])
    return middles


def _windows(features):
    """(1, F, h, w) to (h * w, F * 9 + 1): what a 3 x 3 convolution with a bias sees."""
    _, _, height, width = features.shape
    padded = np.pad(features[0], ((0, 0), (1, 1), (1, 1)))
    taps = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    flat = np.stack(taps, 1).reshape(-1, height * width).T
    return np.concatenate([flat, np.ones((height * width, 1))], 1)


def _fitted_tail(model, features: str, kind: Kind):
    """Weight (C * s * s, F, 3, 3) and bias of the last convolution, in the network's own units."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    seen, wanted, s = [], [], kind.scale
    for hr in _photographs():
        lr = _nchw(_planes(low_resolution(hr, s), kind), kind)
        target = _nchw(_planes(hr, kind), kind)[0] / kind.white
        base = _anchored(lr, kind)[0] / kind.white
        residual = target - base
        channels, height, width = residual.shape
        folded = residual.reshape(channels, height // s, s, width // s, s)
        folded = folded.transpose(0, 2, 4, 1, 3).reshape(channels * s * s, -1).T
        inner = np.zeros((height // s, width // s), bool)
        inner[4:-4, 4:-4] = True
        seen.append(_windows(session.run([features], {"lr": lr})[0])[inner.ravel()])
        wanted.append(folded[inner.ravel()])
    a, b = np.concatenate(seen).astype(np.float64), np.concatenate(wanted)
    left = a.T @ a + RIDGE * np.eye(a.shape[1]) * len(a) / 100
    solved = np.linalg.solve(left, a.T @ b).T * kind.white
    weight = solved[:, :-1].reshape(-1, kind.features, 3, 3)
    return weight, solved[:, -1]


def _anchored(lr, kind: Kind):
    """What the fitted part adds to: (1, C, H, W)."""
    s = kind.scale
    if kind.anchor != "resize":
        return lr.repeat(s, axis=2).repeat(s, axis=3) * (kind.anchor == "concat")
    g = _Graph(replace(kind, name="anchor"))
    model = g.model(_resize(g, "linear", "half_pixel"), kind.channels)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"lr": lr})[0]


def _resize(g: _Graph, mode: str, coordinates: str) -> str:
    s = float(g.kind.scale)
    sizes = g.constant("scales", np.array([1, 1, s, s], np.float32))
    return g.node(
        "Resize", ["lr", "", sizes], "base",
        mode=mode, coordinate_transformation_mode=coordinates,
    )  # fmt: skip


@functools.cache
def _model_bytes(kind: Kind) -> bytes:
    g = _Graph(kind)
    body = _body(g)
    weight, bias = _fitted_tail(g.model(body, kind.features), body, kind)
    tail = g.conv(body, "tail", weight, bias)
    if kind.anchor == "concat":
        repeated = ["lr"] * kind.scale**2
        if kind.channels == 3:
            ends = g.constant("thirds", np.array([1, 1, 1], np.int64))
            g.nodes.append(
                helper.make_node("Split", ["lr", ends], ["lr0", "lr1", "lr2"], "split", axis=1)
            )
            repeated = [f"lr{c}" for c in range(3) for _ in range(kind.scale**2)]
        tail = g.node("Add", [tail, g.node("Concat", repeated, "anchor", axis=1)], "total")
    out = g.node("DepthToSpace", [tail], "wide", blocksize=kind.scale, mode="CRD")
    if kind.anchor == "resize":
        out = g.node("Add", [out, _resize(g, "linear", "half_pixel")], "whole")
    if kind.clip:
        limits = [
            g.constant(name, np.array(value, np.float32))
            for name, value in (("black", 0.0), ("white", kind.white))
        ]
        out = g.node("Clip", [out, *limits], "clipped")
    return g.model(out, kind.channels).SerializeToString(deterministic=True)


def model(kind: Kind) -> onnx.ModelProto:
    """A fresh copy of the network as a user would hand it in."""
    return onnx.load_from_string(_model_bytes(kind))


def write(kind: Kind, folder: Path) -> Path:
    """`folder`/NAME.onnx."""
    path = folder / f"{kind.name}.onnx"
    path.write_bytes(_model_bytes(kind))
    return path
