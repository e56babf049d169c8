"""Write a float network and a plan as one ONNX file with QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from toolkit.errors import UserError
from toolkit.model.network import Network
from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.quant.carried import snapped, without_rounded
from toolkit.quant.centred import with_centred_input
from toolkit.quant.channel_padding import with_fast_channels
from toolkit.quant.interleaving import with_interleaving
from toolkit.quant.placement import Placement, is_kernel, place, tail_tensors
from toolkit.quant.prelu_bytes import is_maximum, slope_range, with_leaky_relus
from toolkit.quant.schemes import QdqScheme
from toolkit.quant.tanh_tables import sigmoid_zero_point, with_whole_tanh
from toolkit.quant.view import Array, GraphView, attribute, copied, view, with_names
from toolkit.quant.width_blocks import with_width_blocks
from toolkit.quant.window_products import with_window_products

MICROSOFT = "com.microsoft"  # has 16-bit Q and DQ since ONNX Runtime 1.16; ONNX has from opset 21
BIAS_LIMIT = 2.0**30  # int32 biases stay within half their range
LEAST_STEP = 1e-12


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Real value = (stored - zero_point) * step."""

    step: np.float32
    zero_point: Array  # a scalar of the activation's dtype


def grid_of(span: TensorRange, scheme: QdqScheme) -> Grid:
    """The grid over a range, of 8 or 16 bits; 0.0 is always exactly on it."""
    low, high = min(span.low, 0.0), max(span.high, 0.0)
    if scheme.symmetric:
        step = max(-low, high, LEAST_STEP) / 127
        return Grid(step=np.float32(step), zero_point=np.array(0, np.int8))
    limits = np.iinfo(scheme.activations)
    levels = int(limits.max) - int(limits.min)
    step = max(high - low, LEAST_STEP) / levels
    zero = np.clip(np.round(-low / step), 0, levels) + limits.min
    return Grid(step=np.float32(step), zero_point=np.array(zero, scheme.activations))


@dataclass
class Writer:
    """The graph under construction."""

    graph: GraphView
    scheme: QdqScheme
    placement: Placement
    per_channel: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def constant(self, name: str, value: Array) -> str:
        """Store an initializer and return its name."""
        self.constants[name] = value
        return name

    def dequantize(self, stored: str, step: Array, zero: Array, out: str, axis: int | None) -> str:
        """Append a DequantizeLinear of an initializer; returns `out`."""
        names = [self.constant(f"{out}.step", step), self.constant(f"{out}.zero", zero)]
        extra: dict[str, Any] = {} if axis is None else {"axis": axis}
        node = helper.make_node("DequantizeLinear", [stored, *names], [out], f"{out}.dq", **extra)
        self.nodes.append(node)
        return out

    def round_trip(self, tensor: str, source: str, out: str) -> None:
        """Append Q and DQ of an activation: `source` in, `out` out, on the grid of `tensor`."""
        grid = grid_of(self.placement.grids[tensor], self.scheme)
        step = self.constant(f"{tensor}.step", np.array(grid.step, np.float32))
        zero = self.constant(f"{tensor}.zero", grid.zero_point)
        stored = f"{tensor}.q"
        domain = MICROSOFT if self.scheme.activations == "uint16" else None
        quantize = helper.make_node(
            "QuantizeLinear", [source, step, zero], [stored], f"{tensor}.quantize", domain=domain
        )
        restore = helper.make_node(
            "DequantizeLinear", [stored, step, zero], [out], f"{tensor}.dequantize", domain=domain
        )
        self.nodes.extend([quantize, restore])


def weight_steps(weight: Array, axis: int | None) -> Array:
    """Symmetric int8 step of each channel along `axis` (or of the whole), float32."""
    if axis is None:
        largest = np.abs(weight).max()
    else:
        largest = np.abs(np.moveaxis(weight, axis, 0)).reshape(weight.shape[axis], -1).max(1)
    return np.maximum(np.asarray(largest, np.float32) / 127, LEAST_STEP).astype(np.float32)


def _weight_axis(node: onnx.NodeProto, weight: Array, per_channel: bool) -> int | None:
    if not per_channel or weight.ndim < 2:
        return None
    if node.op_type in ("MatMul", "Gemm"):
        return weight.ndim - 1 if weight.ndim == 2 else None
    is_grouped_transpose = node.op_type == "ConvTranspose" and attribute(node, "group", 1) > 1
    if is_grouped_transpose:
        return None
    return 1 if node.op_type == "ConvTranspose" else 0


