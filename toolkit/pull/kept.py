"""The trusted metadata on a camera: small files, each replaced as a whole, readable at any moment.

    metadata/{root,timestamp,snapshot,targets,<family>}.json
    metadata/root_history/<version>.root.json    the chain from the given root to the present one

What is read here is checked like what comes from a network: somebody may have held the medium.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import EnvironmentFailure
from toolkit.pull.disk import nothing, part_of, read_small, replace_file, telling
from toolkit.release import FAMILY, RESERVED

MOST_BYTES = 5_000_000  # of one file; python-tuf's own limit for targets metadata
HISTORY = "root_history"
_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A folder of trusted metadata; it need not exist yet."""

    folder: Path

    def read(self, name: str) -> bytes | None:
        """The bytes of one file; None where it is missing, too long, unreadable or no file."""
        return read_small(self.folder / name, MOST_BYTES)

    def write(self, name: str, data: bytes, halfway: Callable[[], None] = nothing) -> None:
        """Replace one file, unless it has these bytes already.

        `halfway` is called while the new file is complete but not yet in place. Raises
        EnvironmentFailure `disk-full`, `read-only` or `store`; the old file is then untouched.
        """
        path = self.folder / name
        if self.read(name) == data:
            halfway()
            return
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            replace_file(path, data, halfway)
        except EnvironmentFailure:
            with contextlib.suppress(OSError):
                part_of(path).unlink()
            raise

    def names(self) -> list[str]:
        """The files that may be roles, without `.json`."""
        with contextlib.suppress(OSError):
            return sorted(one.stem for one in self.folder.iterdir() if one.suffix == ".json")
        return []

    def root_versions(self) -> list[int]:
        """Which versions the root chain has, oldest first."""
        with contextlib.suppress(OSError):
            names = (_ROOT.fullmatch(one.name) for one in (self.folder / HISTORY).iterdir())
            return sorted(int(match[1]) for match in names if match)
        return []


def root_name(version: int) -> str:
    """Where a root of the chain lies."""
    return f"{HISTORY}/{version}.root.json"


def is_family(name: str) -> bool:
    """Whether a role's name can be that of a family."""
    return FAMILY.fullmatch(name) is not None and name not in RESERVED
