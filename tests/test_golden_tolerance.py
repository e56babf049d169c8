"""How far a device's numbers may be from this host's, by what the file computes in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.contracts import Artefact
from toolkit.model.contract import ImageContract, IoContract, TensorSpec
from toolkit.run.evidence import golden_tolerance

SPEC = TensorSpec(name="x", dtype="float32", layout="nchw", shape=(1, 3, None, None))
BYTES = replace(SPEC, dtype="uint8", step=1 / 255)


def artefact(precision, output=SPEC, white=1.0):
    image = ImageContract(scale=2, white=white)
    contract = IoContract(image=image, input=SPEC, output=output)
    return Artefact(
        path=Path("f.onnx"), backend="onnxruntime", precision=precision, contract=contract
    )


@pytest.mark.parametrize(
    ("given", "tolerance", "least_share"),
    [
        (artefact("float32"), 0.002, 1.0),  # half a level, everywhere
        (artefact("float32", white=255.0), 0.51, 1.0),
        (artefact("float16"), 1 / 255, 1.0),  # a level: half precision adds its own rounding
        (artefact("int8"), 1.01 / 255, 0.995),  # a level, but for ties that fall the other way
        (artefact("int8", BYTES), 1.0, 0.995),
    ],
)
def test_tolerance_follows_the_precision(given, tolerance, least_share):
    found = golden_tolerance(given)
    assert found[0] == pytest.approx(tolerance)
    assert found[1] == least_share
