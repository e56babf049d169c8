"""The pictures that a validation looks at: HR alone or with their LR, all problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit.contracts import Image
from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.images.resize import crop_to_multiple
from toolkit.images.sets import ImageFile, ImageSet, folder_set, read_picture, shipped
from toolkit.metrics.protocol import PROTOCOL, protocol_pair
from toolkit.validate.asked import Asked

OWN_LR = "; but LR as handed in"  # a protocol of its own: its figures compare with no others


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """HR pictures, and the LR picture of each where those were handed in."""

    images: ImageSet
    scale: int
    lr: Mapping[str, Path] = field(default_factory=dict)  # by the HR picture's name
    protocol: str = PROTOCOL

    def pair(self, file: ImageFile) -> tuple[Image, Image]:
        """LR uint8 (h, w, 3) and HR uint8 (h*scale, w*scale, 3), both RGB."""
        if file.name not in self.lr:
            return protocol_pair(read_picture(file), self.scale)
        from toolkit.images.decode import read_rgb

        return read_rgb(self.lr[file.name]), crop_to_multiple(read_picture(file), self.scale)

    def as_json(self) -> dict[str, Any]:
        """Name, count, digest, and where LR came from."""
        return {
            "name": self.images.name,
            "count": len(self.images.files),
            "digest": self.images.digest,
            "lr": "handed in" if self.lr else "made from HR by the protocol",
        }


def pictures_of(asked: Asked, scale: int) -> Pictures:
    """The pictures asked for. Raises UserError with every problem: none there, unreadable ones,
    ones too small to be measured at the scale."""
    images = folder_set(asked.data, "validation") if asked.data else shipped("validation")
    if asked.images is not None:
        if asked.images < 1:
            raise UserError(f"`--images` must be at least 1, got {asked.images}")
        images = replace(images, files=images.files[: asked.images])
    problems: list[ToolkitError] = []
    for file in images.files if asked.data else ():
        try:
            protocol_pair(read_picture(file), scale)
        except UserError as problem:
            problems.append(UserError(problem.problem, where=str(file.path), hint=problem.hint))
    raise_all(problems)
    return Pictures(images=images, scale=scale)
