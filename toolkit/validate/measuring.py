"""One pass over the pictures: every file's picture once, every stage fed with it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.contracts import Image, Progress
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


def measured_stages(
    pictures: Pictures,
    files: Mapping[str, OpenFile],
    pairs: Sequence[Pairing],
    worst: Worst,
    show: Show,
) -> tuple[Stage, ...]:
    """All stages that this host can measure; one picture is in memory at a time."""
    found: list[list[Comparison]] = [[] for _ in pairs]
    total = len(pictures.images.files)
    for done, file in enumerate(pictures.images.files, start=1):
        lr, hr = pictures.pair(file)
        rendered = {name: each.rendered(lr, hr) for name, each in files.items()}
        for pair, comparisons in zip(pairs, found, strict=True):
            a, b = rendered[pair.file], rendered[pair.against]
            band_px = border_px(files[pair.against])
            comparisons.append(compared(file.name, a, b, band_px))
            _keep_crop(worst, file.name, pair, hr, a, b)
        show(Progress(done=done, total=total, note=file.name))
    return tuple(stage_of(pair, images) for pair, images in zip(pairs, found, strict=True))


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
    worst: Worst, name: str, pair: Pairing, hr: Image, found: Rendered, wanted: Rendered
) -> None:
    if found.planes is None or wanted.planes is None:
        return
    original = hr if wanted.planes.shape[2] == 3 else _luma(hr)
    a, b = (planes.squeeze() for planes in (found.planes, wanted.planes))
    crops = worst_crops(
        {name: original}, {name: b}, {name: a}, 1, CROP_PX, file=pair.file, against=pair.against
    )
    for crop in crops:
        worst.add(crop)


def _luma(hr: Image) -> Image:
    from toolkit.images.luma import rgb_to_ycbcr

    return rgb_to_ycbcr(hr)[:, :, 0]
