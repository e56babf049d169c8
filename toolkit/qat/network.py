"""A float ONNX network as a torch module that rounds where an INT8 file will."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from toolkit.model.bridge.importer import ONNX_NODE, TENSOR
from toolkit.model.bridge.probing import BatchedNetwork
from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.model.torch_bridge import to_module
from toolkit.qat.grids import ActivationGrid, BiasShift, WeightGrid
from toolkit.quant.anchors import moved_chain, picture_copies, residuals
from toolkit.quant.carried import RoundedWeights, snapped
from toolkit.quant.placement import place, tail_tensors
from toolkit.quant.qdq import grid_of
from toolkit.quant.ranges import SATURATE
from toolkit.quant.schemes import QdqScheme
from toolkit.quant.view import GraphView, view, with_names

# Which axis of a layer's weight is its output: the one that has a step for each row.
ROW_AXIS: Mapping[type[nn.Module], int] = {nn.Conv2d: 0, nn.Linear: 0}
BIAS_SPAN = 0.1 / 255  # a bias moves in units of its output's span by this


@dataclass(frozen=True, kw_only=True)
class RoundingNetwork:
    """`module` rounds; `layers` are its rounded layers by ONNX node, `grids` by tensor."""

    module: nn.Module
    layers: Mapping[str, nn.Module]
    grids: Mapping[str, ActivationGrid]


def rounding_network(
    model: onnx.ModelProto, plan: QuantPlan, scheme: QdqScheme, *, white: float
) -> RoundingNetwork:
    """Build it from a spine with carried integers; float32 (N, C, H, W) in and out.

    The picture itself is on its grid already, and what becomes the picture by moving, clipping and
    adding the picture alone is rounded by whoever looks at it: both stay as they are.
    """
    graph = view(snapped(with_names(model), skip=plan.float_nodes))
    module = to_module(graph.model)
    network = module.network if isinstance(module, BatchedNetwork) else module
    assert isinstance(network, fx.GraphModule)
    network.requires_grad_(False)
    placement = place(graph, scheme, plan, white=white)
    anchored = {name for chain in residuals(graph) for name in chain}
    copies = picture_copies(graph, scheme.moves)  # exact, while their step is one grey level
    untouched = copies | tail_tensors(graph, scheme) | anchored | _before_curves(graph, scheme)
    spans = {n: span for n, span in placement.grids.items() if n not in untouched}
    grids = _insert_grids(network, spans, scheme)
    for name in _behind_curves(graph) & grids.keys():
        grids.pop(name).growth.requires_grad_(False)
    layers = _round_layers(network, placement.kernels, graph, plan)
    network.recompile()
    return RoundingNetwork(module=module, layers=layers, grids=grids)


def _before_curves(graph: GraphView, scheme: QdqScheme) -> set[str]:
    """What a tanh or sigmoid reads. No runtime stores it on one 8-bit grid: ONNX Runtime and
    OpenVINO fuse it in float, LiteRT has grids by groups of channels."""
    read = [name for node in graph.nodes if node.op_type in SATURATE for name in node.input]
    return {each for name in read for each in (name, *moved_chain(graph, name, scheme.moves))}


def _behind_curves(graph: GraphView) -> set[str]:
    """What a curve makes lies on the curve's own grid, whose ends are exact."""
    return {name for node in graph.nodes if node.op_type in SATURATE for name in node.output}


def _insert_grids(
    network: fx.GraphModule, spans: Mapping[str, TensorRange], scheme: QdqScheme
) -> dict[str, ActivationGrid]:
    """Round each named tensor where it is made; a span that is one object is one grid."""
    grids: dict[str, ActivationGrid] = {}
    shared: dict[int, str] = {}
    for node in list(network.graph.nodes):
        tensor = node.meta.get(TENSOR)
        if tensor not in spans or node.op == "placeholder":
            continue
        span = spans[tensor]
        name = shared.setdefault(id(span), f"grid_{len(shared)}")
        if not hasattr(network, name):
            network.add_module(name, activation_grid(span, scheme))
        grids[tensor] = network.get_submodule(name)  # type: ignore[assignment]
        with network.graph.inserting_after(node):
            rounded = network.graph.call_module(name, (node,))
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user, own=rounded: user != own)
    return grids


