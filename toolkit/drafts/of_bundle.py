"""From a passed bundle to a draft: one model file, what tests it, and what proves it.

The same bundle gives the same bytes: no time, no host and no random number gets in.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from pathlib import Path

from toolkit.bundle.manifest import PAGE, REPORT, Bundle, artefact_of, read_bundle
from toolkit.bundle.report_file import json_bytes
from toolkit.contracts import Artefact
from toolkit.digest import sha256_bytes, sha256_file
from toolkit.drafts.draft import Draft, DraftFile
from toolkit.drafts.figures import figures_of, latency_limit_us, measured_of, model_paths
from toolkit.drafts.licence import licence_text
from toolkit.drafts.lock import lock_of
from toolkit.drafts.provenance import provenance_of
from toolkit.drafts.sbom import sbom_of
from toolkit.errors import GateFailed, ToolkitError, UserError, raise_all
from toolkit.quant.engine_script import engine_script
from toolkit.release import NAME, WORD, GoldenPair, file_bytes

# What runs a file's golden vectors on a camera, and the distribution whose version proved it.
# TensorRT builds its engine on the board; ONNX Runtime runs the same ONNX file there and here.
RUNTIMES: Mapping[str, tuple[str, str]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "openvino": ("openvino", "openvino"),
    "litert": ("litert", "ai-edge-litert"),
    "tensorrt": ("onnxruntime", "onnxruntime"),
}
MICRO = 1_000_000
ENGINE_SCRIPT = "build_engine.sh"
TEXT_MOST = 200  # characters of a text in release.json; `toolkit.release` reads no longer one


def draft_of(
    bundle: Path,
    *,
    file: str | None = None,
    min_firmware: int = 0,
    compatible: str | None = None,
) -> Draft:
    """A release as far as the bundle decides it; every digest of the bundle is checked first.

    `file`: which of its model files (the recommended one, as `edgesr upscale` chooses).
    `compatible`: the word that cameras state (the bundle's target). `min_firmware`: 0 or more.
    Raises GateFailed where the bundle's report, or that of a later run, did not pass; UserError
    where a file or a name cannot be published; and what `read_bundle` raises.
    """
    read = read_bundle(bundle)
    _refuse_failed(read)
    artefact = artefact_of(read, file)
    word = compatible if compatible is not None else read.target
    _refuse_unpublishable(read, artefact, word, min_firmware)
    runtime, distribution = RUNTIMES[artefact.backend]
    golden, vectors = _golden(read, artefact)
    model = _model(read, artefact)
    return Draft(
        compatible=word,
        min_firmware=min_firmware,
        recipe=read.recipe,
        backend=artefact.backend,
        precision=artefact.precision,
        scale=artefact.contract.image.scale,
        licence=read.licence,
        toolkit=read.toolkit,
        runtime=runtime,
        runtime_least=read.report.versions[distribution],
        golden=golden,
        latency_limit_us=latency_limit_us(read.report, artefact),
        figures=figures_of(read.report, artefact),
        files=(*model, *vectors, *_papers(read, artefact, model)),
    )


def _refuse_failed(bundle: Bundle) -> None:
    if bundle.later_failure is not None:
        raise GateFailed(
            "a later run of this recipe and target failed, so this bundle is not published",
            where=str(bundle.later_failure / REPORT),
            hint="open report.html there; run the recipe until it passes, then publish again",
        )
    if not bundle.report.passed:
        failed = [v for v in bundle.report.verdicts if not v.passed]
        told = "; ".join(f"`{v.gate}` {v.value:g}, limit {v.limit:g} {v.unit}" for v in failed)
        raise GateFailed(
            f"the bundle's report did not pass{': ' * bool(told)}{told}",
            where=str(bundle.path / REPORT),
            hint="only a bundle that passed its gates is published; run the recipe again",
        )


def _refuse_unpublishable(
    bundle: Bundle, artefact: Artefact, compatible: str, min_firmware: int
) -> None:
    """Every reason at once why cameras could not read this release."""
    problems: list[ToolkitError] = []
    where = str(bundle.path)
    if not WORD.fullmatch(compatible):
        hint = "1 to 100 printable ASCII characters without a space, such as raspberry-pi-5"
        problems.append(UserError(f"`{compatible}` is no word that cameras state", hint=hint))
    if min_firmware < 0:
        problems.append(UserError(f"`min_firmware` must be 0 or more, got {min_firmware}"))
    for name in (artefact.path.name, bundle.recipe):
        if not NAME.fullmatch(name) or name.endswith(".part"):
            hint = "letters, digits, `.`, `_` and `-`, at most 100; rename it, run the recipe again"
            problems.append(
                UserError(f"the name {name!a} is not published", where=where, hint=hint)
            )
    if len(bundle.licence) > TEXT_MOST or not (
        bundle.licence.isascii() and bundle.licence.isprintable()
    ):
        hint = "state an SPDX identifier in the recipe, such as Apache-2.0"
        problems.append(UserError("the licence is no short ASCII text", where=where, hint=hint))
    if not [one for one in bundle.golden if one.file == artefact.path.name]:
        hint = "run the recipe again: this toolkit packs golden vectors for every file"
        problems.append(
            UserError(f"`{artefact.path.name}` has no golden vectors", where=where, hint=hint)
        )
    problems += _unknown_runtime(bundle, artefact)
    raise_all(problems)


def _unknown_runtime(bundle: Bundle, artefact: Artefact) -> list[ToolkitError]:
    if artefact.backend not in RUNTIMES:
        hint = f"choose with --file a file of {', '.join(sorted(RUNTIMES))}"
        text = f"a camera cannot test a file of `{artefact.backend}`"
        return [UserError(text, where=str(artefact.path), hint=hint)]
    distribution = RUNTIMES[artefact.backend][1]
    if not WORD.fullmatch(bundle.report.versions.get(distribution, "")):
        text = f"the report does not state the version of `{distribution}` that proved the file"
        return [UserError(text, where=str(bundle.path / REPORT), hint="run the recipe again")]
    return []


def _model(bundle: Bundle, artefact: Artefact) -> tuple[DraftFile, ...]:
    """The model's file, its weights, and what an NPU's compiler made of it: cameras fetch these."""
    first, *parts = model_paths(artefact)
    npu = measured_of(bundle.report, artefact).npu
    if npu is not None and npu.file in bundle.names:
        parts.append(bundle.path / npu.file)
    return (
        DraftFile(name=first.name, role="model", content=first),
        *(DraftFile(name=part.name, role="part", content=part) for part in parts),
    )


def _golden(
    bundle: Bundle, artefact: Artefact
) -> tuple[tuple[GoldenPair, ...], tuple[DraftFile, ...]]:
    """The file's vectors under flat names: a camera's folder of a release has no folders."""
    pairs, files = [], []
    own = [one for one in bundle.golden if one.file == artefact.path.name]
    for index, vector in enumerate(own):
        names = {side: f"golden.{index}.{side}.npy" for side in ("input", "output")}
        pairs.append(
            GoldenPair(
                **names,
                # up, and down: what the bundle accepts, a camera accepts
                tolerance_micro=math.ceil(vector.tolerance * MICRO),
                least_share_ppm=max(1, math.floor(vector.least_share * MICRO)),
            )
        )
        for side, name in names.items():
            packed = f"golden/{artefact.path.name}.{index}.{side}.npy"
            if packed not in bundle.names:  # a file whose digest nobody checked
                raise UserError(f"`{packed}` is not listed", where=str(bundle.path))
            files.append(DraftFile(name=name, role="golden", content=bundle.path / packed))
    return tuple(pairs), tuple(files)


def _papers(
    bundle: Bundle, artefact: Artefact, model: tuple[DraftFile, ...]
) -> tuple[DraftFile, ...]:
    """What firmware reads to feed the model, and what people read to trust it."""
    digests = {one.name: sha256_file(bundle.path / one.name) for one in model}
    lock = file_bytes(lock_of(bundle, digests))
    statement = provenance_of(bundle, digests, sha256_bytes(lock))
    papers = [
        DraftFile(
            name="contract.json", role="contract", content=json_bytes(artefact.contract.as_json())
        ),
        DraftFile(name=REPORT, role="report", content=_public(bundle, REPORT)),
        DraftFile(name="lock.json", role="lock", content=lock),
        DraftFile(name="provenance.json", role="provenance", content=file_bytes(statement)),
        DraftFile(name="sbom.cdx.json", role="sbom", content=sbom_of(bundle, artefact, digests)),
        DraftFile(name="licence.txt", role="licence", content=licence_text(bundle, artefact)),
    ]
    if PAGE in bundle.names:
        papers.append(DraftFile(name=PAGE, role="report", content=_public(bundle, PAGE)))
    if ENGINE_SCRIPT in bundle.names:
        # the bundle's own script builds engines of files that are not in this release as well
        script = engine_script([artefact]).encode()
        papers.append(DraftFile(name=ENGINE_SCRIPT, role="extra", content=script))
    return tuple(papers)


def _public(bundle: Bundle, name: str) -> bytes:
    """A report without the addresses of the lab's devices: who may read a channel is not known."""
    text = (bundle.path / name).read_bytes()
    device = bundle.report.host.get("device")
    told = {device.get("url", "") if isinstance(device, Mapping) else ""}
    told |= {file.latency.device for file in bundle.report.files if file.latency}
    for url in sorted(told, key=len, reverse=True):
        if isinstance(url, str) and "//" in url:
            for form in (url, html.escape(url)):
                text = text.replace(form.encode(), url.partition("//")[0].encode())
    return text
