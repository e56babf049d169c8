"""Image sets: which pictures, in which order, with digests and licences."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from toolkit.digest import sha256_bytes, sha256_file, sha256_json
from toolkit.errors import SecurityError, ToolkitError, UserError, raise_all

if TYPE_CHECKING:
    from toolkit.images.resize import Image

Split = Literal["calibration", "validation"]
MANIFEST = "manifest.csv"
PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One picture on disk. `digest` is of the decoded pixels, so a re-encoded copy is equal."""

    name: str
    path: Path
    digest: str
    licence: str = ""
    source: str = ""
    file_sha256: str = ""  # where a manifest vouches for the file; checked by `read_picture`


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """An ordered set of pictures."""

    name: str
    files: tuple[ImageFile, ...]

    @property
    def digest(self) -> str:
        """Changes with any pixel, name or the order."""
        return sha256_json([[f.name, f.digest] for f in self.files])


def pixel_digest(rgb: Image) -> str:
    """SHA-256 of the size and the pixels of uint8 (H, W, 3) RGB; the file format does not count."""
    height, width = rgb.shape[:2]
    return sha256_bytes(f"rgb8 {height}x{width}\n".encode() + rgb.tobytes())


def read_picture(file: ImageFile) -> Image:
    """Decode one picture of a set: uint8 (H, W, 3) RGB.

    Raises SecurityError where the file is not the one its manifest names, UserError where it
    cannot be read or its pixels changed since the set was listed.
    """
    # A set is listed without decoding by the commands that must answer at once.
    from toolkit.images.decode import read_rgb

    if file.file_sha256 and sha256_file(file.path) != file.file_sha256:
        raise SecurityError(
            f"`{file.name}` is not the file that the manifest of its set names",
            where=str(file.path),
            hint="restore it from the release of the toolkit, or use a folder of your own",
        )
    rgb = read_rgb(file.path)
    if pixel_digest(rgb) != file.digest:
        raise UserError(
            f"`{file.name}` changed while it was in use", where=str(file.path), hint="run again"
        )
    return rgb


def folder_set(folder: Path, name: str) -> ImageSet:
    """The pictures that lie directly in `folder`, sorted by name, known by their suffix.

    Raises UserError for a missing or empty folder, and one listing every unreadable picture.
    """
    images, problems = readable(folder, name)
    raise_all(problems)
    return images


def readable(folder: Path, name: str) -> tuple[ImageSet, list[ToolkitError]]:
    """The pictures of `folder_set` that can be read, and a problem for each that cannot.

    Raises UserError for a missing or empty folder.
    """
    from toolkit.images.decode import SUFFIXES, read_rgb

    if not folder.is_dir():
        raise UserError(f"the folder of the {name} pictures does not exist", where=str(folder))
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UserError(
            f"no {name} picture in this folder",
            where=str(folder),
            hint=f"pictures are known by their suffix: {', '.join(sorted(SUFFIXES))}",
        )
    files, problems = [], list[ToolkitError]()
    for path in paths:
        try:
            digest = pixel_digest(read_rgb(path))
            files.append(ImageFile(name=path.name, path=path, digest=digest))
        except UserError as problem:
            problems.append(problem)
    return ImageSet(name=name, files=tuple(files)), problems


def shipped_folder() -> Path:
    """Where `calibration_data` lies: in the installed package, or beside it in a checkout."""
    installed = PACKAGE / "calibration_data"
    return installed if installed.is_dir() else PACKAGE.parent / "calibration_data"


def shipped(which: Split) -> ImageSet:
    """The pictures that come with the toolkit; read from the manifest, nothing is decoded.

    Raises UserError where the manifest is missing or names a picture that is not there.
    """
    folder = shipped_folder()
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise UserError(
            "the pictures that come with the toolkit are missing",
            where=str(manifest),
            hint="install the toolkit again, or name folders of your own in the recipe",
        )
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == which]
    missing = [row["name"] for row in rows if not (folder / which / row["name"]).is_file()]
    if missing:
        raise UserError(f"missing pictures: {', '.join(missing)}", where=str(manifest))
    files = (
        ImageFile(
            name=row["name"],
            path=folder / which / row["name"],
            digest=row["pixels_sha256"],
            licence=row["licence"],
            source=row["source"],
            file_sha256=row["file_sha256"],
        )
        for row in rows
    )
    return ImageSet(name=f"shipped {which}", files=tuple(files))


def check_disjoint(calibration: ImageSet, validation: ImageSet) -> None:
    """Raise UserError naming every picture that is in both sets, by its pixels not its name."""
    names = {file.digest: file.name for file in calibration.files}
    shared = [(names[f.digest], f.name) for f in validation.files if f.digest in names]
    if shared:
        pairs = ", ".join(a if a == b else f"{a} = {b}" for a, b in shared)
        raise UserError(
            f"calibration and validation share {len(shared)} of their pictures: {pairs}",
            where=f"`{calibration.name}` and `{validation.name}`",
            hint="a gate measured on calibration pictures proves nothing; remove them from one set",
        )