def activation_grid(span: TensorRange, scheme: QdqScheme) -> ActivationGrid:
    """The grid that the scheme's files use for a range."""
    grid = grid_of(span, scheme)
    if scheme.symmetric:
        return ActivationGrid(step=float(grid.step), low=-127, high=127)
    codes = np.iinfo(grid.zero_point.dtype)
    zero = int(grid.zero_point)
    return ActivationGrid(step=float(grid.step), low=codes.min - zero, high=codes.max - zero)


def grid_range(grid: ActivationGrid) -> TensorRange:
    """The range that gives this grid back."""
    step = float(np.float32(grid.step.detach()))
    return TensorRange(low=grid.low * step, high=grid.high * step)


def _round_layers(
    network: fx.GraphModule, kernels: frozenset[str], graph: GraphView, plan: QuantPlan
) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    done: set[str] = set()
    for node in network.graph.nodes:
        name = node.meta.get(ONNX_NODE)
        if node.op != "call_module" or name not in kernels:
            continue
        layer = network.get_submodule(str(node.target))
        axis = next((a for kind, a in ROW_AXIS.items() if isinstance(layer, kind)), None)
        if axis is None:
            continue
        layers[name] = layer
        if str(node.target) not in done:
            done.add(str(node.target))
            _round_layer(layer, axis, _span(graph, plan, name))
    return layers


def _span(graph: GraphView, plan: QuantPlan, node: str) -> float:
    """How much room the node's output takes, for the unit of its bias."""
    made = next(n for n in graph.nodes if n.name == node)
    found = plan.ranges.get(made.output[0])
    return (found.high - found.low) if found else 1.0


def _round_layer(layer: nn.Module, axis: int, span: float) -> None:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    grid = WeightGrid(weight, axis)
    layer.weight = nn.Parameter(weight.detach().clone())
    parametrize.register_parametrization(layer, "weight", grid)
    if not isinstance(layer, nn.Conv2d):
        return
    start = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
    layer.bias = nn.Parameter(start.clone())
    unit = torch.full_like(start, max(span, 1e-9) * BIAS_SPAN)
    parametrize.register_parametrization(layer, "bias", BiasShift(start, unit))


def hold_weights(network: RoundingNetwork) -> None:
    """Stop training weights: near a rounding threshold they would swing to the last step."""
    for layer in network.layers.values():
        layer.parametrizations["weight"].original.requires_grad_(False)  # type: ignore[index, union-attr]


def rounded_weights(network: RoundingNetwork) -> dict[str, RoundedWeights]:
    """The integers, steps and biases that an INT8 file stores, by ONNX node."""
    found = {}
    for name, layer in network.layers.items():
        trained = layer.parametrizations["weight"]  # type: ignore[index]
        exact = trained[0].exact(trained.original.detach())  # type: ignore[union-attr]
        found[name] = _rounded(layer, exact)
    return found


def _rounded(layer: nn.Module, exact: torch.Tensor) -> RoundedWeights:
    value = exact.numpy().astype(np.float64)
    rows = np.abs(value.reshape(len(value), -1)).max(1)
    steps = (np.maximum(rows, 1e-12) / 127).astype(np.float32)
    along = steps.astype(np.float64).reshape([-1, *[1] * (value.ndim - 1)])
    stored = np.clip(np.round(value / along), -127, 127).astype(np.int8)
    if isinstance(layer, nn.Linear):
        stored = np.ascontiguousarray(stored.T)
        bias = np.zeros(layer.out_features, np.float32)
    else:
        assert isinstance(layer.bias, torch.Tensor)
        bias = layer.bias.detach().numpy().astype(np.float32)
    return RoundedWeights(stored=stored, steps=steps, bias=bias)
