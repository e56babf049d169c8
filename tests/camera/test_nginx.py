"""End to end: bundles published by the command line, served by nginx, taken by both clients."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import small_bundle
from needs import needs

from camera.cameras import Camera, Client
from camera.nginx import Nginx, serving
from camera.running import PYTHON_WORDS, start, wait_until
from camera.test_published import draft
from toolkit.channel.publish import publish_draft
from toolkit.drafts.draft import DraftFile
from toolkit.keys.ring import open_keys

pytestmark = needs("nginx")
FAMILY = "generic-cpu"  # the target of the small bundle
BYTES = 90_001  # of a model that is interrupted
POLL = ["/channel/metadata/2.root.json", "/channel/metadata/timestamp.json"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a channel and its keys lie, and who serves it."""

    folder: Path
    server: Nginx

    @property
    def channel(self) -> Path:
        return self.folder / "www/channel"

    def publish(self, *words: str) -> int:
        """`edgesr publish` of the small bundle; the release's number."""
        bundle = self.folder / "bundle/tiny" / FAMILY
        channel = ["--channel", str(self.channel), "--keys", str(self.folder / "keys")]
        return int(
            json.loads(edgesr("publish", str(bundle), *channel, *words, "--json"))["release"]
        )

    def camera(self, client: Client, folder: Path) -> Camera:
        """A new camera; the Python client runs the real golden vectors."""
        root = (self.folder / "keys/root.json").read_bytes()
        own = {"family": FAMILY, "compatible": None}
        test = {"self_test": None} if client.name == "python" else {}
        return Camera.made(client, folder, f"{self.server.url}/channel", root, **own, **test)


def edgesr(*words: str) -> bytes:
    """What a command line prints; it must go well."""
    ended = start([*PYTHON_WORDS, *words]).wait()
    assert ended.code == 0, ended.stderr.decode()
    return ended.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("nginx")
    network, made = small_bundle.files(folder / "work")
    pictures = small_bundle.pictures(folder / "pictures")
    small_bundle.bundle(folder / "bundle", pictures, network, made)
    edgesr("keys", "init", str(folder / "keys"), "--family", FAMILY, "--no-passphrase")
    with serving(folder / "www", folder / "nginx") as server:
        yield Place(folder=folder, server=server)


def test_two_releases_reach_both_clients(place: Place, client: Client, tmp_path: Path) -> None:
    first = place.publish()
    camera = place.camera(client, tmp_path / "camera")
    assert camera.heals()
    assert camera.store.release == first

    place.server.asked()
    outcome = camera.pull()
    assert outcome.outcome == "current"
    assert [one.path for one in place.server.asked()] == POLL
    assert outcome.result["requests"] == 2

    second = place.publish("--file", "tiny.float32.onnx")
    outcome = camera.pull()
    assert (outcome.code, outcome.outcome) == (0, "updated"), outcome
    assert camera.store.release == second > first and camera.store.is_served()
    before = camera.store.pointer("previous")
    assert before is not None and before[0] == first
    fetched = [one for one in place.server.asked() if f"/{second}/" in one.path]
    paths = [one.path for one in fetched]
    assert len(paths) == len(set(paths)) and {one.status for one in fetched} == {200}


def test_an_interrupted_download_transfers_no_byte_twice(
    place: Place, client: Client, tmp_path: Path
) -> None:
    content = random.Random(client.name).randbytes(BYTES)
    model = DraftFile(name="model.onnx", role="model", content=content)
    small = draft(1)
    others = tuple(file for file in small.files if file.role != "model")
    keys = open_keys(place.folder / "keys")
    word = f"slow-{client.name}"
    long = replace(small, compatible=word, files=(model, *others))
    publish_draft(place.channel, long, keys=keys, family=FAMILY)
    camera = place.camera(client, tmp_path / "camera")
    camera = replace(camera, options={"family": FAMILY, "compatible": word})

    with place.server.slow():
        running = camera.start()
        wait_until(lambda: any(one.stat().st_size for one in _parts(camera)), "a part")
        running.kill()
        assert running.wait().code == -9
    have = _parts(camera)[0].stat().st_size
    assert 0 < have < BYTES and not camera.store.is_served()

    place.server.asked()
    outcome = camera.pull()
    assert outcome.code == 0 and camera.store.is_served(), outcome
    (rest,) = [one for one in place.server.asked() if one.path.endswith("model.onnx")]
    assert (rest.status, rest.range) == (206, f"bytes={have}-")
    assert rest.body_bytes == BYTES - have


def _parts(camera: Camera) -> list[Path]:
    return list(camera.store.folder.glob("releases/*/model.onnx.part"))
