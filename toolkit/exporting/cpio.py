"""cpio archives of the `newc` form with fixed owners and times: what SWUpdate reads.

The form: https://docs.kernel.org/driver-api/early-userspace/buffer-format.html . `cpio` itself
would put in who packed the files, when, and their inodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAGIC = b"070701"
HEAD_BYTES = 110  # the magic, and 13 numbers of 8 hexadecimal digits
FILE_MODE = 0o100644  # a regular file
TRAILER = "TRAILER!!!"
BLOCK_BYTES = 512  # GNU cpio fills the last block, and SWUpdate expects it


@dataclass(frozen=True, kw_only=True)
class Member:
    """One regular file."""

    name: str
    content: bytes


def archive_bytes(files: Sequence[Member], created_s: int) -> bytes:
    """The archive, members in order; owner 0, every time `created_s`."""
    parts = [_member(number, file, created_s) for number, file in enumerate(files, start=1)]
    whole = b"".join([*parts, _member(0, Member(name=TRAILER, content=b""), 0)])
    return whole + bytes(-len(whole) % BLOCK_BYTES)


def _member(inode: int, file: Member, created_s: int) -> bytes:
    name = file.name.encode("ascii") + b"\0"
    is_file = file.name != TRAILER
    # inode, mode, owner, group, links, time, size, 4 device numbers, size of the name, no checksum
    numbers = (inode, FILE_MODE if is_file else 0, 0, 0, 1, created_s, len(file.content),
               0, 0, 0, 0, len(name), 0)  # fmt: skip
    head = MAGIC + b"".join(b"%08x" % number for number in numbers) + name
    return _filled(head) + _filled(file.content)


def _filled(data: bytes) -> bytes:
    """Up to the next multiple of 4 bytes."""
    return data + bytes(-len(data) % 4)


def members(archive: bytes) -> Iterator[Member]:
    """The members of an archive that this module wrote; nothing of one that is cut or of others."""
    place = 0
    while archive[place : place + 6] == MAGIC:
        numbers = archive[place + 6 : place + HEAD_BYTES]
        size, length = int(numbers[48:56], 16), int(numbers[88:96], 16)
        start = place + HEAD_BYTES
        name = archive[start : start + length - 1].decode("ascii", "replace")
        if name == TRAILER:
            return
        data = start + length + -(HEAD_BYTES + length) % 4
        yield Member(name=name, content=archive[data : data + size])
        place = data + size + -size % 4
