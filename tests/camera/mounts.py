"""File systems of their own for tests: small, read-only, without links. Mounting needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

IMAGE_BYTES = 4 << 20
UNMOUNT_TRIES = 50  # a process that has just been killed may still hold a file for a moment


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """Memory as a file system, limited by `options`, e.g. "size=1m,nr_inodes=64"."""
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _unmount("umount", folder)


def remount(folder: Path, options: str) -> None:
    """Other options for what is mounted there."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@contextlib.contextmanager
def fat(folder: Path, image: Path) -> Iterator[Path]:
    """A FAT image: by the kernel where it can, else by FUSE; skips where neither is there."""
    folder.mkdir(parents=True)
    image.write_bytes(bytes(IMAGE_BYTES))
    subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
    kernel = subprocess.run(
        ["mount", "-t", "vfat", "-o", "loop", str(image), str(folder)],
        capture_output=True,
        check=False,
    )
    if kernel.returncode == 0:
        try:
            yield folder
        finally:
            _unmount("umount", folder)
        return
    with _fuse(folder, image):
        yield folder


@contextlib.contextmanager
def _fuse(folder: Path, image: Path) -> Iterator[None]:
    if shutil.which("fusefat") is None or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no FAT: the kernel has no vfat, and Debian's fusefat or /dev/fuse is missing")
    words = ["fusefat", "-f", "-s", "-o", "rw+", str(image), str(folder)]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not folder.is_mount() and child.poll() is None:
            time.sleep(0.01)
        if child.poll() is not None:
            pytest.skip("fusefat may not mount here")
        yield
    finally:
        _unmount("fusermount -u", folder)
        child.wait()


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting needs root: {done.stderr.strip()}")


def _unmount(command: str, folder: Path) -> None:
    for _ in range(UNMOUNT_TRIES):
        done = subprocess.run([*command.split(), str(folder)], capture_output=True, check=False)
        if done.returncode == 0 or not folder.is_mount():
            return
        time.sleep(0.05)
    raise RuntimeError(f"{folder} stays mounted: {done.stderr!r}")


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """A file that takes all space but so much."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    left = max(filler.stat().st_size - leave_bytes, 0)
    os.truncate(filler, left)
    return filler
