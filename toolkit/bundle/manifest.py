"""A bundle on disk: what its manifest says, and reading it back with every digest checked."""

from __future__ import annotations

import io
import json
import math
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, get_args

import numpy as np

from toolkit import __version__
from toolkit.bundle.report_file import parse_report
from toolkit.contracts import Artefact, Precision, Tensor
from toolkit.digest import sha256_file
from toolkit.errors import SecurityError, UserError
from toolkit.model.contract import io_contract
from toolkit.plugins import did_you_mean
from toolkit.report import Report

FORMAT = 1  # raised when an older toolkit could misread what a newer one wrote
MANIFEST = "manifest.json"
REPORT = "report.json"
PAGE = "report.html"
REFERENCE = "reference.onnx"  # the float network that every file was made from
REFERENCE_BACKEND = "onnxruntime"  # in true float32
MANIFEST_MAX_BYTES = 16 << 20  # a manifest is some kB; a larger one is not read into memory

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Golden:
    """What one file must give for one input, to check a device with.

    Tensors are exactly what the file's `IoContract` says. `tolerance` is the largest absolute
    difference between stored output values (levels for integers, real values for floats) that at
    least `least_share` of them must keep, 0 to 1: INT8 kernels of two instruction sets may round
    single products the other way.
    """

    file: str  # the artefact's name in the bundle
    input: Tensor
    output: Tensor
    tolerance: float
    least_share: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A bundle whose every listed file had the digest that its manifest states."""

    path: Path
    recipe: str
    target: str
    toolkit: str  # version that wrote it
    licence: str
    network_digest: str
    report_digest: str
    report: Report
    artefacts: tuple[Artefact, ...]
    golden: tuple[Golden, ...]
    names: tuple[str, ...]  # every listed file, sorted, POSIX paths inside the bundle
    later_failure: Path | None  # a later run of this recipe and target failed: its report's folder
    reference: Artefact | None = None  # the float network; None: an older toolkit packed none


def failure_folder(bundle: Path) -> Path:
    """Where the report of a failed run goes: beside the bundle, which stays as it was."""
    return bundle.with_name(f"{bundle.name}.failed")


def stated(name: str, path: Path) -> dict[str, Any]:
    """A manifest's entry for one file: name in the bundle, SHA-256, size in bytes."""
    return {"name": name, "sha256": sha256_file(path), "size_bytes": path.stat().st_size}


def contained(name: str) -> PurePosixPath:
    """A file name of a manifest as a relative path. Raises SecurityError where it could escape."""
    path = PurePosixPath(name)
    parts = name.split("/")
    plain = not path.is_absolute() and not any(part in ("", ".", "..") for part in parts)
    if not plain or "\\" in name or not name.isprintable() or ":" in name:
        raise SecurityError(
            f"the file name {name!a} leaves the bundle or is no plain relative name",
            where=MANIFEST,
            hint="do not use this bundle; get it again from whoever built it",
        )
    return path


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's folder, and check every listed file's size and SHA-256 first.

    Raises UserError where the folder is no bundle, is incomplete, or has a format this toolkit
    does not read; SecurityError where a file differs from its digest, is a link, or a name leaves
    the folder. Files that the manifest does not list (an engine built on the board) are ignored.
    """
    manifest = _read_manifest(path)
    entries = _understood(path, lambda: list(_entries(manifest)))
    for entry in entries:
        _check_file(path, entry)
    return _understood(path, lambda: _bundle(path, manifest, entries))


def artefact_of(bundle: Bundle, file: str | None) -> Artefact:
    """One file of a bundle: the named one, else the first INT8 one, else the first.

    Raises UserError where the bundle has no file of that name.
    """
    if file is None:
        found = (a for a in bundle.artefacts if a.precision == "int8")
        return next(found, bundle.artefacts[0])
    for artefact in bundle.artefacts:
        if artefact.path.name == file:
            return artefact
    raise UserError(
        f"no `{file}` in this bundle",
        where=str(bundle.path),
        hint=did_you_mean(file, [a.path.name for a in bundle.artefacts]),
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        with file.open("rb") as stream:
            text = stream.read(MANIFEST_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(
            f"no bundle: `{MANIFEST}` is not there",
            where=str(path),
            hint="name the folder `OUT/<recipe>/<target>` that `edgesr run` wrote",
        ) from error
    if len(text) > MANIFEST_MAX_BYTES:
        raise UserError(f"`{MANIFEST}` is larger than {MANIFEST_MAX_BYTES} bytes", where=str(file))
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON ({type(error).__name__})") from error
    if not isinstance(manifest, dict):
        raise _damaged(path, "it is no JSON object")
    if manifest.get("format") != FORMAT or isinstance(manifest["format"], bool):
        raise _other_format(file, manifest)
    return manifest


def _other_format(file: Path, manifest: Mapping[str, Any]) -> UserError:
    writer = ascii(manifest.get("toolkit", "unknown"))[1:-1]
    return UserError(
        f"the bundle has manifest format `{manifest.get('format')!a}`, "
        f"this toolkit ({__version__}) reads format {FORMAT}",
        where=str(file),
        hint=f"toolkit {writer} wrote it; that version or a newer one reads it",
    )


def _damaged(path: Path, found: str) -> UserError:
    return UserError(
        f"`{MANIFEST}` cannot be understood: {found}",
        where=str(path / MANIFEST),
        hint="copy the bundle again, or run the recipe again to write a new one",
    )


def _understood(path: Path, read: Callable[[], T]) -> T:
    """Run a reader of the manifest; a missing key or wrong type is a damaged file, not a bug."""
    try:
        return read()
    except KeyError as error:
        raise _damaged(path, f"the key `{error.args[0]}` is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


def _typed(value: Any, kind: type[T], what: str) -> T:
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise TypeError(f"`{what}` must be {kind.__name__}, found `{ascii(value)[:60]}`")
    return value


def _entries(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every listed file of the manifest once; each has a name, a digest, a size."""
    found: list[Mapping[str, Any]] = []
    for file in manifest["files"]:
        found += [file, *file["parts"]]
        for golden in file["golden"]:
            found += [golden["input"], golden["output"]]
    found += manifest["other"]
    if manifest.get("reference"):
        found.append(_typed(manifest["reference"], dict, "reference"))
    names = [contained(_typed(entry["name"], str, "name")) for entry in found]
    for entry in found:
        _typed(entry["sha256"], str, "sha256")
        _typed(entry["size_bytes"], int, "size_bytes")
    if len(set(names)) < len(names):
        raise ValueError("a file name is listed twice")
    if REPORT not in {entry["name"] for entry in found}:
        raise ValueError(f"`{REPORT}` is not listed")
    return found


