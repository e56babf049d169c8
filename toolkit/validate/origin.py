"""Whether a bundle is what its report says: protocol, digests, golden vectors, figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from toolkit.bundle.manifest import Bundle, Golden
from toolkit.contracts import Artefact
from toolkit.digest import sha256_file, sha256_json
from toolkit.metrics.protocol import PROTOCOL
from toolkit.report import ImageScore, Measured, Verdict
from toolkit.run.host import host_facts
from toolkit.run.key import declared, tool_versions
from toolkit.validate.asked import DEFAULT_BUDGETS
from toolkit.validate.comparing import at_most
from toolkit.validate.files import OpenFile
from toolkit.validate.pictures import Pictures
from toolkit.validate.subject import FLOAT_NETWORK

# The same runtime on the same kind of CPU gives the same bits; what is left is JSON and addition.
SAME_DB = 1e-6
# Another CPU or runtime is to the report what a device is to this host: its budget holds.
NEAR_DB = DEFAULT_BUDGETS["device"].worst_db or 0.0

Scores = Mapping[str, Sequence[ImageScore]]  # of every file, by its name


def protocol_verdict(bundle: Bundle) -> Verdict:
    """Figures of another protocol are never compared: up to 1.4 dB lie between two of them."""
    same = bundle.report.protocol == PROTOCOL
    note = "" if same else f"the bundle's report says: {bundle.report.protocol}"
    return at_most("protocol", "", float(not same), 0, "protocols", note)


def digest_verdicts(bundle: Bundle) -> list[Verdict]:
    """Each file is the one that the report measured, not another one under its name."""
    found = []
    for artefact in bundle.artefacts:
        wrong = not _is_measured(bundle, artefact)
        note = "not the file that the bundle's report measured" if wrong else ""
        found.append(at_most("digest", artefact.path.name, float(wrong), 0, "files", note))
    if bundle.reference is not None:
        # what was pruned is not the report's reference; reports before 0.2 name no other digest
        stated = bundle.report.network.get("float_digest", bundle.report.reference.digest)
        wrong = sha256_file(bundle.reference.path) != stated
        note = "not the network that the files were made from" if wrong else ""
        found.append(at_most("digest", FLOAT_NETWORK, float(wrong), 0, "files", note))
    return found


def _is_measured(bundle: Bundle, artefact: Artefact) -> bool:
    path, weights = artefact.path, artefact.path.with_suffix(".bin")
    parts = [path, weights] if path.suffix == ".xml" and weights.is_file() else [path]
    digests = {part.name: sha256_file(part) for part in parts}
    stated = {m.digest for m in bundle.report.files if m.file == path.name}
    return bool(stated) and stated <= {digests[path.name], sha256_json(digests)}


def golden_verdicts(golden: Sequence[Golden], files: Mapping[str, OpenFile]) -> list[Verdict]:
    """Each file's golden vectors on this host."""
    found = []
    for name in dict.fromkeys(one.file for one in golden):
        own = [one for one in golden if one.file == name]
        checks = [golden_check(one, files[name]) for one in own]
        wrong = sum(share < one.least_share for one, (share, _) in zip(own, checks, strict=True))
        worst = max(largest for _, largest in checks)
        note = f"largest difference {worst:.3g} in stored values"
        found.append(at_most("golden", name, wrong, 0, "vectors", note))
    return found


def golden_check(golden: Golden, file: OpenFile) -> tuple[float, float]:
    """Share of output values that keep the tolerance, 0 to 1, and the largest difference."""
    output = file.session.run(golden.input)
    if output.shape != golden.output.shape:
        return 0.0, math.inf
    difference = np.abs(output.astype(np.float64) - golden.output.astype(np.float64))
    return float(np.mean(difference <= golden.tolerance)), float(difference.max())


def report_verdicts(
    bundle: Bundle, pictures: Pictures, scores: Scores, reference: str
) -> list[Verdict]:
    """The report's own figures measured again, where the pictures are the same ones.

    reference: the name under which `scores` has the bundle's own float network, to which the
    report gives no file; "" where another one was handed in.
    Nothing is compared across protocols or sets.
    """
    sets = [value.get("digest") for value in bundle.report.images.values()]
    if bundle.report.protocol != pictures.protocol or pictures.images.digest not in sets:
        return []
    backends = {artefact.path.name: artefact.backend for artefact in bundle.artefacts}
    precisions = {artefact.path.name: artefact.precision for artefact in bundle.artefacts}
    found = []
    for measured in bundle.report.files:
        # a rival of the same name ran in a faster float mode, which is not what is validated
        if precisions.get(measured.file) == measured.precision:
            limit_db, note = _closeness(bundle, backends[measured.file])
            value = _largest_change(measured, scores[measured.file])
            found.append(at_most("report", measured.file, value, limit_db, "dB", note))
    if reference in scores and _is_reports(bundle):
        limit_db, note = _closeness(bundle, "onnxruntime")
        value = _largest_change(bundle.report.reference, scores[reference])
        found.append(at_most("report", reference, value, limit_db, "dB", note))
    return found


def _is_reports(bundle: Bundle) -> bool:
    """A pruned network is not the one that the report calls its reference."""
    packed = bundle.reference
    return packed is not None and sha256_file(packed.path) == bundle.report.reference.digest


def _closeness(bundle: Bundle, backend: str) -> tuple[float, str]:
    here, there = host_facts(), bundle.report.host
    tools = tool_versions(declared("backends", backend)[1])
    same = all(bundle.report.versions.get(tool) == version for tool, version in tools.items())
    if same and all(here[fact] == there.get(fact) for fact in ("cpu", "machine")):
        return SAME_DB, "largest change of a picture's PSNR or SSIM since the report"
    return NEAR_DB, "largest change since the report, which another CPU or runtime made"


def _largest_change(measured: Measured, scores: Sequence[ImageScore]) -> float:
    """Of PSNR in dB or SSIM, over all pictures; NaN where the pictures differ."""
    if [i.name for i in measured.images] != [i.name for i in scores]:
        return math.nan
    changes = [
        _change(old, new)
        for a, b in zip(measured.images, scores, strict=True)
        for old, new in ((a.psnr_db, b.psnr_db), (a.ssim, b.ssim))
    ]
    return max(changes, default=math.nan)


def _change(old: float, new: float) -> float:
    return 0.0 if old == new or (math.isnan(old) and math.isnan(new)) else abs(old - new)
