"""A real OpenSSH server on loopback, with keys and settings of its own, as any user.

`ssh_server(folder)` is a device: everything of it lies in `folder`, its home for edgesr in
`folder/device`. What a poor device does otherwise is put in its way: a PATH with fewer programs,
another Python, or a script that every command goes through.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from needs import SSHD

START_S = 20.0
PORTS = 3
SERVER = """\
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
SetEnv {environment}
{force}
"""
CLIENT = """\
Host *
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


@dataclass(frozen=True, kw_only=True)
class SshServer:
    """A running server and what a client needs for it."""

    url: str
    port: int
    folder: Path
    home: Path  # EDGESR_HOME on the device
    process: subprocess.Popen[bytes]

    @property
    def client_config(self) -> Path:
        """For EDGESR_SSH_CONFIG."""
        return self.folder / "ssh_config"

    def left(self) -> list[str]:
        """Every path below the device's home, but for the files by digest."""
        paths = sorted(self.home.rglob("*")) if self.home.exists() else []
        names = [p.relative_to(self.home).as_posix() for p in paths]
        return [n for n in names if n not in ("files", "jobs") and not _is_digest(n)]

    def kept(self) -> list[str]:
        """The digests of the files that were sent."""
        return sorted(p.name for p in (self.home / "files").glob("*"))


def _is_digest(name: str) -> bool:
    stem = name.removeprefix("files/")
    return name != stem and len(stem) == 64 and all(c in "0123456789abcdef" for c in stem)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def make_key(path: Path) -> str:
    """A new key pair; returns the public half."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(words, check=True)
    return path.with_name(f"{path.name}.pub").read_text()


@contextlib.contextmanager
def ssh_server(
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    force: str = "",
) -> Iterator[SshServer]:
    """Start a server, end it with all its sessions.

    `environment` is the device's; EDGESR_HOME and EDGESR_PYTHON are given. `force` is a POSIX sh
    script that every command goes through, in $SSH_ORIGINAL_COMMAND; $PPID is the server's process
    of that connection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "device"
    public = make_key(folder / "host_key")
    (folder / "authorized_keys").write_text(make_key(folder / "user_key"))
    (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
    (folder / "force.sh").write_text(force)
    values = {"EDGESR_HOME": str(home), "EDGESR_PYTHON": sys.executable, **(environment or {})}
    config = SERVER.format(
        folder=folder,
        environment=" ".join(f'"{key}={value}"' for key, value in values.items()),
        force=f"ForceCommand sh {folder}/force.sh" if force else "",
    )
    (folder / "sshd_config").write_text(config)
    process, port = _start(folder)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
    try:
        yield SshServer(url=url, port=port, folder=folder, home=home, process=process)
    finally:
        process.terminate()
        process.wait()
        for child in _descendants(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The server and its port; another port is tried where somebody took the free one first."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd(8) wants it where it is root
    log = folder / "sshd.log"
    words = [str(SSHD), "-D", "-f", str(folder / "sshd_config"), "-E", str(log)]
    for _ in range(PORTS):
        port = free_port()
        process = subprocess.Popen([*words, "-p", str(port)], start_new_session=True)
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            if _listens(port):
                return process, port
            time.sleep(0.02)
        process.kill()
        process.wait()
    raise RuntimeError(f"sshd did not start: {log.read_text()}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _descendants(folder: Path) -> list[int]:
    """Processes that still work below the server's folder: a runner that was left alone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if str((entry / "cwd").readlink()).startswith(str(folder)):
                    found.append(int(entry.name))
    return found


def programs(folder: Path, *without: str) -> str:
    """A PATH with the programs of a small device, but for some."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SMALL_DEVICE:
        place = shutil.which(name)
        if place and name not in without:
            (folder / name).symlink_to(place)
    return str(folder)


SMALL_DEVICE = (
    "sh", "bash", "cat", "cp", "cut", "date", "dd", "df", "dirname", "echo", "false", "grep",
    "head", "id", "kill", "ln", "ls", "mkdir", "mv", "openssl", "printf", "pwd", "rm", "rmdir",
    "sed", "sha256sum", "sleep", "sort", "tail", "timeout", "tr", "true", "uname", "wc",
)  # fmt: skip
