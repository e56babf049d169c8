"""A store with releases in it, for the tests of the camera's side."""

from __future__ import annotations

from pathlib import Path

from camera.models import FAMILY, Model
from camera.repository import Forge

from toolkit.pull.settings import Settings, Testing
from toolkit.pull.store import Stored, folder_of, make_store, stored_release, write_pointer


def stored(store: Path, model: Model) -> Stored:
    """Put a whole release into a store."""
    make_store(store)
    folder = folder_of(store, model.id)
    folder.mkdir()
    (folder / "release.json").write_bytes(model.manifest)
    for blob in model.blobs:
        if blob.role != "report":
            (folder / blob.name).write_bytes(blob.data)
    found = stored_release(store, model.id)
    assert found is not None
    return found


def served(store: Path, model: Model, name: str = "current") -> Stored:
    """The same, with a pointer to it."""
    found = stored(store, model)
    write_pointer(store, name, found)
    return found


def settings(forge: Forge, folder: Path, program: str = "exit 0", **changes) -> Settings:
    """A poll of a forged channel without a server, with this shell script as the self-test."""
    script = folder / "self-test"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    root = folder / "root.json"
    root.write_bytes(forge.root)
    made = {
        "channel": forge.folder.as_uri(),
        "device_id": "camera-1",
        "root": root,
        "store": folder / "store",
        "family": FAMILY,
        "compatible": "test-camera",
        "testing": Testing(program=script),
        "tries": 1,
        "retry_s": 0.0,
        **changes,
    }
    return Settings(**made)
