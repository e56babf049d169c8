"""What the C client tells whoever runs it by hand: its status, its hints, its mistakes as JSON."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from needs import needs

import toolkit
from camera.cameras import Camera, c_client
from camera.models import COMPATIBLE, FAMILY, Model
from camera.repository import Forge
from camera.server import Server

pytestmark = needs("c-client")


@pytest.fixture
def camera(forge: Forge, server: Server, tmp_path: Path) -> Camera:
    """A camera that has nothing yet."""
    return Camera.made(c_client(), tmp_path / "camera", server.url, forge.root)


@contextlib.contextmanager
def https_server(folder: Path) -> Iterator[str]:
    """URL of a server whose certificate nobody signed but itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = "openssl req -x509 -newkey ed25519 -nodes -subj /CN=localhost -addext"
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = [*words.split(), "subjectAltName=IP:127.0.0.1", *files]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def said(camera: Camera, *words: object) -> subprocess.CompletedProcess[str]:
    """The program with these words and the camera's store."""
    words = (*camera.client.words, *words, "--store", camera.store.folder)
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )


def test_status_tells_the_family_both_releases_and_what_is_blocked(camera, forge):
    camera.pull()
    forge.publish(Model(2))
    camera.pull()
    camera.judge("#!/bin/sh\nexit 1\n")
    forge.publish(Model(3))
    camera.pull()
    told = said(camera, "--status").stderr
    assert f"release 2 of {FAMILY} is served" in told
    assert "previous: release 1; blocked: 1" in told


@pytest.mark.parametrize(
    ("name", "damage"),
    [("model", "`current` names release 1, which is damaged"), ("current", "`current` is damaged")],
)
def test_status_tells_what_is_damaged(camera, name, damage):
    camera.pull()
    model = camera.store.place / "model.xml"
    (model if name == "model" else camera.store.folder / "current").write_bytes(b"")
    done = said(camera, "--status")
    assert done.returncode == 0 and done.stdout == "" and damage in done.stderr, done


def test_the_way_back_is_told(camera, forge):
    camera.pull()
    forge.publish(Model(2))
    camera.pull()
    assert "release 1 is served again" in said(camera, "--return-to-previous").stderr


def test_the_version_is_that_of_the_toolkit(camera):
    assert said(camera, "--version").stdout == f"edgesr-pull {toolkit.__version__}\n"


def test_json_is_one_line(camera):
    assert len(said(camera, "--json", "--status").stdout.splitlines()) == 1


@pytest.mark.parametrize("words", [["--firmware", "-1"], ["--channel", "http://a/b"]])
def test_usage_errors_are_json_too(camera, words):
    done = said(camera, "--json", *words)
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert answer["outcome"] == "failed" and answer["error"]["kind"] == "usage"


def test_a_file_of_authorities_without_one_is_a_usage_error(camera):
    done = said(camera, "--ca", camera.folder / "root.json")
    assert done.returncode == 2 and "`--ca " in done.stderr


def test_an_unknown_family_is_told_which_there_are(camera):
    outcome = camera.pull(family="nope")
    assert (outcome.code, outcome.kind) == (3, "missing")
    assert f"no family `nope`, but: {FAMILY}\n" in outcome.stderr


def test_a_hint_speaks_of_the_present_model_where_there_is_one(camera, server):
    first = camera.pull(family="nope").stderr
    assert "no model is served yet" in first and "stays" not in first
    camera.pull()
    assert "the present model stays" in camera.pull(family="nope").stderr


def test_only_where_no_channel_is_the_option_is_doubted(camera, server):
    assert "--channel is the folder" in camera.pull(channel=f"{server.url}/street").stderr
    assert "--channel" not in camera.pull(family="nope").stderr


def test_another_kind_of_camera_is_told_the_words_that_there_are(camera):
    outcome = camera.pull(compatible="toaster")
    assert outcome.kind == "compatible"
    assert f"but for: --compatible {COMPATIBLE}\n" in outcome.stderr


def test_a_withdrawn_release_is_for_no_camera(camera, forge):
    camera.pull()
    forge.publish(Model(2, basis_points=0))
    (held,) = camera.pull().result["held_back"]
    assert (held["kind"], held["text"]) == ("rollout", "it is for no camera")


def test_a_blob_that_is_shorter_than_signed_is_truncated(camera, forge):
    """The second try asks for the rest, which the server has not got: 416."""
    (blob,) = (forge.folder / "targets").rglob("*.model.xml")
    blob.write_bytes(blob.read_bytes()[:-1])
    assert camera.pull(tries="2").kind == "truncated"


def test_a_stranger_with_a_certificate_gets_the_hint(camera, tmp_path):
    """The names of what helps: whose authority, and the clock."""
    with https_server(tmp_path) as url:
        outcome = camera.pull(channel=url, tries="1")
    assert outcome.kind == "tls"
    assert "--ca" in outcome.stderr and "clock" in outcome.stderr
