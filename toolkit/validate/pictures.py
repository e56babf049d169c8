"""The pictures that a validation looks at: HR alone or with their LR, all problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.bundle.manifest import Bundle
from toolkit.contracts import Image
from toolkit.digest import sha256_json
from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.images.resize import crop_to_multiple
from toolkit.images.sets import ImageFile, ImageSet, pixel_digest, read_picture, readable, shipped
from toolkit.metrics.protocol import PROTOCOL, protocol_pair
from toolkit.report import Verdict
from toolkit.validate.asked import Asked
from toolkit.validate.comparing import at_most
from toolkit.validate.pairs import PairFault, lr_paths, pair_faults

SHOWN = 3  # pictures named in one line
ALLOW_OWN_LR = "if that LR is meant: --own-lr"
OWN_LR = "; but LR as handed in"  # a protocol of its own: its figures compare with no others


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """HR pictures, and the LR picture of each where those were handed in."""

    images: ImageSet
    scale: int
    lr: Mapping[str, Path] = field(default_factory=dict)  # by the HR picture's name
    faults: tuple[PairFault, ...] = ()  # LR that is not the protocol's
    protocol: str = PROTOCOL

    def pair(self, file: ImageFile) -> tuple[Image, Image]:
        """LR uint8 (h, w, 3) and HR uint8 (h*scale, w*scale, 3), both RGB."""
        if file.name not in self.lr:
            return protocol_pair(read_picture(file), self.scale)
        from toolkit.images.decode import read_rgb

        return read_rgb(self.lr[file.name]), crop_to_multiple(read_picture(file), self.scale)

    @property
    def digest(self) -> str:
        """Of the HR pictures, and of the LR ones where those were handed in."""
        if not self.lr:
            return self.images.digest
        from toolkit.images.decode import read_rgb

        lr = {name: pixel_digest(read_rgb(path)) for name, path in sorted(self.lr.items())}
        return sha256_json([self.images.digest, lr])

    def as_json(self) -> dict[str, Any]:
        """Name, count, digest, and where LR came from."""
        return {
            "name": self.images.name,
            "count": len(self.images.files),
            "digest": self.digest,
            "lr": "handed in" if self.lr else "made from HR by the protocol",
        }


def pictures_of(asked: Asked, scale: int) -> Pictures:
    """The pictures asked for. Raises UserError with every problem: none there, unreadable ones,
    ones too small to be measured at the scale, LR that is missing or of another size."""
    if asked.images is not None and asked.images < 1:
        raise UserError(f"`--images` must be at least 1, got {asked.images}")
    images, problems = shipped("validation"), list[ToolkitError]()
    if asked.data:
        refuse_file(asked.data, "--data")
        images, problems = readable(asked.data, "validation")
        images = replace(images, name=asked.data.resolve().name)
    images = replace(images, files=images.files[: asked.images])
    small = [problem for file in images.files for problem in _too_small(file, scale, asked)]
    raise_all([*problems, *small])
    if asked.lr is None:
        return Pictures(images=images, scale=scale)
    refuse_file(asked.lr, "--lr")
    lr = lr_paths(images.files, asked.lr, scale)
    faults = pair_faults(images.files, lr, scale)
    protocol = PROTOCOL + OWN_LR if faults else PROTOCOL
    return Pictures(images=images, scale=scale, lr=lr, faults=faults, protocol=protocol)


def refuse_file(folder: Path, option: str) -> None:
    """Raise UserError where one picture is named instead of a folder of them."""
    if folder.is_file():
        raise UserError(
            f"`{folder.name}` is a file, name a folder",
            where=str(folder),
            hint=f"{option} {folder.parent}: all pictures that lie in it",
        )


def _too_small(file: ImageFile, scale: int, asked: Asked) -> list[ToolkitError]:
    if asked.data is None:
        return []  # the shipped ones are large enough
    try:
        protocol_pair(read_picture(file), scale)
    except UserError as problem:
        return [UserError(problem.problem, where=str(file.path), hint=problem.hint)]
    return []


def pair_verdicts(pictures: Pictures, own_lr: bool) -> list[Verdict]:
    """One verdict on all pairs; nothing where LR was made here. `own_lr`: only a picture that
    belongs to another one is wrong."""
    if not pictures.lr:
        return []
    bad = [fault for fault in pictures.faults if fault.is_swapped or not own_lr]
    shown = "; ".join(f"{fault.name} {fault.looks}" for fault in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    kernel = any("kernel" in fault.looks for fault in bad)
    hint = f"; {ALLOW_OWN_LR}" if kernel else ""
    return [at_most("pairs", "", len(bad), 0, "pictures", shown + more + hint)]


def picture_warnings(pictures: Pictures, bundle: Bundle | None) -> list[str]:
    """LR that is not the protocol's, picture by picture; pictures that calibrated the files."""
    found = [f"LR of {fault.name} {fault.looks}" for fault in pictures.faults]
    if bundle is None:
        return found
    stated = bundle.report.images
    calibration = {name: value for name, value in stated.items() if "calibration" in name}
    digests = {d for value in calibration.values() for d in value.get("pictures", {}).values()}
    if "shipped calibration" in calibration:
        digests |= {file.digest for file in shipped("calibration").files}
    whole = pictures.images.digest in [value.get("digest") for value in calibration.values()]
    shared = [f.name for f in pictures.images.files if whole or f.digest in digests]
    if shared:
        names = ", ".join(shared[:SHOWN]) + (", ..." if len(shared) > SHOWN else "")
        count = f"{len(shared)} of {len(pictures.images.files)} pictures"
        found.append(f"{count} calibrated these files and prove little: {names}")
    return found
