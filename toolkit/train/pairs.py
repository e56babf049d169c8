"""From a folder of photographs to training pairs, and a number for how well a module does on some.

The holdout is for watching a training run; the gates measure real files on other images.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.errors import UserError
from toolkit.images.decode import read_rgb
from toolkit.images.luma import luma_bt601
from toolkit.images.resize import Image, crop_to_multiple, round_half_up_u8
from toolkit.metrics.psnr_db import PEAK, psnr_db
from toolkit.model.contract import ImageContract
from toolkit.train.patches import Pair, make_pair

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def picture_files(folder: Path, exclude: Sequence[str] = ()) -> list[Path]:
    """Pictures below `folder`, sorted by relative path.

    `exclude` holds shell patterns that are matched against file names and relative paths, such as
    `chart_*.png` or `screens/*`. Raises UserError where nothing is left.
    """
    kept = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in PICTURE_SUFFIXES or not path.is_file():
            continue
        names = (path.name, path.relative_to(folder).as_posix())
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in exclude):
            kept.append(path)
    if not kept:
        raise UserError(
            "no picture to train on",
            where=str(folder),
            hint=f"put files ending in {', '.join(sorted(PICTURE_SUFFIXES))} there",
        )
    return kept


def read_pairs(
    folder: Path,
    *,
    scale: int,
    luma_only: bool,
    exclude: Sequence[str],
    holdout_every: int,
    minimum_lr_px: int = 32,
    multiple_of: int = 1,
) -> tuple[list[Pair], list[Pair]]:
    """Training and holdout pairs of the pictures below `folder`, in the order of their paths.

    Every `holdout_every`-th picture, the first one included, is held out; 0 holds out none.
    Pictures whose low-resolution side is below `minimum_lr_px` (a patch must fit) are skipped; the
    sides of the rest are cropped to multiples of `multiple_of`, for networks that ask for it.
    Raises UserError where no picture is left to train on.
    """
    training: list[Pair] = []
    holdout: list[Pair] = []
    smallest_px = minimum_lr_px * scale
    seen = 0
    for path in picture_files(folder, exclude):
        rgb = crop_to_multiple(read_rgb(path), scale * multiple_of)
        if min(rgb.shape[:2]) < smallest_px:
            continue
        held_out = holdout_every > 0 and seen % holdout_every == 0
        (holdout if held_out else training).append(make_pair(rgb, scale=scale, luma_only=luma_only))
        seen += 1
    if not training:
        raise UserError(
            f"no picture to train on: {seen} of at least {smallest_px} x {smallest_px} pixels,"
            f" {len(holdout)} of them held out",
            where=str(folder),
            hint="add larger pictures, or lower `lr_px`",
        )
    return training, holdout


def holdout_psnr_db(module: nn.Module, pairs: Sequence[Pair], scale: int) -> float:
    """Mean over pairs of the luma PSNR in dB: output clipped and rounded, `scale` pixels shaved.

    module: (1, C, h, w) float32 in [0, 1] to (1, C, h * scale, w * scale). NaN without pairs.
    """
    weight = next(module.parameters(), torch.empty(0))
    was_training = module.training
    module.eval()
    with torch.no_grad():
        scores = [_luma_psnr_db(_run(module, pair, weight.device), pair, scale) for pair in pairs]
    module.train(was_training)
    return float(np.mean(scores)) if scores else float("nan")


def _run(module: nn.Module, pair: Pair, device: torch.device) -> Image:
    tensor = torch.from_numpy(pair.lr.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    output = module(tensor.to(device))[0].float().cpu().numpy()
    return round_half_up_u8(output.transpose(1, 2, 0).astype(np.float64) * PEAK)


def _luma_psnr_db(output: Image, pair: Pair, scale: int) -> float:
    ours, goal = (
        image[..., 0].astype(np.float64) if image.shape[2] == 1 else luma_bt601(image)
        for image in (output, pair.hr)
    )
    inner = (slice(scale, -scale), slice(scale, -scale))
    return psnr_db(goal[inner], ours[inner])


class UnitRgb(nn.Module):
    """A network of any contract behind the pixels that pairs hold: RGB or luma, in [0, 1].

    (N, C, h, w) to (N, C, h * scale, w * scale); training goes through to the network's weights.
    """

    def __init__(self, network: nn.Module, contract: ImageContract) -> None:
        super().__init__()
        self.network = network
        self.white = contract.white
        self.swap = contract.color == "bgr"

    def forward(self, x: Tensor) -> Tensor:
        """Convert, run, convert back."""
        x = x.flip(1) if self.swap else x
        y = self.network(x * self.white) / self.white
        return y.flip(1) if self.swap else y
