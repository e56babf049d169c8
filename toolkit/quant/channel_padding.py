"""Convolutions widened by zero channels to the sizes for which a runtime has a fast kernel.

ONNX Runtime on x86 reads the picture in place (MlasConvSym, onnxruntime/core/mlas/lib/convsym.cpp)
where the input channels are a multiple of 4 and the output channels at least 16 and a multiple of 4
(of 8 without AVX-512); any other convolution first writes every window out, which takes several
times as long. A channel whose weights are all zero changes no other value, so the result is equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper

from toolkit.model.quant_plan import QuantPlan, with_copies
from toolkit.quant.carried import set_bias
from toolkit.quant.real_work import note_real_work
from toolkit.quant.view import Array, GraphView, attribute, copied, set_constant, with_nodes

KEEPS_CHANNELS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh")  # one value in, one value out
MIXES_PLACES = ("Add", "Sub", "Mul")  # channel by channel


@dataclass(frozen=True, kw_only=True)
class FastChannels:
    """Channel counts that a runtime's fastest convolution takes."""

    into_multiple: int
    out_multiple: int
    out_least: int

    def out(self, channels: int) -> int:
        """The next count of output channels that is fast."""
        return max(self.out_least, _rounded_up(channels, self.out_multiple))


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


@dataclass
class _Widening:
    """The graph under construction: `wide` names a tensor's wide form, with its channels."""

    graph: GraphView
    model: onnx.ModelProto
    plan: QuantPlan
    fast: FastChannels
    is_kernel: Callable[[onnx.NodeProto], bool]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    wide: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # name, channels, real ones
    narrow: set[str] = field(default_factory=set)  # tensors cut back to their real channels
    added: dict[str, str] = field(default_factory=dict)  # new tensor -> the one it has values of

    def constant(self, name: str, value: Array) -> str:
        set_constant(self.model, name, value)
        return name

    def cut(self, name: str, source: str, start: int, stop: int) -> str:
        """Append a Slice of channels `start` to `stop` of `source`; gives `name`."""
        ends = [
            self.constant(f"{name}.{end}", np.array([value], np.int64))
            for end, value in (("start", start), ("stop", stop), ("axis", 1))
        ]
        self.nodes.append(helper.make_node("Slice", [source, *ends], [name], f"{name}.cut"))
        return name


def with_fast_channels(
    graph: GraphView,
    plan: QuantPlan,
    fast: FastChannels,
    is_kernel: Callable[[onnx.NodeProto], bool],
) -> tuple[GraphView, QuantPlan]:
    """The graph with the convolutions that `is_kernel` names widened, equal in float.

    Wide tensors flow through activations and adds into the next convolution and are cut back to
    their real channels before anything else. The plan gains the ranges of added tensors.
    """
    state = _Widening(
        graph=graph, model=copied(graph.model), plan=plan, fast=fast, is_kernel=is_kernel
    )
    for original in graph.nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        _widen(state, node)
    if not state.added:
        return graph, plan
    return with_nodes(state.model, state.nodes), with_copies(plan, state.added)


def _widen(state: _Widening, node: onnx.NodeProto) -> None:
    kinds = {state.wide[name][1:] for name in node.input if name in state.wide}
    dynamic = state.graph.dynamic_inputs(node)
    if _is_wideable(state, node):
        _widen_convolution(state, node)
        return
    passes = node.op_type in KEEPS_CHANNELS or (
        node.op_type in MIXES_PLACES and len(dynamic) == len(node.input)
    )
    if passes and len(kinds) == 1 and all(name in state.wide for name in dynamic):
        for index, name in enumerate(node.input):
            if name in state.wide:
                node.input[index] = state.wide[name][0]
        channels, real = kinds.pop()
        _emit_wide(state, node, channels, real)
        return
    _read_narrow(state, node)
    state.nodes.append(node)


def _is_wideable(state: _Widening, node: onnx.NodeProto) -> bool:
    """A plain convolution with constant weights that will run in integers."""
    constants = state.graph.constants
    return (
        node.op_type == "Conv"
        and attribute(node, "group", 1) == 1
        and all(name in constants for name in node.input[1:] if name)
        and constants[node.input[1]].ndim == 4
        and state.is_kernel(node)
    )


