"""Plug-ins are files: one that lies in a room is registered, and none is imported to list them."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from toolkit.errors import UserError

PACKAGE = Path(__file__).parent


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or lists what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(names)}"


def names(room: str) -> list[str]:
    """Names of the plugs in a room (`archs`, `steps`, `backends`), read from its files."""
    return sorted(m.name for m in pkgutil.iter_modules([str(PACKAGE / room)]))


def load(room: str, name: str) -> ModuleType:
    """Import one plug. Raises UserError where the room has no such file."""
    known = names(room)
    if name not in known:
        raise UserError(f"no `{name}` in {room}", hint=did_you_mean(name, known))
    return importlib.import_module(f"toolkit.{room}.{name}")
