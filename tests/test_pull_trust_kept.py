"""Trusted metadata on a bad medium: it heals from the given root, and nothing spoils it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess

import pytest
from camera.models import FAMILY
from camera.repository import Key, read
from trusting import (
    ORDER,
    Camera,
    camera_before,
    rotate,
)

from toolkit.errors import EnvironmentFailure, ToolkitError

NAMES = [f"{role}.json" for role in ORDER]
CHAIN = "root_history/2.root.json"


@pytest.fixture
def camera(tmp_path) -> Camera:
    """A camera that has followed one rotation of root and a release."""
    camera = camera_before(tmp_path)
    rotate(camera.forge, "root 3")
    camera.refresh()
    return camera


def tampered(path):
    path.write_bytes(path.read_bytes().replace(b'"expires":"20', b'"expires":"29'))


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_link(path):
    path.unlink()
    path.symlink_to("/dev/zero")


DAMAGES = {
    "lost": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "nul": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "tail": lambda path: path.write_bytes(path.read_bytes()[:-512] + b"\0" * 512),
    "tampered": tampered,
    "huge": lambda path: path.write_bytes(b" " * 6_000_000),
    "of-another-role": lambda path: path.write_bytes(
        (path.parent / ("snapshot.json" if "root" in path.name else "root.json")).read_bytes()
    ),
    "pipe": a_pipe,
    "link": a_link,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_heals(camera, name, damage):
    before = camera.kept()
    DAMAGES[damage](camera.metadata / name)
    assert camera.versions() == {"root": 2, **dict.fromkeys(ORDER[1:], 1)}
    assert camera.kept() == before
    assert not (camera.metadata / name).is_symlink()
    camera.refresh()
    assert camera.asked == ["3.root.json", "timestamp.json"] and camera.said == []


@pytest.mark.parametrize("damage", ["empty", "nul", "cut", "tampered"])
@pytest.mark.parametrize("name", [*NAMES, CHAIN])
def test_mending_is_said(camera, name, damage):
    DAMAGES[damage](camera.metadata / name)
    camera.refresh()
    assert [line for line in camera.said if f"`{name}`" in line], camera.said


@pytest.mark.parametrize("damage", ["lost", "empty", "nul", "cut", "huge"])
def test_a_damaged_chain_is_walked_again(camera, damage):
    before = camera.kept()
    DAMAGES[damage](camera.metadata / CHAIN)
    assert camera.versions()["root"] == 2
    assert camera.asked[:2] == ["2.root.json", "3.root.json"]
    assert camera.kept() == before


def test_everything_lost_heals_from_the_given_root(camera):
    before = camera.kept()
    shutil.rmtree(camera.metadata)
    camera.refresh()
    assert camera.kept() == before


def test_what_never_was_metadata_is_left_alone(camera):
    (camera.metadata / "street.index.json").write_bytes(b"{}")
    (camera.metadata / "lobby.json").write_bytes(b"\0\0")
    (camera.metadata / "notes.txt").write_text("mine")
    camera.refresh()
    assert camera.kept()["street.index.json"] == b"{}" and camera.kept()["notes.txt"] == b"mine"
    assert camera.asked == ["3.root.json", "timestamp.json"]


def test_a_file_system_without_links_will_do(camera, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    camera.forge.renew(*ORDER)
    assert camera.versions()["root"] == 3


# Keys that were stolen


@pytest.mark.parametrize("roles", [("timestamp",), ("snapshot",), ("timestamp", "snapshot")])
def test_versions_that_nobody_can_exceed_go_with_their_keys(camera, roles):
    """Fast-forward, and its recovery by a root with other keys."""
    forge = camera.forge
    forge.keys["snapshot"] = (Key("snapshot"),)
    forge.authorise()
    forge.renew("root", "snapshot", "timestamp")
    camera.refresh()
    good = forge.copy(forge.folder.parent / "good")
    for role in roles:
        forge.signed[role]["version"] = 1 << 40
    if "snapshot" in roles:
        forge.signed["snapshot"]["meta"][f"{FAMILY}.json"] = {"version": 1 << 41}
        forge.write("snapshot")
        forge.link("timestamp")
    forge.signed["timestamp"]["version"] += "timestamp" not in roles
    forge.write("timestamp")
    with contextlib.suppress(ToolkitError):
        camera.refresh()  # it takes over what the stolen keys signed

    camera.forge = good
    good.signed["timestamp"]["version"] += 2  # honest, and still far below
    good.write("timestamp")
    assert camera.refused().kind == "rollback"
    for role in roles:
        good.keys[role] = (Key(f"{role} anew"),)
    good.authorise()
    good.renew("root", "snapshot", "timestamp")
    camera.refresh()
    assert [one for one in camera.said if "is not signed by this root; it is dropped" in one]
    assert read(camera.metadata / "timestamp.json")["signed"]["version"] < 100
    assert read(camera.metadata / "snapshot.json")["signed"]["version"] < 100


def test_a_stored_timestamp_that_was_tampered_with_takes_no_snapshot_along(camera):
    """Only changed keys void both files: a damaged one costs no memory of the other."""
    old = {role: camera.forge.envelope(role) for role in ("snapshot", "timestamp")}
    camera.forge.renew("snapshot", "timestamp")
    camera.refresh()
    path = camera.metadata / "timestamp.json"
    path.write_bytes(path.read_bytes().replace(b'"version":2', b'"version":8', 1))
    camera.forge.signed["snapshot"].update(old["snapshot"]["signed"], version=3)
    del camera.forge.signed["snapshot"]["meta"][f"{FAMILY}.json"]
    camera.forge.write("snapshot")
    camera.forge.renew("timestamp")
    assert camera.refused().kind == "rollback"


# Disks


class Broken:
    """A disk that refuses from the n-th write on."""

    def __init__(self, monkeypatch, number, after):
        self.left = after
        real = os.fsync

        def fsync(descriptor):
            self.left -= 1
            if self.left < 0:
                raise OSError(number, os.strerror(number))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EROFS, "read-only"),
     (errno.EIO, "store")],
)  # fmt: skip
@pytest.mark.parametrize("after", [0, 2, 5, 7])
def test_a_disk_that_fails_is_named_and_keeps_whole_files(camera, monkeypatch, number, kind, after):
    """Files of Updater's folder are never synced and do not count: they go with the run."""
    before = camera.kept()
    camera.forge.renew(*ORDER)
    with monkeypatch.context() as patch:
        Broken(patch, number, after)
        error = camera.refused()
    assert isinstance(error, EnvironmentFailure) and error.kind == kind, str(error)
    now = camera.kept()
    assert set(before) - {CHAIN} <= set(now)
    assert not [name for name in now if name.endswith(".part")]
    channel = camera.forge.folder / "metadata"
    whole = {one.read_bytes() for one in channel.iterdir()} | set(before.values())
    assert set(now.values()) <= whole
    assert camera.versions() == {"root": 3, **dict.fromkeys(ORDER[1:], 2)}


def test_a_file_where_the_folder_should_be(camera):
    shutil.rmtree(camera.metadata)
    camera.metadata.write_text("no folder")
    error = camera.refused()
    assert error.kind == "store" and error.where.startswith("STORE")
    assert camera.metadata.read_text() == "no folder"


def test_no_temporary_folder_is_named(camera, monkeypatch, tmp_path):
    import tempfile

    def none(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    error = camera.refused()
    assert error.kind == "store" and "TMPDIR" in error.hint


def test_what_a_killed_run_left_in_memory_is_removed(camera, monkeypatch, tmp_path):
    import tempfile

    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (ended.pid, os.getpid(), "x"):
        (temporary / f"edgesr-metadata-{name}-abc/root_history").mkdir(parents=True)
    (temporary / f"edgesr-metadata-{ended.pid}-abc/root.json").write_bytes(b"{}")
    camera.refresh()
    left = sorted(one.name for one in temporary.iterdir())
    assert left == sorted([f"edgesr-metadata-{os.getpid()}-abc", "edgesr-metadata-x-abc"])