def _read_narrow(state: _Widening, node: onnx.NodeProto) -> None:
    """Cut every wide tensor that `node` reads, once."""
    for name in dict.fromkeys(node.input):
        if name in state.wide and name not in state.narrow:
            wide, _, real = state.wide[name]
            state.cut(name, wide, 0, real)
            state.narrow.add(name)


def _emit_wide(state: _Widening, node: onnx.NodeProto, channels: int, real: int) -> None:
    """Append `node` with its output under the wide name; the picture itself is cut at once."""
    name = node.output[0]
    wide = f"{name}.wide"
    node.output[0] = wide
    state.nodes.append(node)
    state.wide[name] = (wide, channels, real)
    state.added[wide] = name
    if name == state.graph.output:
        state.cut(name, wide, 0, real)


def _wide_input(state: _Widening, name: str, channels: int) -> tuple[str, int]:
    """The tensor that a convolution reads in place of `name`, and its channels.

    Missing channels repeat real ones, whose weights are zero: a Concat of one tensor with itself
    stays on its grid in every runtime, unlike a Pad.
    """
    if name in state.wide:
        return state.wide[name][:2]
    wanted = _rounded_up(channels, state.fast.into_multiple)
    if wanted == channels:
        return name, channels
    wide = f"{name}.wide"
    whole, rest = divmod(wanted, channels)
    parts = [name] * whole
    if rest:
        parts.append(state.cut(f"{name}.rest", name, 0, rest))
        state.added[f"{name}.rest"] = name
    state.nodes.append(helper.make_node("Concat", parts, [wide], f"{wide}.concat", axis=1))
    state.wide[name] = (wide, wanted, channels)
    state.narrow.add(name)
    state.added[wide] = name
    return wide, wanted


def _pays(state: _Widening, node: onnx.NodeProto, out: int) -> bool:
    """Whether wide output channels cost less here than they add to the convolutions that follow.

    The next multiple is cheap, but narrow layers grown to the least count make those that read
    them slower than this one gets faster (9 and 12 channels to 16: 30 to 39 and 34 to 39 ms). A
    1x1 convolution writes no windows out, so there is little to gain at all.
    """
    if state.fast.out(out) == _rounded_up(out, state.fast.out_multiple):
        return True
    is_point = state.graph.constants[node.input[1]].shape[2:] == (1, 1)
    return not is_point and not _reaches_convolution(state.graph, node.output[0])


def _reaches_convolution(graph: GraphView, name: str) -> bool:
    """Whether a wide form of tensor `name` would flow into a convolution."""
    for reader in graph.consumers.get(name, ()):
        if reader.op_type == "Conv":
            return True
        flows = reader.op_type in (*KEEPS_CHANNELS, *MIXES_PLACES)
        if flows and _reaches_convolution(graph, reader.output[0]):
            return True
    return False


def _widen_convolution(state: _Widening, node: onnx.NodeProto) -> None:
    constants = state.graph.constants
    weight = constants[node.input[1]]
    out, into = weight.shape[:2]
    pays = _pays(state, node, out)
    if not pays and node.input[0] not in state.wide:
        state.nodes.append(node)
        return
    node.input[0], wide_into = _wide_input(state, node.input[0], into)
    wide_out = state.fast.out(out) if pays else out
    if (wide_out, wide_into) != (out, into):
        grown = [(0, wide_out - out), (0, wide_into - into), (0, 0), (0, 0)]
        wide = np.pad(weight, grown)
        node.input[1] = state.constant(f"{node.name}/weight.wide", wide)
        note_real_work(state.model, node.name, weight.size / wide.size)
    if wide_out == out:
        state.nodes.append(node)
        return
    if len(node.input) > 2 and node.input[2]:
        set_bias(state.model, node, np.pad(constants[node.input[2]], (0, wide_out - out)))
    _emit_wide(state, node, wide_out, out)
