"""Servers that send other parts of a file than were asked for, or no parts at all."""

from __future__ import annotations

import pytest

from camera.broken_link import (
    BLOB,
    BYTES,
    ENVIRONMENT,
    HALF,
    TRIES,
    assert_next_run_heals,
    assert_stays,
)
from camera.cameras import Camera
from camera.models import Model
from camera.server import Act, Server


def test_a_server_without_ranges_costs_a_whole_file_more(
    camera: Camera, server: Server, update: Model
) -> None:
    server.on(BLOB, Act(cut_after=BYTES - 1), Act(ranges=False))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome
    assert [one.status for one in server.asked(BLOB)] == [200, 200]
    assert outcome.result["bytes_fetched"] >= 2 * BYTES - 1


def test_a_server_that_never_sends_ranges_nor_a_whole_file_is_left(
    camera: Camera, server: Server, update: Model
) -> None:
    server.on(BLOB, Act(cut_after=BYTES - 1, ranges=False), forever=True)
    assert_stays(camera, camera.pull(), ENVIRONMENT, "truncated")
    assert len(server.asked(BLOB)) == TRIES
    assert_next_run_heals(camera, server)


WRONG_RANGES = {
    "absent": "",
    "one too early": f"bytes {HALF - 1}-{BYTES - 1}/{BYTES}",
    "one too late": f"bytes {HALF + 1}-{BYTES - 1}/{BYTES}",
    "from the start": f"bytes 0-{BYTES - 1}/{BYTES}",
    "another length": f"bytes {HALF}-{BYTES}/{BYTES + 1}",
    "end past the file": f"bytes {HALF}-{BYTES}/{BYTES}",
    "end before start": f"bytes {HALF}-{HALF - 1}/{BYTES}",
    "no unit": f"{HALF}-{BYTES - 1}/{BYTES}",
    "another unit": f"lines {HALF}-{BYTES - 1}/{BYTES}",
    "negative": f"bytes -{HALF}-{BYTES - 1}/{BYTES}",
    "no numbers": "bytes a-b/c",
    "unsatisfied": f"bytes */{BYTES}",
    "huge": f"bytes {HALF}-{2**64 + BYTES - 1}/{2**64 + BYTES}",
    "cut off": f"bytes {HALF}-",
    "trailing words": f"bytes {HALF}-{BYTES - 1}/{BYTES} and more",
}


@pytest.mark.parametrize("text", WRONG_RANGES.values(), ids=WRONG_RANGES.keys())
def test_a_wrong_range_is_not_trusted(
    camera: Camera, server: Server, update: Model, text: str
) -> None:
    """The file is begun again, and is right."""
    server.on(BLOB, Act(cut_after=HALF), Act(content_range=text))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome
    assert [one.start for one in server.asked(BLOB)] == [0, HALF, 0]


def test_ranges_that_are_always_wrong_are_left_after_some_tries(
    camera: Camera, server: Server, update: Model
) -> None:
    lies = [Act(cut_after=HALF), Act(content_range="bytes 7-8/9")] * TRIES
    server.on(BLOB, *lies)
    outcome = camera.pull()
    assert_stays(camera, outcome, ENVIRONMENT, outcome.kind)
    assert outcome.kind in ("range", "truncated")
    assert len(server.asked(BLOB)) == TRIES
    assert_next_run_heals(camera, server)


def test_a_range_of_other_bytes_is_fetched_afresh(
    camera: Camera, server: Server, update: Model
) -> None:
    """A right header over wrong bytes shows in the digest alone."""
    server.on(BLOB, Act(cut_after=HALF), Act(body=bytes(BYTES)))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome
    assert [one.start for one in server.asked(BLOB)] == [0, HALF, 0]
