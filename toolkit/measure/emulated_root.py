"""The Debian root of an emulated device: made once, by `edgesr devices prepare emulated:aarch64`.

debootstrap fetches Debian's signed packages, pip the runtimes' wheels; both are only unpacked, no
program of them runs. Work is done beside the final name: what was fetched outlives a kill, and the
root appears whole or not at all.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import json
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from toolkit.child import die_with_parent
from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure
from toolkit.links import emulated

SUITE = "bookworm"  # Debian 12: its Python is the 3.11 that the wheels of this host are made for
PYTHON = "3.11"
DEBIAN_OF: Mapping[str, str] = {"aarch64": "arm64"}
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")  # glibc 2.36
PROGRAMS: Mapping[str, str] = {
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "tar": "tar",
    "unshare": "util-linux",
}
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")  # where debootstrap looks for them
LEAST_FREE_MB = 1200  # 60 of packages, 50 of wheels, 400 unpacked, twice while one is replaced
MERGED = ("bin", "lib", "sbin")  # links into usr since Debian 12, which packages rely on
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
# Python files that the runner never imports; the others are compiled here, where it is fast.
NOT_IMPORTED = re.compile(r"/tests?/|/lib2to3/|/idlelib/|onnxruntime/(transformers|tools)/")
CORE = "processor : {n}\nmodel name : emulated by qemu-aarch64 -cpu max\n\n"
TALK_LINES = 12  # of a program that failed, its last ones are quoted

Say = Callable[[str], None]


def prepare(machine: str, say: Say) -> Path:
    """Make the root of an instruction set, or find it made; returns its folder.

    `say` gets one line per stage. Raises UserError for an unknown instruction set and
    EnvironmentFailure where a program, space or the network is missing, where another preparation
    is at work, or where no program runs in what was made.
    """
    emulated.known_machine(machine)
    root = emulated.root_folder(machine)
    if _is_current(root):
        say(f"ready: {root}")
        return root
    _check_programs(machine)
    work = root.with_name(f"{machine}.part")
    work.mkdir(parents=True, exist_ok=True)
    _check_space(work)
    with _alone(work):
        if not _is_current(root):
            _make(machine, root, work, say)
    emulated.open(machine, LinkOptions()).close()
    say(f"ready: {root}")
    return root


def _is_current(root: Path) -> bool:
    found = emulated.marker(root)
    return found is not None and found.get("wheels") == emulated.wanted_wheels()


def _make(machine: str, root: Path, work: Path, say: Say) -> None:
    wheels = emulated.wanted_wheels()
    say(f"1/4 runtimes for {machine}: {', '.join(f'{n} {v}' for n, v in wheels.items())}")
    files = _fetch_wheels(machine, work / "wheels", wheels)
    say(f"2/4 packages of Debian {SUITE} for {DEBIAN_OF[machine]}, checked by Debian's keys")
    packages = _fetch_packages(machine, work / "debian")
    say(f"3/4 unpacking {len(packages)} packages and {len(files)} wheels")
    fresh = work / "root"
    _remove(fresh)
    _unpack(fresh, packages, files)
    _write_marker(fresh, packages, wheels)
    say("4/4 putting it in place")
    _replace(root, fresh, work / "old")
    shutil.rmtree(work, ignore_errors=True)


def _check_programs(machine: str) -> None:
    emulated.emulator(machine)
    missing = {p: package for p, package in PROGRAMS.items() if shutil.which(p) is None}
    if not KEYS.exists():
        missing[str(KEYS)] = "debian-archive-keyring"
    if missing:
        raise EnvironmentFailure(
            f"not installed: {', '.join(f'`{program}`' for program in missing)}",
            where=f"emulated:{machine}",
            hint=f"on Debian and Ubuntu: sudo apt install {' '.join(sorted(missing.values()))}",
        )
    if platform.python_version_tuple()[:2] != tuple(PYTHON.split(".")):
        raise EnvironmentFailure(
            f"Debian {SUITE} has Python {PYTHON}, this is {platform.python_version()}",
            where=f"emulated:{machine}",
            hint=f"run edgesr with Python {PYTHON}, so that both use the same runtimes",
        )


def _check_space(work: Path) -> None:
    free_mb = shutil.disk_usage(work).free / 1e6
    if free_mb < LEAST_FREE_MB:
        raise EnvironmentFailure(
            f"{free_mb:.0f} MB are free, the root needs {LEAST_FREE_MB}",
            where=str(work),
            hint="make room, or name another folder with EDGESR_HOME",
        )


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """One preparation at a time; the kernel frees the lock of one that was killed."""
    with work.with_name(f"{work.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFailure(
                "another preparation is at work", where=str(work), hint="wait for it to end"
            ) from None
        yield


def _fetch_wheels(machine: str, folder: Path, wheels: Mapping[str, str]) -> list[Path]:
    """The wheels as pip fetches them, from wherever this machine's pip is told to look."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    words += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    words += [f"--platform={name}_{machine}" for name in PLATFORMS]
    words += [f"--dest={folder}", *(f"{name}=={version}" for name, version in wheels.items())]
    folder.mkdir(exist_ok=True)
    _run(words, "pip could not fetch the runtimes")
    found = [sorted(folder.glob(f"{n.replace('-', '_')}-{v}-*.whl")) for n, v in wheels.items()]
    if not all(found):
        raise EnvironmentFailure(f"pip left no wheel of {', '.join(wheels)}", where=str(folder))
    return [files[0] for files in found]


