"""A camera's trusted metadata and a channel to forge, without a server: `file:` all the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from camera.models import FAMILY
from camera.repository import Forge, Key

from toolkit.errors import ToolkitError
from toolkit.pull.fetch import Http
from toolkit.pull.trust import Trusted, refresh

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MALLORY = Key("mallory")


@dataclass
class Camera:
    """One camera before one channel."""

    forge: Forge
    metadata: Path
    family: str | None = FAMILY
    floor: datetime = LONG_AGO
    said: list[str] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # the files of the last refresh
    root: bytes = b""

    def refresh(self, **options) -> Trusted:
        self.said.clear()
        self.states.clear()
        http = Recorded()
        try:
            return refresh(
                self.forge.folder.as_uri(),
                self.metadata,
                self.root or self.forge.root,
                http=http,
                **{
                    "family": self.family,
                    "floor": self.floor,
                    "say": self.said.append,
                    "on_state": lambda state, phase: self.states.append((state, phase)),
                    **options,
                },
            )
        finally:
            self.asked = http.asked

    def refused(self, **options) -> ToolkitError:
        """The error of a refresh, without this machine's folders in it."""
        with pytest.raises(ToolkitError) as caught:
            self.refresh(**options)
        error = caught.value
        error.where = error.where.replace(self.forge.folder.as_uri(), "CHANNEL")
        error.where = error.where.replace(str(self.metadata), "STORE")
        return error

    def kept(self) -> dict[str, bytes]:
        """Every file of the trusted metadata."""
        files = sorted(one for one in self.metadata.rglob("*") if one.is_file())
        return {str(one.relative_to(self.metadata)): one.read_bytes() for one in files}

    def versions(self) -> dict[str, int]:
        """The versions that a refresh ends with."""
        return {role: state.version for role, state in self.refresh().roles.items()}


class Recorded(Http):
    """Requests with their names written down, not tried again."""

    def __init__(self) -> None:
        super().__init__(tries=1, retry_s=0.0)
        self.asked: list[str] = []

    def get(self, url: str, most_bytes: int) -> bytes:
        self.asked.append(url.rsplit("/", 1)[-1])
        return super().get(url, most_bytes)


def camera_before(folder: Path) -> Camera:
    """A new camera and a channel with release 1."""
    return Camera(Forge(folder / "channel"), folder / "store/metadata")
