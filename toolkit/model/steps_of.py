"""What each operator does along one axis of the picture: which input indices an output reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from onnx import NodeProto

from toolkit.model.graph import Array, attributes

Shape = tuple[int, ...]
Taps = Callable[[int], tuple[int, int]]


class WholePicture(Exception):
    """A node makes every output pixel depend on the whole picture, or on its size."""

    def __init__(self, node: NodeProto, why: str) -> None:
        super().__init__(why)
        self.node = node
        self.why = why

    def __str__(self) -> str:
        return f"`{self.node.op_type}` at node `{self.node.name}`: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A tensor that carries the picture, on which of its axes, and whether a crop made it short."""

    place: int
    short: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator along one picture axis.

    `factor` is how much denser its output is, `taps` gives the first and last input index that an
    output index reads, `place` is the output's axis.
    """

    place: int
    factor: Fraction
    taps: Taps


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Everything a rule may look at."""

    node: NodeProto
    carried: Mapping[str, Carried]
    shapes: Mapping[str, Shape]
    stored: Mapping[str, Array]
    axis: int

    @property
    def source(self) -> str:
        return next(name for name in self.node.input if name in self.carried)

    @property
    def place(self) -> int:
        return self.carried[self.source].place

    @property
    def before(self) -> Shape:
        return self.shapes[self.source]

    @property
    def after(self) -> Shape:
        return self.shapes[self.node.output[0]]

    def integers(self, index: int) -> list[int]:
        """The values of a constant input."""
        values = self.stored.get(self.node.input[index])
        if values is None:
            raise WholePicture(self.node, "its sizes depend on pixel values")
        return [int(v) for v in values.reshape(-1)]

    def given(self, name: str, default: object) -> list[int]:
        """A list attribute."""
        return list(attributes(self.node).get(name, default))


def step_of(
    node: NodeProto,
    carried: Mapping[str, Carried],
    shapes: Mapping[str, Shape],
    stored: Mapping[str, Array],
    axis: int,
) -> Step:
    """The step of a node of which at least one input carries the picture. Raises WholePicture."""
    rule = _RULES.get(node.op_type)
    here = _Place(node=node, carried=carried, shapes=shapes, stored=stored, axis=axis)
    if rule is None:
        raise WholePicture(node, "what it reads is not known")
    return rule(here)


def _same(index: int) -> tuple[int, int]:
    return index, index


def _kept(place: int) -> Step:
    return Step(place=place, factor=Fraction(1), taps=_same)


def _pointwise(here: _Place) -> Step:
    """Inputs are aligned at their last axes; a constant must be the same along the picture."""
    rank = len(here.after)
    places = {
        here.carried[name].place + rank - len(here.shapes[name])
        for name in here.node.input
        if name in here.carried
    }
    if len(places) > 1:
        raise WholePicture(here.node, "it meets rows with columns")
    place = places.pop()
    for name in here.node.input:
        shape = here.shapes.get(name, ())
        own = place - rank + len(shape)
        if name and name not in here.carried and own >= 0 and shape[own] != 1:
            raise WholePicture(here.node, f"`{name}` differs from place to place")
    return _kept(place)


def _window(here: _Place) -> Step:
    """Convolutions and pools."""
    size, stride, dilation, before = _geometry(here)
    if here.node.op_type.endswith("Pool") and size >= here.before[here.place] > 1:
        raise WholePicture(here.node, "its window is the whole picture")
    return Step(
        place=here.place,
        factor=Fraction(1, stride),
        taps=lambda o: (o * stride - before, o * stride - before + (size - 1) * dilation),
    )


def _geometry(here: _Place) -> tuple[int, int, int, int]:
    """Kernel size, stride, dilation and pads before, along this axis."""
    axis, node = here.axis, here.node
    if here.place != 2 + axis:
        raise WholePicture(node, "the picture does not lie on its last two axes")
    weight = here.shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    size = here.given("kernel_shape", weight[2:])[axis]
    stride = here.given("strides", [1, 1])[axis]
    dilation = here.given("dilations", [1, 1])[axis]
    before = here.given("pads", [0, 0, 0, 0])[axis]
    auto = attributes(node).get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        length, result = here.before[2 + axis], here.after[2 + axis]
        total = max(0, (result - 1) * stride + (size - 1) * dilation + 1 - length)
        before = total // 2 if auto == "SAME_UPPER" else total - total // 2
    return size, stride, dilation, before


