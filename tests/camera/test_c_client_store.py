"""The C client's store and self-test where the world around them is odd: supervisors, logs, FAT."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from needs import needs

from camera.cameras import PYTHON, Camera, Client, c_client, outcome_of
from camera.models import FAMILY, Model, blobs
from camera.repository import Forge
from camera.server import Server

pytestmark = needs("c-client")
FILE_MOST_BYTES = 16 << 20  # of the self-test's program; limits.h
BUILT = "2026-11-21T00:00:00Z"  # FLOOR of the Makefile


@pytest.fixture
def camera(forge: Forge, server: Server, tmp_path: Path) -> Camera:
    """A camera that has nothing yet."""
    return Camera.made(c_client(), tmp_path / "camera", server.url, forge.root)


# The self-test's child


def test_a_supervisor_that_ignores_the_end_of_children_blocks_no_model(camera):
    """An ignored SIGCHLD is inherited: then the kernel keeps no exit code to wait for."""
    done = subprocess.run(
        camera.words(self_test_s=2),
        capture_output=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    outcome = outcome_of(done.returncode, done.stdout, done.stderr)
    assert outcome.outcome == "updated" and camera.store.blocked() == {}, outcome


def test_a_long_log_on_stderr_blocks_no_model(camera, tmp_path):
    """What the self-test says goes to the end of the log; its limit is on what it writes itself."""
    camera.judge("#!/bin/sh\necho looks good >&2\n")
    log = tmp_path / "log"
    with log.open("ab") as stream:
        stream.truncate(FILE_MOST_BYTES + 1)
        stream.seek(0, os.SEEK_END)
        done = subprocess.run(camera.words(), stdout=subprocess.PIPE, stderr=stream, check=False)
    assert outcome_of(done.returncode, done.stdout, b"").outcome == "updated"
    assert b"looks good" in log.read_bytes()[FILE_MOST_BYTES:]


def test_the_self_test_has_nothing_of_ours_open(camera, tmp_path):
    """Neither the store nor the connection: a model must not speak in our name."""
    told = tmp_path / "told"
    camera.judge(f"#!/bin/sh\nls -l /proc/self/fd >{told}\n")
    assert camera.pull().outcome == "updated"
    open_files = [line.rpartition("-> ")[2] for line in told.read_text().splitlines()[1:]]
    ours = [one for one in open_files if "socket" in one or str(camera.folder) in one]
    assert ours == [], open_files


# What survives


def test_the_only_model_stays_until_another_has_arrived(camera, forge):
    """Pointers lost, and the fetch of a newer release breaks off: the old one is served again."""
    camera.pull()
    (camera.store.folder / "current").unlink()
    forge.publish(Model(2))
    forge.blob(f"{FAMILY}/2/model.bin").unlink()
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (3, "missing"), outcome
    assert camera.store.release == 1 and camera.store.is_served()


def test_a_full_block_list_of_the_other_client_is_read(camera, forge):
    """256 lines, as many as it keeps; here the first of them counts."""
    camera.pull()
    contents = [Model(2).content, *(f"{number:064x}" for number in range(255))]
    lines = "".join(f"{content} misbehaved\n" for content in contents)
    (camera.store.folder / "blocked").write_text(lines)
    forge.publish(Model(2))
    outcome = camera.pull()
    assert (outcome.outcome, outcome.kind) == ("kept", "misbehaved"), outcome
    python = Camera(
        client=PYTHON, folder=camera.folder, channel=camera.channel, options=camera.options
    )
    assert python.pull().kind == "misbehaved"


def test_a_block_list_whose_last_line_has_no_end_keeps_it(camera, forge):
    camera.pull()
    (camera.store.folder / "blocked").write_text(f"{'0' * 64} slow")
    forge.publish(Model(2))
    camera.judge("#!/bin/sh\nexit 1\n")
    assert camera.pull().kind == "golden"
    assert camera.store.blocked() == {"0" * 64: "slow", Model(2).content: "golden"}


def test_a_release_that_is_held_back_costs_no_request_again(camera, forge):
    camera.pull()
    forge.publish(Model(2))
    camera.judge("#!/bin/sh\nexit 1\n")
    first, again = camera.pull(), camera.pull()
    assert first.kind == again.kind == "golden"
    assert "publish a better one" in again.stderr
    assert again.result["requests"] == 2
    kept = camera.store.folder / "releases" / Model(2).id
    assert [file.name for file in kept.iterdir()] == ["release.json"]


def test_releases_of_other_cameras_do_not_hide_a_bad_one(camera, forge):
    """However many newer ones there are for others, its own reason decides how the poll ends."""
    camera.pull()
    others = [Model(number, compatible=f"camera-{number}") for number in range(3, 13)]
    forge.publish(Model(2), *others)
    camera.judge("#!/bin/sh\nexit 1\n")
    outcome = camera.pull()
    assert (outcome.outcome, outcome.code, outcome.kind) == ("kept", 3, "golden"), outcome
    assert len(outcome.result["held_back"]) == 11


def test_what_a_self_test_left_in_folders_goes_with_the_release(camera, forge):
    camera.judge('#!/bin/sh\nmkdir -p "$1/cache/of/kernels"\necho x >"$1/cache/of/kernels/one"\n')
    for number in (2, 3):
        assert camera.pull().outcome == "updated"
        forge.publish(Model(number))
    camera.pull()
    kept = {folder.name for folder in (camera.store.folder / "releases").iterdir()}
    assert kept == {Model(2).id, Model(3).id}


@pytest.mark.parametrize("is_copied", [True, False], ids=["copied", "fetched"])
def test_a_pipe_in_place_of_a_blob_is_replaced(camera, forge, is_copied):
    camera.pull()
    old, new = blobs(1), blobs(2)
    files = (old[0], *new[1:]) if is_copied else new
    model = Model(2, files=files)
    forge.publish(model)
    folder = camera.store.folder / "releases" / model.id
    folder.mkdir()
    os.mkfifo(folder / "model.xml.part")
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome


def test_a_role_named_almost_like_timestamp_does_not_replace_it_on_fat(camera, forge):
    """Names that differ in case alone are one file there; what was trusted would be forgotten."""
    camera.pull()
    before = camera.store.state()
    delegations = forge.signed["targets"]["delegations"]
    (street,) = delegations["roles"]
    odd = {**street, "name": "Timestamp", "terminating": False}
    delegations["roles"] = [odd, street]
    forge.signed["Timestamp"] = {**forge.signed[FAMILY], "targets": {}, "version": 1}
    forge.keys["Timestamp"] = forge.keys[FAMILY]
    forge.write("Timestamp")
    forge.renew("targets", "snapshot")
    forge.signed["snapshot"]["meta"]["Timestamp.json"] = {"version": 1}
    forge.write("snapshot")
    forge.renew("timestamp")
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (5, "malformed"), outcome
    assert "Timestamp" not in str(camera.store.state()) and camera.store.release == 1
    assert before.keys() == camera.store.state().keys()


def test_a_role_that_the_snapshot_does_not_list_is_a_mix_up_for_both(camera, forge):
    del forge.signed["snapshot"]["meta"][f"{FAMILY}.json"]
    forge.signed["snapshot"]["version"] += 1
    forge.write("snapshot")
    forge.renew("timestamp")
    kinds = {client.name: _fresh(camera, client).pull().kind for client in (PYTHON, camera.client)}
    assert kinds == {"python": "mix-and-match", "c": "mix-and-match"}


def _fresh(camera: Camera, client: Client) -> Camera:
    folder = camera.folder.parent / client.name
    root = (camera.folder / "root.json").read_bytes()
    return Camera.made(client, folder, camera.channel, root)


def test_a_damaged_signature_of_the_timestamp_leaves_the_snapshot_remembered(camera, forge):
    """As for the other client: only other keys of the root are a reason to forget both."""
    old = {name: (forge.folder / f"metadata/{name}").read_bytes() for name in ("timestamp.json",)}
    forge.publish(Model(2))
    assert camera.pull().outcome == "updated"
    stored = camera.store.folder / "metadata" / "timestamp.json"
    data = bytearray(stored.read_bytes())
    place = data.index(b'"sig":"') + 20
    data[place] = ord("0") if data[place] != ord("0") else ord("1")
    stored.write_bytes(bytes(data))
    (forge.folder / "metadata/timestamp.json").write_bytes(old["timestamp.json"])
    outcome = camera.pull()
    assert (outcome.code, outcome.kind) == (5, "rollback"), outcome
    assert camera.store.release == 2


# What it is told


def test_the_time_floor_does_not_fall_below_the_programs_own(camera):
    """As for the other client: a stale file of the firmware must not turn the clock back."""
    floors = {}
    for client in (PYTHON, camera.client):
        outcome = _fresh(camera, client).pull(time_floor="2020-01-01T00:00:00Z")
        floors[client.name] = outcome.result["clock"]["floor"]
    assert floors == {"python": BUILT, "c": BUILT}


def test_status_of_a_folder_that_is_no_store_leaves_it_as_it_is(camera, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    words = [*camera.client.words, "--store", str(folder), "--status"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3) and list(folder.iterdir()) == []
