"""What a device says, made safe to read and to show: every byte of it is a stranger's."""

from __future__ import annotations

from toolkit.contracts import Finished
from toolkit.errors import EnvironmentFailure

SHOWN_CHARACTERS = 300
GARBAGE_BYTES = 80  # shown of it
MOST_LINES = 400
MOST_LINE_CHARACTERS = 4000


def plain(text: str | bytes, most: int = SHOWN_CHARACTERS) -> str:
    """The end of a device's words on one line, without anything that a terminal would obey."""
    if isinstance(text, bytes):
        text = text[-4 * most :].decode("utf-8", "replace")
    line = " ".join(text.split())
    shown = "".join(c if c.isprintable() else "?" for c in line[-most:])
    return shown or "(no words)"


def marked(done: Finished, first_line: str, url: str) -> dict[str, str]:
    """Lines `key=value` after the line `first_line`, which must come first.

    Raises EnvironmentFailure where something else was printed before it.
    """
    refuse_garbage(done, first_line.encode("ascii"), url)
    text = done.stdout.decode("utf-8", "replace")
    values: dict[str, str] = {}
    for line in text.split("\n")[1 : MOST_LINES + 1]:
        key, equals, value = line.partition("=")
        if equals and key.isprintable():
            values[key] = "".join(c for c in value[:MOST_LINE_CHARACTERS] if c.isprintable())
    return values


def refuse_garbage(done: Finished, start: bytes, url: str) -> None:
    """Raises EnvironmentFailure where stdout says something, but does not begin with `start`."""
    if not done.stdout or done.stdout.startswith(start):
        return
    before = done.stdout.partition(start)[0][:GARBAGE_BYTES]
    raise EnvironmentFailure(
        f"the device printed something before the answer: `{plain(before)}`",
        where=url,
        hint="scripts such as `~/.bashrc` on the device must print nothing where there is no "
        "terminal; `edgesr` reads exactly what its own program prints",
    )
