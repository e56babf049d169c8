"""A passed Report and its files become a bundle; a failed Report is written, and nothing else."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import __version__
from toolkit.bundle.manifest import (
    FORMAT,
    MANIFEST,
    PAGE,
    REFERENCE,
    REPORT,
    Golden,
    contained,
    failure_folder,
    stated,
)
from toolkit.bundle.report_file import json_bytes, report_bytes
from toolkit.contracts import Artefact
from toolkit.digest import sha256_json
from toolkit.errors import GateFailed, SecurityError, UserError
from toolkit.report import Report
from toolkit.show.crops import Crop
from toolkit.show.html import write_html
from toolkit.writing import explained, locked, sync

BESIDE = (".failed", ".bench", ".engines")  # folders beside a bundle, named after it
AT_FDCWD = -100  # linux/fcntl.h: paths are relative to the working directory
RENAME_EXCHANGE = 2  # linux/fs.h, for renameat2(2): both names change places in one moment
NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP})


def pack(
    report: Report,
    artefacts: Sequence[Artefact],
    golden: Sequence[Golden],
    extra: Mapping[str, bytes | Path],
    licence: str,
    crops: Sequence[Crop],
    out: Path,
    reference: Artefact | None = None,
) -> Path:
    """Write `out`/<recipe>/<target>/ whole, or leave what was there; return that folder.

    `reference` is the float network that the files were made from, to validate them against later;
    it is copied as `reference.onnx` and runs on no device. `extra` maps names in the bundle to
    content, or to a file to copy; a name that ends in `.sh` is made executable. The report of an
    earlier failed run is removed after the bundle is in place.
    Raises GateFailed for a report that did not pass, ValueError where two files would have one
    name, a golden vector has no file, or a file is not the measured one; EnvironmentFailure for a
    disk that is full or not writable.
    """
    if not report.passed:
        raise GateFailed("a report that did not pass is not packed", where=report.target)
    place = bundle_folder(out, report.recipe, report.target)

    def fill(folder: Path) -> None:
        _write_report(report, crops, folder)
        other = [_put(folder, name, content) for name, content in sorted(extra.items())]
        other += [stated(name, folder / name) for name in (PAGE, REPORT)]
        network = _put_reference(folder, reference) if reference else {}
        files = [_put_artefact(folder, report, artefact, golden) for artefact in artefacts]
        _check_names(files, [*other, *network.values()], golden)
        manifest = {**_manifest(report, files, other, licence, folder), **network}
        (folder / MANIFEST).write_bytes(json_bytes(manifest))

    with explained(place.parent), locked(place.parent):
        _replace(place, fill)
        _remove_failure(failure_folder(place))
    return place


def write_failure(report: Report, crops: Sequence[Crop], out: Path) -> Path:
    """Write report.json and report.html into `out`/<recipe>/<target>.failed/; return that folder.

    A bundle of an earlier run beside it keeps every byte, and a device may go on with it, but
    `read_bundle` says of it that a later run failed, until a run passes again.
    Raises EnvironmentFailure for a disk that is full or not writable.
    """
    place = failure_folder(bundle_folder(out, report.recipe, report.target))
    with explained(place.parent), locked(place.parent):
        _replace(place, lambda folder: _write_report(report, crops, folder))
    return place


def _remove_failure(folder: Path) -> None:
    if (folder / REPORT).is_file():
        shutil.rmtree(folder)


def bundle_folder(out: Path, recipe: str, target: str) -> Path:
    """`out`/<recipe>/<target>. Raises SecurityError for a name that is more than one folder."""
    for name in (recipe, target):
        if len(contained(name).parts) != 1 or name.startswith(".") or name.endswith(BESIDE):
            raise SecurityError(f"the name {name!a} cannot be a folder of the output")
    return out / recipe / target


def _write_report(report: Report, crops: Sequence[Crop], folder: Path) -> None:
    (folder / REPORT).write_bytes(report_bytes(report))
    write_html(report, crops, folder / PAGE)


def _put(folder: Path, name: str, content: bytes | Path) -> dict[str, Any]:
    """Write or copy one file into the folder; return its manifest entry."""
    file = folder / contained(name)
    if file.exists():
        raise ValueError(f"two files of the bundle are called `{name}`")
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, file)
    else:
        file.write_bytes(content)
    return stated(name, file)


def _put_artefact(
    folder: Path, report: Report, artefact: Artefact, golden: Sequence[Golden]
) -> dict[str, Any]:
    name = artefact.path.name
    entry = _put(folder, name, artefact.path)
    weights = artefact.path.with_suffix(".bin")
    parts = []
    if artefact.path.suffix == ".xml" and weights.is_file():
        parts = [_put(folder, weights.name, weights)]
    _check_measured(report, [entry, *parts])
    own = [vector for vector in golden if vector.file == name]
    return {
        **entry,
        "backend": artefact.backend,
        "precision": artefact.precision,
        "contract": artefact.contract.as_json(),
        "parts": parts,
        "golden": [_put_golden(folder, n, vector) for n, vector in enumerate(own)],
    }


def _put_reference(folder: Path, reference: Artefact) -> dict[str, Any]:
    entry = _put(folder, REFERENCE, reference.path)
    return {"reference": {**entry, "contract": reference.contract.as_json()}}


def _check_measured(report: Report, entries: Sequence[Mapping[str, Any]]) -> None:
    """What is packed must be what was measured, byte for byte."""
    name = entries[0]["name"]
    digests = {entries[0]["sha256"], sha256_json({e["name"]: e["sha256"] for e in entries})}
    measured = [file.digest for file in report.files if file.file == name]
    if not measured or not digests.issuperset(measured):
        raise ValueError(f"`{name}` is not the file that the report measured")


def _put_golden(folder: Path, index: int, golden: Golden) -> dict[str, Any]:
    entry: dict[str, Any] = {"tolerance": golden.tolerance, "least_share": golden.least_share}
    for side, tensor in (("input", golden.input), ("output", golden.output)):
        name = f"golden/{golden.file}.{index}.{side}.npy"
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, np.ascontiguousarray(tensor), allow_pickle=False)
        shape = {"dtype": str(tensor.dtype), "shape": list(tensor.shape)}
        entry[side] = {**stated(name, folder / name), **shape}
    return entry


def _check_names(
    files: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], golden: Sequence[Golden]
) -> None:
    names = {file["name"] for file in files}
    for vector in golden:
        if vector.file not in names:
            raise ValueError(f"a golden vector is for `{vector.file}`, which is not packed")
    listed = [entry["name"] for file in files for entry in (file, *file["parts"])]
    listed += [entry["name"] for entry in other]
    # a bundle may be copied to a file system that does not tell `A` from `a`
    if len({name.casefold() for name in (*listed, MANIFEST)}) <= len(listed):
        raise ValueError("two files of the bundle have the same name, or differ in case only")


def _manifest(
    report: Report,
    files: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    licence: str,
    folder: Path,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "toolkit": __version__,
        "recipe": report.recipe,
        "target": report.target,
        "target_title": report.target_title,
        "licence": licence,
        "network_digest": report.reference.digest,
        "report_digest": stated(REPORT, folder / REPORT)["sha256"],
        "tools": dict(report.versions),
        "files": list(files),
        "not_packed": _not_packed(report, files),
        "other": list(other),
    }


def _not_packed(report: Report, files: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """INT8 files that were measured but left out, because float is what to ship; and why."""
    packed = {file["name"] for file in files}
    return [
        {"name": advice.int8_file, "why": advice.why, "instead": advice.float_file}
        for advice in report.recommendations
        if advice.int8_file not in packed
    ]


def _replace(place: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder beside `place`, make it durable, then let it take that name.

    A kill leaves the old folder or the new one under the name, and at most `.NAME.part` beside it,
    which the next run removes. The caller holds the lock of the parent folder.
    """
    part, aside = (place.with_name(f".{place.name}.{state}") for state in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    if aside.exists() and not place.exists():
        aside.rename(place)
    shutil.rmtree(aside, ignore_errors=True)
    _check_ours(place)
    part.mkdir()
    try:
        fill(part)
        _make_durable(part)
        if place.exists():
            _exchange(part, place, aside)
        else:
            part.rename(place)
        sync(place.parent)
    finally:
        for leftover in (part, aside):
            shutil.rmtree(leftover, ignore_errors=True)


def _check_ours(place: Path) -> None:
    """Only a folder that this module wrote, or an empty one, is ever replaced."""
    if not os.path.lexists(place):
        return
    whole = place.is_dir() and not place.is_symlink()
    if whole and ((place / REPORT).is_file() or not any(place.iterdir())):
        return
    raise UserError(
        "this is in the way of the result and was not written by a run",
        where=str(place),
        hint="move it away, or choose another --out",
    )


def _make_durable(folder: Path) -> None:
    """The modes a bundle always has, whatever the umask, and every byte on the disk."""
    for path in sorted(folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)
        sync(path)
    folder.chmod(0o755)
    sync(folder)


def _exchange(new: Path, old: Path, aside: Path) -> None:
    """Swap two folders in one moment; where the system cannot, in two renames.

    Then a kill between the two leaves the old folder as `aside`, whole; the next run puts it back.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        names = os.fsencode(new), os.fsencode(old)
        if libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
            return
        if (code := ctypes.get_errno()) not in NO_EXCHANGE:
            raise OSError(code, os.strerror(code), str(old))
    old.rename(aside)
    new.rename(old)
