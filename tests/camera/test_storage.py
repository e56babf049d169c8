"""Media that are full, read-only, FAT, or gone: the present model is served all the same."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from needs import needs

from camera.broken_link import BLOB, BYTES, HALF
from camera.cameras import Camera, outcome_of
from camera.models import Model
from camera.mounts import fat, fill, remount, tmpfs
from camera.repository import Forge
from camera.running import wait_until
from camera.server import Act, Server

PAGE_BYTES = 4096  # what tmpfs gives out
LAST = 90  # inodes that are more than enough


@pytest.fixture
def small(camera: Camera, update: Model, tmp_path: Path) -> Iterator[Camera]:
    """The camera that serves release 1, its folder on a medium of 1 MB."""
    with tmpfs(tmp_path / "medium", f"size=1m,nr_inodes={LAST}") as medium:
        yield camera.copy(medium / "camera", camera.channel)


def _assert_stays(camera: Camera, release: int = 1) -> None:
    assert camera.store.release == release and camera.store.is_served()
    assert camera.store.false_finals() == []


# -- full ---------------------------------------------------------------------------------------


def test_too_little_space_is_found_before_a_blob_is_fetched(small: Camera, server: Server) -> None:
    filler = fill(small.folder.parent, leave_bytes=BYTES)

    outcome = small.pull()

    assert (outcome.code, outcome.kind) == (3, "disk-full"), outcome
    assert server.asked("/targets/street/2/*.model.*") == []
    _assert_stays(small)
    filler.unlink()
    assert small.heals() and small.store.release == 2


@pytest.mark.parametrize("pages", range(0, 14, 2))
def test_a_full_medium_keeps_the_present_model(small: Camera, pages: int) -> None:
    """Room for so many small files, so that each write in turn is the one that fails."""
    filler = fill(small.folder.parent, leave_bytes=pages * PAGE_BYTES)

    outcome = small.pull()

    assert (outcome.code, outcome.kind) == (3, "disk-full"), outcome
    _assert_stays(small)
    filler.unlink()
    assert small.heals() and small.store.release == 2


def test_a_medium_that_fills_up_in_the_middle(small: Camera, server: Server) -> None:
    server.on(BLOB, Act(stall_after=HALF))
    running = small.start(tries=2)
    wait_until(lambda: _has_half(small), "half a blob on the medium")
    filler = fill(small.folder.parent)
    ended = running.wait()
    outcome = outcome_of(ended.code, ended.stdout, ended.stderr)

    assert (outcome.code, outcome.kind) == (3, "disk-full"), outcome
    _assert_stays(small)
    filler.unlink()
    server.well()
    assert small.heals() and small.store.release == 2
    assert server.asked(BLOB)[0].start > 0, "what was there is not used"


def _has_half(camera: Camera) -> bool:
    parts = camera.store.folder.glob("releases/*/model.bin.part")
    return any(one.stat().st_size == HALF for one in parts)


def test_a_medium_without_room_for_names(small: Camera) -> None:
    """No inode for the next file: past the check of space, each new file in turn fails."""
    spare, codes = 0, []
    while not codes or codes[-1] != 0:
        trial = replace(small, folder=small.folder.parent / f"trial-{spare}")
        shutil.copytree(small.folder, trial.folder)
        used = LAST - _free_names(small.folder)
        remount(small.folder.parent, f"nr_inodes={used + spare}")
        outcome = trial.pull()
        _assert_stays(trial, release=2 if outcome.code == 0 else trial.store.release or 0)
        assert outcome.code == 0 or (outcome.code, outcome.kind) == (3, "disk-full"), outcome
        remount(small.folder.parent, f"nr_inodes={LAST}")
        assert trial.heals() and trial.store.release == 2
        shutil.rmtree(trial.folder)
        codes.append(outcome.code)
        spare += 1
    assert len(codes) > 5, "hardly a write was disturbed"


def _free_names(folder: Path) -> int:
    return os.statvfs(folder).f_ffree


def test_a_limit_on_the_size_of_files(camera: Camera, update: Model) -> None:
    outcome = _ended(camera, limits={resource.RLIMIT_FSIZE: HALF})
    assert outcome.code == 3 and outcome.kind in ("disk-full", "store"), outcome
    _assert_stays(camera)
    assert camera.heals() and camera.store.release == 2


def _ended(camera: Camera, **options):
    ended = camera.start(**options).wait()
    return outcome_of(ended.code, ended.stdout, ended.stderr)


# -- read-only ----------------------------------------------------------------------------------


def test_a_read_only_medium(small: Camera) -> None:
    before = small.store.state()
    remount(small.folder.parent, "ro")

    outcome = small.pull()

    assert (outcome.code, outcome.kind) == (3, "read-only"), outcome
    assert small.store.state() == before
    _assert_stays(small)
    remount(small.folder.parent, "rw")
    assert small.heals() and small.store.release == 2


# -- FAT and other media without links -----------------------------------------------------------


@pytest.fixture
def on_fat(camera: Camera, update: Model, tmp_path: Path) -> Iterator[Camera]:
    """A camera without a model, all of it on FAT, temporary files too."""
    with fat(tmp_path / "card", tmp_path / "card.img") as card:
        folder = card / "camera"
        folder.mkdir()
        shutil.copyfile(camera.folder / "root.json", folder / "root.json")
        judge = {"self_test": camera.folder / "self-test"}  # FAT has no execute bit
        yield replace(camera, folder=folder, options=judge)


@needs("fat")
def test_the_medium_has_no_links(on_fat: Camera) -> None:
    """What the next tests rest on."""
    file = on_fat.folder / "file"
    file.write_text("x")
    with pytest.raises(OSError):
        file.with_name("symbolic").symlink_to(file)
    with pytest.raises(OSError):
        file.with_name("hard").hardlink_to(file)


@needs("fat")
def test_fat_takes_a_first_release_and_the_next(
    on_fat: Camera, forge: Forge, server: Server
) -> None:
    scratch = {"TMPDIR": str(on_fat.folder)}
    server.on(BLOB, Act(cut_after=HALF))
    first = on_fat.pull(environment=scratch)
    assert first.code == 0, first
    _assert_stays(on_fat, release=2)
    assert [one.start for one in server.asked(BLOB)] == [0, HALF]

    forge.publish(Model(3))
    assert on_fat.pull(environment=scratch).code == 0
    _assert_stays(on_fat, release=3)
    assert on_fat.store.pointer("previous") is not None
    assert on_fat.pull(environment=scratch).outcome == "current"


@needs("fat")
@pytest.mark.parametrize("place", ["timestamp:in", "manifest:in", "fetch:in", "activate:in"])
def test_a_kill_on_fat(on_fat: Camera, forge: Forge, place: str) -> None:
    assert on_fat.pull().code == 0
    forge.publish(Model(3))
    assert on_fat.killed(environment={"EDGESR_KILL": place}) == signal.SIGKILL
    _assert_stays(on_fat, release=2)
    assert on_fat.heals() and on_fat.store.release == 3


# -- gone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["store", "store/releases", "store/metadata", "store/lock"])
def test_a_folder_that_vanishes_in_the_middle(
    camera: Camera, server: Server, update: Model, what: str
) -> None:
    server.on(BLOB, Act(stall_after=HALF))
    running = camera.start(tries=2)
    wait_until(lambda: _has_half(camera), "half a blob on the medium")
    place = camera.folder / what
    place.unlink() if place.is_file() else shutil.rmtree(place)
    ended = running.wait()
    outcome = outcome_of(ended.code, ended.stdout, ended.stderr)
    if what.endswith(("store", "releases")):
        assert (outcome.code, outcome.kind) == (3, "store"), outcome
    server.well()
    assert camera.heals() and camera.store.release == 2


@pytest.mark.parametrize("what", ["store", "store/releases", "store/metadata"])
def test_a_file_in_the_place_of_a_folder(camera: Camera, update: Model, what: str) -> None:
    place = camera.folder / what
    shutil.rmtree(place)
    place.write_text("no folder")
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (3, "store"), outcome
    assert place.read_text() == "no folder"
    place.unlink()
    assert camera.heals() and camera.store.release == 2


@pytest.mark.parametrize("name", ["current", "previous", "blocked", "trial"])
def test_a_folder_in_the_place_of_a_file(camera: Camera, update: Model, name: str) -> None:
    place = camera.store.folder / name
    place.unlink(missing_ok=True)
    place.mkdir()
    outcome = camera.pull()
    assert outcome.code in (0, 3) and outcome.kind in ("", "store"), outcome
    if outcome.code == 0:
        assert camera.store.is_served()
    place.is_dir() and place.rmdir()
    assert camera.heals() and camera.store.release == 2


# -- in one step ----------------------------------------------------------------------------------


def test_who_has_a_small_file_open_reads_the_old_one_to_its_end(
    camera: Camera, update: Model
) -> None:
    """Pointers and metadata are replaced as wholes, never written in place."""
    names = ("current", "metadata/timestamp.json", "metadata/snapshot.json", "metadata/street.json")
    files = [camera.store.folder / name for name in names]
    before = [file.read_bytes() for file in files]
    with contextlib.ExitStack() as kept:
        readers = [kept.enter_context(file.open("rb")) for file in files]
        assert camera.pull().outcome == "updated"
        assert [reader.read() for reader in readers] == before
    assert all(file.read_bytes() != old for file, old in zip(files, before, strict=True))


def test_a_pointer_with_the_number_of_another_release_is_repaired(camera: Camera) -> None:
    current = camera.store.folder / "current"
    right = current.read_text()
    current.write_text(f"7{right}")
    outcome = camera.pull()
    assert (outcome.code, outcome.result["release"]) == (0, 1), outcome
    assert current.read_text() == right
