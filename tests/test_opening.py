"""The host opens files with the runner's sessions and explains what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit import opening
from toolkit.contracts import Artefact
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.model.contract import ImageContract, IoContract, TensorSpec
from toolkit.runner.failure import Failure


def artefact(path):
    spec = TensorSpec(name="lr", dtype="float32", layout="nchw", shape=(1, 3, None, None))
    contract = IoContract(image=ImageContract(scale=2), input=spec, output=spec)
    return Artefact(path=path, backend="onnxruntime", precision="bfloat16", contract=contract)


def test_the_runner_gets_what_the_artefact_says():
    found = opening.opening_of(artefact(Path("a.xml")), threads=3)
    assert (found.path, found.precision, found.threads) == (Path("a.xml"), "bfloat16", 3)
    assert (found.input, found.output) == ("lr", "lr")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("load", UserError, "it refuses the file: bad magic"),
        ("memory", EnvironmentFailure, "the memory does not suffice to load the file: bad magic"),
        ("missing", EnvironmentFailure, "bad magic"),
    ],
)
def test_each_failure_has_its_own_kind(monkeypatch, kind, error, words):
    class Refusing:
        def open(self, _opening):
            raise Failure(kind, "bad magic")

    monkeypatch.setattr(opening, "runtime", lambda name: Refusing())
    with pytest.raises(error) as raised:
        opening.open_here(
            artefact(Path("a.onnx")), name="x", threads=1, refusal="it refuses the file"
        )
    assert raised.value.problem == words
    assert raised.value.where == ("" if kind == "missing" else "a.onnx")
