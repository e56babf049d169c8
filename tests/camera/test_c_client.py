"""The C client where it differs from the Python one: its limits, its child, what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from needs import needs

from camera.cameras import PYTHON, Camera, c_client
from camera.models import FAMILY, Model
from camera.repository import Forge
from camera.server import Server
from toolkit.release import file_bytes

pytestmark = needs("c-client")
TARGETS_MOST_BYTES = 256 << 10  # limits.h
SAYS_ALL = "#!/bin/sh\n"


@pytest.fixture
def camera(forge: Forge, server: Server, tmp_path: Path) -> Camera:
    """A camera that has nothing yet."""
    return Camera.made(c_client(), tmp_path / "camera", server.url, forge.root)


def test_both_clients_go_on_with_each_others_store(camera, forge, server):
    """What one has written the other takes up, and would have written in the same way."""
    assert camera.pull().outcome == "updated"
    python = Camera(
        client=PYTHON, folder=camera.folder, channel=camera.channel, options=camera.options
    )
    before = camera.store.state()
    server.requests.clear()
    unchanged = python.pull()
    assert unchanged.outcome == "current" and unchanged.result["requests"] == 2
    assert camera.store.state() == before

    forge.publish(Model(2))
    assert python.pull().outcome == "updated"
    before = camera.store.state()
    unchanged = camera.pull()
    assert unchanged.outcome == "current" and unchanged.result["requests"] == 2
    assert camera.store.state() == before

    forge.publish(Model(3))
    assert camera.pull().outcome == "updated"
    assert camera.store.pointer("previous") == (2, Model(2).id)


def test_two_new_cameras_end_with_the_same_bytes(camera, forge, server, tmp_path):
    python = Camera.made(PYTHON, tmp_path / "python", server.url, forge.root)
    mine, theirs = camera.pull(), python.pull()
    assert camera.store.state() == python.store.state()
    different = {"path", "clock"}  # the folder's name, and perhaps a second
    assert {k: v for k, v in mine.result.items() if k not in different} == {
        k: v for k, v in theirs.result.items() if k not in different
    }


def test_a_folder_is_a_channel(camera, forge):
    """A USB stick: no server, the same checks."""
    for channel in (str(forge.folder), forge.folder.as_uri()):
        outcome = camera.pull(channel=channel)
        assert outcome.code == 0 and camera.store.release == 1 and camera.store.is_served(), outcome


def test_without_a_self_test_it_says_that_nothing_was_tested(camera):
    outcome = camera.pull(self_test=None)
    assert outcome.outcome == "updated"
    assert "is not tested on this camera" in outcome.stderr


def test_status_asks_nobody(camera, server):
    camera.pull()
    server.requests.clear()
    words = [*camera.client.words, "--store", str(camera.store.folder), "--status"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == f"{camera.store.place / 'model.xml'}\n"
    assert server.requests == []


def test_status_of_no_store_makes_none(camera):
    words = [*camera.client.words, "--store", str(camera.store.folder), "--status"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not camera.store.folder.exists()
    assert f"no model in {camera.store.folder}" in done.stderr


# What hostile bytes may cost


@pytest.mark.parametrize("role", ["targets", FAMILY])
def test_metadata_above_its_limit_is_left_unread(camera, forge, role):
    """Whoever holds a role's key cannot make a camera read without end either."""
    forge.signed[role]["padding"] = "x" * TARGETS_MOST_BYTES
    forge.write(role)
    forge.renew("snapshot", "timestamp")
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (5, "endless-data"), outcome


