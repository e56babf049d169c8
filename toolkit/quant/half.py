"""The float16-typed rival of an INT8 file: float32 input and output, half precision between."""

from __future__ import annotations

import warnings

import onnx


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` that computes in float16 with casts after its input and before its output.

    Values beyond 65504 saturate, those that float16 cannot tell from zero stay float32's nearest.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one line per weight that float16 rounds to zero
        return convert_float_to_float16(copy, keep_io_types=True, op_block_list=["Resize"])
