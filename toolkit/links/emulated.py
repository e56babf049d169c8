"""`emulated:aarch64`: another instruction set on this machine, for numbers and never for times.

Scripts run in a Debian arm64 root that `edgesr devices prepare emulated:aarch64` made, through
qemu-user-static. A user namespace of its own holds the mounts and the registration of the
emulator, so no root rights are needed, nothing stays mounted and nothing of this machine changes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from toolkit import shell
from toolkit.child import ended
from toolkit.contracts import Finished, LinkOptions
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.plugins import did_you_mean

MACHINES: Mapping[str, str] = {"aarch64": "qemu-aarch64-static"}  # Debian's names of the emulators
WHEELS = ("numpy", "onnxruntime", "ai-edge-litert")  # in the versions that this host has
MARKER = "edgesr-root.json"  # written last: what is in the root
MARKER_FORMAT = 1
MARKER_MOST_BYTES = 1 << 16
CPU_FACTS = "etc/edgesr-cpuinfo"  # what programs in the root read as /proc/cpuinfo
PREPARE = "edgesr devices prepare emulated:{machine}"
PROBE_S = 60.0
# How Linux knows a program of the other instruction set by its first bytes: the ELF header's class,
# byte order and machine number 0xb7, as in Debian 12's /usr/lib/binfmt.d/qemu-aarch64.conf. `F`
# opens the emulator now, so that it is found after the chroot (Linux, admin-guide/binfmt-misc).
ELF_OF_AARCH64 = (
    r":edgesr:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{qemu}:F"
)
# /sys stays empty: it tells of this machine's CPU, and ONNX Runtime crashes where that is no Arm.
# $1: the root, $2: what to register ("" where the system has done so), $3: the script. Since Linux
# 6.7 a user namespace has registrations of its own.
ENTER = """\
root=$1
for part in proc dev; do mount --rbind "/$part" "$root/$part" || exit 125; done
mount --bind "$root/CPU_FACTS" "$root/proc/cpuinfo" || exit 125
if [ -n "$2" ]; then
  mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || exit 125
  printf '%s' "$2" > /proc/sys/fs/binfmt_misc/register || exit 125
fi
exec chroot "$root" /bin/sh -c "$3"
""".replace("CPU_FACTS", CPU_FACTS)
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "QEMU_CPU": "max",  # all that the emulator knows: the dot products INT8 kernels look for, too
}
OWN_NAMESPACE = ("--user", "--map-root-user", "--mount")
MOUNTS_ONLY = ("--mount",)  # for root, where user namespaces are closed


class EmulatedLink:
    """Scripts in the root of another instruction set."""

    is_emulated = True

    def __init__(self, machine: str, root: Path, entry: Sequence[str]) -> None:
        self.url = f"emulated:{machine}"
        self._root = root
        self._entry = tuple(entry)

    def run(self, script: str, *, timeout_s: float, stdin: Path | bytes = b"") -> Finished:
        """Run a POSIX sh script, with everything it started, for at most `timeout_s` seconds."""
        return shell.finished(
            [*self._entry, f"cd; {script}"],
            url=self.url,
            timeout_s=timeout_s,
            stdin=stdin,
            environment=ENVIRONMENT,
            late="emulation is some 20 times slower than a board; try a smaller picture",
        )

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Copy a file into the root."""
        full = f"look at the free space of `{self._root}`"
        shell.write(self, local, remote, timeout_s=timeout_s, full=full)

    def close(self) -> None:
        """Nothing to end: each script's mounts went with it."""


def present() -> list[str]:
    """The instruction sets whose root is prepared."""
    return [f"emulated:{machine}" for machine in MACHINES if marker(root_folder(machine))]


def open(address: str, options: LinkOptions) -> EmulatedLink:
    """The prepared root of `address`, an instruction set; one program was run in it.

    Raises UserError for an instruction set that is not emulated here, EnvironmentFailure where the
    root is not prepared, is another version's, or cannot be entered on this machine.
    """
    machine = known_machine(address)
    qemu = emulator(machine)
    root = root_folder(machine)
    _check_marker(machine, root)
    return EmulatedLink(machine, root, _entry(machine, root, qemu))