def test_text_that_takes_much_more_memory_when_parsed_is_refused(camera, forge):
    """Two bytes of text may be a hundred of a tree; the arena ends first."""
    size = TARGETS_MOST_BYTES - 10_000
    forge.signed["targets"]["padding"] = [[] for _ in range(size // 3)]
    forge.write("targets")
    forge.renew("snapshot", "timestamp")
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (5, "malformed"), outcome
    assert "takes more memory" in outcome.stderr


@pytest.mark.parametrize(
    ("pattern", "is_covered"),
    [
        ("*" * 7 + "street/*", True),
        ("*" * 8 + "street/*", False),
        (f"str[{'e' * 200}]et/*", True),
        (f"str[{'e' * 300}]et/*", False),
    ],
    ids=["stars", "too-many-stars", "long", "too-long"],
)
def test_a_path_pattern_that_takes_long_to_match_covers_nothing(camera, forge, pattern, is_covered):
    """Each star multiplies the time; a pattern fits by its form, and is then not even tried."""
    (role,) = forge.signed["targets"]["delegations"]["roles"]
    role["paths"] = [pattern]
    forge.renew("targets", "snapshot", "timestamp")
    assert camera.pull().stderr.count("metadata does not list `street/index.json`") != is_covered


def test_one_key_under_two_ids_counts_once(camera, forge):
    """Two signatures are wanted; one signer with two names for his key is still one."""
    (key, *_), root = forge.keys["timestamp"], forge.signed["root"]
    role, signed = root["roles"]["timestamp"], forge.signed["timestamp"]
    double = "00" * 32
    root["keys"][double] = key.public
    role["keyids"], role["threshold"] = [key.keyid, double], 2
    forge.renew("root")
    envelope = forge.envelope("timestamp")
    (signature,) = envelope["signatures"]
    envelope["signatures"] = [signature, {**signature, "keyid": double}]
    forge.put_raw("timestamp", json.dumps(envelope).encode())
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (5, "threshold"), (outcome, signed)


def test_a_pipe_in_the_store_does_not_hold_it_up(camera, forge):
    camera.pull()
    forge.publish(Model(2))
    for name in ("current", "trial", "metadata/timestamp.json"):
        (camera.store.folder / name).unlink(missing_ok=True)
        os.mkfifo(camera.store.folder / name)
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome


@pytest.mark.parametrize("name", ["current.part", "metadata/timestamp.json.part"])
def test_a_link_in_the_store_is_not_followed(camera, forge, tmp_path, name):
    """A part file that is a link would have us write elsewhere; it is replaced."""
    outside = tmp_path / "outside"
    outside.write_text("precious")
    camera.pull()
    forge.publish(Model(2))
    (camera.store.folder / name).symlink_to(outside)
    outcome = camera.pull()
    assert outside.read_text() == "precious"
    assert outcome.code == 0 and camera.store.release == 2, outcome


def test_a_link_in_place_of_a_blob_is_not_followed(camera, forge, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    camera.pull()
    forge.publish(Model(2))
    folder = camera.store.folder / "releases" / Model(2).id
    folder.mkdir()
    (folder / "model.xml.part").symlink_to(outside)
    outcome = camera.pull()
    assert outside.read_text() == "precious"
    assert outcome.code == 0 and camera.store.release == 2, outcome


def test_a_lock_that_is_a_link_is_not_followed(camera, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    camera.pull()
    (camera.store.folder / "lock").unlink()
    (camera.store.folder / "lock").symlink_to(outside)
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (3, "store") and outside.read_text() == "precious"


# The self-test's child


def test_the_self_test_lives_within_limits(camera, tmp_path):
    """No memory, no large files, no core, none of our environment, nothing on stdin."""
    told = tmp_path / "told"
    camera.judge(
        f"{SAYS_ALL}exec >{told} 2>&1\nulimit -v\nulimit -f\nulimit -c\nulimit -n\n"
        'echo "$1"\necho "$EDGESR_HOME"\necho "token: $TOKEN"\ncat\nexit 0\n'
    )
    outcome = camera.pull(self_test_mb=300, environment={"TOKEN": "secret"})
    assert outcome.outcome == "updated"
    memory_kb, file_blocks, core, files, folder, home, token = told.read_text().splitlines()
    assert memory_kb == str(300 << 10) and file_blocks == str((16 << 20) // 512)
    assert core == "0" and files == "128" and folder == home == str(camera.store.place)
    assert token == "token: "


def test_what_the_self_test_leaves_running_ends_with_it(camera, tmp_path):
    number = tmp_path / "number"
    camera.judge(f"{SAYS_ALL}sleep 600 & echo $! >{number}\nexit 0\n")
    assert camera.pull().outcome == "updated"
    assert _ends(int(number.read_text()))


def test_a_self_test_without_end_is_ended_with_its_children(camera, tmp_path):
    number = tmp_path / "number"
    camera.judge(f"{SAYS_ALL}sleep 600 & echo $! >{number}\nwait\n")
    outcome = camera.pull(self_test_s=1)
    assert outcome.kind == "slow" and camera.store.pointer() is None, outcome
    assert _ends(int(number.read_text()))


def _ends(process: int) -> bool:
    """Whether a process is gone, at most ten seconds from now (init may be slow to reap it)."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("ending", "kind", "is_blocked"),
    [
        ("exit 1", "golden", True),
        ("exit 124", "slow", True),
        ("kill -SEGV $$", "crash", True),
        ("exit 126", "runtime", False),
        ("exit 127", "runtime", False),
    ],
)
def test_the_exit_code_is_the_verdict(camera, ending, kind, is_blocked):
    camera.judge(f"{SAYS_ALL}{ending}\n")
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (3, kind), outcome
    assert camera.store.pointer() is None
    assert camera.store.blocked() == ({Model(1).content: kind} if is_blocked else {})


# What it prints


def test_the_models_path_is_all_that_stands_on_stdout(camera):
    words = [word for word in camera.words() if word != "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == f"{camera.store.place / 'model.xml'}\n"
    assert "updated: release 1 is served" in done.stderr


def test_names_from_the_network_cannot_steer_a_terminal(camera, forge):
    """A key that is stolen must not become a hand on the terminal of whoever reads the log."""
    roles = forge.signed["targets"]["delegations"]["roles"]
    roles.insert(0, {**roles[0], "name": "\x1b[2Jgone"})
    forge.renew("targets")
    envelope = forge.envelope("targets")
    canonical = file_bytes(envelope["signed"]).replace(b"\\u001b", b"\x1b")  # as TUF signs it
    envelope["signatures"] = [key.signature(canonical) for key in forge.keys["targets"]]
    forge.put_raw("targets", file_bytes(envelope))
    forge.renew("snapshot", "timestamp")
    outcome = camera.pull()
    assert outcome.kind == "mix-and-match" and "`?[2Jgone`" in outcome.stderr
    assert "\x1b" not in outcome.stderr


def test_help_fits_a_screen_and_ends_with_an_example(camera):
    done = subprocess.run(
        [*camera.client.words, "--help"], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) <= 45 and all(len(line) <= 100 for line in lines)
    assert "example: edgesr-pull --channel" in done.stdout


@pytest.mark.parametrize("words", [["--channle", "x"], ["--store"], ["--firmware", "-1"], []])
def test_usage_errors_are_two(camera, words):
    done = subprocess.run(
        [*camera.client.words, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error[usage]: "), done
