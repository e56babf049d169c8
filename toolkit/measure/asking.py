"""One process on the device for one file: our runner, or the program of the runtime's vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from toolkit.benchmark import TimingProtocol
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.measure.board import missing_for, runtime_of
from toolkit.measure.reading import Answer, read_answer
from toolkit.measure.subject import LOAD_S, LONGEST_ROUND_S, Subject, numbers_job, time_job

if TYPE_CHECKING:
    from toolkit.measure.board import Board

RUNNER = "runner"
ANSWER_S = 30.0  # that the host waits longer than the runner lets itself live


def has_runner(board: Board, subject: Subject) -> bool:
    """Whether the device has what our runner needs for this file's own runtime."""
    artefact = subject.artefact
    is_own = runtime_of(artefact) == artefact.backend
    return is_own and not missing_for(board.probe, artefact.backend)


def tool_for(board: Board, subject: Subject, wanted: str) -> str:
    """Who times a file: `runner`, or the name of the vendor's program.

    `wanted` is "runner", "vendor", or "auto": the runner wherever it has the file's own runtime;
    else the vendor's program where there is one (TensorRT's engine, a phone without Python).
    """
    from toolkit.measure.vendor import available

    if wanted == RUNNER or (wanted == "auto" and has_runner(board, subject)):
        return RUNNER
    return available(board, subject.artefact) or ("vendor" if wanted == "vendor" else RUNNER)


def ask_numbers(board: Board, subject: Subject, protocol: TimingProtocol) -> Answer:
    """The runner's check of the golden vectors; nothing is timed."""
    return _run(board, subject, numbers_job(subject, protocol, is_emulated=board.is_emulated))


def ask_times(
    board: Board,
    subject: Subject,
    protocol: TimingProtocol,
    tool: str,
    *,
    is_first: bool,
    sustained_s: float,
    golden: bool,
) -> Answer:
    """One round; its first one also says where the file ran, and checks numbers if `golden`.

    Raises EnvironmentFailure where the device cannot time it, SecurityError where it ran other
    bytes.
    """
    if tool == RUNNER:
        job = time_job(subject, protocol, sustained_s=sustained_s, operators=is_first)
        answer = _run(board, subject, job)
        if not answer.samples_ns:
            raise EnvironmentFailure("the device sent no samples", where=board.url)
        return answer
    from toolkit.measure.vendor import time_file

    vectors = subject.vectors if golden else ()
    warm_up_s = protocol.warm_up_s + sustained_s
    value = time_file(
        board,
        subject.artefact,
        replace(protocol, warm_up_s=warm_up_s),
        timeout_s=LOAD_S + warm_up_s + max(protocol.min_s, LONGEST_ROUND_S),
        golden=vectors,
        operators=is_first,
    )
    has_golden = value.get("golden") is not None
    answer = read_answer(value, vectors if has_golden else (), where=board.url)
    return _same_bytes(board, subject, answer)


def _run(board: Board, subject: Subject, job: Mapping[str, Any]) -> Answer:
    value = board.execute(job, subject.files, timeout_s=job["expires_s"] + ANSWER_S)
    vectors = subject.vectors if job["golden"] else ()
    return _same_bytes(board, subject, read_answer(value, vectors, where=board.url))


def _same_bytes(board: Board, subject: Subject, answer: Answer) -> Answer:
    if answer.sha256 != subject.digests[subject.name]:
        raise SecurityError(
            f"the device did not run `{subject.name}` as it lies here: "
            f"SHA-256 {answer.sha256 or 'is not stated'}",
            where=board.url,
            hint="`edgesr devices --clean` removes every file from the device; measure again",
        )
    return answer
