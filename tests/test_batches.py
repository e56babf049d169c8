"""What a device sends back as tensors is read into memory only where it is what was asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bench_parts import artefact

from toolkit.errors import EnvironmentFailure
from toolkit.measure.batches import read_arrays, write_arrays

GIVEN = np.zeros((1, 3, 4, 5), np.float32)
MADE = np.arange(240, dtype=np.float32).reshape(1, 3, 8, 10)


def read(tmp_path, content):
    path = tmp_path / "outputs.npy"
    path.write_bytes(content)
    return read_arrays(path, artefact(tmp_path).contract, [GIVEN], "ssh://board")


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def headed(shape):
    stream = io.BytesIO()
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, head)
    return stream.getvalue()


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "outputs.npy"
    write_arrays(path, [MADE, 2 * MADE])
    contract = artefact(tmp_path).contract
    found = read_arrays(path, contract, [GIVEN, GIVEN], "ssh://board")
    assert np.array_equal(found[0], MADE) and np.array_equal(found[1], 2 * MADE)
    found[0][...] = 0  # like any other tensor


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04" + bytes(60), "cannot be read"),  # numpy.load would open an archive
        (saved(MADE)[:-1], "cannot be read"),
        (headed((1 << 40, 1 << 20)), "expected float32"),  # more than any memory
        (headed((-1,)), "expected float32"),
        (saved(MADE.astype(np.float64)), "is float64"),
        (saved(np.asfortranarray(MADE)), "cannot be read"),
        (saved(MADE) + b"x", "was not asked for"),
    ],
    ids=["empty", "zip", "cut", "endless", "negative", "float64", "columns", "more"],
)
def test_anything_else_is_a_sentence(tmp_path, content, words):
    with pytest.raises(EnvironmentFailure, match=words):
        read(tmp_path, content)
