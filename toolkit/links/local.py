"""`local:`, this machine: the same scripts and the same runner as on any device."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from toolkit.child import TooMuchOutput, ended
from toolkit.contracts import Finished, LinkOptions
from toolkit.errors import EnvironmentFailure, UserError


class LocalLink:
    """Scripts run by this machine's own `sh`; Python is the one that runs this toolkit."""

    url = "local:"
    is_emulated = False

    def run(self, script: str, *, timeout_s: float, stdin: Path | bytes = b"") -> Finished:
        """Run a POSIX sh script, with everything it started, for at most `timeout_s` seconds."""
        environment = {"EDGESR_PYTHON": sys.executable, **os.environ}
        try:
            done = ended(
                ["sh", "-c", script], timeout_s=timeout_s, stdin=stdin, environment=environment
            )
        except subprocess.TimeoutExpired:
            raise EnvironmentFailure(
                f"not done within {timeout_s:.0f} s, and stopped",
                where=self.url,
                hint="give it more time, or look at what else this machine is doing",
            ) from None
        except TooMuchOutput as found:
            raise EnvironmentFailure(f"the answer is too large: {found}", where=self.url) from None
        return Finished(code=done.code, stdout=done.stdout, stderr=done.stderr)

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Copy a file."""
        done = self.run(f"cat > {shlex.quote(remote)}", timeout_s=timeout_s, stdin=local)
        if done.code != 0:
            raise EnvironmentFailure(
                f"could not write `{remote}`: {done.stderr.strip()[-300:]}",
                where=self.url,
                hint="look at the free space: `edgesr devices local:`",
            )

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
