"""ONNX Runtime on the CPU: how every session of this project is set up."""

from __future__ import annotations

import onnx
import onnxruntime as ort

REFUSED = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)


def session_options(threads: int) -> ort.SessionOptions:
    """Silent, sequential, `threads` threads inside an operator, all optimisations."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    return options


def quiet_session(model: onnx.ModelProto, *, threads: int = 2) -> ort.InferenceSession:
    """A session on a model in memory, for calculations: no rewrites that change digits."""
    options = session_options(threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    data = model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
