"""SIGKILL before, in and after each state of a pull: a first one, and an update.

Afterwards a camera must find either the old or the new release, whole, and the next pull must leave
the same files as one that nobody disturbed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from camera.cameras import GOOD_MODEL, Camera, Client
from camera.models import Model
from camera.repository import Forge
from camera.server import Server

STATES = (
    "lock", "clock", "root", "timestamp", "snapshot", "targets", "family", "index",
    "manifest", "space", "fetch", "verify", "test", "activate", "collect",
)  # fmt: skip
PHASES = ("before", "in", "after")
STARTS = ("first", "update")
BAD_MODEL = "#!/bin/sh\nexit 3\n"


@dataclass(frozen=True, kw_only=True)
class Course:
    """A pull that ends with release 3: from what, and what an undisturbed one leaves behind."""

    start: Camera  # its store is copied for each kill
    has_model: bool  # before the pull
    end: dict[str, str]  # every file of the store afterwards
    metadata: frozenset[tuple[str, str]]  # (file, digest) that a camera may trust on the way


@pytest.fixture(scope="session")
def channel(first_channel: Forge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Releases 1 to 3, the root once rotated."""
    forge = first_channel.copy(tmp_path_factory.mktemp("kill") / "channel")
    forge.publish(Model(2))
    forge.publish(Model(3))
    forge.renew("root")
    with Server(forge.folder) as server:
        yield server


@pytest.fixture(scope="session")
def courses(
    client: Client,
    first_channel: Forge,
    first_camera: Camera,
    channel: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Course]:
    """Both courses, run to their ends once."""
    folder = tmp_path_factory.mktemp(f"courses-{client.name}")
    new = Camera.made(client, folder / "new", channel.url, first_channel.root)
    old = first_camera.copy(folder / "old", channel.url)
    return {"first": _course(new, folder / "one"), "update": _course(old, folder / "two")}


def _course(start: Camera, folder: Path) -> Course:
    ended = start.copy(folder, start.channel)
    assert ended.pull().outcome == "updated"
    before, end = start.store.state(), ended.store.state()
    trusted = [item for item in (*before.items(), *end.items()) if item[0].startswith("metadata/")]
    return Course(
        start=start, has_model=start.store.is_served(), end=end, metadata=frozenset(trusted)
    )


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("start", STARTS)
def test_a_kill_at_any_point_costs_nothing(
    courses: dict[str, Course], start: str, state: str, phase: str, tmp_path: Path
) -> None:
    course = courses[start]
    camera = course.start.copy(tmp_path / "camera", course.start.channel)

    assert camera.killed(environment={"EDGESR_KILL": f"{state}:{phase}"}) == signal.SIGKILL
    _assert_usable(camera, course)

    again = camera.pull()
    assert again.code == 0 and camera.store.release == 3, again
    assert camera.store.state() == course.end


def _assert_usable(camera: Camera, course: Course) -> None:
    """What firmware that reads the store now finds is whole, and signed."""
    store = camera.store
    assert store.is_served() or (store.pointer() is None and not course.has_model)
    assert store.false_finals() == []
    finals = {item for item in store.trusted().items() if not item[0].endswith(".part")}
    assert finals <= course.metadata
    assert "blocked" not in store.state()


@pytest.mark.parametrize("start", STARTS)
def test_a_camera_that_is_killed_at_every_point_in_turn_still_arrives(
    courses: dict[str, Course], start: str, tmp_path: Path
) -> None:
    """One store through all kills, but for the self-test: five lost ones are a verdict."""
    course = courses[start]
    camera = course.start.copy(tmp_path / "camera", course.start.channel)
    for state in STATES:
        if state in ("test", "activate", "collect"):
            continue
        for phase in PHASES:
            camera.start(environment={"EDGESR_KILL": f"{state}:{phase}"}).wait()
            _assert_usable(camera, course)
    assert camera.pull().outcome == "updated"
    assert camera.store.state() == course.end


def test_a_model_that_takes_the_machine_down_five_times_is_blocked(
    courses: dict[str, Course], tmp_path: Path
) -> None:
    camera = courses["update"].start.copy(tmp_path / "camera", courses["update"].start.channel)
    before = camera.store.pointer()
    for _ in range(5):
        assert camera.killed(environment={"EDGESR_KILL": "test:in"}) == signal.SIGKILL
        assert camera.store.pointer() == before and camera.store.is_served()

    last = camera.pull()

    assert set(camera.store.blocked().values()) == {"crash"}
    assert camera.store.is_served()
    # the release before it is newer than the present one too, and it is well
    assert camera.store.release == 2, last


@pytest.mark.parametrize("place", ["fetch:after", "verify:after", "test:before", "test:in"])
@pytest.mark.parametrize("pointer", [None, b"", bytes(67)], ids=["absent", "empty", "zeros"])
def test_a_release_that_was_never_tested_is_not_healed_into_service(
    courses: dict[str, Course], place: str, pointer: bytes | None, tmp_path: Path
) -> None:
    """Complete is not enough: what lies there after a kill may be a model that fails."""
    start = courses["first"].start
    camera = start.copy(tmp_path / "camera", start.channel)
    camera.judge(BAD_MODEL)
    camera.killed(environment={"EDGESR_KILL": place})
    if pointer is not None:
        (camera.store.folder / "current").write_bytes(pointer)

    camera.pull()
    assert not camera.store.is_served()

    camera.judge(GOOD_MODEL)
    camera.pull(channel="http://127.0.0.1:9")  # nothing new can be had
    assert not camera.store.is_served(), "a blocked model was served"
