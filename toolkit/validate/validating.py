"""Is this file as good as the float network? Every stage, every check, one answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from toolkit import __version__
from toolkit.run.key import declared, tool_versions
from toolkit.show.crops import Crop
from toolkit.validate.asked import Asked, Show, silent
from toolkit.validate.comparing import stage_verdicts
from toolkit.validate.files import OpenFile, close, opened
from toolkit.validate.measuring import Worst, measured_stages
from toolkit.validate.pictures import Pictures, pictures_of
from toolkit.validate.subject import FLOAT_NETWORK, Subject, bundle_subject, pairings
from toolkit.validation import Stage, Validation


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
    return _validated(bundle_subject(folder, None), asked, show)


def _validated(subject: Subject, asked: Asked, show: Show) -> Validated:
    pictures = pictures_of(asked, subject.scale)
    pairs, missing = pairings(subject, asked)
    worst = Worst(count=asked.crops)
    files = _opened(subject, asked)
    try:
        stages = measured_stages(pictures, files, pairs, worst, show)
    finally:
        close(files)
    validation = _validation(subject, pictures, stages, tuple(missing))
    return Validated(validation=validation, crops=worst.crops())


def _opened(subject: Subject, asked: Asked) -> dict[str, OpenFile]:
    named = {artefact.path.name: artefact for artefact in subject.artefacts}
    if subject.reference is not None:
        named[FLOAT_NETWORK] = subject.reference
    return {name: opened(name, one, threads=asked.threads) for name, one in named.items()}


def _validation(
    subject: Subject, pictures: Pictures, stages: tuple[Stage, ...], missing: tuple[str, ...]
) -> Validation:
    verdicts = [verdict for stage in stages for verdict in stage_verdicts(stage)]
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
        device=None,
        versions=_versions(subject),
        warnings=(*subject.warnings, *missing),
        toolkit=__version__,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _versions(subject: Subject) -> dict[str, str]:
    backends = sorted({artefact.backend for artefact in subject.artefacts})
    tools = [tool for backend in backends for tool in declared("backends", backend)[1]]
    return {"edge-sr-toolkit": __version__, **tool_versions(tuple(dict.fromkeys(tools)))}
