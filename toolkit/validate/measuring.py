"""One pass over the pictures: every file's picture once, every stage fed with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.contracts import Image, Progress
from toolkit.images.luma import rgb_to_ycbcr, ycbcr_to_rgb
from toolkit.images.resize import bicubic_resize
from toolkit.report import ImageScore
from toolkit.show.crops import Crop, worst_crops
from toolkit.validate.asked import Show
from toolkit.validate.comparing import Rendered, compared, interval
from toolkit.validate.files import OpenFile
from toolkit.validate.level_gaps import Counts, level_counts
from toolkit.validate.pictures import Pictures
from toolkit.validate.subject import Pairing, final_pairing
from toolkit.validation import Comparison, Stage

CROP_PX = 96


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The worst windows of each file so far; whole pictures are not kept."""

    count: int  # of each file
    by_file: dict[str, list[Crop]] = field(default_factory=dict)

    def add(self, crop: Crop) -> None:
        """Keep the crop where it is among the worst; of equals the first one."""
        crops = sorted([*self.by_file.get(crop.file, ()), crop], key=lambda c: -c.rms_levels)
        self.by_file[crop.file] = crops[: self.count]

    def crops(self) -> tuple[Crop, ...]:
        """File by file, worst first."""
        return tuple(crop for crops in self.by_file.values() for crop in crops)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one pass over the pictures gave: stages, and every file's own scores and levels."""

    stages: tuple[Stage, ...]
    scores: Mapping[str, Sequence[ImageScore]]
    levels: Mapping[str, Counts]


def measured(
    pictures: Pictures,
    files: Mapping[str, OpenFile],
    pairs: Sequence[Pairing],
    worst: Worst,
    show: Show,
) -> Measurement:
    """All stages that this host can measure; one picture is in memory at a time."""
    found: list[list[Comparison]] = [[] for _ in pairs]
    scores: dict[str, list[ImageScore]] = {name: [] for name in files}
    levels = {name: level_counts(None) for name in files}
    total = len(pictures.images.files)
    for done, file in enumerate(pictures.images.files, start=1):
        lr, hr = pictures.pair(file)
        rendered = {name: each.rendered(lr, hr) for name, each in files.items()}
        for name, picture in rendered.items():
            psnr_db, ssim = picture.score.psnr_db, picture.score.ssim
            scores[name].append(ImageScore(name=file.name, psnr_db=psnr_db, ssim=ssim))
            levels[name] += level_counts(picture.planes)
        for pair, comparisons in zip(pairs, found, strict=True):
            a, b = rendered[pair.file], rendered[pair.against]
            band_px = border_px(files[pair.against])
            comparisons.append(compared(file.name, a, b, band_px))
            if pair is final_pairing(pairs, pair.file):
                _keep_crop(worst, file.name, pair, hr, lr, a, b)
        show(Progress(done=done, total=total, note=file.name))
    stages = tuple(stage_of(pair, images) for pair, images in zip(pairs, found, strict=True))
    return Measurement(stages=stages, scores=scores, levels=levels)


def stage_of(pair: Pairing, images: Sequence[Comparison]) -> Stage:
    """The comparisons of one pairing as a stage."""
    return Stage(
        name=pair.stage,
        file=pair.file,
        against=pair.against,
        budget=pair.budget,
        images=tuple(images),
        interval=interval([image.drop_db for image in images]),
    )


def border_px(file: OpenFile) -> int:
    """How many output pixels from the border see beyond it: the halo, at least one LR pixel."""
    image = file.contract.image
    return max(image.halo_px or 0, 1) * image.scale


def _keep_crop(
    worst: Worst,
    name: str,
    pair: Pairing,
    hr: Image,
    lr: Image,
    found: Rendered,
    wanted: Rendered,
) -> None:
    """Of the windows of one picture keep the worst, in RGB, with the box of the input."""
    if found.planes is None or wanted.planes is None or not worst.count:
        return
    crops = worst_crops(
        {name: hr},
        {name: as_rgb(wanted.planes, lr)},
        {name: as_rgb(found.planes, lr)},
        1,
        CROP_PX,
        file=pair.file,
        lr={name: lr},
        against=pair.against,
    )
    for crop in crops:
        worst.add(crop)


def as_rgb(planes: Image, lr: Image) -> Image:
    """RGB itself, or luma (H, W, 1) with the chroma of LR uint8 (h, w, 3), enlarged by bicubic."""
    if planes.shape[2] == 3:
        return planes
    chroma = bicubic_resize(rgb_to_ycbcr(lr)[:, :, 1:], planes.shape[0] / lr.shape[0])
    return ycbcr_to_rgb(np.concatenate([planes, chroma], axis=2))
