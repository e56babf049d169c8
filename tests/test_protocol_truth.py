"""Our numbers are the papers' numbers: LR of the published files, PSNR and SSIM found twice.

`EDGESR_TEST_SETS` names a folder with `Set5` and `Set14` as they are published: `HR/*.png` and
`LR_bicubic/X2/*x2.png` and so on. They are not part of the project; without it a test skips.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import independent_psnr as independent
import numpy as np
import pytest

from toolkit.errors import InternalFailure
from toolkit.images.decode import read_rgb
from toolkit.images.sets import read_picture, shipped
from toolkit.metrics import protocol
from toolkit.metrics.protocol import protocol_pair, score_image
from toolkit.validate import known_answers
from toolkit.validate.known_answers import (
    ANSWERS,
    MEAN_DB,
    check_metric,
    known_contract,
    known_network,
    known_picture,
)

SETS = os.environ.get("EDGESR_TEST_SETS", "")
TWELVE = [(name, scale) for name in range(4) for scale in (2, 3, 4)]
CROP_PX = 90  # every window of the independent SSIM is taken on its own: seconds for a whole one


@pytest.mark.skipif(not SETS, reason="EDGESR_TEST_SETS names no folder with Set5 and Set14")
@pytest.mark.parametrize("scale", [2, 3, 4])  # x8 was published with its borders continued
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_lr_is_the_published_one_bit_for_bit(name, scale):
    folder = Path(SETS) / name
    pictures = sorted((folder / "HR").iterdir())
    assert pictures
    for path in pictures:
        published = folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
        assert np.array_equal(protocol_pair(read_rgb(path), scale)[0], read_rgb(published)), path


def as_json(contract):
    return json.loads(json.dumps(contract.as_json()))


@pytest.mark.parametrize(("number", "scale"), TWELVE)
def test_psnr_and_ssim_of_twelve_pairs_are_found_twice(number, scale):
    color = ("rgb", "bgr", "luma", "rgb")[number]
    hr = read_picture(shipped("validation").files[number])[64 : 64 + CROP_PX, 80 : 80 + CROP_PX]
    contract = known_contract(scale, color)

    def run(tensor):
        return known_network(tensor, scale)

    found = score_image(hr, contract, run)
    assert found.psnr_db == pytest.approx(
        independent.psnr(run, hr, as_json(contract)), abs=1e-6, rel=0
    )
    assert found.ssim == pytest.approx(
        independent.ssim(run, hr, as_json(contract)), abs=1e-6, rel=0
    )
    assert 10 < found.psnr_db < 45


@pytest.mark.parametrize(("scale", "color"), ANSWERS)
def test_the_known_answers_are_the_independent_ones(scale, color):
    hr, contract = known_picture(), as_json(known_contract(scale, color))
    sides = (side // scale * scale for side in hr.shape[:2])
    whole = hr[: next(sides), : next(sides)].astype(float)
    shrinking = independent.shrinking
    rows = independent.u8(np.einsum("hg,gwc->hwc", shrinking(whole.shape[0], scale), whole))
    lr = independent.u8(np.einsum("wv,hvc->hwc", shrinking(whole.shape[1], scale), rows))
    digest = hashlib.sha256(lr.astype(np.uint8).tobytes()).hexdigest()

    def run(tensor):
        return known_network(tensor, scale)

    known = ANSWERS[scale, color]
    assert digest == known[0]
    assert independent.psnr(run, hr, contract) == pytest.approx(known[1], abs=1e-9, rel=0)
    assert independent.ssim(run, hr, contract) == pytest.approx(known[2], abs=1e-9, rel=0)


def test_the_known_mean_is_the_mean_of_the_pictures():
    assert pytest.approx(sum(a[1] for a in ANSWERS.values()) / len(ANSWERS)) == MEAN_DB


def test_the_known_network_reaches_over_both_ends_and_between_levels():
    """Else a missing clip or a cut instead of a rounding would give the same answers."""
    lr = protocol_pair(known_picture(), 2)[0].transpose(2, 0, 1)[None] / np.float32(255)
    levels = known_network(lr, 2) * 255
    assert levels.min() < -1 and levels.max() > 256
    assert len(np.unique(np.round(levels % 1, 2))) > 8


def test_the_metric_in_use_passes_its_own_check():
    check_metric()


def cut_off(values):
    return np.clip(values, 0, 255).astype(np.uint8)


def full_range(rgb):
    return rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def rounded_twice(old):
    return lambda *given: np.round(old(*given))


def pooled(stage):
    psnrs = [image.psnr_db for image in stage.images]
    return -10 * np.log10(np.mean([10 ** (-psnr / 10) for psnr in psnrs]))


METRIC_BUGS = {
    "output cut off": ("toolkit.images.tiles.round_half_up_u8", cut_off),
    "LR cut off": ("toolkit.images.resize.round_half_up_u8", cut_off),
    "full-range luma": ("toolkit.metrics.protocol.luma_bt601", full_range),
    "HR luma rounded": (
        "toolkit.metrics.protocol.luma_bt601", rounded_twice(protocol.luma_bt601),
    ),
    "output luma rounded": (
        "toolkit.metrics.protocol.output_luma", rounded_twice(protocol.output_luma),
    ),
    "pooled": ("toolkit.validation.Stage.psnr_db", property(pooled)),
    "drop of the pooled": ("toolkit.validation.Stage.mean_db", property(pooled)),
    "SSIM of 7": ("toolkit.metrics.ssim.WINDOW_PX", 7),
    "bicubic of PyTorch": ("toolkit.images.resize.CUBIC_A", -0.75),
}  # fmt: skip


@pytest.mark.parametrize("bug", METRIC_BUGS)
def test_a_metric_with_a_bug_refuses_itself_by_the_protocols_name(bug, monkeypatch):
    from toolkit.images.resize import _taps

    _taps.cache_clear()
    monkeypatch.setattr(*METRIC_BUGS[bug])
    try:
        with pytest.raises(InternalFailure, match="the metric gives wrong answers") as refused:
            check_metric()
    finally:
        _taps.cache_clear()
    assert protocol.PROTOCOL in refused.value.where


def test_an_lr_picture_that_is_one_level_off_is_enough(monkeypatch):
    """The digest alone sees it where nothing else reads this picture."""

    def off_by_one(rgb, scale):
        lr, hr = protocol_pair(rgb, scale)
        lr[0, 0, 0] ^= 1
        return lr, hr

    monkeypatch.setattr(known_answers, "protocol_pair", off_by_one)
    with pytest.raises(InternalFailure, match="the LR picture at x2 is not the protocol's"):
        check_metric()


def test_nothing_is_measured_by_a_metric_that_is_wrong(monkeypatch, tmp_path):
    from toolkit.validate import validating

    monkeypatch.setattr(known_answers, "MEAN_DB", MEAN_DB + 1e-5)
    monkeypatch.setattr(validating, "measured", lambda *_: pytest.fail("it was measured"))
    subject = validating.Subject(name="x", artefacts=(), reference=None)
    with pytest.raises(InternalFailure):
        validating._validated(subject, validating.Asked(), validating.silent)
