"""Links that break: a blob cut anywhere, servers that restart, lie about ranges, stall or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from camera.broken_link import (
    ATTACK,
    BLOB,
    BYTES,
    ENVIRONMENT,
    HALF,
    TRIES,
    assert_next_run_heals,
    assert_stays,
    fetched,
)
from camera.cameras import Camera
from camera.models import Model, blobs
from camera.repository import Forge
from camera.running import wait_until
from camera.server import Act, Server


@pytest.mark.parametrize("cut", [0, 1, BYTES // 2, BYTES - 1], ids=lambda cut: f"at {cut}")
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_blob_cut_anywhere_is_resumed_without_a_byte_twice(
    camera: Camera, server: Server, update: Model, cut: int, reset: bool
) -> None:
    server.on(BLOB, Act(cut_after=cut, reset=reset))

    outcome = camera.pull()

    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome
    first, second = fetched(server)
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
    assert_stays(camera, outcome, ENVIRONMENT, outcome.kind)
    assert outcome.kind in ("truncated", "network")
    assert len(server.asked(BLOB)) == TRIES

    server.well()
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2, outcome
    assert fetched(server) == [(cut, BYTES - cut)]
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
    assert fetched(server) == [(0, half), (half, BYTES - half)]


def test_more_bytes_than_signed_are_refused(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(extra=b"more"), forever=True)
    assert_stays(camera, camera.pull(), ATTACK, "endless-data")
    assert_next_run_heals(camera, server)


def test_more_bytes_than_signed_after_a_resume_are_refused(
    camera: Camera, server: Server, update: Model
) -> None:
    server.on(BLOB, Act(cut_after=HALF), Act(extra=b"more"), forever=True)
    assert_stays(camera, camera.pull(), ATTACK, "endless-data")
    assert_next_run_heals(camera, server)


def test_a_stall_is_left_and_resumed(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(stall_after=HALF))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2, outcome
    assert fetched(server) == [(0, HALF), (HALF, BYTES - HALF)]


def test_a_server_that_only_stalls_is_left(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(stall_after=0), forever=True)
    assert_stays(camera, camera.pull(tries=2), ENVIRONMENT, "timeout")
    assert len(server.asked(BLOB)) == 2
    assert_next_run_heals(camera, server)


def test_a_drip_is_a_stall(camera: Camera, server: Server, update: Model) -> None:
    """A byte now and then would keep a camera busy for hours: there is a least rate."""
    server.on(BLOB, Act(drip_s=0.2), forever=True)
    assert_stays(camera, camera.pull(tries=1), ENVIRONMENT, "timeout")
    assert_next_run_heals(camera, server)


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
    assert_stays(camera, camera.pull(), ENVIRONMENT, "http")
    assert len(server.asked(pattern)) == TRIES
    assert_next_run_heals(camera, server)


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
    assert_stays(camera, camera.pull(), ENVIRONMENT, "missing")
    assert len(server.asked(pattern)) == 1
    assert_next_run_heals(camera, server)


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
    assert_stays(camera, outcome, ENVIRONMENT, outcome.kind)
    assert outcome.kind in ("http", "network")
    assert_next_run_heals(camera, server)


def test_a_redirect_in_a_circle_ends(camera: Camera, server: Server, update: Model) -> None:
    server.on(BLOB, Act(status=302, location="/targets/street/2/x.model.bin"), forever=True)
    outcome = camera.pull(tries=1)
    assert_stays(camera, outcome, ENVIRONMENT, "http")
    assert len(server.asked(BLOB)) < 20
    assert_next_run_heals(camera, server)


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
    assert_stays(camera, camera.pull(), ENVIRONMENT, "truncated")
    assert len(server.asked(pattern)) == TRIES

    server.well()
    server.on(pattern, Act(cut_after=cut))
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome


def test_a_server_that_is_not_there(camera: Camera, server: Server, update: Model) -> None:
    before = camera.store.state()
    server.stop()
    assert_stays(camera, camera.pull(), ENVIRONMENT, "network")
    assert camera.store.state() == before
    server.start()
    assert_next_run_heals(camera, server)


def test_a_name_that_nobody_knows(camera: Camera, update: Model) -> None:
    assert_stays(camera, camera.pull(channel="http://no.such.host.invalid"), ENVIRONMENT, "network")


def test_a_server_that_closes_each_connection_at_once(
    camera: Camera, server: Server, update: Model
) -> None:
    server.on("*", Act(drop=True), forever=True)
    assert_stays(camera, camera.pull(), ENVIRONMENT, "network")
    assert len(server.requests) == TRIES
    assert_next_run_heals(camera, server)


def test_what_another_release_has_is_notfetched(
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
