"""A simulated board: the real `local:` link and the real runner, with a fault in what it runs.

The toolkit starts the board's Python on its runner; here that Python is a script which first does
to the runner what a bad kernel, a hot chip or a lying program would do.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

PROGRAM = Path(__file__).parent / "on_board.py"


@contextlib.contextmanager
def board(folder: Path, *faults: str, **settings: Any) -> Iterator[str]:
    """The URL of a board that has these faults of `on_board` while open."""
    home = folder / "board"
    home.mkdir()
    stated = home / "settings.json"
    stated.write_text(json.dumps({"faults": faults, **settings}))
    python = home / "python"
    words = " ".join(shlex.quote(str(w)) for w in (sys.executable, PROGRAM, stated))
    real = shlex.quote(sys.executable)
    python.write_text(
        f'#!/bin/sh\ncase "$1" in *.pyz) exec {words} "$@";; *) exec {real} "$@";; esac\n'
    )
    python.chmod(0o755)
    changes = {"EDGESR_PYTHON": str(python), "EDGESR_HOME": str(home / "home")}
    with patch.dict(os.environ, changes):
        yield "local:"
