"""The metric checked before it is used: pictures made by code, answers computed elsewhere.

The answers come from the independent implementation of `tests/independent_psnr.py`, once; a test
computes them again. A metric that truncates, rounds twice, takes full-range luma, or pools the
error of several pictures misses them by 0.001 dB or more.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from toolkit.contracts import Image, Tensor
from toolkit.digest import sha256_bytes
from toolkit.errors import InternalFailure
from toolkit.metrics.protocol import PROTOCOL, protocol_pair, score_image
from toolkit.model.contract import Color, ImageContract, IoContract, TensorSpec
from toolkit.validation import Budget, Comparison, Interval, Stage

HEIGHT_PX, WIDTH_PX = 50, 65  # multiples of no scale: the crop is checked too
CLOSE = 1e-6  # dB, and SSIM
# (scale, colour): SHA-256 of the LR picture's bytes, PSNR in dB, SSIM
ANSWERS: dict[tuple[int, Color], tuple[str, float, float]] = {
    (2, "rgb"): (
        "de234cc32d8aafb8bc4001dd80032d25ba167ecdf7905eb3fae79748a211f184",
        20.022768549363022,
        0.782898035680603,
    ),
    (3, "bgr"): (
        "e22125e34a78d4f19f68892b025a6fc3dbe82e674371540a6e7daf6458f588a5",
        19.291992009561216,
        0.7228228428866961,
    ),
    (4, "rgb"): (
        "b56615b1235f8f482052613b9a4f816dea40431cbc01e3724595595123571941",
        15.913096254804364,
        0.4679476269315914,
    ),
    (2, "luma"): (
        "de234cc32d8aafb8bc4001dd80032d25ba167ecdf7905eb3fae79748a211f184",
        19.995104583604448,
        0.7830289213000455,
    ),
}
MEAN_DROP_DB = 2.5  # of 1, 2, 3 and 4
MEAN_DB = 18.805740349333263


def known_picture() -> Image:
    """uint8 (50, 65, 3) RGB: slopes, edges and texture, from whole numbers alone."""
    row, column = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    red = (row * 5 + column * 2) % 256
    green = np.where((row // 7 + column // 9) % 2 == 0, 230, 25) - (row * column) % 13
    blue = np.minimum(255, row * column // 8)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def known_contract(scale: int, color: Color) -> IoContract:
    """A float file of free size."""
    image = ImageContract(scale=scale, color=color)
    shape = (1, image.channels, None, None)

    def spec(name: str) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", layout="nchw", shape=shape)

    return IoContract(image=image, input=spec("x"), output=spec("y"))


def known_network(tensor: Tensor, scale: int) -> Tensor:
    """Each pixel as a block, stretched over both ends of the range, at quarters of a level."""
    levels = np.round(tensor[0].astype(np.float64) * 255)
    large = levels.repeat(scale, axis=1).repeat(scale, axis=2)
    row, column = np.mgrid[: large.shape[1], : large.shape[2]]
    moved = (large - 128) * 1.0625 + 128 + ((row * 3 + column * 5) % 16 - 7) / 4 + 0.1
    stretched: Tensor = (moved[None] / 255).astype(np.float32)
    return stretched


def check_metric() -> None:
    """Raise InternalFailure where LR pictures, PSNR, SSIM or their mean are not the protocol's."""
    wrong: list[str] = []
    scores = []
    for (scale, color), (lr_sha256, psnr_db, ssim) in ANSWERS.items():
        contract = known_contract(scale, color)
        lr, _ = protocol_pair(known_picture(), scale)
        if sha256_bytes(lr.tobytes()) != lr_sha256:
            wrong.append(f"the LR picture at x{scale} is not the protocol's")
        found = score_image(known_picture(), contract, partial(known_network, scale=scale))
        scores.append(found.psnr_db)
        wrong += _difference(f"PSNR of {color} at x{scale}", found.psnr_db, psnr_db)
        wrong += _difference(f"SSIM of {color} at x{scale}", found.ssim, ssim)
    stage = _stage(scores)
    wrong += _difference("the mean PSNR of several pictures", stage.psnr_db, MEAN_DB)
    wrong += _difference("the mean drop of several pictures", stage.mean_db, MEAN_DROP_DB)
    if wrong:
        raise InternalFailure(
            f"the metric gives wrong answers: {'; '.join(wrong)}",
            where=f"protocol: {PROTOCOL}",
            hint="no figure was printed; install the toolkit again, or report this",
        )


def _difference(what: str, found: float, known: float) -> list[str]:
    if abs(found - known) <= CLOSE:  # False for NaN
        return []
    return [f"{what} is {found:.6f}, known is {known:.6f}"]


def _stage(psnrs_db: list[float]) -> Stage:
    """Pictures that lose 1, 2, 3, ... dB."""
    images = tuple(
        Comparison(
            name=str(number),
            psnr_db=psnr_db,
            ssim=0.0,
            reference_psnr_db=psnr_db + number,
            reference_ssim=0.0,
            max_error_levels=0,
            within_one_share=1.0,
            bias_levels=0.0,
        )
        for number, psnr_db in enumerate(psnrs_db, start=1)
    )
    spread = Interval(low=0.0, high=0.0)
    return Stage(name="total", file="", against="", budget=Budget(), images=images, interval=spread)