def _along(values: Array, axis: int | None, rank: int) -> Array:
    if axis is None:
        return values
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _write_weights(writer: Writer, node: onnx.NodeProto, input_step: np.float32) -> None:
    """Replace weight and bias inputs of `node` by dequantized integers."""
    weight = writer.graph.constants[node.input[1]]
    axis = _weight_axis(node, weight, writer.per_channel)
    steps = weight_steps(weight, axis)
    bias = writer.graph.constants.get(node.input[2]) if len(node.input) > 2 else None
    if writer.scheme.int32_bias and bias is not None:
        if axis is None:
            steps = np.maximum(steps, np.abs(bias).max() / (input_step * BIAS_LIMIT))
        else:
            steps = np.maximum(steps, np.abs(bias) / (input_step * BIAS_LIMIT))
        steps = steps.astype(np.float32)
    stored = np.clip(np.round(weight / _along(steps, axis, weight.ndim)), -127, 127).astype(np.int8)
    name = writer.constant(f"{node.name}/weight.int8", stored)
    zero = np.zeros(steps.shape, np.int8)
    node.input[1] = writer.dequantize(name, steps, zero, f"{node.name}/weight.restored", axis)
    if writer.scheme.int32_bias and bias is not None:
        bias_step = np.asarray(steps * input_step, np.float32)
        whole = np.round(bias.astype(np.float64) / bias_step).astype(np.int32)
        stored_bias = writer.constant(f"{node.name}/bias.int32", whole)
        bias_zero = np.zeros(bias_step.shape, np.int32)
        bias_axis = None if axis is None else 0
        node.input[2] = writer.dequantize(
            stored_bias, bias_step, bias_zero, f"{node.name}/bias.restored", bias_axis
        )


def _float_source(writer: Writer, node: onnx.NodeProto) -> str:
    """Where a convolution that stays float reads a tensor that others read in 8 bits.

    ONNX Runtime quantizes the float weights of whatever convolution reads a DequantizeLinear with
    one step (its WeightBiasQuantization, per tensor), so this one gets a step per channel.
    """
    name, graph = str(node.input[0]), writer.graph
    if name == graph.input or not writer.scheme.writes_int8:
        return name
    out = f"{name}.for.{node.name}"
    weight = graph.constants[node.input[1]]
    is_conv = node.op_type == "Conv"
    channels = weight.shape[1] * attribute(node, "group", 1) if is_conv else weight.shape[0]
    grid = grid_of(writer.placement.grids[name], writer.scheme)
    steps, zeros = np.full(channels, grid.step), np.full(channels, grid.zero_point)
    return writer.dequantize(f"{name}.q", steps, zeros, out, 1)


def _write_inputs(writer: Writer, node: onnx.NodeProto) -> None:
    """Make `node` read restored 8-bit tensors, and integer weights where it is a kernel."""
    graph, grids = writer.graph, writer.placement.grids
    has_weight = len(node.input) > 1 and node.input[1] in graph.constants
    if has_weight and node.name in writer.placement.kernels:
        step = grid_of(grids[node.input[0]], writer.scheme).step
        _write_weights(writer, node, step)
    elif has_weight and node.op_type in ("Conv", "ConvTranspose") and node.input[0] in grids:
        node.input[0] = _float_source(writer, node)
        return
    for index, name in enumerate(node.input):
        if name in grids and name != graph.output:
            node.input[index] = f"{name}.dq"


def _write_tanh(writer: Writer, node: onnx.NodeProto) -> bool:
    """Write a tanh of bytes as a sigmoid of bytes; False where its grids do not allow that."""
    grids, (source, out) = writer.placement.grids, (str(node.input[0]), str(node.output[0]))
    if node.name not in writer.placement.kernels or writer.graph.output == out:
        return False
    given, made = (grid_of(grids[name], writer.scheme) for name in (source, out))
    zero = sigmoid_zero_point(made.step, int(made.zero_point))
    if zero is None:
        return False
    twice, half = np.array(2 * given.step, np.float32), np.array(made.step / 2, np.float32)
    writer.dequantize(f"{source}.q", twice, given.zero_point, f"{out}.twice", None)
    curve = helper.make_node("Sigmoid", [f"{out}.twice"], [f"{out}.sigmoid"], node.name)
    names = [
        writer.constant(f"{out}.half", half),
        writer.constant(f"{out}.sigmoid.zero", np.array(zero, made.zero_point.dtype)),
    ]
    stored = helper.make_node(
        "QuantizeLinear", [f"{out}.sigmoid", *names], [f"{out}.q"], f"{out}.quantize"
    )
    writer.nodes.extend([curve, stored])
    step = np.array(made.step, np.float32)
    writer.dequantize(f"{out}.q", step, made.zero_point, f"{out}.dq", None)
    return True


def _write_prelu(writer: Writer, node: onnx.NodeProto) -> bool:
    """Write a PReLU as the maximum of bytes; False where it has no grid with what it reads."""
    grids, (source, slopes), out = writer.placement.grids, map(str, node.input), str(node.output[0])
    if node.name not in writer.placement.kernels or grids.get(out) != grids.get(source):
        return False
    grid, name = grid_of(grids[source], writer.scheme), f"{out}.slope.restored"
    scale = grid_of(slope_range(writer.graph, node), writer.scheme)
    values = writer.graph.constants[slopes]
    levels = np.clip(np.round(values / scale.step) + scale.zero_point, 0, 255).astype(np.uint8)
    stored = writer.constant(f"{out}.slope.uint8", levels.reshape(1, *levels.shape[-3:]))
    writer.dequantize(stored, np.array(scale.step), scale.zero_point, name, None)
    own = [f"{source}.step", f"{source}.zero"]
    product, made = f"{out}.product", f"{out}.q"
    writer.nodes += [
        helper.make_node("Mul", [f"{source}.dq", name], [product], f"{product}.Mul"),
        helper.make_node("QuantizeLinear", [product, *own], [f"{product}.q"], f"{product}.q"),
        helper.make_node("Max", [f"{source}.q", f"{product}.q"], [made], node.name),
    ]
    writer.dequantize(made, np.array(grid.step), grid.zero_point, f"{out}.dq", None)
    return True


