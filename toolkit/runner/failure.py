"""Why a run on a device has no result."""

from __future__ import annotations

from typing import Literal

Kind = Literal["digest", "load", "golden", "run", "memory", "missing", "time"]
MEMORY_WORDS = ("bad_alloc", "allocate memory", "out of memory", "Cannot allocate")
TEXT_CHARS = 600


class Failure(Exception):
    """`kind` is the answer's word for it, `text` says what was found, on one line."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = one_line(text)


def one_line(text: str) -> str:
    """A runtime's message without line breaks, cut to a length one can read."""
    return " ".join(text.split())[:TEXT_CHARS]


def failure_of(error: Exception, kind: Kind, text: str = "") -> Failure:
    """An exception of a runtime; lack of memory is told apart by its class or its words.

    `text` is what to say of it, all of its own message by default.
    """
    if isinstance(error, Failure):
        return error
    whole = str(error) or type(error).__name__
    short = isinstance(error, MemoryError) or any(word in whole for word in MEMORY_WORDS)
    return Failure("memory" if short else kind, text or whole)
