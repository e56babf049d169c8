"""`edgesr devices`: which devices are reachable, what they have, and who is at work on them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.commands.reading import wait_s_of
from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.measure.survey import Seen

PREPARE = "prepare"
NARROWEST, WIDEST = 80, 120
INDENT = " " * 4


def run(arguments: argparse.Namespace) -> int:
    """Print one block per device; 0, or the largest exit code of the named ones' problems."""
    from toolkit.contracts import LinkOptions
    from toolkit.measure.survey import clean, survey, unnamed

    named: list[str] = arguments.urls
    wait_s = wait_s_of(arguments)
    if named[:1] == [PREPARE]:
        return _prepare(named[1:])
    if arguments.clean and not named:
        raise UserError("`--clean` needs the device's URL", hint="edgesr devices local: --clean")
    options = LinkOptions(accept_new_host=arguments.accept_new_host)
    if arguments.clean:
        seen = [clean(url, options, wait_s=wait_s, say=_say) for url in named]
    else:
        seen = survey(named or unnamed(), options)
    if arguments.json:
        print(json.dumps([one.as_json() for one in seen], indent=1))  # noqa: T201
    else:
        print(devices_text(seen, width=_width()), end="")  # noqa: T201
    problems = [one.problem for one in seen if one.problem is not None] if named else []
    for problem in problems:
        print(f"\n{problem}", file=sys.stderr)  # noqa: T201
    return max((problem.exit_code for problem in problems), default=0)


def devices_text(seen: Sequence[Seen], *, width: int) -> str:
    """One line per device with its state, and below it what it is and has."""
    longest = max((len(one.url) for one in seen), default=0)
    lines: list[str] = []
    for one in seen:
        lines += _wrapped(f"{one.url:<{longest}}  {one.state}", width)
        if one.found is not None:
            lines += [line for text in _facts(one) for line in _wrapped(INDENT + text, width)]
            lines += [INDENT + one.hint] if one.hint else []  # whole: it is there to be copied
    return "\n".join([*lines, ""])


def _facts(one: Seen) -> list[str]:
    found = one.found
    assert found is not None
    device = found.device
    free = "free space unknown" if found.free_mb is None else f"{_size(found.free_mb)} free"
    cores = f"{device.cores} x {device.cpu}"
    if device.cpu == device.name:
        cores = f"{device.cores} core{'s' * (device.cores != 1)}"
    facts = [
        f"{device.name}, {device.machine}, {cores}, "
        f"{_size(device.memory_mb)} memory, {device.system}",
        f"{', '.join(one.runtimes) or 'no runtime'}; {free}",
    ]
    if one.missing:
        facts.append(f"lacks {' and '.join(one.missing)}")
    return facts


def _size(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )


def _width() -> int:
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size((100, 24)).columns))


def _prepare(urls: Sequence[str]) -> int:
    from toolkit.measure.emulated_root import prepare

    if not urls:
        raise UserError(
            "`prepare` needs the device's URL", hint="edgesr devices prepare emulated:aarch64"
        )
    for url in urls:
        link, _, machine = url.partition(":")
        if link != "emulated" or not machine:
            raise UserError(
                f"`{url}` needs no preparation", hint="edgesr devices prepare emulated:aarch64"
            )
        print(prepare(machine, _say))  # noqa: T201
    return 0


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)  # noqa: T201
