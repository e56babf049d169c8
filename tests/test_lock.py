"""The lock of a device: one at a time, and what a dead owner left is taken over with a word."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import pytest

from toolkit.contracts import Finished
from toolkit.errors import EnvironmentFailure, LinkLost
from toolkit.links.local import LocalLink
from toolkit.measure.board import open_board
from toolkit.measure.lock import holder_of, release, take
from toolkit.measure.words import marked

HERE = {"token": "ab12", "owner": "ann@desk", "pid": "7", "host": "h", "since": "100"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))
    return tmp_path / "device"


def change_owner(home, **values):
    file = home / "lock" / "owner"
    lines = [line.partition("=") for line in file.read_text().splitlines()]
    kept = {key: value for key, _, value in lines} | values
    file.write_text("".join(f"{key}={value}\n" for key, value in kept.items()))


@contextlib.contextmanager
def left_by_another(home, **values):
    """A lock that this process no longer knows, as after a kill."""
    lock = take(LocalLink(), wait_s=0, say=print)
    change_owner(home, host="another-host", **values)
    yield lock
    assert not (home / "lock").exists()


def test_one_at_a_time_and_nothing_left(home):
    lock = take(LocalLink(), wait_s=0, say=print)
    with pytest.raises(EnvironmentFailure, match=r"busy: .+@.+ \(process \d+\) has held it for \d"):
        take(LocalLink(), wait_s=0, say=print)
    release(LocalLink(), lock, print)
    assert not home.exists()


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"until": "1"}, "its time is over"), ({"boot": "another"}, "the device was restarted since")],
)
def test_a_lock_that_is_over_is_taken_over_with_a_word(home, values, reason):
    said: list[str] = []
    with left_by_another(home, owner="ann@desk", pid="7", **values):
        (home / "jobs" / "old").mkdir()
        (home / "files" / "ab.x.part").write_text("half a file")
        with open_board("local:", say=said.append):
            assert list(home.glob("jobs/*")) == list(home.glob("files/*")) == []
    assert said == [f"local:: taking over the lock of ann@desk (process 7): {reason}"]


def test_a_lock_of_a_live_stranger_is_not_taken_over(home):
    lock = take(LocalLink(), wait_s=0, say=print)
    change_owner(home, host="another-host", pid="1", started="0")
    with pytest.raises(EnvironmentFailure, match="the device is busy"), open_board("local:"):
        pass
    release(LocalLink(), lock, print)


def test_a_killed_owner_on_this_host_is_noticed_at_once(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed process leaves its runner there
    program = (
        "import os, signal\n"
        "from toolkit.measure.board import open_board\n"
        "with open_board('local:'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert (home / "lock" / "owner").exists()
    said: list[str] = []
    with open_board("local:", say=said.append):
        pass
    assert said[0].endswith("its process has ended")


def test_a_lock_without_an_owner_is_given_a_moment(home, monkeypatch):
    waited: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda s: waited.append(s) if s >= 1 else sleep(s))
    (home / "lock").mkdir(parents=True)
    with open_board("local:"):
        pass
    assert len(waited) == 3  # its owner may just be writing it
    assert not home.exists()


def test_who_lost_the_lock_touches_nothing_more(home):
    with (
        pytest.raises(EnvironmentFailure, match="taken over by somebody else") as raised,
        open_board("local:") as board,
    ):
        change_owner(home, token="somebody", owner="ann@desk")
        board.command(["touch", "worked"], {}, timeout_s=10)
    assert "--wait" in raised.value.hint
    assert (home / "lock" / "owner").exists()  # it is not ours to remove
    assert list(home.glob("jobs/*")) == []


class Stuck:
    """A device on which a lock that is over comes back again and again."""

    url = "ssh://board"

    def __init__(self, owner):
        self.answer = f"edgesr-lock 1\nstate=busy\n{owner}now=100\nboot=b\n".encode()
        self.asked = 0

    def run(self, script, *, timeout_s, stdin=b""):
        self.asked += 1
        assert self.asked < 20, "it goes on for ever"
        return Finished(code=0, stdout=self.answer, stderr="")


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        (
            "lock.token=ab\nlock.owner=ann@desk\nlock.until=1\nlock.boot=b\n",
            r"of ann@desk .* is over",
        ),
        ("", "a lock is there"),
    ],
    ids=["named", "nameless"],
)
def test_a_lock_that_cannot_be_removed_is_given_up(monkeypatch, owner, words):
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    said: list[str] = []
    with pytest.raises(EnvironmentFailure, match=f"{words}.* but cannot be removed"):
        take(Stuck(owner), wait_s=0, say=said.append)
    assert len(said) == (1 if owner else 0)


def test_a_folder_that_cannot_be_made(monkeypatch):
    monkeypatch.setenv("EDGESR_HOME", "/proc/edgesr")
    failed = pytest.raises(EnvironmentFailure, match="could not be locked")
    with failed as raised, open_board("local:"):
        pass
    assert "set EDGESR_HOME on the device" in raised.value.hint


def test_work_renews_the_lock(home):
    def until():
        words = (home / "lock" / "owner").read_text().split()
        return next(int(word[6:]) for word in words if word.startswith("until="))

    with open_board("local:") as board:
        change_owner(home, until="5")
        board.command(["true"], {}, timeout_s=10)
        assert until() > 5


def test_a_device_that_cannot_be_given_back_raises_nothing():
    class Gone(LocalLink):
        def run(self, script, *, timeout_s, stdin=b""):
            raise LinkLost("the link was lost")

    said: list[str] = []
    lock = take(LocalLink(), wait_s=0, say=print)
    release(Gone(), lock, said.append)
    assert said == [
        "local:: not given back (the link was lost); the next visit cleans up and takes over"
    ]
    release(LocalLink(), lock, print)


@pytest.mark.parametrize("token", ["", "x;rm -rf /", "a" * 65, "ü"])
def test_an_owner_that_is_none_is_nobody(token):
    assert holder_of({**HERE, "token": token}, now_s=1, boot="") is None


def test_what_an_owner_wrote_cannot_move_the_terminal():
    said = {**HERE, "owner": "ann\033[2J" + "x" * 500, "until": "999", "boot": "b"}
    holder = holder_of(said, now_s=160, boot="b")
    assert holder is not None and not holder.is_over and holder.age == "60 s"
    assert "\033" not in holder.owner and len(holder.owner) < 120


def test_words_of_a_device_are_bounded():
    many = b"first 1\n" + b"\n".join(b"k%d=%s" % (i, b"v" * 9000) for i in range(1000))
    values = marked(Finished(code=0, stdout=many, stderr=""), "first 1", "local:")
    assert len(values) == 400 and max(map(len, values.values())) == 4000
