"""What a TFLite file is made of: operators, their precision, their multiply-accumulates."""

from __future__ import annotations

import math
from typing import Any

from toolkit.contracts import Operator
from toolkit.runner.runtimes.litert import MOVES

_EIGHT_BITS = ("INT8", "UINT8")


def operators_of(content: bytes) -> list[Operator]:
    """Operators in running order; MACs at the file's own tile, zero padding counted in."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
    types = {v: k for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
    codes = [kinds[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    found = []
    for op in graph.operators:
        kind = codes[op.opcodeIndex]
        given = [graph.tensors[i] for i in op.inputs if i >= 0]
        made = graph.tensors[op.outputs[0]]
        found.append(
            Operator(
                name=made.name.decode(),
                kind=kind,
                precision="" if kind in MOVES else _precision(types[made.type]),
                macs=_macs(kind, given, made),
            )
        )
    return found


def _precision(stored: str) -> str:
    return "int8" if stored in _EIGHT_BITS else stored.lower()


def _macs(kind: str, given: list[Any], made: Any) -> int:
    shapes = [tuple(int(n) for n in t.shape) if t.shape is not None else () for t in given]
    outputs = math.prod(int(n) for n in made.shape)
    if kind in ("CONV_2D", "FULLY_CONNECTED"):
        return outputs * math.prod(shapes[1][1:])
    if kind == "DEPTHWISE_CONV_2D":
        return outputs * shapes[1][1] * shapes[1][2]
    if kind == "TRANSPOSE_CONV":
        return math.prod(shapes[2][:3]) * math.prod(shapes[1])
    if kind == "BATCH_MATMUL":
        return outputs * shapes[0][-1]
    return 0
