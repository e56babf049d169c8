"""Image sets: which pictures, in which order, with digests and licences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One picture on disk. `digest` is of the decoded pixels, so a re-encoded copy is equal."""

    name: str
    path: Path
    digest: str
    licence: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """An ordered set of pictures."""

    name: str
    files: tuple[ImageFile, ...]

    @property
    def digest(self) -> str:
        """Changes with any pixel, name or the order."""
        from toolkit.digest import sha256_json

        return sha256_json([[f.name, f.digest] for f in self.files])
