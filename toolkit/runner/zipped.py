"""The runner as one file that Python starts: a zip archive of this package's own modules."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

FILE = "edgesr-runner.pyz"
SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can state
START = b"""\
import sys

from toolkit.runner.program import main

sys.exit(main(sys.argv[1:]))
"""


def zipapp_bytes() -> bytes:
    """The archive, the same bytes for the same modules: names sorted, no times, stored plain."""
    members = {"__main__.py": START, "toolkit/__init__.py": b""}
    members.update(modules(resources.files("toolkit.runner"), "toolkit/runner/"))
    return archive_bytes(members)


def archive_bytes(members: Mapping[str, bytes]) -> bytes:
    """A zip archive that Python starts: `__main__.py` is among its members, by their names."""
    buffer = io.BytesIO(SHEBANG)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), members[name])
    return buffer.getvalue()


def modules(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a package's modules, of packages within it too; not of `zipped.py`."""
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from modules(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py") and entry.name != "zipped.py":
            yield prefix + entry.name, entry.read_bytes()
