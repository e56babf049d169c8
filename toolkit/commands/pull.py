"""`edgesr pull`: the camera's side of a channel, here or written as one file for a camera."""

from __future__ import annotations

import argparse
import sys


def run(arguments: argparse.Namespace) -> int:
    """What `toolkit.pull.program.run` says, or the client written to a file."""
    if arguments.write_client is not None:
        return _write_client(arguments)
    from toolkit.pull.program import run as run_pull

    return run_pull(arguments)


def _write_client(arguments: argparse.Namespace) -> int:
    from toolkit.digest import sha256_bytes
    from toolkit.pull.disk import replace_file
    from toolkit.pull.zipped import NEEDS, client_bytes

    data = client_bytes()
    replace_file(arguments.write_client, data)
    print(f"  it needs Python 3.10 or newer, and there {NEEDS}", file=sys.stderr)  # noqa: T201
    print(f"{sha256_bytes(data)}  {arguments.write_client}")  # noqa: T201
    return 0
