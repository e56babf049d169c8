"""Whether the float network itself is fed rightly: beside a wrong one every drop looks small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolkit.contracts import Image
from toolkit.images.resize import bicubic_resize
from toolkit.metrics.protocol import network_planes
from toolkit.model.contract import Color
from toolkit.report import Verdict
from toolkit.validate.comparing import Rendered, at_least
from toolkit.validate.files import OpenFile, in_rgb_order, scored
from toolkit.validate.pictures import Pictures

LOOKED_AT = 3  # pictures: what is wrong with the range or the colours is wrong with all of them
# A grey plane reaches 10 dB, what is fed in the wrong range often less. Where bicubic itself does
# not reach it, three dB below bicubic will do.
TRAINED_DB, BELOW_BICUBIC_DB = 15.0, 3.0
BETTER_DB = 0.05  # with red and blue swapped; in the wrong order networks lose half a dB


def sanity(file: OpenFile, pictures: Pictures) -> tuple[list[Verdict], list[str]]:
    """The float network against bicubic, and against itself fed with red and blue swapped."""
    found, plain, swapped = [], [], []
    for one in pictures.images.files[:LOOKED_AT]:
        lr, hr = pictures.pair(one)
        found.append(file.rendered(lr, hr))
        plain.append(_bicubic(lr, hr, file))
        if file.contract.image.channels == 3:
            swapped.append(_swapped(lr, hr, file))
    network_db, bicubic_db = _mean_db(found), _mean_db(plain)
    note = f"{network_db:.2f} dB, bicubic {bicubic_db:.2f} dB on {len(found)} pictures"
    limit_db = min(TRAINED_DB, round(bicubic_db - BELOW_BICUBIC_DB, 1))
    verdict = at_least("reference.psnr_db", file.name, network_db, limit_db, "dB", note)
    warnings = []
    if network_db < bicubic_db:
        warnings.append(f"the float network is below bicubic ({note}): are white and color right?")
    if swapped and _mean_db(swapped) > network_db + BETTER_DB:
        warnings.append(
            f"with red and blue swapped the float network reaches {_mean_db(swapped):.2f} dB "
            f"instead of {network_db:.2f} dB: is its color right?"
        )
    return [verdict], warnings


def _mean_db(rendered: Sequence[Rendered]) -> float:
    return float(np.mean([one.score.psnr_db for one in rendered]))


def _bicubic(lr: Image, hr: Image, file: OpenFile) -> Rendered:
    """The kernel that made LR, used to enlarge it: what a network has to be better than."""
    planes = network_planes(lr, file.contract)
    large = bicubic_resize(np.ascontiguousarray(planes), file.contract.image.scale)
    return scored(in_rgb_order(large, file.contract), hr, file.contract)


def _swapped(lr: Image, hr: Image, file: OpenFile) -> Rendered:
    """Fed with its channels the other way round, and read that way round as well."""
    other: Color = "bgr" if file.contract.image.color == "rgb" else "rgb"
    image = replace(file.contract.image, color=other)
    turned = replace(file, contract=replace(file.contract, image=image))
    return turned.rendered(lr, hr)