def _check_file(folder: Path, entry: Mapping[str, Any]) -> None:
    name = entry["name"]
    file = folder
    for part in contained(name).parts:
        file = file / part
        if file.is_symlink():
            raise SecurityError(
                f"`{name}` is a link, a bundle holds plain files only", where=str(file)
            )
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"`{name}` is listed in `{MANIFEST}` but not there",
            where=str(folder),
            hint="copy the bundle again, all of it",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise SecurityError(f"`{name}` is no regular file", where=str(file))
    # the size is compared first: a file that grew to gigabytes is refused without reading it
    if status.st_size != entry["size_bytes"] or sha256_file(file) != entry["sha256"]:
        raise SecurityError(
            f"`{name}` is not the file that was packed: its digest differs",
            where=str(file),
            hint="the bundle was changed or damaged; do not use it, copy or build it again",
        )


def _bundle(
    path: Path, manifest: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> Bundle:
    failed = failure_folder(path)
    texts = ("recipe", "target", "toolkit", "licence", "network_digest", "report_digest")
    golden = [
        _golden(path, file["name"], value) for file in manifest["files"] for value in file["golden"]
    ]
    return Bundle(
        path=path,
        **{key: _typed(manifest[key], str, key) for key in texts},
        report=parse_report((path / REPORT).read_bytes()),
        artefacts=tuple(_artefact(path, file) for file in manifest["files"]),
        golden=tuple(golden),
        names=tuple(sorted(entry["name"] for entry in entries)),
        later_failure=failed if (failed / REPORT).is_file() else None,
        reference=_reference(path, manifest.get("reference")),
    )


def _artefact(path: Path, file: Mapping[str, Any]) -> Artefact:
    precision = file["precision"]
    if precision not in get_args(Precision):
        raise ValueError(f"`precision` is `{precision!a}`")
    return Artefact(
        path=path / file["name"],
        backend=_typed(file["backend"], str, "backend"),
        precision=precision,
        contract=io_contract(_typed(file["contract"], dict, "contract")),
    )


def _reference(path: Path, value: Mapping[str, Any] | None) -> Artefact | None:
    if not value:
        return None
    return Artefact(
        path=path / value["name"],
        backend=REFERENCE_BACKEND,
        precision="float32",
        contract=io_contract(_typed(value["contract"], dict, "contract")),
    )


def _golden(path: Path, file: str, value: Mapping[str, Any]) -> Golden:
    def tensor(side: str) -> Tensor:
        data = (path / value[side]["name"]).read_bytes()
        array: Tensor = np.load(io.BytesIO(data), allow_pickle=False)
        return array

    tolerance = float(value["tolerance"])
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"`tolerance` is `{tolerance}`")
    least_share = float(value.get("least_share", 1.0))  # older manifests do not state it
    if not 0 < least_share <= 1:
        raise ValueError(f"`least_share` is `{least_share}`")
    return Golden(
        file=file,
        input=tensor("input"),
        output=tensor("output"),
        tolerance=tolerance,
        least_share=least_share,
    )
