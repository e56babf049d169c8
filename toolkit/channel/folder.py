"""Where the files of a channel lie.

CHANNEL/metadata/timestamp.json                  the only file that is ever replaced
CHANNEL/metadata/<version>.<role>.json
CHANNEL/targets/<family>/<release>/<sha256>.<name>
"""

from __future__ import annotations

import os
from pathlib import Path

METADATA = "metadata"
TARGETS = "targets"


def metadata_file(channel: Path, role: str, version: int | None = None) -> Path:
    """`timestamp.json` has no version in its name, the others have."""
    return channel / METADATA / (f"{role}.json" if version is None else f"{version}.{role}.json")


def blob_file(channel: Path, target: str, sha256: str) -> Path:
    """Where a target path lies under TUF's consistent snapshots: `a/b` at `a/<sha256>.b`."""
    folder, _, name = target.rpartition("/")
    return channel / TARGETS / folder / f"{sha256}.{name}"


def free_version(channel: Path, role: str, above: int) -> int:
    """The next version of a role that no file has: a killed publish may have left some."""
    version = above + 1
    while os.path.lexists(metadata_file(channel, role, version)):
        version += 1
    return version
