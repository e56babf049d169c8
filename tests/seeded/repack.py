"""A bundle packed once more after something in it was changed, as whoever changed it would.

Every digest is stated again, and golden outputs and the report's figures are taken from the changed
files: a converter with a fault packs what its own file gives. What is wrong is then in the picture
alone.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import plugins
from toolkit.bundle.manifest import MANIFEST, REPORT, stated
from toolkit.bundle.report_file import json_bytes, plain
from toolkit.contracts import Artefact, Tensor
from toolkit.digest import sha256_json
from toolkit.images.decode import read_rgb
from toolkit.metrics.protocol import score_image
from toolkit.model.contract import IoContract, io_contract

Run = Callable[[Tensor], Tensor]
Change = Callable[[Path, dict[str, Any]], None]  # the file, its entry in the manifest


def copied(bundle: Path, folder: Path) -> Path:
    """The bundle under its own recipe's and target's names in another folder."""
    place = folder / bundle.parent.name / bundle.name
    shutil.copytree(bundle, place)
    return place


def changed(bundle: Path, change: Change, pictures: Path | None, *, only: str = "") -> Path:
    """Change the files whose names end in `only` where they lie, and pack again.

    pictures: what the report's figures are taken on; None: the files are only to be run.
    """
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    for entry in manifest["files"]:
        if entry["name"].endswith(only):
            change(bundle / entry["name"], entry)
            with _opened(bundle, entry) as (contract, run):
                _take_golden(bundle, entry, run)
                if pictures is not None:
                    _take_figures(bundle, entry, pictures, contract, run)
    restate(bundle, manifest)
    return bundle


@contextlib.contextmanager
def _opened(bundle: Path, entry: dict[str, Any]) -> Iterator[tuple[IoContract, Run]]:
    contract = io_contract(entry["contract"])
    artefact = Artefact(
        path=bundle / entry["name"],
        backend=entry["backend"],
        precision=entry["precision"],
        contract=contract,
    )
    session = plugins.load("backends", artefact.backend).open(artefact, threads=1)
    try:
        yield contract, session.run
    finally:
        session.close()


def _take_golden(bundle: Path, entry: dict[str, Any], run: Run) -> None:
    for vector in entry["golden"]:
        given = np.load(bundle / vector["input"]["name"])
        np.save(bundle / vector["output"]["name"], run(given))


def _take_figures(
    bundle: Path, entry: dict[str, Any], pictures: Path, contract: IoContract, run: Run
) -> None:
    """PSNR and SSIM of every picture, as the run that packed the file reports them."""
    found = []
    for path in sorted(pictures.iterdir()):
        figures = score_image(read_rgb(path), contract, run)
        found.append({"name": path.name, "psnr_db": figures.psnr_db, "ssim": figures.ssim})
    report = json.loads((bundle / REPORT).read_bytes())
    for file in report["files"]:
        if (file["file"], file["precision"]) == (entry["name"], entry["precision"]):
            file["images"] = plain(found)
    (bundle / REPORT).write_bytes(json_bytes(report))


def restate(bundle: Path, manifest: dict[str, Any], *, report: bool = True) -> None:
    """Every size and digest of the manifest and the report as the files are now."""
    for entry in manifest["files"]:
        _restate_entry(bundle, entry)
        for part in entry["parts"]:
            _restate_entry(bundle, part)
        for vector in entry["golden"]:
            _restate_entry(bundle, vector["input"])
            _restate_entry(bundle, vector["output"])
    if report:
        _restate_report(bundle, manifest)
    for entry in (*manifest["other"], *filter(None, [manifest.get("reference")])):
        _restate_entry(bundle, entry)
    manifest["report_digest"] = stated(REPORT, bundle / REPORT)["sha256"]
    (bundle / MANIFEST).write_bytes(json_bytes(manifest))


def _restate_entry(bundle: Path, entry: dict[str, Any]) -> None:
    entry.update(stated(entry["name"], bundle / entry["name"]))


def _restate_report(bundle: Path, manifest: dict[str, Any]) -> None:
    report = json.loads((bundle / REPORT).read_bytes())
    digests = {}
    for entry in manifest["files"]:
        parts = [entry, *entry["parts"]]
        several = sha256_json({e["name"]: e["sha256"] for e in parts})
        digests[entry["name"]] = several if entry["parts"] else entry["sha256"]
    for file in report["files"]:
        file["digest"] = digests.get(file["file"], file["digest"])
    (bundle / REPORT).write_bytes(json_bytes(report))
