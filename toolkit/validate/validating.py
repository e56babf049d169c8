"""Is this file as good as the float network? Every stage, every check, one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from toolkit import __version__
from toolkit.benchmark import Device
from toolkit.contracts import Artefact
from toolkit.model.contract import Color
from toolkit.report import Verdict
from toolkit.run.key import declared, tool_versions
from toolkit.show.crops import Crop
from toolkit.validate.asked import DEFAULT_BUDGETS, Asked, Show, silent
from toolkit.validate.chart_checks import chart_verdicts, chart_wraps, charts_for
from toolkit.validate.comparing import stage_verdicts
from toolkit.validate.files import OpenFile, opened
from toolkit.validate.float_network import ends_in_curve, graph_halo_px
from toolkit.validate.known_answers import check_metric
from toolkit.validate.level_gaps import Counts, gap_verdict
from toolkit.validate.measuring import Measurement, Worst, measured
from toolkit.validate.operators import Operators, operators_of, precision_verdicts
from toolkit.validate.origin import (
    digest_verdicts,
    golden_verdicts,
    protocol_verdict,
    report_verdicts,
)
from toolkit.validate.picture_checks import (
    allowance,
    conversion_verdicts,
    device_verdicts,
    final_stage,
    gain_verdict,
    picture_verdicts,
    reference_warnings,
)
from toolkit.validate.pictures import Pictures, pair_verdicts, picture_warnings, pictures_of
from toolkit.validate.sanity import sanity
from toolkit.validate.seams import seam_verdicts
from toolkit.validate.subject import (
    FLOAT_NETWORK,
    Subject,
    bare_subject,
    bundle_subject,
    pairings,
    recipe_limits,
)
from toolkit.validate.times import time_verdicts
from toolkit.validation import Stage, Validation

if TYPE_CHECKING:
    from toolkit.measure.board import Board

CHILDREN = 2  # files tried at the same time; each child holds one runtime


@dataclass(frozen=True, kw_only=True, eq=False)
class Validated:
    """A validation, and the worst windows for its page."""

    validation: Validation
    crops: tuple[Crop, ...]


def validate_bundle(folder: Path, asked: Asked | None = None, show: Show = silent) -> Validated:
    """Validate every file of a bundle.

    Raises UserError for pictures or a folder that cannot be used, SecurityError for a bundle whose
    bytes are not the packed ones, InternalFailure where the metric itself gives wrong answers.
    """
    asked = asked or Asked()
    with TemporaryDirectory(prefix="edgesr-") as work:
        return _validated(bundle_subject(folder, asked, Path(work)), asked, show)


def validate_file(
    file: Path,
    asked: Asked | None = None,
    *,
    scale: int,
    color: Color | None = None,
    white: float | None = None,
    show: Show = silent,
) -> Validated:
    """Validate one .onnx, .tflite or .xml against the float network `asked.reference`.

    What the network expects of pixels is stated, or probed on the reference. Raises as
    `validate_bundle` does.
    """
    asked = asked or Asked()
    with TemporaryDirectory(prefix="edgesr-") as work:
        subject = bare_subject(file, asked, Path(work), scale=scale, color=color, white=white)
        return _validated(subject, asked, show)


def _validated(subject: Subject, asked: Asked, show: Show) -> Validated:
    check_metric()
    pictures = pictures_of(asked, subject.scale)
    pairs, missing = pairings(subject, asked)
    worst = Worst(count=asked.crops)
    with ExitStack() as stack:
        board = _board(stack, subject, asked)  # first: a device that is not there is seen at once
        known = _operators(subject, asked)
        files = _opened(stack, subject, asked)
        found = measured(pictures, files, pairs, worst, show)
        stages = (*found.stages, *_on_device(board, subject, asked, pictures, files, show))
        fed, doubts = _sanity(subject, files, pictures)
        verdicts = [
            *_origin_verdicts(subject, asked, pictures, files, found),
            *fed,
            *_file_verdicts(subject, files, stages, found.levels, known),
            *_time_verdicts(subject, asked),
        ]
        device = board.device if board else None
    notes = (*missing, *doubts, *reference_warnings(stages))
    validation = _validation(subject, pictures, stages, verdicts, notes, device)
    return Validated(validation=validation, crops=worst.crops())


def _board(stack: ExitStack, subject: Subject, asked: Asked) -> Board | None:
    """The device, locked until the stack is closed; raises where it lacks a runtime."""
    if asked.device is None:
        return None
    from toolkit.measure.board import open_board, runtime_of

    board = stack.enter_context(open_board(asked.device, options=asked.link, wait_s=asked.wait_s))
    board.require(*(runtime_of(artefact) for artefact in subject.artefacts))
    return board


def _on_device(
    board: Board | None,
    subject: Subject,
    asked: Asked,
    pictures: Pictures,
    files: Mapping[str, OpenFile],
    show: Show,
) -> tuple[Stage, ...]:
    if board is None:
        return ()
    from toolkit.validate.on_device import device_stages

    budget = asked.budgets.get("device", DEFAULT_BUDGETS["device"])
    return device_stages(
        board, subject.artefacts, files, pictures, budget=budget, threads=asked.threads, show=show
    )


def _operators(subject: Subject, asked: Asked) -> dict[str, Operators]:
    """Every file's operators, by name; the children that tell them run side by side."""

    def of(artefact: Artefact) -> Operators:
        return operators_of(artefact, threads=asked.threads, in_child=asked.in_child)

    with ThreadPoolExecutor(max_workers=CHILDREN if asked.in_child else 1) as pool:
        names = (artefact.path.name for artefact in subject.artefacts)
        return dict(zip(names, pool.map(of, subject.artefacts), strict=True))


