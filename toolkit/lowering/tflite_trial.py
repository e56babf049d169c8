"""A TFLite file's run on one tensor in a child process, because some files abort the process.

`python -m toolkit.lowering.tflite_trial FILE INPUT.npy OUTPUT.npy` is that child.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.child import die_with_parent

TIMEOUT_S = 300.0
TAIL_CHARS = 400

Array = npt.NDArray[Any]


class Died(Exception):
    """The child ended without an answer; the message is the end of what it said."""


def run_in_child(content: bytes, tensor: Array) -> Array:
    """What LiteRT's default delegate makes of `tensor`. Raises Died where it makes nothing."""
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        file, given, made = (Path(folder) / name for name in ("m.tflite", "x.npy", "y.npy"))
        file.write_bytes(content)
        np.save(given, tensor)
        command = [sys.executable, "-m", __name__, str(file), str(given), str(made)]
        try:
            child = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, errors="replace"
            )
        except subprocess.TimeoutExpired:
            raise Died(f"no answer within {TIMEOUT_S:.0f} s") from None
        if child.returncode != 0:
            raise Died(f"exit {child.returncode}: {child.stderr[-TAIL_CHARS:].strip()}")
        return np.asarray(np.load(made))


def main(file: str, given: str, made: str) -> None:
    """Run one file on one tensor."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=2)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(given))
    interpreter.invoke()
    np.save(made, interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


if __name__ == "__main__":
    die_with_parent()
    main(*sys.argv[1:])
