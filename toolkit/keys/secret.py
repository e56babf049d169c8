"""Where passphrases and PINs come from: a file, the environment, or a prompt; never the words of a
command, which every user of the machine can read."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.keys.ring import Secret

PASSPHRASE = "EDGESR_KEY_PASSPHRASE"
PIN = "EDGESR_KEY_PIN"  # of an HSM
MAX_BYTES = 4096
OTHERS = stat.S_IRWXG | stat.S_IRWXO

Ask = Callable[[str], str]  # shows a prompt, returns what was typed


def secret_of(
    file: Path | None, *, environment: Mapping[str, str] = os.environ, ask: Ask | None = None
) -> Secret:
    """Answers from `file`, then the environment, then a prompt where somebody sits there."""
    asking = ask or _prompt

    def answer(what: str) -> str:
        is_passphrase = "passphrase" in what
        if is_passphrase and file is not None:
            return read_passphrase(file)
        name = PASSPHRASE if is_passphrase else PIN
        return environment[name] if name in environment else asking(f"{what}: ")

    return answer


def new_passphrase(
    file: Path | None, *, environment: Mapping[str, str] = os.environ, ask: Ask | None = None
) -> str:
    """The passphrase for new keys, typed twice where it is typed. Raises UserError."""
    if file is not None:
        return read_passphrase(file)
    if PASSPHRASE in environment:
        return environment[PASSPHRASE]
    asking = ask or _prompt
    first = asking("a passphrase for the new keys: ")
    if asking("the same again: ") != first:
        raise UserError("the two passphrases differ", hint="run the same command again")
    return first


def read_passphrase(file: Path) -> str:
    """The first line of a file that only its owner may read.

    Raises UserError where it is missing or empty, SecurityError `key-mode` where others may read.
    """
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            lines = stream.read(MAX_BYTES).splitlines()
    except OSError as error:
        raise UserError(f"cannot read the passphrase: {error.strerror}", where=str(file)) from error
    if stat.S_ISREG(mode) and mode & OTHERS:  # not a pipe, as in `<(pass show edgesr)`
        raise SecurityError(
            f"others may read this passphrase: its mode is {stat.S_IMODE(mode):04o}",
            where=str(file),
            hint=f"chmod 600 {file}",
            kind="key-mode",
        )
    try:
        passphrase = lines[0].decode() if lines else ""
    except UnicodeDecodeError as error:
        raise UserError("the passphrase is no UTF-8 text", where=str(file)) from error
    if not passphrase:
        raise UserError("there is no passphrase in its first line", where=str(file))
    return passphrase


def _prompt(text: str) -> str:
    if not sys.stdin.isatty():
        what = text.removesuffix(": ")
        raise EnvironmentFailure(
            f"{what} is needed, and nobody is there to type it",
            hint=f"--passphrase-file FILE, or set {PASSPHRASE} ({PIN} for an HSM)",
            kind="passphrase",
        )
    return getpass.getpass(text)
