"""`edgesr pull` as one file for cameras: the modules of this package and what they need of ours.

It runs with Python 3.10 or newer and `tuf`, `cryptography` and `urllib3`; the self-test needs numpy
and the model's runtime as well. `python3 edgesr-pull.pyz --help` says the rest.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can state
START = b"""\
import sys

from toolkit.pull.program import main

sys.exit(main())
"""
MODULES = ("__init__.py", "child.py", "digest.py", "errors.py", "release.py")
ROOMS = ("pull", "runner")
NEEDS = "tuf and cryptography; for the self-test numpy and the model's runtime"


def client_bytes() -> bytes:
    """The archive, the same bytes for the same modules: names sorted, no times, stored plain."""
    package = resources.files("toolkit")
    members = {"__main__.py": START}
    members.update({f"toolkit/{name}": (package / name).read_bytes() for name in MODULES})
    for room in ROOMS:
        members.update(_modules(package / room, f"toolkit/{room}/"))
    buffer = io.BytesIO(SHEBANG)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), members[name])
    return buffer.getvalue()


def _modules(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _modules(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py") and entry.name != "zipped.py":
            yield prefix + entry.name, entry.read_bytes()
