"""`edgesr pull` as one file for cameras: the modules of this package and what they need of ours.

It runs with Python 3.10 or newer and what `needed` names; the self-test needs numpy and the
model's runtime as well. `python3 edgesr-pull.pyz --help` says the rest.
"""

from __future__ import annotations

from importlib import resources

from toolkit.pull.needed import PIP
from toolkit.runner.zipped import archive_bytes, modules

START = b"""\
import sys

from toolkit.pull.program import main

sys.exit(main())
"""
MODULES = ("__init__.py", "child.py", "digest.py", "errors.py", "release.py")
ROOMS = ("pull", "runner")
NEEDS = f"{PIP}; for the self-test numpy and the model's runtime as well"


def client_bytes() -> bytes:
    """The archive, the same bytes for the same modules."""
    package = resources.files("toolkit")
    members = {"__main__.py": START}
    members.update({f"toolkit/{name}": (package / name).read_bytes() for name in MODULES})
    for room in ROOMS:
        members.update(modules(package / room, f"toolkit/{room}/"))
    return archive_bytes(members)
