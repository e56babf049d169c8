"""A runner's answer is read strictly; the runner's own framing is what is read."""

from __future__ import annotations

import json

import pytest

from toolkit.contracts import Finished
from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.measure.answer import answer_of
from toolkit.runner.answer import EMPTY, framed, with_failure
from toolkit.runner.failure import Failure

URL = "ssh://board"


def finished(stdout: bytes, code: int = 0) -> Finished:
    return Finished(code=code, stdout=stdout, stderr="")


def frame(content: bytes) -> bytes:
    head = f"edgesr-answer 1 {len(content)} {sha256_bytes(content)}\n"
    return head.encode() + content


def test_what_the_runner_frames_is_read():
    answer = answer_of(finished(framed({**EMPTY, "load_ms": 1.5})), URL)
    assert answer["load_ms"] == 1.5


@pytest.mark.parametrize("kept", [0, 5, 40, 100, 200, -2])
def test_every_cut_is_noticed(kept):
    whole = framed(EMPTY)
    with pytest.raises(EnvironmentFailure):
        answer_of(finished(whole[:kept]), URL)


@pytest.mark.parametrize("place", [3, 20, 90, 120, 300])
def test_every_changed_byte_is_noticed(place):
    whole = bytearray(framed(EMPTY))
    whole[place] ^= 1
    with pytest.raises(EnvironmentFailure):
        answer_of(finished(bytes(whole)), URL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "is no JSON"),
        (b'{"schema": 1, "error": null, "load_ms": NaN}', "`NaN` is no JSON"),
        (b"[]", "another schema"),
        (b'{"schema": 2}', "another schema"),
    ],
)
def test_other_documents_are_refused(content, words):
    with pytest.raises(EnvironmentFailure, match=words):
        answer_of(finished(frame(content)), URL)


@pytest.mark.parametrize("size", ["99999999999999999999", "-1", "1e3", "", "\u0663"])
def test_a_size_that_is_none(size):
    head = f"edgesr-answer 1 {size} {'0' * 64}\n".encode()
    with pytest.raises(EnvironmentFailure, match="damaged"):
        answer_of(finished(head + b"{}"), URL)


@pytest.mark.parametrize(
    ("kind", "failure", "words"),
    [
        ("digest", SecurityError, "is not the one that was sent: why"),
        ("load", EnvironmentFailure, "does not take the file: why"),
        ("memory", EnvironmentFailure, "too little memory for the file: why"),
        ("missing", EnvironmentFailure, "the device lacks something: why"),
        ("run", EnvironmentFailure, "the run failed on the device: why"),
    ],
)
def test_what_the_runner_could_not_do(kind, failure, words):
    document = with_failure(EMPTY, Failure(kind, "why"))
    with pytest.raises(failure, match=words) as raised:
        answer_of(finished(framed(document), code=1), URL)
    assert raised.value.where == URL


def test_an_error_of_another_shape_is_a_failure_too():
    content = json.dumps({"schema": 1, "error": ["\033[2J"]}).encode()
    with pytest.raises(EnvironmentFailure, match="the run failed on the device"):
        answer_of(finished(frame(content), code=1), URL)


def test_a_runner_that_its_guard_had_to_kill_was_late_not_short_of_memory():
    late = with_failure(EMPTY, Failure("time", "not done after 300 s and did not react"))
    with pytest.raises(EnvironmentFailure, match=r"did not finish in time .* after 300 s"):
        answer_of(finished(framed(late), code=137), URL)
    killed = with_failure(EMPTY, Failure("run", "the runner was ended before it answered"))
    with pytest.raises(EnvironmentFailure, match="want of memory"):
        answer_of(finished(framed(killed), code=137), URL)
