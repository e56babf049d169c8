"""One pass over the pictures: every file's picture once, every stage fed with it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.contracts import Image, Progress
from toolkit.images.luma import rgb_to_ycbcr
from toolkit.report import ImageScore
from toolkit.show.crops import Crop, worst_crops
from toolkit.validate.asked import Show
from toolkit.validate.comparing import Rendered, compared, interval
from toolkit.validate.files import OpenFile
from toolkit.validate.pictures import Pictures
from toolkit.validate.subject import Pairing
from toolkit.validation import Comparison, Stage

CROP_PX = 96


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The worst windows so far; whole pictures are not kept."""

    count: int
    _heap: list[tuple[float, int, Crop]] = field(default_factory=list)
    _seen: list[int] = field(default_factory=lambda: [0])

    def add(self, crop: Crop) -> None:
        """Keep the crop where it is among the worst."""
        self._seen[0] += 1  # a tie is never settled by comparing pictures
        heapq.heappush(self._heap, (crop.rms_levels, -self._seen[0], crop))
        if len(self._heap) > self.count:
            heapq.heappop(self._heap)

    def crops(self) -> tuple[Crop, ...]:
        """Worst first."""
        return tuple(crop for _, _, crop in sorted(self._heap, key=lambda e: (-e[0], -e[1])))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one pass over the pictures gave: stages, and every file's own scores."""

    stages: tuple[Stage, ...]
    scores: Mapping[str, Sequence[ImageScore]]


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
    total = len(pictures.images.files)
    for done, file in enumerate(pictures.images.files, start=1):
        lr, hr = pictures.pair(file)
        rendered = {name: each.rendered(lr, hr) for name, each in files.items()}
        for name, picture in rendered.items():
            psnr_db, ssim = picture.score.psnr_db, picture.score.ssim
            scores[name].append(ImageScore(name=file.name, psnr_db=psnr_db, ssim=ssim))
        for pair, comparisons in zip(pairs, found, strict=True):
            a, b = rendered[pair.file], rendered[pair.against]
            band_px = border_px(files[pair.against])
            comparisons.append(compared(file.name, a, b, band_px))
            _keep_crop(worst, file.name, pair, hr, lr, a, b)
        show(Progress(done=done, total=total, note=file.name))
    stages = tuple(stage_of(pair, images) for pair, images in zip(pairs, found, strict=True))
    return Measurement(stages=stages, scores=scores)


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
    if found.planes is None or wanted.planes is None:
        return
    original, low = (hr, lr) if wanted.planes.shape[2] == 3 else (_luma(hr), _luma(lr))
    a, b = (
        planes.squeeze(2) if planes.shape[2] == 1 else planes
        for planes in (found.planes, wanted.planes)
    )
    crops = worst_crops(
        {name: original},
        {name: b},
        {name: a},
        1,
        CROP_PX,
        file=pair.file,
        lr={name: low},
        against=pair.against,
    )
    for crop in crops:
        worst.add(crop)


def _luma(rgb: Image) -> Image:
    return rgb_to_ycbcr(rgb)[:, :, 0]
