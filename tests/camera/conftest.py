"""One channel and one camera of each kind per session; tests take copies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import needs

from camera.broken_link import BYTES
from camera.cameras import PYTHON, Camera, Client, c_client
from camera.models import Model, blobs
from camera.repository import Forge
from camera.server import Server


@pytest.fixture(scope="session", params=["python", pytest.param("c", marks=needs("c-client"))])
def client(request: pytest.FixtureRequest) -> Client:
    """Each of the two programs in turn."""
    return PYTHON if request.param == "python" else c_client()


@pytest.fixture(scope="session")
def first_channel(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """A good channel with release 1; not to be changed."""
    return Forge(tmp_path_factory.mktemp("channel") / "channel")


@pytest.fixture(scope="session")
def first_camera(
    client: Client, first_channel: Forge, tmp_path_factory: pytest.TempPathFactory
) -> Camera:
    """A camera that serves release 1; not to be changed."""
    folder = tmp_path_factory.mktemp(client.name) / "camera"
    with Server(first_channel.folder) as server:
        camera = Camera.made(client, folder, server.url, first_channel.root)
        outcome = camera.pull()
    assert outcome.code == 0 and camera.store.release == 1 and camera.store.is_served(), outcome
    return camera


@pytest.fixture
def forge(first_channel: Forge, tmp_path: Path) -> Forge:
    """A channel with release 1, to be changed at will."""
    return first_channel.copy(tmp_path / "channel")


@pytest.fixture
def server(forge: Forge) -> Iterator[Server]:
    """A web server of that channel."""
    with Server(forge.folder) as running:
        yield running


@pytest.fixture
def camera(first_camera: Camera, server: Server, tmp_path: Path) -> Camera:
    """A camera that serves release 1 and asks that server."""
    return first_camera.copy(tmp_path / "camera", server.url)


@pytest.fixture
def new_camera(client: Client, forge: Forge, server: Server, tmp_path: Path) -> Camera:
    """A camera that has nothing yet and asks that server."""
    return Camera.made(client, tmp_path / "new-camera", server.url, forge.root)


@pytest.fixture
def update(forge: Forge) -> Model:
    """Release 2 in that channel, with a blob that is long enough to be cut."""
    model = Model(2, files=blobs(2, size=BYTES))
    forge.publish(model)
    return model
