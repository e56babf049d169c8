"""Links that break: a blob cut anywhere, servers that restart, lie about ranges, stall or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from camera.cameras import Camera, Outcome
from camera.models import Model, blobs
from camera.repository import Forge
from camera.running import wait_until
from camera.server import Act, Server

BYTES = 70_001  # of the blob that is disturbed; no multiple of any buffer
BLOB = "*.model.bin"
TRIES = 3  # of `camera.cameras.QUICK`
ENVIRONMENT, ATTACK = 3, 5


@pytest.fixture
def update(forge: Forge) -> Model:
    """Release 2 with a blob that is long enough to be cut."""
    model = Model(2, files=blobs(2, size=BYTES))
    forge.publish(model)
    return model


def _fetched(server: Server, pattern: str = BLOB) -> list[tuple[int, int]]:
    """(first byte, bytes sent) of each answer that carried bytes of a file."""
    return [(one.start, one.sent_bytes) for one in server.asked(pattern)]


def _assert_stays(camera: Camera, outcome: Outcome, code: int, kind: str) -> None:
    """The present model is served, the reason told, and nothing is half there."""
    assert (outcome.code, outcome.kind) == (code, kind), outcome
    said = {ENVIRONMENT: "error", ATTACK: "refused"}[code]
    assert f"{said}[{kind}]" in outcome.stderr
    assert camera.store.release == 1 and camera.store.is_served()
    assert camera.store.false_finals() == []


def _assert_next_run_heals(camera: Camera, server: Server) -> None:
    server.well()
    assert camera.heals()
    assert camera.store.release == 2


@pytest.mark.parametrize("cut", [0, 1, BYTES // 2, BYTES - 1], ids=lambda cut: f"at {cut}")
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_blob_cut_anywhere_is_resumed_without_a_byte_twice(
    camera: Camera, server: Server, update: Model, cut: int, reset: bool
) -> None:
    server.on(BLOB, Act(cut_after=cut, reset=reset))

    outcome = camera.pull()

    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome
    first, second = _fetched(server)
    assert first == (0, cut)
    if not reset:  # a reset may take bytes with it that were sent
        assert second == (cut, BYTES - cut)
    assert second[0] + second[1] == BYTES


@pytest.mark.parametrize("cut", [1, BYTES // 2, BYTES - 1], ids=lambda cut: f"at {cut}")
def test_the_next_pull_resumes_what_the_last_one_left(
    camera: Camera, server: Server, update: Model, cut: int
) -> None:
    server.on(BLOB, Act(cut_after=cut), Act(drop=True), forever=True)
    outcome = camera.pull()
    _assert_stays(camera, outcome, ENVIRONMENT, outcome.kind)
    assert outcome.kind in ("truncated", "network")
    assert len(server.asked(BLOB)) == TRIES

    server.well()
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2, outcome
    assert _fetched(server) == [(cut, BYTES - cut)]
    assert outcome.result["bytes_resumed"] == cut


def test_a_server_that_restarts_is_asked_again(
    camera: Camera, server: Server, update: Model
) -> None:
    half = BYTES // 2
    server.on(BLOB, Act(stall_after=half))
    running = camera.start(tries=9, retry_s="0.05", stall_s="20")
    wait_until(lambda: any(one.sent_bytes == half for one in server.asked(BLOB)), "half a blob")
    server.stop()
    server.start()
    ended = running.wait()
    assert ended.code == 0, ended
    assert camera.store.release == 2 and camera.store.is_served()
    assert _fetched(server) == [(0, half), (half, BYTES - half)]


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
    _assert_stays(camera, camera.pull(), ENVIRONMENT, "truncated")
    assert len(server.asked(BLOB)) == TRIES
    _assert_next_run_heals(camera, server)


HALF = BYTES // 2
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
    _assert_stays(camera, outcome, ENVIRONMENT, outcome.kind)
    assert outcome.kind in ("range", "truncated")
    assert len(server.asked(BLOB)) == TRIES
    _assert_next_run_heals(camera, server)


def test_a_range_of_other_bytes_is_fetched_afresh(
    camera: Camera, server: Server, update: Model
) -> None:
    """A right header over wrong bytes shows in the digest alone."""
    server.on(BLOB, Act(cut_after=HALF), Act(body=bytes(BYTES)))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome
    assert [one.start for one in server.asked(BLOB)] == [0, HALF, 0]


def test_more_bytes_than_signed_are_refused(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(extra=b"more"), forever=True)
    _assert_stays(camera, camera.pull(), ATTACK, "endless-data")
    _assert_next_run_heals(camera, server)


def test_more_bytes_than_signed_after_a_resume_are_refused(
    camera: Camera, server: Server, update: Model
) -> None:
    server.on(BLOB, Act(cut_after=HALF), Act(extra=b"more"), forever=True)
    _assert_stays(camera, camera.pull(), ATTACK, "endless-data")
    _assert_next_run_heals(camera, server)


def test_a_stall_is_left_and_resumed(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(stall_after=HALF))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2, outcome
    assert _fetched(server) == [(0, HALF), (HALF, BYTES - HALF)]


def test_a_server_that_only_stalls_is_left(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(stall_after=0), forever=True)
    _assert_stays(camera, camera.pull(tries=2), ENVIRONMENT, "timeout")
    assert len(server.asked(BLOB)) == 2
    _assert_next_run_heals(camera, server)


def test_a_drip_is_a_stall(camera: Camera, server: Server, update: Model) -> None:
    """A byte now and then would keep a camera busy for hours: there is a least rate."""
    server.on(BLOB, Act(drip_s=0.2), forever=True)
    _assert_stays(camera, camera.pull(tries=1), ENVIRONMENT, "timeout")
    _assert_next_run_heals(camera, server)


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_of_the_server_may_pass(
    camera: Camera, server: Server, update: Model, status: int
) -> None:
    server.on(BLOB, Act(status=status))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2, outcome
    assert [one.status for one in server.asked(BLOB)] == [status, 200]


@pytest.mark.parametrize("pattern", [BLOB, "*/timestamp.json", "*.index.json", "*.release.json"])
def test_an_error_of_the_server_that_stays_is_left(
    camera: Camera, server: Server, update: Model, pattern: str
) -> None:
    server.on(pattern, Act(status=500), forever=True)
    _assert_stays(camera, camera.pull(), ENVIRONMENT, "http")
    assert len(server.asked(pattern)) == TRIES
    _assert_next_run_heals(camera, server)


@pytest.mark.parametrize(
    "pattern",
    [
        BLOB,
        "*/timestamp.json",
        "*.snapshot.json",
        "*.street.json",
        "*.index.json",
        "*.release.json",
    ],
)
def test_a_file_that_is_not_there_is_asked_for_once(
    camera: Camera, server: Server, update: Model, pattern: str
) -> None:
    server.on(pattern, Act(status=404), forever=True)
    _assert_stays(camera, camera.pull(), ENVIRONMENT, "missing")
    assert len(server.asked(pattern)) == 1
    _assert_next_run_heals(camera, server)


def test_a_redirect_is_followed_within_the_scheme(
    camera: Camera, server: Server, update: Model, forge: Forge
) -> None:
    path = f"/targets/street/2/{next(b for b in update.blobs if b.name == 'model.bin').file.sha256}"
    server.on(BLOB, Act(status=302, location=f"{server.url}{path}.model.bin"))
    assert camera.pull().code == 0
    assert camera.store.release == 2 and camera.store.is_served()


@pytest.mark.parametrize(
    "place", ["file:///etc/hostname", "ftp://127.0.0.1/x", "//", "gopher:x", ""]
)
def test_a_redirect_to_another_scheme_is_not_followed(
    camera: Camera, server: Server, update: Model, place: str
) -> None:
    server.on(BLOB, Act(status=302, location=place), forever=True)
    outcome = camera.pull(tries=1)
    _assert_stays(camera, outcome, ENVIRONMENT, outcome.kind)
    assert outcome.kind in ("http", "network")
    _assert_next_run_heals(camera, server)


def test_a_redirect_in_a_circle_ends(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(status=302, location="/targets/street/2/x.model.bin"), forever=True)
    outcome = camera.pull(tries=1)
    _assert_stays(camera, outcome, ENVIRONMENT, "http")
    assert len(server.asked(BLOB)) < 20
    _assert_next_run_heals(camera, server)


@pytest.mark.parametrize(
    "pattern",
    ["*/timestamp.json", "*.snapshot.json", "*.street.json", "*.index.json", "*.release.json"],
)
@pytest.mark.parametrize("cut", [0, 1, 150])
def test_small_files_that_are_cut_short(
    camera: Camera, server: Server, update: Model, pattern: str, cut: int
) -> None:
    """Once: asked for again. For ever: left after some tries, as a broken link and no attack."""
    server.on(pattern, Act(cut_after=cut), forever=True)
    _assert_stays(camera, camera.pull(), ENVIRONMENT, "truncated")
    assert len(server.asked(pattern)) == TRIES

    server.well()
    server.on(pattern, Act(cut_after=cut))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome


def test_a_server_that_is_not_there(camera: Camera, server: Server, update: Model) -> None:
    before = camera.store.state()
    server.stop()
    _assert_stays(camera, camera.pull(), ENVIRONMENT, "network")
    assert camera.store.state() == before
    server.start()
    _assert_next_run_heals(camera, server)


def test_a_name_that_nobody_knows(camera: Camera, update: Model) -> None:
    _assert_stays(
        camera, camera.pull(channel="http://no.such.host.invalid"), ENVIRONMENT, "network"
    )


def test_a_server_that_closes_each_connection_at_once(
    camera: Camera, server: Server, update: Model
) -> None:
    server.on("*", Act(drop=True), forever=True)
    _assert_stays(camera, camera.pull(), ENVIRONMENT, "network")
    assert len(server.requests) == TRIES
    _assert_next_run_heals(camera, server)


def test_what_another_release_has_is_not_fetched(
    camera: Camera, server: Server, forge: Forge, tmp_path: Path
) -> None:
    """Release 2 shares all but one file with release 1."""
    shared = [one for one in blobs(1) if one.name != "model.bin"]
    other = [one for one in blobs(2) if one.name == "model.bin"]
    forge.publish(Model(2, files=(*shared, *other)))
    assert camera.pull().code == 0
    assert camera.store.release == 2 and camera.store.is_served()
    names = [
        one.path.rsplit("/", 1)[-1].partition(".")[2] for one in server.asked("/targets/*/2/*")
    ]
    assert sorted(names) == ["model.bin", "release.json"]
