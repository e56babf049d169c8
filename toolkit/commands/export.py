"""`edgesr export`: a channel's release in the format of another update system."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import plugins
from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.exporting.export import Exported, Wishes
from toolkit.release import ALL_BASIS_POINTS, WORD
from toolkit.words.exporting import ROOM

if TYPE_CHECKING:
    from toolkit.exporting.export import Export
    from toolkit.exporting.signed_release import SignedRelease


def run(arguments: argparse.Namespace) -> int:
    """Check the channel, write one release in the format asked for, say what to do with it."""
    from toolkit.exporting.signed_release import signed_release

    plug: Export = plugins.load(ROOM, arguments.format)
    wishes = _wishes(arguments, plug)
    _refuse_served(arguments.channel, arguments.out)
    release = signed_release(
        arguments.channel,
        family=arguments.family,
        number=arguments.release,
        root=arguments.root,
        any_share=plug.IS_CHANNEL,
    )
    done = plug.export(release, arguments.out, wishes)
    print(*_talk(plug, release, done), sep="\n", file=sys.stderr)  # noqa: T201
    if arguments.json:
        print(json.dumps(_value(plug, arguments.format, release, done), indent=2))  # noqa: T201
    else:
        print(done.path)  # noqa: T201
    return 0


def _wishes(arguments: argparse.Namespace, plug: Export) -> Wishes:
    """The format's own options. Raises UserError for those that it does not take, all at once."""
    names = [one.name for one in fields(Wishes)]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    takes = ", ".join(_option(name) for name in plug.TAKES) or "none of these options"
    problems: list[ToolkitError] = [
        UserError(f"{_option(name)} is no option of `{arguments.format}`", hint=f"it takes {takes}")
        for name in given
        if name not in plug.TAKES
    ]
    if plug.IS_CHANNEL and arguments.release is not None:
        hint = "leave --release out: its signed index names all living releases of the family"
        problems.append(
            UserError(f"`{arguments.format}` does not carry single releases", hint=hint)
        )
    problems += _missing(given)
    if "hardware" in given and not WORD.fullmatch(given["hardware"]):
        hint = "--hardware with 1 to 100 printable characters and no space"
        problems.append(UserError(f"`{given['hardware']}` is no word for hardware", hint=hint))
    raise_all(problems)
    return Wishes(**given)


def _missing(given: dict[str, Any]) -> list[ToolkitError]:
    """Certificates and keys that are no files here; a URL, as `pkcs11:`, is the tool's matter."""
    named = {name: given[name] for name in ("cert", "key", "keyring") if name in given}
    return [
        UserError(f"there is no file `{file}`", hint=f"{_option(name)} FILE, in PEM")
        for name, file in named.items()
        if ":" not in str(file) and not Path(file).is_file()
    ]


def _refuse_served(channel: Path, out: Path) -> None:
    if channel.resolve() in (out.resolve(), *out.resolve().parents):
        raise UserError(
            "the export would lie in the channel, which is served to everybody",
            where=str(out),
            hint="--out with a place of its own",
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _talk(plug: Export, release: SignedRelease, done: Exported) -> list[str]:
    one = release.release
    what = f"release {one.release} for {one.compatible}"
    if plug.IS_CHANNEL:
        what = "all living releases"
    count = f"{len(done.digests)} files" if len(done.digests) > 1 else "1 file"
    state = "written" if done.changed else "there already, with these very digests"
    return [
        f"{one.family}, {what}: {count}, {state}",
        *(f"note: {note}" for note in _notes(plug, release, done)),
        *done.next,
    ]


def _notes(plug: Export, release: SignedRelease, done: Exported) -> list[str]:
    """What a reader should know, also of what our clients heed and other agents do not."""
    notes = [*release.remarks, *done.notes]
    least, share = release.release.min_firmware, release.basis_points
    if not plug.IS_CHANNEL and least:
        notes.append(f"it needs firmware {least} or newer, and nothing in this format checks that")
    if not plug.IS_CHANNEL and share < ALL_BASIS_POINTS:
        told = f"{share / 100:g} % of the cameras"
        notes.append(f"the channel offers it to {told}; this format knows no shares")
    return notes


def _value(plug: Export, name: str, release: SignedRelease, done: Exported) -> dict[str, object]:
    one = release.release
    return {
        "schema": 1,
        "format": name,
        "path": str(done.path),
        "changed": done.changed,
        "family": one.family,
        "release": one.release,
        "id": release.manifest.sha256,
        "files": done.digests,
        "notes": _notes(plug, release, done),
        "next": list(done.next),
    }