def _write_node(writer: Writer, original: onnx.NodeProto) -> None:
    if is_maximum(writer.graph, original) and _write_prelu(writer, original):
        return
    if original.op_type == "Tanh" and writer.scheme.tanh_tables and _write_tanh(writer, original):
        return
    node = onnx.NodeProto()
    node.CopyFrom(original)
    grids, picture = writer.placement.grids, writer.graph.output
    _write_inputs(writer, node)
    for index, name in enumerate(original.output):
        if name in grids and name == picture:
            node.output[index] = f"{name}.float"
    writer.nodes.append(node)
    for name in original.output:
        if name in grids and name == picture:
            writer.round_trip(name, f"{name}.float", name)
        elif name in grids:
            writer.round_trip(name, name, f"{name}.dq")


def _without_final_clip(graph: GraphView, scheme: QdqScheme) -> GraphView:
    """Drop Clips of the picture: the output's grid ends where they would cut."""
    tail = tail_tensors(graph, scheme)
    model = copied(graph.model)
    for node in list(model.graph.node):
        if node.op_type != "Clip" or node.output[0] not in tail or node.input[0] not in tail:
            continue
        maker = next((n for n in model.graph.node if node.input[0] in n.output), None)
        if maker is not None and graph.only_consumer(node.input[0]) is not None:
            maker.output[list(maker.output).index(node.input[0])] = node.output[0]
            model.graph.node.remove(node)
    return view(model)


def _runtime_form(
    graph: GraphView, plan: QuantPlan, scheme: QdqScheme
) -> tuple[GraphView, QuantPlan]:
    """The same network in the form that the scheme's runtime computes fastest."""

    def runs_in_int8(node: onnx.NodeProto) -> bool:
        return is_kernel(graph, node, scheme, plan)

    if scheme.prelu_bytes:
        graph = with_leaky_relus(graph)
    if scheme.tanh_tables:
        plan = with_whole_tanh(graph, plan)
    if scheme.window_products:
        graph, plan = with_window_products(graph, plan)
    if scheme.width_blocks:
        graph, plan = with_width_blocks(graph, plan, runs_in_int8, scheme.fused)
    if scheme.fast_channels is not None:
        graph, plan = with_fast_channels(graph, plan, scheme.fast_channels, runs_in_int8)
    if scheme.interleaves:
        graph, plan = with_interleaving(graph, plan)
    return graph, plan


def quantized_model(
    network: Network, plan: QuantPlan, scheme: QdqScheme, *, per_channel: bool = True
) -> onnx.ModelProto:
    """The network as a Q/DQ file with float32 input and output.

    Raises UserError where the plan belongs to another network, or quantizes none of its nodes.
    """
    if plan.network != network.digest:
        raise UserError(
            f"the plan is for network `{plan.network[:12]}`, this one is `{network.digest[:12]}`",
            where=str(network.path),
            hint="run step `quantize` again on this network",
        )
    model = with_names(onnx.load(network.path))
    model = snapped(model, skip=plan.float_nodes) if per_channel else without_rounded(model)
    white = network.contract.white
    graph = view(model)
    if scheme.writes_int8 and not scheme.symmetric:
        graph = _without_final_clip(graph, scheme)
    if scheme.symmetric:
        centred = with_centred_input(graph, white=white)
        graph = centred.graph
        plan = replace(plan, ranges={**plan.ranges, **centred.ranges})
    graph, plan = _runtime_form(graph, plan, scheme)
    placement = place(graph, scheme, plan, white=white)
    writer = Writer(graph=graph, scheme=scheme, placement=placement, per_channel=per_channel)
    if graph.input in placement.grids:
        writer.round_trip(graph.input, graph.input, f"{graph.input}.dq")
    for node in graph.nodes:
        _write_node(writer, node)
    return _assembled(writer)


def _assembled(writer: Writer) -> onnx.ModelProto:
    model = copied(writer.graph.model)
    del model.graph.node[:]
    del model.graph.value_info[:]
    read = {name for node in writer.nodes for name in node.input} | {writer.graph.output}
    nodes = [n for n in writer.nodes if n.op_type != "DequantizeLinear" or n.output[0] in read]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used and t.name not in writer.constants]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name, value in writer.constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    if any(node.domain == MICROSOFT for node in writer.nodes):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    onnx.checker.check_model(model)
    return model
