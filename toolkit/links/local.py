"""`local:`, this machine: the same scripts and the same runner as on any device."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit import shell
from toolkit.contracts import Finished, LinkOptions
from toolkit.errors import UserError


class LocalLink:
    """Scripts run by this machine's own `sh`; Python is the one that runs this toolkit."""

    url = "local:"
    is_emulated = False

    def run(self, script: str, *, timeout_s: float, stdin: Path | bytes = b"") -> Finished:
        """Run a POSIX sh script, with everything it started, for at most `timeout_s` seconds."""
        environment = {"EDGESR_PYTHON": sys.executable, **os.environ}
        return shell.finished(
            ["sh", "-c", script],
            url=self.url,
            timeout_s=timeout_s,
            stdin=stdin,
            environment=environment,
            late="give it more time, or look at what else this machine is doing",
        )

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Copy a file."""
        full = "look at the free space: `edgesr devices local:`"
        shell.write(self, local, remote, timeout_s=timeout_s, full=full)

    def close(self) -> None:
        """Nothing to end."""


def present() -> list[str]:
    """This machine is always there."""
    return [LocalLink.url]


def open(address: str, options: LinkOptions) -> LocalLink:
    """This machine. Raises UserError where an address is given: there is only one."""
    if address:
        raise UserError(
            f"`local:` takes no address, got `{address}`", hint="write `local:`, or ssh://user@host"
        )
    return LocalLink()
