"""Tensors on their way to a device and back: .npy arrays one after another in one file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from toolkit.contracts import Tensor
from toolkit.errors import EnvironmentFailure
from toolkit.measure.words import plain
from toolkit.model.contract import IoContract

BATCH_BYTES = 16 << 20  # of input at once: its output, sixteen times as large at x4, lies beside it


def batches(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in groups of at most 16 MB, at least one each."""
    group: list[Tensor] = []
    for tensor in tensors:
        if group and sum(t.nbytes for t in group) + tensor.nbytes > BATCH_BYTES:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


def write_arrays(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write arrays one after another."""
    with path.open("wb") as file:
        for tensor in tensors:
            np.save(file, np.ascontiguousarray(tensor), allow_pickle=False)


def read_arrays(
    path: Path, contract: IoContract, given: Sequence[Tensor], url: str
) -> list[Tensor]:
    """Read one output for each input. Raises EnvironmentFailure where one is of another kind."""
    made: list[Tensor] = []
    with path.open("rb") as file:
        for index, tensor in enumerate(given):
            shape, dtype = output_shape(contract, tensor), np.dtype(contract.output.dtype)
            try:
                found = _head(file)
                if found == (shape, dtype):  # read only now: a device could state any size
                    data = bytearray(file.read(math.prod(shape) * dtype.itemsize))
                    made.append(np.frombuffer(data, dtype).reshape(shape))
            except (ValueError, OSError) as error:
                raise _wrong(index, f"cannot be read: {plain(str(error))}", url) from error
            if found != (shape, dtype):
                raise _wrong(index, f"is {found[1]} {found[0]}, expected {dtype} {shape}", url)
        if file.read(1):
            raise _wrong(len(given), "was not asked for", url)
    return made


def _head(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array that comes next. Raises ValueError for what `numpy.save` does
    not write of a runtime's output."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("another version of .npy")
    shape, is_fortran, dtype = npy.read_array_header_1_0(file)
    if is_fortran:
        raise ValueError("its rows are stored as columns")
    return shape, dtype


def output_shape(contract: IoContract, tensor: Tensor) -> tuple[int, ...]:
    """Shape of the output for an input: its height and width times the scale."""
    shape = list(tensor.shape)
    rows, columns = (2, 3) if contract.input.layout == "nchw" else (1, 2)
    height, width = (shape[axis] * contract.image.scale for axis in (rows, columns))
    channels = contract.image.channels
    if contract.output.layout == "nchw":
        return (shape[0], channels, height, width)
    return (shape[0], height, width, channels)


def _wrong(index: int, found: str, url: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"output {index + 1} of the device {found}", where=url, hint="the run is discarded"
    )
