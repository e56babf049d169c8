"""Trusted metadata from a good channel: what it costs, what is kept, who may speak for what."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from camera.models import FAMILY, Model
from trusting import (
    ORDER,
    STAYS,
    Camera,
    camera_before,
)

from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.pull.fetch import Http
from toolkit.pull.trust import refresh

STATES = ("root", "timestamp", "snapshot", "targets", "family")


@pytest.fixture
def new(tmp_path) -> Camera:
    return camera_before(tmp_path)


@pytest.fixture
def camera(new) -> Camera:
    new.refresh()
    return new


def test_a_new_camera_asks_for_each_role_once_and_keeps_it(new):
    trusted = new.refresh()
    assert new.asked == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json",
                         "1.street.json"]  # fmt: skip
    channel = new.forge.folder / "metadata"
    assert new.kept() == {
        "root.json": (channel / "1.root.json").read_bytes(),
        "timestamp.json": (channel / "timestamp.json").read_bytes(),
        "snapshot.json": (channel / "1.snapshot.json").read_bytes(),
        "targets.json": (channel / "1.targets.json").read_bytes(),
        "street.json": (channel / "1.street.json").read_bytes(),
    }
    assert trusted.family == FAMILY


def test_little_more_than_what_was_signed_may_come(new):
    new.refresh()
    signed = [new.forge.file(role).stat().st_size for role in ("snapshot", "targets", FAMILY)]
    assert new.limits == [512_000, 16_384, *(count + 16_384 for count in signed)]


def test_a_role_that_is_no_family_is_not_kept(camera):
    """On FAT `Timestamp.json` is `timestamp.json`."""
    forge = camera.forge
    street = forge.signed["targets"]["delegations"]["roles"][0]
    other = {**street, "name": "Timestamp", "terminating": False}
    forge.signed["targets"]["delegations"]["roles"] = [other, street]
    forge.renew("targets")
    forge.keys["Timestamp"] = forge.keys[FAMILY]
    forge.signed["Timestamp"] = {**forge.signed[FAMILY], "targets": {}, "version": 1}
    forge.write("Timestamp")
    forge.renew("snapshot")
    forge.signed["snapshot"]["meta"]["Timestamp.json"] = {"version": 1}
    forge.write("snapshot")
    forge.renew("timestamp")
    trusted = camera.refresh()
    assert "1.Timestamp.json" in camera.asked and trusted.target("street/index.json")
    assert "Timestamp.json" not in camera.kept()


def test_no_news_cost_two_requests_and_no_write(camera):
    files = {one: one.stat() for one in camera.metadata.rglob("*")}
    camera.refresh()
    assert camera.asked == ["2.root.json", "timestamp.json"]
    again = {one: one.stat() for one in camera.metadata.rglob("*")}
    assert {k: (v.st_ino, v.st_mtime_ns) for k, v in again.items()} == {
        k: (v.st_ino, v.st_mtime_ns) for k, v in files.items()
    }


def test_no_news_cost_two_requests_on_one_connection(camera, tmp_path):
    connections, requests = [], []

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps the connection

        def setup(self):
            connections.append(self.client_address)
            super().setup()

        def log_request(self, code="-", size="-"):
            requests.append((self.path, int(code)))

        def send_error(self, code, message=None, explain=None):
            self.send_response(code)
            self.send_header("Content-Length", "0")  # and no `Connection: close`
            self.end_headers()

        def log_error(self, *words):
            pass

    folder = camera.forge.folder
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        http = Http(tries=1)
        refresh(f"http://127.0.0.1:{server.server_port}/", camera.metadata, camera.forge.root,
                family=FAMILY, http=http, floor=camera.floor)  # fmt: skip
        http.close()
        server.shutdown()
    assert requests == [("/metadata/2.root.json", 404), ("/metadata/timestamp.json", 200)]
    assert len(connections) == 1


def test_a_release_costs_what_it_changed(camera):
    camera.forge.publish(Model(2))
    trusted = camera.refresh()
    assert camera.asked == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.street.json"]
    assert trusted.target("street/2/model.xml") is not None


def test_a_target_is_where_its_digest_says(camera):
    index = camera.refresh().target("street/index.json")
    data = camera.forge.blob("street/index.json").read_bytes()
    assert (index.length, index.sha256) == (len(data), sha256_bytes(data))
    folder = camera.forge.folder.as_uri()
    assert index.url == f"{folder}/targets/street/{index.sha256}.index.json"
    assert camera.refresh().target("street/9/model.xml") is None


def test_a_family_speaks_for_its_own_folder_only(camera):
    camera.forge.target("lobby/index.json", b"{}")
    camera.forge.target("street/1/deep/model.xml", b"{}")
    camera.forge.renew(FAMILY, "snapshot", "timestamp")
    trusted = camera.refresh()
    assert trusted.target("lobby/index.json") is None
    assert trusted.target("street/1/deep/model.xml") is None
    assert trusted.target("street/1/model.xml") is not None


@pytest.mark.parametrize("news", [False, True])
def test_every_state_is_told_in_order(camera, news):
    if news:
        camera.forge.renew(*ORDER)
    camera.refresh()
    assert camera.states == [(one, when) for one in STATES for when in ("before", "in", "after")]


def test_in_the_middle_the_old_file_is_still_there(camera):
    """A kill in the middle of any role leaves its old or its new file, whole."""
    old, seen = camera.kept(), {}
    camera.forge.renew(*ORDER)

    def look(state, phase):
        role = FAMILY if state == "family" else state
        if phase == "in":
            now = camera.kept()
            seen[role] = now[f"{role}.json"] == old[f"{role}.json"], f"{role}.json.part" in now

    camera.refresh(on_state=look)
    assert seen == dict.fromkeys(ORDER, (True, True))
    assert not [name for name in camera.kept() if name.endswith(".part")]


def test_the_only_family_needs_no_name(camera):
    assert camera.refresh(family=None).family == FAMILY
    assert camera.asked == ["2.root.json", "timestamp.json"]


def families(forge, *names):
    role = forge.signed["targets"]["delegations"]["roles"][0]
    forge.signed["targets"]["delegations"]["roles"] = [
        {**role, "name": name, "paths": [f"{name}/*", f"{name}/*/*"]} for name in names
    ]
    forge.renew("targets", "snapshot", "timestamp")


def test_one_family_of_many_is_named(camera):
    families(camera.forge, "lobby", FAMILY)
    assert camera.refresh().family == FAMILY
    error = camera.refused(family=None)
    assert isinstance(error, UserError)
    assert str(error) == (
        "error: the channel has 2 families\n"
        f"  --> {camera.forge.folder.as_uri()}\n\n"
        "hint: name one with --family: lobby, street"
    ).replace(camera.forge.folder.as_uri(), "CHANNEL")


@pytest.mark.parametrize(
    ("family", "found"), [("lobby", "family `lobby`"), ("snapshot", "family `snapshot`")]
)
def test_a_family_that_is_not_there(camera, family, found):
    error = camera.refused(family=family)
    assert isinstance(error, EnvironmentFailure) and error.kind == "missing"
    assert str(error) == (
        f"error[missing]: the channel has no {found}\n  --> CHANNEL\n\nhint: it has: street"
    )


def test_a_channel_without_families(camera):
    families(camera.forge)
    error = camera.refused(family=None)
    assert (error.kind, error.hint) == ("missing", "it has: none")


def test_a_family_whose_role_may_not_speak_for_its_index(camera):
    """What is stored of the family is of another time then, and no part of the verdict."""
    role = camera.forge.signed["targets"]["delegations"]["roles"][0]
    role["paths"] = ["street/*/*"]
    camera.forge.renew("targets", FAMILY, "snapshot", "timestamp")
    for _ in range(2):
        error = camera.refused()
        assert str(error) == (
            "error[missing]: `targets` of the channel does not lead to the index of `street`\n"
            "  --> CHANNEL/metadata\n\n"
            "hint: the present model stays; tell whoever runs the channel"
        )
        shutil.rmtree(camera.metadata)


def test_a_url_that_is_no_channel(new):
    new.forge.file("timestamp").unlink()
    assert str(new.refused()) == (
        "error[missing]: there is no channel: `timestamp.json` is not there (404)\n"
        "  --> CHANNEL/metadata/timestamp.json\n\n"
        "hint: --channel is the folder that holds metadata/ and targets/; " + STAYS
    )


def test_status_does_not_pay_for_tuf():
    program = "import sys; import toolkit.pull.trust; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert not loaded & {"tuf", "securesystemslib", "cryptography", "urllib3", "numpy", "torch"}


def test_no_heavy_library_comes_with_a_refresh():
    program = "import sys; import toolkit.pull.workflow; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert not loaded & {"numpy", "torch", "yaml", "requests"}


def test_json_of_the_clock(camera):
    clock = camera.refresh().clock
    assert json.loads(json.dumps(clock.as_json())) == clock.as_json()