def _sanity(
    subject: Subject, files: Mapping[str, OpenFile], pictures: Pictures
) -> tuple[list[Verdict], list[str]]:
    return sanity(files[FLOAT_NETWORK], pictures) if subject.reference else ([], [])


def _origin_verdicts(
    subject: Subject,
    asked: Asked,
    pictures: Pictures,
    files: Mapping[str, OpenFile],
    found: Measurement,
) -> list[Verdict]:
    bundle = subject.bundle
    # the report has no figures of a reference that was handed in
    reference = FLOAT_NETWORK if asked.reference is None else ""
    pairs = pair_verdicts(pictures, asked.own_lr)
    if bundle is None:
        return pairs
    return [
        *pairs,
        protocol_verdict(bundle),
        *digest_verdicts(bundle),
        *golden_verdicts(bundle.golden, files),
        *report_verdicts(bundle, pictures, found.scores, reference),
    ]


def _file_verdicts(
    subject: Subject,
    files: Mapping[str, OpenFile],
    stages: Sequence[Stage],
    levels: Mapping[str, Counts],
    known: Mapping[str, Operators],
) -> list[Verdict]:
    """Every gate of every file, stages first."""
    halo_px = graph_halo_px(subject.reference)
    counted = {} if ends_in_curve(subject.reference) else levels
    found: list[Verdict] = []
    for artefact in subject.artefacts:
        name = artefact.path.name
        for stage in stages:
            if stage.file == name:
                found += stage_verdicts(stage)
            if stage.file == name and stage.name == "conversion":
                found += conversion_verdicts(stage, artefact.precision)
            if stage.file == name and stage.name == "device":
                found += device_verdicts(stage)
        found += _look_verdicts(files, final_stage(stages, name), counted)
        found += seam_verdicts(files[name], halo_px)
        limits = recipe_limits(subject.bundle, name)
        found += precision_verdicts(artefact, known[name], limits)
    return found


def _time_verdicts(subject: Subject, asked: Asked) -> list[Verdict]:
    names = [artefact.path.name for artefact in subject.artefacts]
    return [
        verdict
        for name in names
        for verdict in time_verdicts(asked.timed, name, recipe_limits(subject.bundle, name))
    ]


def _look_verdicts(
    files: Mapping[str, OpenFile], stage: Stage | None, levels: Mapping[str, Counts]
) -> list[Verdict]:
    """Pictures and charts of a file against those of its reference; levels where they count."""
    if stage is None:
        return []
    file, reference = files[stage.file], files[stage.against]
    own = charts_for(file)
    drawn, wanted = own.drawn(file), own.drawn(reference)
    return [
        gain_verdict(stage),
        *picture_verdicts(stage, chart_wraps(drawn, wanted)),
        *([gap_verdict(file.name, levels[file.name], levels[reference.name])] if levels else []),
        *chart_verdicts(stage.file, own, drawn, wanted, allowance(stage)),
    ]


def _opened(stack: ExitStack, subject: Subject, asked: Asked) -> dict[str, OpenFile]:
    named = {artefact.path.name: artefact for artefact in subject.artefacts}
    if subject.reference is not None:
        named[FLOAT_NETWORK] = subject.reference
    files: dict[str, OpenFile] = {}
    for name, artefact in named.items():
        files[name] = opened(name, artefact, threads=asked.threads)
        stack.callback(files[name].session.close)
    return files


def _validation(
    subject: Subject,
    pictures: Pictures,
    stages: tuple[Stage, ...],
    verdicts: Sequence[Verdict],
    notes: Sequence[str],
    device: Device | None,
) -> Validation:
    bundle = subject.bundle
    return Validation(
        subject=subject.name,
        recipe=bundle.recipe if bundle else "",
        target=bundle.target if bundle else "",
        passed=all(verdict.passed for verdict in verdicts),
        protocol=pictures.protocol,
        data=pictures.as_json(),
        stages=stages,
        verdicts=tuple(verdicts),
        digests=subject.digests(),
        device=device,
        versions=_versions(subject),
        warnings=(*subject.warnings, *notes, *picture_warnings(pictures, bundle)),
        toolkit=__version__,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _versions(subject: Subject) -> dict[str, str]:
    backends = sorted({artefact.backend for artefact in subject.artefacts})
    tools = [tool for backend in backends for tool in declared("backends", backend)[1]]
    return {"edge-sr-toolkit": __version__, **tool_versions(tuple(dict.fromkeys(tools)))}
