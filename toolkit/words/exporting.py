"""The words of `edgesr export`; imports no plug, no tuf and no numpy."""

from __future__ import annotations

import argparse
from pathlib import Path

from toolkit.plugins import names

ROOM = "exports"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Formats are found by their files; which format takes which option, the plugs say."""
    add = parser.add_argument
    add("format", metavar="FORMAT", help=", ".join(names(ROOM)))
    add("--channel", type=Path, required=True, metavar="DIR", help="what `publish` wrote")
    add("--family", metavar="NAME", help="(the only one)")
    add("--release", type=int, metavar="N", help="(the newest that is for all cameras)")
    add("--root", type=Path, metavar="FILE", help="a root that the channel must continue")
    add("--out", type=Path, required=True, metavar="PATH", help="the file or folder to write")
    add("--cert", metavar="FILE", help="rauc, swupdate: certificate to sign with")
    add("--key", metavar="FILE", help="rauc, swupdate, mender: its key")
    add("--keyring", type=Path, metavar="FILE", help="rauc: what the bundle must verify against")
    add("--device-path", metavar="DIR", help="swupdate, mender: where files go on the device")
    add("--name", help="ovms: of the model; rauc: of the artifact repository")
    add("--hardware", metavar="WORD", help="rauc, swupdate, mender: (the release's `compatible`)")
