"""ONNX Runtime on the CPU for calculations: set up as the runner opens files."""

from __future__ import annotations

import onnx
import onnxruntime as ort

from toolkit.runner.runtimes.onnxruntime import session_options

__all__ = ["quiet_session", "session_options"]


def quiet_session(model: onnx.ModelProto, *, threads: int = 2) -> ort.InferenceSession:
    """A session on a model in memory, for calculations: no rewrites that change digits."""
    options = session_options(threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    data = model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
