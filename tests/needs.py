"""What a test needs beyond the project's own packages: missing parts skip, or fail where required.

`EDGESR_REQUIRE=ssh,browser,emulated` makes a missing part a failure, so that a build server cannot
pass by skipping.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.links.emulated import PREPARE, marker, root_folder

SSHD = Path("/usr/sbin/sshd")


def _ssh() -> str:
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    return "Debian's openssh-server" if missing or not SSHD.exists() else ""


def _browser() -> str:
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return "Debian's chromium and chromium-driver" if missing else ""


def _emulated() -> str:
    if shutil.which("qemu-aarch64-static") is None:
        return "Debian's qemu-user-static and debootstrap"
    prepared = marker(root_folder("aarch64")) is not None
    return "" if prepared else f"`{PREPARE.format(machine='aarch64')}`"


def _busybox() -> str:
    return "" if shutil.which("busybox") else "Debian's busybox"


def _android() -> str:
    missing = [name for name in ("mksh", "toybox") if shutil.which(name) is None]
    return "Debian's mksh and toybox" if missing else ""


def _nginx() -> str:
    return "" if Path("/usr/sbin/nginx").exists() else "Debian's nginx-light"


def _c_client() -> str:
    headers = ("curl/curl.h", "jansson.h", "openssl/evp.h")
    places = [Path("/usr/include"), *Path("/usr/include").glob("*-linux-gnu")]
    missing = [h for h in headers if not any((place / h).exists() for place in places)]
    compilers = [name for name in ("gcc", "clang") if shutil.which(name) is None]
    packages = "Debian's gcc, clang, libcurl4-openssl-dev, libssl-dev and libjansson-dev"
    return packages if missing or compilers else ""


def _faketime() -> str:
    return "" if shutil.which("faketime") else "Debian's faketime"


def _formats() -> str:
    tools = ("rauc", "swupdate", "mender-artifact", "skopeo", "umoci", "mksquashfs", "cpio")
    missing = [name for name in tools if shutil.which(name) is None]
    return f"Debian's {', '.join(missing)}" if missing else ""


def _fat() -> str:
    known = Path("/proc/filesystems").read_text() if Path("/proc/filesystems").exists() else ""
    mounts = "vfat" in known or (shutil.which("fusefat") and Path("/dev/fuse").exists())
    return (
        "" if mounts and shutil.which("mkfs.vfat") else "Debian's dosfstools and fusefat, as root"
    )


def _softhsm() -> str:
    return "" if shutil.which("softhsm2-util") else "Debian's softhsm2"


PARTS: dict[str, Callable[[], str]] = {
    "ssh": _ssh,
    "browser": _browser,
    "emulated": _emulated,
    "busybox": _busybox,  # the shell and the programs of small cameras
    "android": _android,  # the shell and the programs of Android
    "nginx": _nginx,  # a real web server for channels
    "c-client": _c_client,  # what clients/c is built with
    "faketime": _faketime,  # cameras whose clock says another day
    "fat": _fat,  # a FAT file system, by the kernel or by FUSE
    "softhsm": _softhsm,  # a PKCS#11 token in software, for signing keys
    "formats": _formats,  # the own tools of the formats that releases are exported to
}


def needs(part: str) -> pytest.MarkDecorator:
    """A mark that skips a test where the part is missing; fails at once where it is required."""
    missing = PARTS[part]()
    if missing and part in os.environ.get("EDGESR_REQUIRE", "").split(","):
        raise RuntimeError(f"EDGESR_REQUIRE names `{part}`, which needs {missing}")
    return pytest.mark.skipif(bool(missing), reason=f"needs {missing}")
