"""Trial runs in a child process: an untrusted network may hang, abort or eat the memory.

The parent holds `Trials`; the child is `python -m toolkit.model.trial`. They exchange one JSON
line per request over pipes and tensors as .npy files in a folder that is removed at the end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.child import die_with_parent

Array = npt.NDArray[Any]

RUN_LIMIT_S = 60.0
MEMORY_LIMIT_BYTES = 8 << 30  # an SR network on trial sizes takes well under 1 GiB
SEEN_INTEGERS = 1 << 20  # longest integer tensor whose values `observe` returns

# What onnxslim is known to raise on graphs it does not understand.
SLIM_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class TrialFailed(Exception):
    """The child could not do it; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Shapes of all tensors of one run, and the values of short integer ones."""

    shapes: Mapping[str, tuple[int, ...]]
    integers: Mapping[str, Array]


class Trials:
    """Runs networks in one child process that is started again after it died."""

    def __init__(self, limit_s: float = RUN_LIMIT_S) -> None:
        self.limit_s = limit_s
        self._folder = tempfile.TemporaryDirectory(prefix="edgesr-trial-")
        self._child: subprocess.Popen[bytes] | None = None
        self._paths: dict[int, tuple[onnx.ModelProto, Path]] = {}
        self._count = 0

    def __enter__(self) -> Trials:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._folder.cleanup()

    def run(self, model: onnx.ModelProto, tensor: Array, *, limit_s: float | None = None) -> Array:
        """The network's output for one input tensor. Raises TrialFailed."""
        inlet, outlet = self._new_path(".npy"), self._new_path(".npy")
        np.save(inlet, tensor)
        request = {"do": "run", "model": str(self._stored(model)), "in": str(inlet)}
        self._ask({**request, "out": str(outlet)}, limit_s)
        result = np.load(outlet, allow_pickle=False)
        inlet.unlink()
        outlet.unlink()
        return result

    def observe(self, model: onnx.ModelProto, tensor: Array) -> Observed:
        """Run with every tensor as an output. Raises TrialFailed."""
        inlet, outlet = self._new_path(".npy"), self._new_path(".npz")
        np.save(inlet, tensor)
        seen = with_all_outputs(model)
        request = {"do": "observe", "model": str(self._stored(seen)), "in": str(inlet)}
        answer = self._ask({**request, "out": str(outlet)}, None)
        with np.load(outlet, allow_pickle=False) as values:
            integers = {
                name: values[f"arr_{index}"] for index, name in enumerate(answer["integers"])
            }
        shapes = {name: tuple(shape) for name, shape in answer["shapes"].items()}
        shapes[model.graph.input[0].name] = tensor.shape
        return Observed(shapes=shapes, integers=integers)

    def slim(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The network with constants folded by onnxslim. Raises TrialFailed."""
        outlet = self._new_path(".onnx")
        request = {"do": "slim", "model": str(self._stored(model)), "out": str(outlet)}
        self._ask(request, None)
        return onnx.load_model_from_string(outlet.read_bytes())

    def _new_path(self, suffix: str) -> Path:
        self._count += 1
        return Path(self._folder.name) / f"{self._count}{suffix}"

    def _stored(self, model: onnx.ModelProto) -> Path:
        """A file of the network; the model is kept, so that its id stays its own."""
        if id(model) not in self._paths:
            path = self._new_path(".onnx")
            path.write_bytes(model.SerializeToString())
            self._paths[id(model)] = (model, path)
        return self._paths[id(model)][1]

    def _ask(self, request: Mapping[str, str], limit_s: float | None) -> dict[str, Any]:
        child = self._started()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        answer: dict[str, Any] = json.loads(
            self._answer(self.limit_s if limit_s is None else limit_s)
        )
        if "failed" in answer:
            raise TrialFailed(answer["failed"].replace(request["model"], "the network"))
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "toolkit.model.trial"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._child

    def _answer(self, limit_s: float) -> bytes:
        assert self._child is not None and self._child.stdout is not None
        end = time.monotonic() + limit_s
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._child.stdout], [], [], left)[0]:
                self._stop()
                raise TrialFailed(f"it ran longer than {limit_s:.0f} s")
            part = os.read(self._child.stdout.fileno(), 1 << 16)
            if not part:
                raise self._died()
            line += part
        return line

    def _died(self) -> TrialFailed:
        assert self._child is not None
        code = self._child.wait()
        self._stop()
        if code < 0:
            return TrialFailed(f"it killed its process ({signal.Signals(-code).name})")
        return TrialFailed(f"its process ended with code {code}")

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def with_all_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose every tensor is an output; shapes and types are left for the runtime to find."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    known = {output.name for output in seen.graph.output}
    for node in seen.graph.node:
        for name in node.output:
            if name and name not in known:
                seen.graph.output.append(onnx.ValueInfoProto(name=name))
    return seen


def quiet_slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxslim without its weight tying: equal biases of two layers are still two biases.

    Raises one of SLIM_FAILURES.
    """
    import onnxslim

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    slimmed: onnx.ModelProto = onnxslim.slim(copy, skip_optimizations=["weight_tying"])
    return slimmed


def _serve() -> None:
    """The child's loop: one request per line, until the parent closes the pipe."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not land among the answers
    sessions: dict[str, Any] = {}
    for line in sys.stdin:
        answers.write(json.dumps(_handled(json.loads(line), sessions)).encode() + b"\n")
        answers.flush()


def _handled(request: dict[str, str], sessions: dict[str, Any]) -> dict[str, Any]:
    try:
        return _DOES[request["do"]](request, sessions)
    except _failures() as failure:
        text = " ".join(str(failure).split())
        return {"failed": f"{type(failure).__name__}: {text[:600]}"}


def _failures() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state

    kinds = vars(onnxruntime_pybind11_state).values()
    of_runtime = [k for k in kinds if isinstance(k, type) and issubclass(k, Exception)]
    return (MemoryError, OSError, *SLIM_FAILURES, *of_runtime)


def _session(path: str, sessions: dict[str, Any]) -> Any:
    import onnxruntime

    if path not in sessions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 2
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        sessions[path] = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    return sessions[path]


def _run(request: dict[str, str], sessions: dict[str, Any]) -> dict[str, Any]:
    session = _session(request["model"], sessions)
    tensor = np.load(request["in"], allow_pickle=False)
    np.save(request["out"], session.run(None, {session.get_inputs()[0].name: tensor})[0])
    return {}


def _observe(request: dict[str, str], sessions: dict[str, Any]) -> dict[str, Any]:
    session = _session(request["model"], sessions)
    tensor = np.load(request["in"], allow_pickle=False)
    values = session.run(None, {session.get_inputs()[0].name: tensor})
    found = {
        output.name: value for output, value in zip(session.get_outputs(), values, strict=True)
    }
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    short = [n for n, v in arrays.items() if v.dtype.kind in "iub" and v.size <= SEEN_INTEGERS]
    with Path(request["out"]).open("wb") as file:
        np.savez(file, *(arrays[name] for name in short))  # under arr_0, arr_1, ...
    return {"shapes": {name: value.shape for name, value in arrays.items()}, "integers": short}


def _slim(request: dict[str, str], sessions: dict[str, Any]) -> dict[str, Any]:
    model = onnx.load_model_from_string(Path(request["model"]).read_bytes())
    Path(request["out"]).write_bytes(quiet_slim(model).SerializeToString())
    return {}


_DOES = {"run": _run, "observe": _observe, "slim": _slim}

if __name__ == "__main__":
    die_with_parent()
    _serve()
