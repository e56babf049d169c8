"""The shape of an export: one release of a channel in the format of another update system.

A plug is one file in `toolkit/exports/` with the names of `Export` in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from toolkit.errors import UserError
from toolkit.exporting.signed_release import SignedRelease

DEVICE_PATH = re.compile(r"/[A-Za-z0-9._/-]{1,200}")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user may say of an export; which of it a format takes, its `TAKES` tells."""

    cert: str | None = None  # PEM file, or a PKCS#11 URL where the format's tool takes one
    key: str | None = None  # as `cert`
    keyring: Path | None = None  # certificates that the made file must verify against
    device_path: str | None = None  # absolute folder on the device
    name: str | None = None  # of the model, in the other system's words; the family where None
    hardware: str | None = None  # word for hardware; the release's `compatible` where None


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote, or found written already."""

    path: Path
    changed: bool  # False: it was there already, with these very digests
    digests: dict[str, str]  # SHA-256 of the release's files in it, by the name they have there
    notes: tuple[str, ...]  # what could not be done or checked here
    next: tuple[str, ...]  # what to do with it, one or two lines


class Export(Protocol):
    """exports/NAME.py: one format."""

    PURPOSE: str  # one line for the help, without a full stop
    TAKES: Sequence[str]  # the fields of `Wishes` that it reads
    IS_CHANNEL: bool  # it holds every living release of the family, so none of them is named

    def export(self, release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
        """Write the release to `out`, whole or not at all; nothing that is there is changed.

        The same release gives the same bytes, but for signatures that are drawn at random.
        Raises UserError where something else is in the way, EnvironmentFailure where the format's
        tool is missing or fails.
        """


def device_folder(release: SignedRelease, wishes: Wishes) -> str:
    """Where the files go on the device: the folder wished for, else `/data/models/<family>`.

    Raises UserError where it is no plain absolute path.
    """
    path = wishes.device_path or f"/data/models/{release.release.family}"
    if not DEVICE_PATH.fullmatch(path) or "/../" in f"{path}/":
        raise UserError(
            f"`{path}` is no folder on a device",
            hint="--device-path /data/models: absolute, of letters, digits and `._/-`",
        )
    return path.rstrip("/")


def both_or_none(wishes: Wishes) -> tuple[str, str] | None:
    """Certificate and key of a signature. Raises UserError where one is missing."""
    if wishes.cert and wishes.key:
        return wishes.cert, wishes.key
    if wishes.cert or wishes.key:
        raise UserError("a signature needs --cert and --key", hint="name both, or none")
    return None
