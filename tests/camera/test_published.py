"""What `toolkit.channel` publishes is what both clients take, and what the forge imitates."""

from __future__ import annotations

import pytest

from camera.cameras import Camera
from camera.models import COMPATIBLE, FAMILY, Model
from camera.repository import Forge, read
from camera.server import Server
from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.drafts.draft import Draft, DraftFile


def draft(number):
    """The made-up model of the forge as a draft."""
    value = Model(number).value
    release = {key: value[key] for key in Draft.__dataclass_fields__ if key != "files"}
    files = tuple(
        DraftFile(name=one.name, role=one.role, content=one.data) for one in Model(number).blobs
    )
    golden = tuple(Model(number).golden)
    return Draft(**{**release, "compatible": COMPATIBLE, "golden": golden, "files": files})


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A channel with two releases, and the root of its keys."""
    folder = tmp_path_factory.mktemp("real")
    keys = init_keys(folder / "keys", families=[FAMILY])
    for number in (1, 2):
        publish_draft(folder / "channel", draft(number), keys=keys, family=FAMILY)
    return folder


def test_both_clients_take_what_is_published(real, client, tmp_path):
    with Server(real / "channel") as server:
        root = (real / "keys/root.json").read_bytes()
        camera = Camera.made(client, tmp_path / "camera", server.url, root)
        assert camera.heals()
        assert camera.store.release == 2
        server.well()
        assert camera.pull().outcome == "current"
        assert [one.path for one in server.requests] == [
            "/metadata/2.root.json",
            "/metadata/timestamp.json",
        ]


def test_a_folder_on_a_stick_is_a_channel(real, client, tmp_path):
    root = (real / "keys/root.json").read_bytes()
    camera = Camera.made(client, tmp_path / "camera", (real / "channel").as_uri(), root)
    assert camera.heals()
    assert camera.store.release == 2


def shape(value, depth=0):
    """The keys and types of a JSON value; names that differ from channel to channel left out."""
    if isinstance(value, dict):
        named = value if depth < 2 else dict(list(value.items())[:1])
        keys = sorted(named) if depth < 2 else ["..."] * len(named)
        return list(zip(keys, (shape(named[k], depth + 1) for k in sorted(named)), strict=True))
    return type(value).__name__


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", FAMILY])
def test_the_forge_writes_what_a_publisher_writes(real, tmp_path, role):
    forge = Forge(tmp_path / "channel", Model(1))
    forge.publish(Model(2))
    files = sorted((real / "channel/metadata").glob(f"*{role}.json"))
    assert shape(forge.envelope(role)) == shape(read(files[-1]))