def known_machine(address: str) -> str:
    """The instruction set that an address names. Raises UserError where there is no such one."""
    if address not in MACHINES:
        raise UserError(
            f"`emulated:{address}` is no instruction set that is emulated here",
            hint=did_you_mean(address, MACHINES),
        )
    return address


def emulator(machine: str) -> str:
    """Path of the emulator. Raises EnvironmentFailure where it or `unshare` is not installed."""
    for program, package in ((MACHINES[machine], "qemu-user-static"), ("unshare", "util-linux")):
        if shutil.which(program) is None:
            raise EnvironmentFailure(
                f"`{program}` is not installed",
                where=f"emulated:{machine}",
                hint=f"on Debian and Ubuntu: sudo apt install {package}",
            )
    return str(shutil.which(MACHINES[machine]))


def root_folder(machine: str) -> Path:
    """Where the root of an instruction set is kept.

    In EDGESR_HOME where it is set, else `edgesr` in XDG_CACHE_HOME, which is ~/.cache by default.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("EDGESR_HOME") or caches / "edgesr")
    return home.absolute() / "emulated" / machine


def wanted_wheels() -> dict[str, str]:
    """The runtimes of a root in the versions that this host has: both compute with the same."""
    return {name: metadata.version(name) for name in WHEELS}


def marker(root: Path) -> dict[str, Any] | None:
    """What a root says it holds; None where it is not there or was not finished."""
    try:
        with (root / MARKER).open("rb") as file:
            value = json.loads(file.read(MARKER_MOST_BYTES))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("format") == MARKER_FORMAT else None


def entry(machine: str, root: Path, qemu: str, flags: Sequence[str]) -> list[str]:
    """The command that enters a root; the script follows as its last argument."""
    registration = ELF_OF_AARCH64.format(qemu=qemu) if flags == OWN_NAMESPACE else ""
    return ["unshare", *flags, "sh", "-c", ENTER, machine, str(root), registration]


def _check_marker(machine: str, root: Path) -> None:
    found = marker(root)
    command = PREPARE.format(machine=machine)
    if found is None:
        raise EnvironmentFailure(
            f"there is no Debian root for {machine} yet",
            where=str(root),
            hint=f"make it, once, in some minutes: {command}",
        )
    if found.get("wheels") != (wanted := wanted_wheels()):
        raise EnvironmentFailure(
            f"the root holds {_listed(found.get('wheels'))}, this host {_listed(wanted)}",
            where=str(root),
            hint=f"both must compute with the same versions: {command}",
        )


def _listed(wheels: Any) -> str:
    if not isinstance(wheels, dict):
        return "no runtimes"
    return ", ".join(f"{name} {version}" for name, version in sorted(wheels.items()))


def _entry(machine: str, root: Path, qemu: str) -> list[str]:
    """The first way into the root that works: one program is run to see."""
    talk = ""
    for flags in (OWN_NAMESPACE, MOUNTS_ONLY):
        words = entry(machine, root, qemu, flags)
        try:
            done = ended([*words, "uname -m"], timeout_s=PROBE_S, environment=ENVIRONMENT)
        except subprocess.TimeoutExpired:
            talk += f"no answer within {PROBE_S:.0f} s "
            continue
        if done.code == 0 and done.stdout.decode("ascii", "replace").strip() == machine:
            return words
        talk += f"{done.stderr.strip()[-300:]} "
    raise EnvironmentFailure(
        f"no {machine} program runs in the root: {' '.join(talk.split())}",
        where=str(root),
        hint="emulation needs user namespaces and Linux 6.7, or root rights and a registered "
        f"emulator (sudo apt install binfmt-support); if the root is damaged, delete {root} and "
        f"run {PREPARE.format(machine=machine)}",
    )
