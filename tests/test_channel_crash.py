"""Full disks, kills at every file and several publishers at once: nothing is lost, nothing half."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil

import pytest
from channel_crash import different, full_disk_at, killed_at, moments
from channel_parts import NOW, camera, publish, tree

from toolkit.channel.new_keys import init_keys
from toolkit.errors import EnvironmentFailure


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street"], now=NOW)


@pytest.fixture
def channel(tmp_path):
    return tmp_path / "channel"


def test_every_full_disk_leaves_the_channel_as_it_was(channel, keys):
    publish(channel, keys, 1)
    before = tree(channel)
    whole = moments(lambda observer: publish(channel, keys, 2, on_file=observer))
    shutil.rmtree(channel)
    publish(channel, keys, 1)
    before = tree(channel)
    last = whole.index(("in", "metadata/timestamp.json"))
    for moment in range(last + 1):
        with pytest.raises(EnvironmentFailure, match="cannot write: No space left"):
            publish(channel, keys, 2, on_file=full_disk_at(moment))
        assert tree(channel) == before, whole[moment]
    assert publish(channel, keys, 2).release == 2


def test_a_failure_after_the_last_rename_takes_nothing_back(channel, keys):
    publish(channel, keys, 1)

    def observer(phase, name):
        if (phase, name) == ("after", "metadata/timestamp.json"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(channel, keys, 2, on_file=observer)
    assert camera(channel, keys).newest().release == 2


def test_a_file_system_that_refuses_large_files(channel, keys):
    publish(channel, keys, 1)
    before = tree(channel)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            publish(channel, keys, 2)
        except EnvironmentFailure:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert tree(channel) == before


def whole_blobs(channel):
    for file in (channel / "targets").rglob("*"):
        if file.is_file() and not file.name.endswith(".part"):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name[:64], file


@pytest.mark.parametrize("earlier, files", [(0, "metadata"), (1, "")], ids=["first", "second"])
def test_killed_at_every_file(tmp_path, keys, earlier, files):
    start = tmp_path / "start"
    start.mkdir()
    for seed in range(earlier):
        publish(start, keys, seed)
    shutil.copytree(start, tmp_path / "dry")
    whole = moments(lambda observer: publish(tmp_path / "dry", keys, 9, on_file=observer))
    assert len(whole) > 20
    done = whole.index(("after", "metadata/timestamp.json"))
    for moment in different(whole, files):
        channel = tmp_path / f"killed-{moment}"
        shutil.copytree(start, channel)
        before = tree(channel)
        assert killed_at(lambda o, c=channel: publish(c, keys, 9, on_file=o), moment)
        after = tree(channel)
        whole_blobs(channel)
        changed = [name for name in before if after[name] != before[name]]
        assert changed == ["metadata/timestamp.json"] * (moment >= done and earlier)
        if earlier or moment >= done:
            assert camera(channel, keys).newest().release == earlier + (moment >= done)
        again = publish(channel, keys, 9)
        assert again.changed == (moment < done), whole[moment]
        assert (
            camera(channel, keys).newest().content
            == camera(tmp_path / "dry", keys).newest().content
        )
        shutil.rmtree(channel)


def test_publishers_at_once_wait_for_each_other(channel, keys):
    children = []
    for worker in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for step in range(3):
                    publish(channel, keys, 10 * worker + step)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    folders = sorted(
        int(one.name) for one in (channel / "targets/street").iterdir() if one.is_dir()
    )
    assert folders == list(range(1, 13))
    assert camera(channel, keys).newest().release == 12
    assert json.loads((channel / "metadata/timestamp.json").read_bytes())["signed"]["version"] == 12


def test_somebody_who_waits_is_told_why(channel, keys):
    from toolkit.writing import locked

    said = []
    channel.mkdir()
    with locked(channel):
        child = os.fork()
        if child == 0:
            told = []
            publish(channel, keys, say=lambda line: (told.append(line), os._exit(7)))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 7
    publish(channel, keys, say=said.append)
    assert said == []
