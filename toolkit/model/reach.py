"""How far an output pixel of a super-resolution network looks into the picture, exactly.

Far from the borders a network without whole-picture operators repeats itself: shifting the picture
by its period shifts the output. So for each tensor and picture axis it is enough to know, for one
period of indices, the first and the last pixel of the low-resolution picture that each depends on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import onnx

from toolkit.model.graph import Array, arrays, shapes_of
from toolkit.model.steps_of import Carried, Step, WholePicture, step_of

Shape = tuple[int, ...]
Axis = int  # 0 for rows, 1 for columns


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Low-resolution pixels that a tile needs around it.

    The tile starts and ends at multiples of `period_px`, the shift under which the network
    repeats itself.
    """

    before_px: int
    after_px: int
    widest_px: int  # the most pixels in a row that one output pixel sees
    period_px: int


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One tensor along one picture axis. `density` is its pixels per low-resolution pixel."""

    place: int  # which of the tensor's axes
    density: Fraction
    surplus: Fraction  # its length minus density times the picture's length


def reach_of(model: onnx.ModelProto) -> tuple[Reach, Reach]:
    """Along rows' and columns' axis, for a network with static shapes.

    Raises WholePicture, which names the node, where no tile can stand for the picture.
    """
    shapes = {name: tuple(s or 0 for s in shape) for name, shape in shapes_of(model).items()}
    stored = arrays(model.graph)
    lines = tuple(_lines(model, shapes, stored, axis) for axis in (0, 1))
    for node in model.graph.node:
        for name in node.output:
            pair = [line[name].density for line in lines if name in line]
            if len(set(pair)) > 1:
                raise WholePicture(node, "its output keeps its size whatever the picture's size")
    return _reach(model, shapes, stored, lines[0], 0), _reach(model, shapes, stored, lines[1], 1)


def _lines(
    model: onnx.ModelProto, shapes: Mapping[str, Shape], stored: Mapping[str, Array], axis: Axis
) -> dict[str, _Line]:
    image = model.graph.input[0].name
    picture = shapes[image][2 + axis]
    lines = {image: _Line(place=2 + axis, density=Fraction(1), surplus=Fraction(0))}
    for node in model.graph.node:
        carried = _carried(node, lines)
        if not carried:
            continue
        step = step_of(node, carried, shapes, stored, axis)
        densities = {lines[name].density * step.factor for name in carried}
        if len(densities) > 1:
            raise WholePicture(node, "its inputs have grids of different density")
        density = densities.pop()
        if node.op_type == "Resize" and any(lines[n].surplus for n in carried):
            raise WholePicture(node, "its factor depends on the picture's size")
        for name in node.output:
            if name:
                surplus = shapes[name][step.place] - density * picture
                lines[name] = _Line(place=step.place, density=density, surplus=surplus)
    return lines


def _carried(node: onnx.NodeProto, lines: Mapping[str, _Line]) -> dict[str, Carried]:
    found = {name: lines[name] for name in node.input if name in lines}
    return {n: Carried(place=line.place, short=line.surplus < 0) for n, line in found.items()}


def _reach(
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    stored: Mapping[str, Array],
    lines: Mapping[str, _Line],
    axis: Axis,
) -> Reach:
    period = math.lcm(*(line.density.denominator for line in lines.values()))
    spans = {model.graph.input[0].name: _Span(period, [(q, q) for q in range(period)])}
    for node in model.graph.node:
        carried = _carried(node, lines)
        if not carried:
            continue
        step = step_of(node, carried, shapes, stored, axis)
        for name in node.output:
            if name:
                spans[name] = _through(step, [spans[n] for n in carried], lines[name], period)
    return _summed(spans[model.graph.output[0].name], period)


class _Span:
    """First and last picture pixel for every index of a tensor, given for one period."""

    def __init__(self, period: int, ends: list[tuple[int, int]]) -> None:
        self.period = period
        self.ends = ends

    def at(self, index: int) -> tuple[int, int]:
        """Index may be any whole number: periods before and after are shifted copies."""
        turns, place = divmod(index, len(self.ends))
        first, last = self.ends[place]
        return first + turns * self.period, last + turns * self.period


def _through(step: Step, sources: list[_Span], line: _Line, period: int) -> _Span:
    """A tile's tensor ends where the tile ends, so an index also depends on its own place."""
    ends = []
    for index in range(int(period * line.density)):
        near, far = step.taps(index)
        first = min(math.floor(index / line.density), *(s.at(near)[0] for s in sources))
        place = math.floor((index - line.surplus) / line.density)
        ends.append((first, max(place, *(s.at(far)[1] for s in sources))))
    return _Span(period, ends)


def _summed(result: _Span, period: int) -> Reach:
    """One period stands for the tile: what it reads before its first and after its last pixel."""
    return Reach(
        before_px=max(-first for first, _ in result.ends),
        after_px=max(last for _, last in result.ends) - (period - 1),
        widest_px=max(last - first + 1 for first, last in result.ends),
        period_px=period,
    )