def _deconvolution(here: _Place) -> Step:
    size, stride, dilation, before = _geometry(here)
    if "output_shape" in attributes(here.node) or "auto_pad" in attributes(here.node):
        raise WholePicture(here.node, "its padding depends on the picture's size")

    def taps(o: int) -> tuple[int, int]:
        last = (o + before) // stride
        return min(last, -((-(o + before - (size - 1) * dilation)) // stride)), last

    return Step(place=here.place, factor=Fraction(stride), taps=taps)


def _shuffle(here: _Place) -> Step:
    block = attributes(here.node)["blocksize"]
    return Step(place=here.place, factor=Fraction(block), taps=lambda o: (o // block, o // block))


def _unshuffle(here: _Place) -> Step:
    block = attributes(here.node)["blocksize"]
    return Step(
        place=here.place,
        factor=Fraction(1, block),
        taps=lambda o: (o * block, o * block + block - 1),
    )


def _resize(here: _Place) -> Step:
    found = attributes(here.node)
    length, result = here.before[here.place], here.after[here.place]
    if length == result:
        return _kept(here.place)
    where = found.get("coordinate_transformation_mode", "half_pixel")
    if where not in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        raise WholePicture(here.node, f"`{where}` depends on the picture's size")
    factor = Fraction(result, length)
    if len(here.node.input) > 2 and here.node.input[2] in here.stored:
        values = here.stored[here.node.input[2]].reshape(-1)
        if values.size:
            factor = Fraction(float(values[here.place])).limit_denominator(1024)
    shift = Fraction(0) if where == "asymmetric" else Fraction(1, 2)
    reach = {"nearest": (0, 0), "linear": (0, 1), "cubic": (-1, 2)}[found.get("mode", "nearest")]

    def taps(o: int) -> tuple[int, int]:
        x = (o + shift) / factor - shift
        if found.get("mode", "nearest") == "nearest":
            return _nearest(x, found.get("nearest_mode", "round_prefer_floor"))
        if x.denominator == 1 and reach == (0, 1):
            return int(x), int(x)  # the other pixel's weight is zero
        return math.floor(x) + reach[0], math.floor(x) + reach[1]

    return Step(place=here.place, factor=factor, taps=taps)


def _nearest(x: Fraction, mode: str) -> tuple[int, int]:
    half = Fraction(1, 2)
    index = {
        "floor": math.floor(x),
        "ceil": math.ceil(x),
        "round_prefer_floor": math.ceil(x - half),
        "round_prefer_ceil": math.floor(x + half),
    }[mode]
    return index, index


def _pad(here: _Place) -> Step:
    pads = here.integers(1)
    rank = len(here.before)
    axes = here.integers(3) if len(here.node.input) > 3 and here.node.input[3] else range(rank)
    half = len(pads) // 2
    before = dict(zip(axes, pads[:half], strict=True)).get(here.place, 0)
    after = dict(zip(axes, pads[half:], strict=True)).get(here.place, 0)
    # Mirrored rows lie as far inside as they stand outside, which other reach covers, unless the
    # border itself was cropped inwards.
    mirrored = attributes(here.node).get("mode", "constant") != "constant"
    more = 2 * max(before, after) if mirrored and here.carried[here.source].short else 0
    return Step(
        place=here.place,
        factor=Fraction(1),
        taps=lambda o: (o - before - more, o - before + more),
    )


def _slice(here: _Place) -> Step:
    rank, length = len(here.before), here.before[here.place]
    starts = here.integers(1)
    axes = here.integers(3) if len(here.node.input) > 3 else list(range(len(starts)))
    steps = here.integers(4) if len(here.node.input) > 4 else [1] * len(starts)
    chosen = {a % rank: (s, d) for a, s, d in zip(axes, starts, steps, strict=True)}
    start, stride = chosen.get(here.place, (0, 1))
    start = start + length if start < 0 else start
    if stride < 1 or start > length // 2:
        raise WholePicture(here.node, "it takes rows or columns from the picture's far end")
    return Step(
        place=here.place,
        factor=Fraction(1, stride),
        taps=lambda o: (start + o * stride, start + o * stride),
    )


def _transpose(here: _Place) -> Step:
    rank = len(here.before)
    order = here.given("perm", range(rank - 1, -1, -1))
    return _kept(order.index(here.place))


def _reshape(here: _Place) -> Step:
    """The axis survives where its size and the number of values behind it stay."""
    size, behind = here.before[here.place], math.prod(here.before[here.place + 1 :])
    for place, other in enumerate(here.after):
        if other == size and math.prod(here.after[place + 1 :]) == behind:
            return _kept(place)
    raise WholePicture(here.node, "it puts rows and columns into one axis")


def _repeat(here: _Place) -> Step:
    place = here.place + len(here.after) - len(here.before)
    if here.after[place] != here.before[here.place]:
        raise WholePicture(here.node, "it repeats the picture")
    return _kept(place)


def _along(here: _Place) -> Step:
    """Concat, Split, Softmax and the like: fine along any other axis than the picture's."""
    default = {"Concat": 0, "Split": 0}.get(here.node.op_type, -1)
    axis = attributes(here.node).get("axis", default) % len(here.before)
    after = here.node.op_type == "LayerNormalization" and here.place >= axis
    if axis == here.place or after:
        raise WholePicture(here.node, "it works along rows or columns")
    places = {here.carried[name].place for name in here.node.input if name in here.carried}
    if len(places) > 1:
        raise WholePicture(here.node, "it meets rows with columns")
    for name in here.node.input:
        shape = here.shapes.get(name, ())
        if here.node.op_type == "Concat" and name not in here.carried and shape[here.place] != 1:
            if np.ptp(here.stored.get(name, np.arange(2)), axis=None) == 0:
                continue
            raise WholePicture(here.node, f"`{name}` differs from place to place")
    return _kept(here.place)


def _reduce(here: _Place) -> Step:
    found, rank = attributes(here.node), len(here.before)
    axes = found.get("axes")
    if axes is None and len(here.node.input) > 1 and here.node.input[1]:
        axes = here.integers(1)
    gone = {a % rank for a in (range(rank) if axes is None else axes)}
    if here.place in gone:
        raise WholePicture(here.node, "it takes one value from the whole picture")
    lost = 0 if found.get("keepdims", 1) else sum(a < here.place for a in gone)
    return _kept(here.place - lost)


def _gather(here: _Place) -> Step:
    axis = attributes(here.node).get("axis", 0) % len(here.before)
    if axis == here.place or here.node.input[1] in here.carried:
        raise WholePicture(here.node, "it picks rows or columns")
    more = len(here.shapes[here.node.input[1]]) - 1
    return _kept(here.place + (more if axis < here.place else 0))


def _matmul(here: _Place) -> Step:
    """Rows and columns may be batch axes, or an outer axis of a product with constants."""
    left, right = here.node.input[0], here.node.input[1]
    rank = len(here.after)
    places = {}
    for name, summed in ((left, -1), (right, -2)):
        if name in here.carried:
            own = here.carried[name].place - len(here.shapes[name])
            if own == summed:
                raise WholePicture(here.node, "it sums over rows or columns")
            places[name] = own
    if len(set(places.values())) > 1 or (len(places) == 2 and max(places.values()) >= -2):
        raise WholePicture(here.node, "every pixel meets every other")
    return _kept(rank + next(iter(places.values())))


def _whole(here: _Place) -> Step:
    raise WholePicture(here.node, "it takes one value from the whole picture")


# fmt: off
_POINTWISE = (
    "Abs", "Add", "And", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Div", "Elu",
    "Equal", "Erf", "Exp", "Floor", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mul", "Neg",
    "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign",
    "Sin", "Cos", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu",
    "Where", "Xor",
)
# fmt: on
_REDUCE = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
_RULES: dict[str, Callable[[_Place], Step]] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys((f"Reduce{kind}" for kind in _REDUCE), _reduce),
    **dict.fromkeys(("Conv", "AveragePool", "MaxPool", "LpPool"), _window),
    **dict.fromkeys(("Concat", "Split", "Softmax", "LogSoftmax", "Hardmax"), _along),
    **dict.fromkeys(("LayerNormalization", "LpNormalization"), _along),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Expand", "Tile"), _repeat),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization"), _whole),
    "ConvTranspose": _deconvolution,
    "DepthToSpace": _shuffle,
    "Gather": _gather,
    "MatMul": _matmul,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "SpaceToDepth": _unshuffle,
    "Transpose": _transpose,
}
