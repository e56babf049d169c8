"""Files of a bundle timed on a device: numbers first, then rounds in which all take their turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit import __version__
from toolkit.benchmark import Benchmark, FileTiming, Stability, TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Artefact
from toolkit.errors import EnvironmentFailure, LinkLost, raise_all
from toolkit.latency import all_samples, percentile_ms
from toolkit.measure.asking import RUNNER, ask_numbers, ask_times, has_runner, tool_for
from toolkit.measure.board import install_hint, missing_for, runtime_of
from toolkit.measure.reading import Answer
from toolkit.measure.stability import stability
from toolkit.measure.subject import Subject, digest_of, subject_of

if TYPE_CHECKING:
    from toolkit.measure.board import Board

GOLDEN_FAILED = "its golden vectors do not hold on the device, so it was not timed"
NO_TIMES: Mapping[str, Any] = {
    "samples_ns": (), "load_ms": (), "first_ms": (), "peak_memory_mb": (), "conditions": (),
    "energy_j_per_frame": None, "stated_ms": (),
}  # fmt: skip

Say = Callable[[str], None]
T = TypeVar("T")


def bench(
    board: Board,
    artefacts: Sequence[Artefact],
    golden: Sequence[Golden],
    protocol: TimingProtocol,
    *,
    bundle: str,
    target: str,
    say: Say,
    tool: str = "auto",
) -> Benchmark:
    """Check every file's golden vectors on the device, then time those that hold them.

    Golden vectors have a process of their own, so that the first inference of a timed one is its
    first. In each round every file is timed in a fresh process: drift hits all alike, and load
    time, first inference and peak memory are known as often as there are rounds. Sustained load
    heats each file's own way: then all rounds of one file come before the next file.
    `tool` is "runner", "vendor" (`trtexec`, `benchmark_model`, `benchmark_app`), or "auto": the
    runner wherever it has the file's own runtime, else the vendor's program.
    An emulated device is asked for numbers alone.
    A file that the device cannot run says so in `problem`; the others are timed.
    Raises SecurityError where the device ran other bytes, LinkLost where it went away, and the
    board's EnvironmentFailure where no file could be run at all.
    """
    failures: list[EnvironmentFailure] = []
    with tempfile.TemporaryDirectory(prefix="edgesr-bench-") as folder:
        subjects = [
            subject_of(a, golden if is_own else (), protocol, Path(folder))
            for a, is_own in zip(artefacts, _in_own_precision(artefacts), strict=True)
        ]
        tools = [tool_for(board, subject, tool) for subject in subjects]
        _require_any(board, subjects, tools, say)
        timings = [
            _numbers(board, subject, protocol, who, failures)
            for subject, who in zip(subjects, tools, strict=True)
        ]
        for timing in timings:
            say(f"{timing.file}: {numbers_words(timing)}")
        if not board.is_emulated:
            _time_all(board, subjects, timings, protocol, say, failures)
    if all(t.problem and not golden_failed(t) for t in timings):
        raise_all(list({str(failure): failure for failure in failures}.values()))
    return Benchmark(
        bundle=bundle,
        target=target,
        device=board.device,
        protocol=replace(protocol, tuned=protocol.tuned and _were_tuned(timings)),
        files=tuple(replace(t, stability=stability(t, protocol)) for t in timings),
        toolkit=__version__,
        taken_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _require_any(board: Board, subjects: Sequence[Subject], tools: Sequence[str], say: Say) -> None:
    """Raises where no file can run, with every runtime that is missing; says so where some can."""
    runtimes = [runtime_of(subject.artefact) for subject in subjects]
    lacking = [
        runtime
        for runtime, who in zip(runtimes, tools, strict=True)
        if who == RUNNER and missing_for(board.probe, runtime)
    ]
    if lacking and len(lacking) == len(subjects):
        board.require(*lacking)
    if lacking:
        missing = " and ".join(missing_for(board.probe, *lacking))
        say(f"the device lacks {missing}; {install_hint(board.probe, *runtimes)}")


def _in_own_precision(artefacts: Sequence[Artefact]) -> list[bool]:
    """False for a file that is named once more in a faster mode: its golden vectors are of the
    first."""
    own: dict[str, str] = {}
    return [own.setdefault(a.path.name, a.precision) == a.precision for a in artefacts]


def golden_failed(timing: FileTiming) -> bool:
    """Whether the device computed other numbers than it must."""
    return timing.golden is not None and not timing.golden.passed


def numbers_words(timing: FileTiming) -> str:
    """What the golden vectors showed, as a phrase."""
    check = timing.golden
    if check is None:
        return timing.problem or "no golden vectors"
    return (
        f"{'numbers hold' if check.passed else 'NUMBERS DIFFER'}: "
        f"{check.within_share * 100:.4g} % within {check.tolerance:.3g} "
        f"(at least {check.least_share * 100:g} %), worst {check.worst:.3g}"
    )


def _were_tuned(timings: Sequence[FileTiming]) -> bool:
    return all(one["tuned"] for timing in timings for one in timing.conditions)


def _numbers(
    board: Board,
    subject: Subject,
    protocol: TimingProtocol,
    tool: str,
    failures: list[EnvironmentFailure],
) -> FileTiming:
    """Golden vectors of one file by the runner, where it can run the file; no times yet."""
    timing = FileTiming(
        file=subject.name,
        digest=digest_of(subject.digests),
        backend=subject.artefact.backend,
        precision=subject.artefact.precision,
        tool=tool,
        runtime="",
        height_px=subject.height_px,
        width_px=subject.width_px,
        golden=None,
        stability=Stability(is_stable=True),
        units=(),
        **NO_TIMES,
    )
    if tool != RUNNER and not has_runner(board, subject):
        return timing
    try:
        answer = ask_numbers(board, subject, protocol)
    except LinkLost:
        raise
    except EnvironmentFailure as failure:
        failures.append(failure)
        return replace(timing, problem=failure.problem)
    return checked(replace(timing, runtime=answer.runtime, golden=answer.golden))


def checked(timing: FileTiming) -> FileTiming:
    """The file without times and with its problem where its golden vectors do not hold."""
    failed = {**NO_TIMES, "problem": GOLDEN_FAILED}
    return replace(timing, **failed) if golden_failed(timing) else timing


def _turns(count: int, protocol: TimingProtocol) -> Iterator[tuple[int, int]]:
    """(file, round) in the order of time."""
    if protocol.sustained_min > 0:
        return ((file, at) for file in range(count) for at in range(protocol.rounds))
    return ((file, at) for at in range(protocol.rounds) for file in range(count))


def _time_all(
    board: Board,
    subjects: Sequence[Subject],
    timings: list[FileTiming],
    protocol: TimingProtocol,
    say: Say,
    failures: list[EnvironmentFailure],
) -> None:
    """Time every file without a problem, in `timings` itself; one that fails is left out then."""
    order = [turn for turn in _turns(len(subjects), protocol) if not timings[turn[0]].problem]
    began = time.monotonic()
    for done, (file, at) in enumerate(order):
        timing = timings[file]
        if timing.problem:
            continue
        sustained_s = 60 * protocol.sustained_min if at == 0 else 0.0
        if sustained_s:
            say(f"{timing.file}: {protocol.sustained_min:g} min of load before the clock")
        try:
            answer = ask_times(
                board, subjects[file], protocol, timing.tool,
                is_first=at == 0, sustained_s=sustained_s, golden=at == 0 and timing.golden is None,
            )  # fmt: skip
            timings[file] = checked(with_round(timing, answer))
        except LinkLost:
            raise
        except EnvironmentFailure as failure:
            failures.append(failure)
            problem = f"round {at + 1}: {failure.problem}"
            timings[file] = replace(timing, **{**NO_TIMES, "problem": problem})
        left_s = (time.monotonic() - began) / (done + 1) * (len(order) - done - 1)
        say(_turn_words(timings[file], at, protocol, left_s))


def with_round(timing: FileTiming, answer: Answer) -> FileTiming:
    """The file with one more round."""
    return replace(
        timing,
        runtime=timing.runtime or answer.runtime,
        golden=timing.golden or answer.golden,
        samples_ns=(*timing.samples_ns, *_known(answer.samples_ns or None)),
        stated_ms=(*timing.stated_ms, *_known(answer.stated_ms or None)),
        load_ms=(*timing.load_ms, *_known(answer.load_ms)),
        first_ms=(*timing.first_ms, *_known(answer.first_ms)),
        peak_memory_mb=(*timing.peak_memory_mb, *_known(answer.peak_memory_mb)),
        energy_j_per_frame=_energy(timing, answer),
        units=timing.units or answer.units,
        conditions=(*timing.conditions, answer.conditions),
    )


def _known(value: T | None) -> tuple[T, ...]:
    return () if value is None else (value,)


def _energy(timing: FileTiming, answer: Answer) -> float | None:
    """Mean over the frames of all rounds; None as soon as one round has no counter."""
    earlier, runs = timing.energy_j_per_frame, len(all_samples(timing))
    if answer.energy_j_per_frame is None or (runs and earlier is None):
        return None
    new = len(answer.samples_ns)
    return ((earlier or 0.0) * runs + answer.energy_j_per_frame * new) / (runs + new)


def _turn_words(timing: FileTiming, at: int, protocol: TimingProtocol, left_s: float) -> str:
    if timing.problem:
        return f"{timing.file}: {timing.problem}"
    samples = all_samples(timing)
    taken = (
        f"p50 {percentile_ms(samples, 50):.2f} ms of {len(samples)} runs"
        if samples
        else f"done by {timing.tool}"
    )
    left = f", about {left_s:.0f} s left" if left_s >= 1 else ""
    return f"{timing.file}: round {at + 1} of {protocol.rounds}, {taken}{left}"
