"""What is validated: the files of a bundle or one bare file, and what they are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.bundle.manifest import Bundle, read_bundle
from toolkit.contracts import Artefact
from toolkit.digest import sha256_file
from toolkit.errors import UserError, raise_all
from toolkit.model.contract import Color
from toolkit.validate.asked import DEFAULT_BUDGETS, Asked
from toolkit.validate.bare import bare_artefact, check_color, check_scale, ends_of
from toolkit.validate.float_network import float_network
from toolkit.validation import Budget, StageName

FLOAT_NETWORK = "float network"
NO_REFERENCE = "conversion: not measured, no reference in this bundle; give --reference"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Files to validate, and the float reference; None where there is none to be had."""

    name: str
    artefacts: tuple[Artefact, ...]
    reference: Artefact | None
    bundle: Bundle | None = None  # None: a bare file
    warnings: tuple[str, ...] = ()

    @property
    def scale(self) -> int:
        """The one scale of all files."""
        return self.artefacts[0].contract.image.scale

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that was run, an IR's weights included."""
        paths = [artefact.path for artefact in self.artefacts]
        paths += [p.with_suffix(".bin") for p in paths if p.suffix == ".xml"]
        found = {path.name: sha256_file(path) for path in paths if path.is_file()}
        if self.reference is not None:
            found[FLOAT_NETWORK] = sha256_file(self.reference.path)
        return found


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """One file and what it is held against, by name."""

    stage: StageName
    file: str
    against: str
    budget: Budget


def bundle_subject(folder: Path, asked: Asked, work: Path) -> Subject:
    """A bundle whose digests hold. Raises what `read_bundle` raises, and for `--reference`."""
    bundle = read_bundle(folder)
    reference, warnings, given = bundle.reference, tuple[str, ...](), None
    if asked.reference is not None:
        image = bundle.artefacts[0].contract.image
        given = float_network(
            asked.reference, work, scale=image.scale, color=image.color, white=image.white
        )
        reference, warnings = given.artefact, given.warnings
    return Subject(
        name=f"{bundle.recipe}/{bundle.target}",
        artefacts=bundle.artefacts,
        reference=reference,
        bundle=bundle,
        warnings=(*warnings, *_bundle_warnings(bundle, given.artefact if given else None)),
    )


def _bundle_warnings(bundle: Bundle, given: Artefact | None) -> list[str]:
    """given: the reference that was handed in, brought into the form of the packed one."""
    found = []
    if bundle.later_failure is not None:
        place = bundle.later_failure.name
        found.append(f"a later run of this recipe failed, see `{place}` beside the bundle")
    packed = bundle.reference
    if packed and given is not None and sha256_file(given.path) != sha256_file(packed.path):
        found.append("the reference handed in is not the network that this bundle was made from")
    if packed and given is None and sha256_file(packed.path) != bundle.report.reference.digest:
        found.append("the float network is the pruned one; what pruning lost is in the report")
    return found


def bare_subject(
    file: Path, asked: Asked, work: Path, *, scale: int, color: Color | None, white: float | None
) -> Subject:
    """One file without a manifest, and the float network that it is held against.

    An .onnx file that computes in float is its own reference: the network as imported from it.
    Raises UserError where another kind of file comes without a reference.
    """
    is_float = ends_of(file).precision != "int8" and file.suffix == ".onnx"
    source = asked.reference or (file if is_float else None)
    if source is None:
        raise UserError(
            f"`{file.name}` alone cannot tell how good its float network is",
            where=str(file),
            hint="--reference net.onnx: the float network that it was made from",
        )
    check_color(source, color)
    given = float_network(source, work, scale=scale, color=color, white=white)
    artefact = bare_artefact(file, given.artefact.contract.image)
    check_scale(artefact)
    note = () if asked.reference else (f"the reference is `{file.name}` itself, as imported",)
    return Subject(
        name=file.name,
        artefacts=(artefact,),
        reference=given.artefact,
        warnings=(*given.warnings, *note),
    )


def pairings(subject: Subject, asked: Asked) -> tuple[list[Pairing], list[str]]:
    """Every stage that this host measures, in order of file and stage; and why it cannot others.

    Raises UserError for a budget of a stage that nobody will measure: it would hold nothing.
    """
    found: list[Pairing] = []
    missing: list[str] = []
    for artefact in subject.artefacts:
        ours = _of_file(subject, artefact)
        found += [replace(pair, budget=budget_of(subject, asked, pair)) for pair in ours]
    if subject.reference is None:
        missing.append(NO_REFERENCE)
    _check_budgets(asked, [pair.stage for pair in found])
    return found, missing


def _check_budgets(asked: Asked, stages: Sequence[StageName]) -> None:
    measured = dict.fromkeys([*stages, *(["device"] if asked.device else [])])
    unused = [
        UserError(
            f"`--budget {stage}` would hold nothing: that stage is not measured here",
            hint="name a device: `--device URL`"
            if stage == "device"
            else f"of these files there is: {', '.join(measured)}",
        )
        for stage in asked.budgets
        if stage not in measured
    ]
    raise_all(unused)


def _of_file(subject: Subject, artefact: Artefact) -> list[Pairing]:
    name, nothing = artefact.path.name, Budget()
    made: list[tuple[StageName, str]] = []
    if artefact.precision != "int8":
        if subject.reference is not None:
            made.append(("conversion", FLOAT_NETWORK))
        elif (twin := twin_of(artefact, subject.artefacts)) != name and twin:
            made.append(("total", twin))
    else:
        twin = twin_of(artefact, subject.artefacts)
        if twin:
            made.append(("quantization", twin))
        if subject.reference is not None:
            made.append(("total", FLOAT_NETWORK))
        elif not twin and (other := _any_float(subject.artefacts)):
            made.append(("total", other))
    return [
        Pairing(stage=stage, file=name, against=against, budget=nothing) for stage, against in made
    ]


def final_pairing(pairs: Sequence[Pairing], file: str) -> Pairing | None:
    """The one that holds a file against the float network, or against what is nearest to it."""
    own = {pair.stage: pair for pair in pairs if pair.file == file}
    return own.get("total") or own.get("conversion") or own.get("quantization")


def twin_of(artefact: Artefact, artefacts: Sequence[Artefact]) -> str:
    """The true float32 file of the same backend: what INT8 is held against; "" for none."""
    twins = [a for a in artefacts if a.backend == artefact.backend and a.precision == "float32"]
    return twins[0].path.name if twins else ""


def _any_float(artefacts: Sequence[Artefact]) -> str:
    return next((a.path.name for a in artefacts if a.precision == "float32"), "")


def budget_of(subject: Subject, asked: Asked, pair: Pairing) -> Budget:
    """What was asked for; else the limits of the bundle's own recipe; else the default."""
    if pair.stage in asked.budgets:
        return asked.budgets[pair.stage]
    stated = recipe_limits(subject.bundle, pair.file)
    if pair.stage in ("quantization", "total") and stated:
        default = DEFAULT_BUDGETS["quantization"]
        return Budget(
            mean_db=stated.get("psnr_drop_db.mean", default.mean_db),
            worst_db=stated.get("psnr_drop_db.worst", default.worst_db),
        )
    return DEFAULT_BUDGETS.get(pair.stage, DEFAULT_BUDGETS["quantization"])


def recipe_limits(bundle: Bundle | None, file: str) -> Mapping[str, float]:
    """The limits that the bundle's report held a file against, by gate."""
    if bundle is None:
        return {}
    return {v.gate: v.limit for v in bundle.report.verdicts if v.file == file}
