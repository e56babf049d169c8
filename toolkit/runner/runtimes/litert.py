"""TFLite files in LiteRT with XNNPACK, its default on CPUs."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.session import Executed, Opening

if TYPE_CHECKING:
    from toolkit.runner.session import Tensor

# The successor first; the two older packages have the same interpreter under other names.
PACKAGES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow.lite"),
)
DELEGATE = "DELEGATE"
DELEGATE_UNIT = "XNNPACK"  # the interpreter's only default delegate, and none other is asked for
MOVES = frozenset({
    "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "PAD", "PADV2", "MIRROR_PAD",
    "TILE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BROADCAST_TO", "GATHER", "CONCATENATION",
    "QUANTIZE", "DEQUANTIZE", "SQUEEZE", "EXPAND_DIMS",
})  # fmt: skip


def library() -> tuple[str, Any]:
    """Distribution and module with the first `Interpreter` that is installed."""
    problems = []
    for distribution, module in PACKAGES:
        try:
            return distribution, importlib.import_module(module)
        except ImportError as error:
            problems.append(f"{distribution}: {error}")
    raise Failure("missing", f"no LiteRT interpreter: {'; '.join(problems)}")


def version() -> tuple[str, str]:
    """See `Runtime`."""
    distribution, _ = library()
    return distribution, metadata.version(distribution)


@dataclass
class LiteRtSession:
    """See `Session`."""

    interpreter: Any
    input: int
    output: int

    def run(self, tensor: Tensor) -> Tensor:
        """One input tensor to a fresh output tensor, both as the file stores them."""
        self.interpreter.set_tensor(self.input, tensor)
        self.interpreter.invoke()
        result: Tensor = self.interpreter.get_tensor(self.output)
        return result

    def close(self) -> None:
        """Drop the interpreter and with it the runtime's memory."""
        self.interpreter = None


def open(opening: Opening) -> LiteRtSession:
    """Load a TFLite file. Raises Failure where LiteRT does not take it."""
    interpreter = _interpreter(opening)
    return LiteRtSession(
        interpreter=interpreter,
        input=interpreter.get_input_details()[0]["index"],
        output=interpreter.get_output_details()[0]["index"],
    )


def _interpreter(opening: Opening) -> Any:
    _, module = library()
    try:
        with _quiet():
            interpreter = module.Interpreter(
                model_path=str(opening.path), num_threads=opening.threads
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError, MemoryError) as error:
        raise failure_of(error, "load") from error
    return interpreter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """LiteRT writes to file descriptor 2 from C++ when it makes a delegate; keep that away."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def operators(opening: Opening, tensor: Tensor) -> Sequence[Executed]:
    """See `Runtime`. LiteRT's Python interface tells what its delegate took, and no times."""
    interpreter = _interpreter(opening)
    if not hasattr(interpreter, "_get_ops_details"):
        raise Failure("run", "this version of LiteRT does not tell what its delegate took")
    nodes = interpreter._get_ops_details()
    taken = delegated(nodes)
    names = {d["index"]: str(d["name"]) for d in interpreter.get_tensor_details()}
    types = {d["index"]: d["dtype"].__name__ for d in interpreter.get_tensor_details()}
    return [
        Executed(
            name=names.get(made, str(made)),
            kind=node["op_name"],
            precision=precision_of(node["op_name"], types.get(made, "")),
            unit=DELEGATE_UNIT if node["index"] in taken else "CPU",
            time_ms=None,
        )
        for node in nodes
        if node["op_name"] != DELEGATE
        for made in [int(node["outputs"][0])]
    ]


def delegated(nodes: Sequence[Mapping[str, Any]]) -> set[int]:
    """Indices of the nodes that a delegate runs in their stead.

    LiteRT keeps the nodes that it replaced in its list, and adds one node per partition with the
    tensors that go in and come out: the nodes between them are the partition.
    """
    plain = [node for node in nodes if node["op_name"] != DELEGATE]
    maker = {int(tensor): node for node in plain for tensor in node["outputs"]}
    found: set[int] = set()
    for partition in nodes:
        if partition["op_name"] == DELEGATE:
            given = {int(tensor) for tensor in partition["inputs"]}
            wanted = [int(tensor) for tensor in partition["outputs"]]
            while wanted:
                tensor = wanted.pop()
                node = None if tensor in given else maker.get(tensor)
                if node is not None and node["index"] not in found:
                    found.add(node["index"])
                    wanted += [int(source) for source in node["inputs"]]
    return found


def precision_of(kind: str, stored: str) -> str:
    """What an operator computes in, by the type that it writes; "" for data movement."""
    if kind in MOVES:
        return ""
    return "int8" if stored == "uint8" else stored