def _fetch_packages(machine: str, folder: Path) -> list[Path]:
    """The .deb files of a minimal Debian with Python. Those that are there already are kept."""
    words = ["debootstrap", "--download-only", "--force-check-gpg", "--variant=minbase"]
    words += [f"--arch={DEBIAN_OF[machine]}", "--include=python3", SUITE, str(folder)]
    # killed with us, it and all that it started; it only looks whether it is root
    alone = ["unshare", "--pid", "--fork", "--kill-child"]
    alone += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    _run([*alone, *words], "debootstrap could not fetch Debian's packages")
    return sorted((folder / "var/cache/apt/archives").glob("*.deb"))


def _run(words: Sequence[str], problem: str) -> None:
    """A program that must succeed; Ctrl-C reaches it too, and it dies with this one."""
    child = subprocess.run(
        list(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent,
        check=False,
    )
    if child.returncode != 0:
        lines = [line for line in child.stdout.splitlines() if not line.startswith("I: ")]
        talk = "\n".join(lines[-TALK_LINES:])
        raise EnvironmentFailure(
            f"{problem} (exit {child.returncode}): {talk}",
            hint="look at the network and the proxy; what was fetched is kept, run it again",
        )


def _unpack(root: Path, packages: Sequence[Path], wheels: Sequence[Path]) -> None:
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        _unpack_package(root, package)
    for name in ("proc", "sys", "dev", "tmp", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    cores = "".join(CORE.format(n=n) for n in range(os.cpu_count() or 1))
    (root / emulated.CPU_FACTS).write_text(cores)
    site = root / f"usr/local/lib/python{PYTHON}/dist-packages"
    site.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)  # zipfile keeps names inside the folder
    for name in UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    _compile(root)


def _compile(root: Path) -> None:
    """Importing compiles what is not compiled, and emulation is slow at it."""
    for folder in (f"usr/lib/python{PYTHON}", "usr/lib/python3", f"usr/local/lib/python{PYTHON}"):
        compileall.compile_dir(
            root / folder,
            quiet=2,  # a file that is no Python 3 stays as it is
            stripdir=root,
            prependdir="/",
            rx=NOT_IMPORTED,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _unpack_package(root: Path, package: Path) -> None:
    """The files of one .deb, owned by whoever prepares; device nodes come from this machine."""
    tar = ["tar", "--extract", "--no-same-owner", "--keep-directory-symlink", "-C", str(root)]
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as source:
        unpacked = subprocess.run(
            tar, stdin=source.stdout, capture_output=True, text=True, check=False
        )
    if source.returncode != 0 or unpacked.returncode != 0:
        package.unlink(missing_ok=True)
        raise EnvironmentFailure(
            f"`{package.name}` cannot be unpacked: {unpacked.stderr.strip()[-300:]}",
            where=str(root),
            hint="look at the free space; the package is fetched anew when you run it again",
        )


def _write_marker(root: Path, packages: Sequence[Path], wheels: Mapping[str, str]) -> None:
    value = {
        "format": emulated.MARKER_FORMAT,
        "suite": SUITE,
        "packages": [package.stem for package in packages],
        "wheels": dict(wheels),
    }
    with (root / emulated.MARKER).open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _replace(root: Path, fresh: Path, old: Path) -> None:
    """A folder cannot be replaced in one call: the old one is moved aside first."""
    _remove(old)
    if root.exists():
        root.rename(old)
    fresh.rename(root)


def _remove(folder: Path) -> None:
    """Delete a root, if it is there; nothing is ever mounted in it outside of a namespace."""
    if folder.exists():
        shutil.rmtree(folder)
