"""The store of a camera: pointers that heal, lists that stay small, files that are whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest
from camera.models import Model
from pull_parts import served, stored

from toolkit.errors import EnvironmentFailure
from toolkit.pull import store as parts
from toolkit.pull.activate import activate, return_to_previous
from toolkit.pull.disk import free_bytes, read_small, replace_file, sync_folder
from toolkit.pull.heal import healed, standing
from toolkit.pull.locking import locked

DAMAGES = [b"", bytes(70), b"2 abc\n", b"\xff" * 70, b"2 " + b"a" * 64, b"1 " + b"0" * 64 + b"\n"]


def quiet(line):
    """Nobody listens."""


def nobody(stored):
    raise AssertionError("nothing is to be tested here")


def heal(store, is_good=nobody, **options):
    return healed(store, quiet, is_good, **options)


def test_a_pointer_is_one_line(tmp_path):
    found = served(tmp_path, Model(7))
    assert (tmp_path / "current").read_text() == f"7 {found.id}\n"
    assert parts.read_pointer(tmp_path, "current") == parts.Pointer(release=7, id=found.id)
    assert found.model.name == "model.xml" and found.model.is_file()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pointer_falls_back_to_the_previous_release(tmp_path, damage):
    first, _ = served(tmp_path, Model(1), "previous"), served(tmp_path, Model(2))
    (tmp_path / "current").write_bytes(damage)
    assert heal(tmp_path).current == first
    assert parts.read_pointer(tmp_path, "current").id == first.id


@pytest.mark.parametrize("name", ["release.json", "model.bin", "contract.json"])
@pytest.mark.parametrize("how", ["lost", "zeros", "cut", "flipped"])
def test_a_release_with_a_damaged_file_is_not_served(tmp_path, name, how):
    first, second = served(tmp_path, Model(1), "previous"), served(tmp_path, Model(2))
    file = second.folder / name
    data = file.read_bytes()
    file.unlink()
    if how != "lost":
        changed = {"zeros": bytes(len(data)), "cut": data[:-1]}
        file.write_bytes(changed.get(how, bytes([data[0] ^ 1]) + data[1:]))
    assert heal(tmp_path).current == first


def test_a_manifest_that_was_changed_is_no_release(tmp_path):
    only = served(tmp_path, Model(1))
    file = only.folder / "release.json"
    file.write_bytes(file.read_bytes().replace(b'"tiny"', b'"tinY"'))
    assert standing(tmp_path).current is None


def test_a_release_that_never_was_served_must_prove_itself(tmp_path):
    first, second, third = (stored(tmp_path, Model(number)) for number in (1, 2, 3))
    (tmp_path / "current").write_bytes(b"")
    asked = []

    def is_good(one):
        asked.append(one.release.release)
        return one == second

    assert heal(tmp_path, is_good).current == second
    assert asked == [3, 2] and {first.id, third.id} <= set(parts.release_ids(tmp_path))


def test_without_any_pointer_the_normal_course_comes_first(tmp_path):
    only = stored(tmp_path, Model(1))
    assert heal(tmp_path).current is None
    assert heal(tmp_path, lambda one: True, anyway=True).current == only


def test_a_previous_that_lies_is_dropped(tmp_path):
    present = served(tmp_path, Model(2))
    (tmp_path / "previous").write_bytes(b"1 " + b"0" * 64 + b"\n")
    assert heal(tmp_path) == parts.Standing(current=present, previous=None)
    assert not (tmp_path / "previous").exists()


def test_looking_changes_nothing(tmp_path):
    served(tmp_path, Model(1), "previous")
    (tmp_path / "current").write_bytes(b"")
    assert standing(tmp_path).current is None
    assert (tmp_path / "current").read_bytes() == b""


def test_the_old_model_is_kept_as_the_previous_one(tmp_path):
    first, second = served(tmp_path, Model(1)), stored(tmp_path, Model(2))
    seen = []
    activate(tmp_path, second, standing(tmp_path), lambda: seen.append(standing(tmp_path)))
    assert seen == [parts.Standing(current=first, previous=first)]
    assert standing(tmp_path) == parts.Standing(current=second, previous=first)


def test_firmware_sends_a_model_back(tmp_path):
    first, second = served(tmp_path, Model(1), "previous"), served(tmp_path, Model(2))
    assert return_to_previous(tmp_path, quiet).current == first
    assert parts.blocked(tmp_path) == {second.release.content: "misbehaved"}
    with pytest.raises(EnvironmentFailure, match="no previous"):
        return_to_previous(tmp_path, quiet)
    assert standing(tmp_path).current == first


def test_the_block_list_forgets_the_oldest_only(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "BLOCKED_MOST", 8)
    parts.make_store(tmp_path)
    (tmp_path / "blocked").write_text("no digest crash\n" + "a" * 64 + " golden\n")
    for number in range(parts.BLOCKED_MOST):
        parts.block(tmp_path, f"{number:064x}", "slow")
    found = parts.blocked(tmp_path)
    assert len(found) == parts.BLOCKED_MOST and "a" * 64 not in found
    assert list(found)[-1] == f"{parts.BLOCKED_MOST - 1:064x}"


def test_attempts_are_counted_per_release(tmp_path):
    parts.make_store(tmp_path)
    one, other = "1" * 64, "2" * 64
    assert [parts.begin_trial(tmp_path, one) for _ in range(3)] == [1, 2, 3]
    assert parts.attempts(tmp_path, other) == 0
    parts.end_trial(tmp_path)
    assert parts.attempts(tmp_path, one) == 0 and not (tmp_path / "trial").exists()


def test_only_releases_are_collected(tmp_path):
    kept, doomed = served(tmp_path, Model(2)), stored(tmp_path, Model(1))
    (doomed.folder / "model.bin.part").write_bytes(b"half")
    for name in ("notes.txt", "releases/README", "releases/mine/file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not ours")
    (tmp_path / "releases" / ("f" * 64)).symlink_to(tmp_path / "releases/mine")
    assert parts.collect(tmp_path, frozenset({kept.id})) == 1
    assert parts.release_ids(tmp_path) == [kept.id]
    for name in ("notes.txt", "releases/README", "releases/mine/file"):
        assert (tmp_path / name).read_bytes() == b"not ours"


def test_a_file_of_another_release_is_copied_where_it_is_whole(tmp_path):
    first = stored(tmp_path, Model(1))
    file = first.release.fetched[1]
    goal = tmp_path / "goal"
    assert parts.copy_from_stored(tmp_path, file, goal)
    assert goal.read_bytes() == (first.folder / file.name).read_bytes()
    (first.folder / file.name).write_bytes(bytes(file.length))
    assert not parts.copy_from_stored(tmp_path, file, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "read-only"),
        (errno.EIO, "store"),
    ],
)
def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch, number, kind):
    (tmp_path / "current").write_bytes(b"old")

    def fails(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(EnvironmentFailure) as failed:
        replace_file(tmp_path / "current", b"new")
    assert failed.value.kind == kind and (tmp_path / "current").read_bytes() == b"old"


def test_a_file_system_that_syncs_no_folders_is_enough(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "fsync", fails)
    sync_folder(tmp_path)
    monkeypatch.undo()
    assert free_bytes(tmp_path) > 0


def test_small_files_are_plain_and_small(tmp_path):
    (tmp_path / "plain").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    os.mkfifo(tmp_path / "pipe")
    assert read_small(tmp_path / "plain", 5) == b"12345"
    for name, most in (("plain", 4), ("link", 9), ("pipe", 9), ("nothing", 9), (".", 9)):
        assert read_small(tmp_path / name, most) is None


HOLD = """\
import sys
from pathlib import Path
from toolkit.pull.locking import locked
with locked(Path(sys.argv[1]), 0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_is_at_work_and_a_dead_one_holds_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        with pytest.raises(EnvironmentFailure) as busy, locked(tmp_path, 0.0):
            pass
        told = []
        with pytest.raises(EnvironmentFailure), locked(tmp_path, 0.01, told.append):
            pass
        assert told == [f"process {holder.pid} is at work in this store: waiting up to 0.01 s"]
        assert busy.value.kind == "busy" and f"process {holder.pid} " in busy.value.problem
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locked(tmp_path, 0.0):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
