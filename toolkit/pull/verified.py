"""What a run has verified so far, in the folder that python-tuf works in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tuf.api.metadata import Metadata, Root, Signed

from toolkit.pull import verdicts
from toolkit.pull.clock import Clock
from toolkit.pull.disk import telling
from toolkit.pull.kept import Kept, root_name
from toolkit.pull.verdicts import TOP, Scene

_VERSIONED = re.compile(r"([1-9][0-9]{0,15})\.(.+)")


class Verified:
    """The metadata that a run trusts. Roles that were not reached may be stored, unverified."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root_version = 0  # the last of the chain
        self._files = Kept(folder=folder)

    def read(self, role: str) -> bytes | None:
        """A role's bytes; None where there are none."""
        return self._files.read(root_name(self.root_version) if role == "root" else file_of(role))

    def must_read(self, role: str) -> bytes:
        """A role's bytes. Raises SecurityError `malformed` where nothing signed led to it."""
        data = self.read(role)
        if data is None:
            file = file_of(role)
            raise verdicts.malformed(file, "nothing that is signed leads to it", file)
        return data

    def root_bytes(self, version: int) -> bytes | None:
        """One root of the chain."""
        return self._files.read(root_name(version))

    def put(self, name: str, data: bytes) -> None:
        """Give python-tuf a stored file. Raises EnvironmentFailure where the disk does not."""
        path = self.folder / name
        with telling(path):  # nothing is synced: the folder goes with this run
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    def drop(self, role: str) -> None:
        """Have a role fetched afresh. Raises OSError."""
        (self.folder / file_of(role)).unlink()

    def metadata(self, role: str) -> Metadata[Any]:
        """A role's metadata with its signatures."""
        return Metadata[Any].from_bytes(self.must_read(role))

    def signed(self, role: str) -> Signed:
        """What the keys of a role signed."""
        signed: Signed = self.metadata(role).signed
        return signed

    @property
    def root(self) -> Root:
        """The last root of the chain."""
        signed: Root = self.metadata("root").signed
        return signed

    def scene(self, role: str, version: int, url: str, body: bytes, clock: Clock) -> Scene:
        """A fetched file among what is trusted."""
        stored = [one for one in TOP[1:] if self.read(one) is not None]
        return Scene(
            role=role,
            url=url,
            body=body,
            version=version,
            trusted={one: self.signed(one) for one in ("root", *stored)},
            clock=clock,
        )


def file_of(role: str) -> str:
    """The file's name in a folder of trusted metadata; no role's name leads out of it."""
    return f"{quote(role, '')}.json"


def asked_for(url: str) -> tuple[str, int]:
    """The role and the version that a URL of python-tuf names; version 0: none."""
    name = url.rsplit("/", 1)[-1].removesuffix(".json")
    match = _VERSIONED.fullmatch(name)
    return (unquote(match[2]), int(match[1])) if match else (unquote(name), 0)
