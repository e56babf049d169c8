"""Faults in TFLite files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Model = Any  # schema.ModelT


def edited(change: Callable[[Model], None]) -> Callable[[Path, dict[str, Any]], None]:
    """A change of a model as one of a file."""

    def change_file(path: Path, _entry: dict[str, Any]) -> None:
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        change(model)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))

    return change_file


def _tensors(model: Model, start: str) -> list[Any]:
    found = [t for t in model.subgraphs[0].tensors if t.name.decode().startswith(start)]
    assert found, f"no tensor {start}"
    return found


def _on_bytes(tensor: Any) -> bool:
    return tensor.type == schema.TensorType.INT8 and tensor.quantization is not None


def lose_bias(model: Model) -> None:
    """The bias of the first convolution is nought."""
    bias = next(t for t in _tensors(model, "conv0/const_1"))
    buffer = model.buffers[bias.buffer]
    buffer.data = np.zeros_like(np.asarray(buffer.data))


def halve_one_scale(model: Model) -> None:
    """Features end at half of what they reach."""
    for tensor in _tensors(model, "features0"):
        if _on_bytes(tensor):
            tensor.quantization.scale = np.asarray(tensor.quantization.scale) * np.float32(0.5)


def clip_white(model: Model) -> None:
    """The range of the picture ends at a percentile, 0.96 of white."""
    for tensor in (*_tensors(model, "total"), *_tensors(model, "wide/int8")):
        if _on_bytes(tensor):
            tensor.quantization.scale = np.asarray(tensor.quantization.scale) * np.float32(0.96)


def move_zero(model: Model) -> None:
    """The last layer counts from a zero that is two levels off."""
    bias = next(t for t in _tensors(model, "tail/const_1"))
    buffer = model.buffers[bias.buffer]
    stored = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), np.int32)
    moved = stored + np.round(2 / 255 / np.asarray(bias.quantization.scale)).astype(np.int32)
    buffer.data = np.frombuffer(moved.astype(np.int32).tobytes(), np.uint8)


def collapse(model: Model) -> None:
    """All features fall on one step."""
    for tensor in _tensors(model, "features0"):
        if _on_bytes(tensor):
            tensor.quantization.scale = np.asarray(tensor.quantization.scale) * np.float32(1e4)
