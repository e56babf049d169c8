"""One published channel, copied for each test; one certificate."""

import shutil
from pathlib import Path

import pytest

from exports.parts import certificate, publish


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def channel(published, tmp_path):
    """A copy of its own."""
    return Path(shutil.copytree(published[0], tmp_path / "channel"))


@pytest.fixture(scope="session")
def signer(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("pki"))
