"""Two families of cameras on one channel: each takes its own models, and must say which."""

from __future__ import annotations

import pytest

from camera.cameras import Camera
from camera.models import COMPATIBLE
from camera.server import Server
from camera.test_published import draft
from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft

FAMILIES = {"porch": 1, "yard": 2}  # and which made-up model each has


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A channel of two families, and the root of its keys."""
    folder = tmp_path_factory.mktemp("families")
    keys = init_keys(folder / "keys", families=list(FAMILIES))
    for family, model in FAMILIES.items():
        publish_draft(folder / "channel", draft(model), keys=keys, family=family)
    return folder


@pytest.fixture
def asks(shared, client, tmp_path):
    """A camera without a model, and the server it asks."""
    with Server(shared / "channel") as server:
        root = (shared / "keys/root.json").read_bytes()
        yield Camera.made(client, tmp_path / "camera", server.url, root), server


@pytest.mark.parametrize("family", FAMILIES)
def test_each_takes_its_own_and_never_asks_for_the_other(asks, family):
    camera, server = asks
    outcome = camera.pull(family=family, compatible=COMPATIBLE)
    assert outcome.outcome == "updated", outcome
    assert camera.store.is_served()
    (other,) = set(FAMILIES) - {family}
    assert not [one.path for one in server.requests if other in one.path]


def test_a_camera_that_does_not_say_which_is_told_both(asks):
    camera, _ = asks
    outcome = camera.pull(family=None, compatible=COMPATIBLE)
    assert outcome.code in (2, 3)
    assert all(family in outcome.stderr for family in FAMILIES)
    assert camera.store.release is None


def test_a_second_family_stops_no_camera_that_serves_a_model(client, tmp_path):
    """Of a hundred cameras that state no family, none may need a visit."""
    keys = init_keys(tmp_path / "keys", families=["yard"])
    publish_draft(tmp_path / "channel", draft(1), keys=keys, family="yard")
    with Server(tmp_path / "channel") as server:
        root = (tmp_path / "keys/root.json").read_bytes()
        camera = Camera.made(client, tmp_path / "camera", server.url, root)
        assert camera.pull(family=None, compatible=COMPATIBLE).outcome == "updated"
        keys = init_keys(tmp_path / "keys", families=["porch"])
        publish_draft(tmp_path / "channel", draft(3), keys=keys, family="porch")
        publish_draft(tmp_path / "channel", draft(2), keys=keys, family="yard")
        outcome = camera.pull(family=None, compatible=COMPATIBLE)
    assert (outcome.outcome, camera.store.release) == ("updated", 2), outcome
