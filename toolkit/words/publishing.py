"""The words of `edgesr keys`, `publish` and `channel`; imports no tuf and no numpy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[[Any, str, str, str], argparse.ArgumentParser]  # group, name, purpose, example

KEYS = Path("keys")
ALGORITHMS = ("ed25519", "ecdsa-p256")


def add_commands(commands: Any, command: Command) -> None:
    """Add the three commands; `command` makes one in a group."""
    _add_keys(_group(commands, "keys", "make and replace the keys that sign a channel"), command)
    _add_publish(commands, command)
    _add_channel(
        _group(commands, "channel", "what a channel offers: its state, rollout, the way back"),
        command,
    )


def _group(commands: Any, name: str, purpose: str) -> Any:
    parser = commands.add_parser(name, help=purpose, description=purpose)
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def _add_keys(actions: Any, command: Command) -> None:
    init = command(
        actions, "init", "make the keys that are missing, and the first root",
        "keys init keys --family street --passphrase-file passphrase",
    )  # fmt: skip
    add = init.add_argument
    add("folder", nargs="?", type=Path, default=KEYS, metavar="KEYS", help="a folder (keys)")
    add(
        "--family", action="append", default=[], metavar="F", help="a family of cameras; any number"
    )
    add("--root-keys", type=int, metavar="N", help="(3)")
    add("--root-threshold", type=int, metavar="N", help="so many must sign (2)")
    add("--targets-keys", type=int, metavar="N", help="(as many as must sign)")
    add("--targets-threshold", type=int, metavar="N", help="(1)")
    _add_new_keys(init)
    rotate = command(
        actions, "rotate", "replace the keys of a role; cameras follow by themselves",
        "keys rotate timestamp snapshot --channel channel/",
    )  # fmt: skip
    add = rotate.add_argument
    add("roles", nargs="+", metavar="ROLE", help="root, targets, snapshot, timestamp, or a family")
    add("--channel", type=Path, metavar="DIR", help="bring it to the new keys at once")
    add("--key", metavar="NAME", help="only this one, e.g. root-2 (all of the role)")
    _add_signing(rotate)
    _add_new_keys(rotate, passphrase_file=False)


def _add_new_keys(parser: argparse.ArgumentParser, *, passphrase_file: bool = True) -> None:
    add = parser.add_argument
    add("--algorithm", choices=ALGORITHMS, default="ed25519", help="of new key files (ed25519)")
    add("--uri", action="append", default=[], metavar="ROLE=URI[,PUBLIC.pem]",
        help="a key in an HSM or key service: targets=hsm:2?label=edgesr")  # fmt: skip
    add("--no-passphrase", action="store_true", help="new key files are not encrypted")
    if passphrase_file:
        _add_passphrase(parser)


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE",
        help="its first line (EDGESR_KEY_PASSPHRASE, or a prompt)")  # fmt: skip


def _add_signing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", action="append", type=Path, metavar="KEYS",
        help="the folder with keys.json (keys); again: a stick with further files")  # fmt: skip
    _add_passphrase(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--channel", type=Path, required=True, metavar="DIR", help="what a web server serves"
    )


def _add_publish(commands: Any, command: Command) -> None:
    publish = command(
        commands, "publish", "sign a passed bundle as the next release of a channel",
        "publish out/intel/intel-n100 --channel channel/ --rollout 10%",
    )  # fmt: skip
    add = publish.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="what `edgesr run` wrote")
    _add_place(publish)
    add("--family", metavar="F", help="a family of cameras, with keys of its own (the target)")
    add("--rollout", metavar="SHARE", help="of its cameras: 0%% to 100%%, e.g. 0.5%% (100%%)")
    add("--file", metavar="NAME", help="which file of the bundle (the recommended one)")
    add("--compatible", metavar="WORD", help="only cameras that state it take it (the target)")
    add("--min-firmware", type=int, default=0, metavar="N", help="of the camera (0: any)")
    _add_signing(publish)


def _add_channel(actions: Any, command: Command) -> None:
    def action(name: str, purpose: str, example: str) -> argparse.ArgumentParser:
        parser = command(actions, name, purpose, f"channel {name} {example}--channel channel/")
        _add_place(parser)
        return parser

    status = action("status", "families, living releases, shares, keys, expiry", "")
    _add_signing(status)
    rollout = action("rollout", "give a living release to more cameras, or fewer", "50% ")
    rollout.add_argument("share", metavar="SHARE", help="0%% to 100%%; 0%% stops it")
    rollout.add_argument("--release", type=int, metavar="N", help="(the newest)")
    rollback = action("rollback", "publish an older release again, as the newest", "")
    rollback.add_argument("--to", type=int, metavar="N", help="(the one before, that was for all)")
    soon = action("expire-soon", "which signatures run out; exit code 4 if any", "--days 14 ")
    soon.add_argument("--days", type=float, default=7.0, metavar="N",
        help="(7); of timestamp and snapshot the last third of their lives")  # fmt: skip
    refresh = action("refresh", "sign again what would run out; for a daily timer", "")
    refresh.add_argument("--all", action="store_true", dest="everything",
        help="also root, targets and families, where their keys are here")  # fmt: skip
    for parser in (rollout, rollback):
        parser.add_argument("--family", metavar="F", help="(the only one)")
    for parser in (rollout, rollback, soon, refresh):
        _add_signing(parser)
