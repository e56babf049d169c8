"""`ssh://[user@]host[:port]`: a device reached by the system's own `ssh`, keys only.

One connection is opened and shared; its socket lies in a private folder. The user's
`~/.ssh/config` is honoured (aliases, jump hosts, keys); EDGESR_SSH_CONFIG names another file.
Options that matter for safety are given on the command line, where no file overrides them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from toolkit.child import TooMuchOutput, die_with_parent, ended
from toolkit.contracts import Finished, LinkOptions
from toolkit.errors import EnvironmentFailure, LinkLost
from toolkit.links.ssh.address import Address, address_of
from toolkit.links.ssh.refusal import HINT_CONNECT, last_words, refusal

SSH = "ssh"
CONFIG = "EDGESR_SSH_CONFIG"
SSH_FAILED = 255  # ssh(1): "or with 255 if an error occurred"
HANDSHAKE_S = 20.0  # keys and log-in, on a slow device, after the connection stands
ALIVE_S, ALIVE_COUNT = 5, 3  # a silent device is given up after 15 s
LONGEST_FOLDER = 60  # characters; unix(7): a socket's path has at most 108, ssh appends 17
OPTIONS = (
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ConnectionAttempts=1",
    "EscapeChar=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "LogLevel=ERROR",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    f"ServerAliveInterval={ALIVE_S}",
    f"ServerAliveCountMax={ALIVE_COUNT}",
    "Tunnel=no",
    "UpdateHostKeys=no",
    "ControlPersist=no",
)


class SshLink:
    """One shared connection to a device, opened anew where it was lost."""

    is_emulated = False

    def __init__(self, url: str, address: Address, options: LinkOptions) -> None:
        self.url = url
        self._address = address
        self._options = options
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Open the connection where there is none. Raises what `_refused` says."""
        if self._master is not None and self._master.poll() is None:
            return
        self.close()
        self._folder = _private_folder()
        words = [*self._words("yes"), "-N", *self._address.words()]
        with (self._folder / "said").open("wb") as said:
            try:
                self._master = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env={**os.environ, "LC_ALL": "C"},
                    start_new_session=True,  # Ctrl-C is for us alone: the lock is given back first
                    preexec_fn=die_with_parent,
                )
            except FileNotFoundError:
                self.close()
                raise EnvironmentFailure(
                    "there is no `ssh` on this host",
                    where=self.url,
                    hint="apt install openssh-client",
                ) from None
        self._wait_for(self._master)

    def run(self, script: str, *, timeout_s: float, stdin: Path | bytes = b"") -> Finished:
        """Run a POSIX sh script on the device for at most `timeout_s` seconds.

        A script's own exit code 255 is told as 254. Raises LinkLost where the connection ended in
        the middle, EnvironmentFailure where the device is too slow, cannot be reached or does not
        let us in, SecurityError where its host key changed.
        """
        self.connect()
        words = [*self._words("no"), *self._address.words(), _command(script)]
        try:
            done = ended(
                words, timeout_s=timeout_s, stdin=stdin, environment={**os.environ, "LC_ALL": "C"}
            )
        except subprocess.TimeoutExpired:
            if self._master is None or self._master.poll() is not None:
                raise self._lost() from None
            raise EnvironmentFailure(
                f"the device was not done within {timeout_s:.0f} s",
                where=self.url,
                hint="it may be too slow for what was asked, or busy with something else",
            ) from None
        except TooMuchOutput as found:
            raise EnvironmentFailure(f"the answer is too large: {found}", where=self.url) from None
        if done.code == SSH_FAILED:
            raise self._lost()
        return Finished(code=done.code, stdout=done.stdout, stderr=done.stderr)

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Write a file through `cat`: small cameras have neither SFTP nor scp."""
        script = f"umask 077; cat > {shlex.quote(remote)}"
        done = self.run(script, timeout_s=timeout_s, stdin=local)
        if done.code != 0:
            raise EnvironmentFailure(
                f"the device could not write `{local.name}`: {last_words(done.stderr)}",
                where=self.url,
                hint=f"look at its free space: `edgesr devices {self.url}`",
            )

    def close(self) -> None:
        """End the connection and remove its socket."""
        if self._master is not None:
            self._master.terminate()
            try:
                self._master.wait(5.0)
            except subprocess.TimeoutExpired:
                self._master.kill()
                self._master.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._master = self._folder = None

    def _words(self, master: str) -> list[str]:
        trust = "accept-new" if self._options.accept_new_host else "yes"
        given = (
            *OPTIONS,
            f"StrictHostKeyChecking={trust}",
            f"ConnectTimeout={max(1, round(self._options.connect_s))}",
            f"ControlMaster={master}",
            f"ControlPath={self._folder}/s",
        )
        config = os.environ.get(CONFIG)
        return [
            SSH,
            *(["-F", config] if config else []),
            *(word for option in given for word in ("-o", option)),
        ]

    def _wait_for(self, master: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._options.connect_s + HANDSHAKE_S
        with contextlib.ExitStack() as otherwise:
            otherwise.callback(self.close)
            while not (self._socket().exists() and master.poll() is None):
                if master.poll() is not None:
                    self._refused()
                if time.monotonic() > deadline:
                    raise EnvironmentFailure(
                        "the device took too long to let us in",
                        where=self.url,
                        hint=HINT_CONNECT,
                    )
                time.sleep(0.01)
            otherwise.pop_all()  # let in: the connection stays

    def _socket(self) -> Path:
        assert self._folder is not None
        return self._folder / "s"

    def _refused(self) -> NoReturn:
        assert self._folder is not None
        said = (self._folder / "said").read_bytes()[-8192:].decode("utf-8", "replace")
        raise refusal(said, self.url, self._address, self._options)

    def _lost(self) -> LinkLost:
        self.close()  # what is left of the connection: the next script opens another
        return LinkLost(
            "the link was lost in the middle",
            where=self.url,
            hint="nothing half-done is kept; run the same command again",
        )


def _command(script: str) -> str:
    """What the device's log-in shell is given, whichever it is; 255 is left for ssh's own use."""
    outer = 'sh -c "$0"; code=$?; [ $code -ne 255 ] || code=254; exit $code'
    return f"exec sh -c {shlex.quote(outer)} {shlex.quote(script)}"


def _private_folder() -> Path:
    """A folder that only this user enters (mkdtemp: mode 0700), its path short enough."""
    usual = tempfile.gettempdir()
    return Path(
        tempfile.mkdtemp(prefix="edgesr-", dir=usual if len(usual) <= LONGEST_FOLDER else "/tmp")
    )


def present() -> list[str]:
    """Nothing: a device of a network has to be named."""
    return []


def open(address: str, options: LinkOptions) -> SshLink:
    """A link to `[user@]host[:port]`, connected. Raises as `SshLink.run` does, or UserError."""
    link = SshLink(f"ssh://{address}", address_of(address), options)
    link.connect()
    return link
