"""tar archives with fixed owners, modes and times: the same files give the same bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

MODE = 0o644


def tar_bytes(files: Iterable[tuple[str, bytes]], created_s: int) -> bytes:
    """An uncompressed ustar archive of regular files in the given order, owner 0."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), created_s, MODE
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def tar_members(file: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the regular files of an archive, in its order.

    Raises ValueError where it is no plain tar.
    """
    try:
        with tarfile.open(file, mode="r:") as archive:
            kept = [one for one in archive.getmembers() if one.isreg()]
            found = [(one.name, archive.extractfile(one)) for one in kept]
            return [(name, stream.read()) for name, stream in found if stream is not None]
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"no tar archive: {error}") from error
