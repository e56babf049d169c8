"""External tensor data of an untrusted ONNX file: everything is checked before a byte is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import AttributeProto, GraphProto, TensorProto

from toolkit.errors import SecurityError, UserError


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """Where one tensor's bytes lie; `length` None reaches to the end of the file."""

    tensor: str
    path: Path
    offset: int
    length: int | None


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor stored in a graph: initializers, attributes, subgraphs and sparse values."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = [*attribute.sparse_tensors]
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    for value in sparse:
        yield from (value.values, value.indices)
    graphs = [*attribute.graphs]
    if attribute.HasField("g"):
        graphs.append(attribute.g)
    for graph in graphs:
        yield from tensors(graph)


def all_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, those inside model-local functions included."""
    yield from tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            for attribute in node.attribute:
                yield from _of_attribute(attribute)


def inline_external(model: onnx.ModelProto, folder: Path, limit_bytes: int) -> None:
    """Read external data into `model`, in place, from inside `folder` only.

    Raises SecurityError for a location outside the folder, a link, anything but a plain file and
    an extent beyond the file; UserError where a file is missing or all data exceed `limit_bytes`.
    Nothing is read unless every tensor of the model has passed.
    """
    outside = [t for t in all_tensors(model) if t.data_location == TensorProto.EXTERNAL]
    extents = [_extent(tensor, folder) for tensor in outside]
    total = sum(_checked_bytes(extent) for extent in extents)
    if total > limit_bytes:
        raise UserError(
            f"external data is too large: `{total}` bytes, at most `{limit_bytes}`",
            where=str(folder),
        )
    for tensor, extent in zip(outside, extents, strict=True):
        tensor.raw_data = _read(extent)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def _extent(tensor: TensorProto, folder: Path) -> _Extent:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        text = entries.get(key, "")
        if text and not text.isascii():
            raise _refused(tensor.name, location, f"its {key} is not a number")
        try:
            numbers[key] = int(text) if text else (0 if key == "offset" else -1)
        except ValueError:
            raise _refused(tensor.name, location, f"its {key} is `{text[:40]}`") from None
        if text and numbers[key] < 0:
            raise _refused(tensor.name, location, f"its {key} is negative, `{text[:40]}`")
    return _Extent(
        tensor=tensor.name,
        path=_inside(tensor.name, location, folder),
        offset=numbers["offset"],
        length=numbers["length"] if entries.get("length") else None,
    )


def _inside(tensor: str, location: str, folder: Path) -> Path:
    windows = PureWindowsPath(location)
    if not location or "\0" in location:
        raise _refused(tensor, location, "its location is empty or no file name")
    if PurePosixPath(location).is_absolute() or windows.drive or windows.root:
        raise _refused(tensor, location, "its location is absolute")
    if "\\" in location or ".." in PurePosixPath(location).parts:
        raise _refused(tensor, location, "its location leaves the model's folder")
    home = folder.resolve()
    path = home
    for part in PurePosixPath(location).parts:
        path = path / part
        if path.is_symlink():
            raise _refused(tensor, location, "its location is a symbolic link")
    if not path.resolve().is_relative_to(home):
        raise _refused(tensor, location, "its location leaves the model's folder")
    return path


def _checked_bytes(extent: _Extent) -> int:
    try:
        status = extent.path.lstat()
    except OSError as failure:
        raise UserError(
            f"external data of tensor `{extent.tensor}` cannot be read: {failure.strerror}",
            where=str(extent.path),
            hint="copy the data file beside the ONNX file",
        ) from failure
    return _checked_status(extent, status)


def _checked_status(extent: _Extent, status: os.stat_result) -> int:
    name = extent.path.name
    if not stat.S_ISREG(status.st_mode):
        raise _refused(extent.tensor, name, "it is not a plain file")
    if status.st_nlink > 1:
        raise _refused(extent.tensor, name, f"it is a hard link (`{status.st_nlink}` names)")
    length = status.st_size - extent.offset if extent.length is None else extent.length
    if length < 0 or extent.offset + length > status.st_size:
        raise _refused(
            extent.tensor,
            name,
            f"offset `{extent.offset}` and length `{length}` reach beyond its end, "
            f"`{status.st_size}` bytes",
        )
    return length


def _read(extent: _Extent) -> bytes:
    """The bytes, from a file that is checked again once open: it may have been swapped since."""
    descriptor = os.open(extent.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        length = _checked_status(extent, os.fstat(descriptor))
        file.seek(extent.offset)
        return file.read(length)


def _refused(tensor: str, location: str, why: str) -> SecurityError:
    return SecurityError(
        f"external data of tensor `{tensor}` is refused: {why}",
        where=f"location `{location[:200]}`",
        hint="keep the data in a plain file in the model's own folder, "
        "or save the network as one file",
    )
