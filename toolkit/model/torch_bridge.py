"""ONNX graph to torch.nn.Module and back: the door of the torch bridge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx
from onnx import helper
from torch import fx, nn

from toolkit.errors import UserError
from toolkit.model.bridge.exporter import can_write, write_graph
from toolkit.model.bridge.importer import build_module, understood_operators
from toolkit.model.bridge.probing import BatchedNetwork, Run, first_run, takes_batches
from toolkit.model.bridge.reading import read_graph
from toolkit.model.bridge.tracing import trace_graph
from toolkit.model.network import OPSET

__all__ = ["to_module", "to_onnx", "understood_operators"]

INPUT, OUTPUT = "lr", "sr"
IR_VERSION = 8  # the one of opset 17's time


def to_module(model: onnx.ModelProto) -> nn.Module:
    """A trainable torch module with the weights of an ONNX network, in eval mode.

    The module takes and gives float32 (N, C, H, W). Weights of layers are parameters; constants
    used in arithmetic are buffers. Layers with the same weights share one module. A graph with a
    batch of 1 written into it runs picture by picture. Raises UserError, one for each operator
    that is not understood, and for graphs without exactly one picture in and one out.
    """
    graph = read_graph(model)
    network = build_module(graph)
    run = first_run(network, graph.input_shape)
    return network if takes_batches(network, run) else BatchedNetwork(network)


def to_onnx(module: nn.Module, *, channels: int, scale: int) -> onnx.ModelProto:
    """The float ONNX file of a network: opset 17, input `lr` (1, channels, h, w), output `sr`.

    A module from `to_module` is written node by node and keeps its names; any other is traced.
    The bytes depend on the module alone. Raises UserError for what ONNX cannot express, and
    where the module does not make (1, channels, h * scale, w * scale) of its input.
    """
    network = module.network if isinstance(module, BatchedNetwork) else module
    with _in_eval_mode(network):
        run = first_run(network, (1, channels, None, None))
        _check_scale(run, channels, scale)
        if isinstance(network, fx.GraphModule) and can_write(network):
            graph = write_graph(network, input_name=INPUT, output_name=OUTPUT)
        else:
            graph = trace_graph(network, run.picture, input_name=INPUT, output_name=OUTPUT)
    return _finished(graph, channels)


@contextlib.contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Dropout and batch statistics as at run time; every part's mode is put back after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _check_scale(run: Run, channels: int, scale: int) -> None:
    height, width = run.picture.shape[2:]
    wanted = (1, channels, height * scale, width * scale)
    if tuple(run.output.shape) != wanted:
        raise UserError(
            f"the network makes {tuple(run.output.shape)} of {tuple(run.picture.shape)}; "
            f"x{scale} would be {wanted}",
            hint="check the network's scale and number of channels",
        )


def _finished(graph: onnx.GraphProto, channels: int) -> onnx.ModelProto:
    """Declare input and output, fold what their fixed sizes decide, leave out all talk."""
    import onnxslim

    float32 = onnx.TensorProto.FLOAT
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, float32, (1, channels, "h", "w")))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, float32, (1, channels, "sh", "sw")))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    slim = onnxslim.slim(model)
    slim.producer_name, slim.producer_version, slim.doc_string = "edge-sr-toolkit", "", ""
    del slim.metadata_props[:], slim.graph.value_info[:]
    for node in slim.graph.node:
        node.doc_string = ""
    return slim
