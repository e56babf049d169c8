"""Seeds for the fuzz targets from a real channel: python3 seeds.py CHANNEL FAMILY OUT.

CHANNEL is a folder with metadata/ and targets/ as `edgesr publish` writes it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

PART = b"\x1e"  # between the records of fuzz_workflow.c and fuzz_release.c
ROLES = ("root", "timestamp", "snapshot", "targets")  # in the order of `enum role`


def newest(metadata: Path, role: str) -> bytes:
    """The bytes of a role's latest version; timestamp.json has no number in its name."""
    numbered = sorted(metadata.glob(f"*.{role}.json"), key=lambda p: int(p.name.split(".")[0]))
    return (numbered[-1] if numbered else metadata / f"{role}.json").read_bytes()


def roots(metadata: Path) -> list[bytes]:
    """Every root, oldest first."""
    files = sorted(metadata.glob("*.root.json"), key=lambda p: int(p.name.split(".")[0]))
    return [file.read_bytes() for file in files]


def workflows(metadata: Path, family: str) -> list[bytes]:
    """A first poll, one with everything stored, and one along the whole root chain."""
    top = [newest(metadata, role) for role in ROLES[1:]]
    below = newest(metadata, family)
    first, chain = roots(metadata)[-1], roots(metadata)
    nothing = [b"", b"", b""]
    return [
        PART.join([first, *nothing, b"", *top, below]),
        PART.join([first, *top, b"", top[0], below]),  # only what changed is asked for
        PART.join([chain[0], *nothing, *chain[1:], b"", *top, below]),
    ]


def write(folder: Path, seeds: list[bytes]) -> None:
    """One file for each seed, named by its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def main(channel: Path, family: str, out: Path) -> None:
    """Write the seeds of every target into a folder of its own."""
    metadata, targets = channel / "metadata", channel / "targets" / family
    files = [newest(metadata, role) for role in (*ROLES, family)]
    kinds = (0, 1, 2, 3, 3)
    indexes = [file.read_bytes() for file in sorted(targets.glob("*.index.json"))]
    releases = [file.read_bytes() for file in sorted(targets.glob("*/*.release.json"))]
    digest = hashlib.sha256(b"").hexdigest().encode()
    write(out / "json", [*files, *indexes, *releases])
    write(out / "metadata", [bytes([k]) + f for k, f in zip(kinds, files, strict=True)])
    write(out / "workflow", workflows(metadata, family))
    write(out / "release", [a + PART + b for a in indexes for b in releases])
    write(out / "store", [b"7 " + digest + b"\n", digest + b" 3\n", digest + b" golden\n" * 2])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
