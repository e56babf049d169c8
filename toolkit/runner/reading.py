"""Numbers and words of the kernel's files; None where a file is not there or not readable."""

from __future__ import annotations

from pathlib import Path

FILE_MAX_BYTES = 1 << 20


def text_of(file: Path) -> str | None:
    """A small file's text without white space and zero bytes at its ends."""
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_MAX_BYTES).decode("utf-8", "replace").strip(" \t\r\n\0")
    except OSError:
        return None


def is_there(path: Path) -> bool:
    """Whether a file or folder can be seen; Android hides some from its shell."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def number_of(file: Path, scale: float = 1.0) -> float | None:
    """A file's only number, multiplied by `scale`."""
    text = text_of(file)
    try:
        return None if text is None else float(text) * scale
    except ValueError:
        return None


def lines_by_key(file: Path) -> dict[str, str]:
    """The lines `key: value` of a file such as /proc/meminfo; the first of each key."""
    found: dict[str, str] = {}
    for line in (text_of(file) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def kib_as_mb(value: str | None) -> float | None:
    """`123 kB` of /proc as MiB."""
    words = (value or "").split()
    return int(words[0]) / 1024 if words and words[0].isdigit() else None
