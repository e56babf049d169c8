"""LR pictures handed in equal the protocol's bit for bit, or are named for what they are."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from quant_networks import picture

from toolkit.errors import Problems, UserError
from toolkit.images.decode import write_png
from toolkit.images.resize import crop_to_multiple, low_resolution
from toolkit.metrics.protocol import PROTOCOL
from toolkit.validate.asked import Asked
from toolkit.validate.pictures import pair_verdicts, picture_warnings, pictures_of

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def sets(tmp_path):
    """HR and the protocol's LR of three pictures at x3, sizes no multiples of it."""
    for seed, name in enumerate(NAMES):
        hr = picture(64, 71, seed + 10)
        write_png(tmp_path / "hr" / name, hr)
        write_png(tmp_path / "lr" / name, low_resolution(crop_to_multiple(hr, 3), 3))
    return Asked(data=tmp_path / "hr", lr=tmp_path / "lr")


def hr_of(sets, name):
    return crop_to_multiple(np.asarray(Pillow.open(sets.data / name)), 3)


def test_equal_pairs_keep_the_protocol(sets):
    found = pictures_of(sets, 3)
    (verdict,) = pair_verdicts(found, own_lr=False)
    assert (verdict.gate, verdict.value, verdict.passed) == ("pairs", 0, True)
    assert found.protocol == PROTOCOL
    lr, hr = found.pair(found.images.files[0])
    assert lr.shape == (21, 23, 3) and hr.shape == (63, 69, 3)


def test_hr_alone_has_no_verdict_on_pairs(sets):
    assert pair_verdicts(pictures_of(replace(sets, lr=None), 3), own_lr=False) == []


@pytest.mark.parametrize("ending", ["x3", "_x3"])
def test_lr_may_have_the_scale_in_its_name(sets, ending):
    for path in list(sets.lr.iterdir()):
        path.rename(path.with_name(f"{path.stem}{ending}.png"))
    assert not pictures_of(sets, 3).faults


def cut_off(hr, scale):
    from toolkit.images import resize

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resize, "round_half_up_u8", lambda v: np.clip(v, 0, 255).astype(np.uint8))
        return low_resolution(hr, scale)


def of_pillow(kernel):
    def shrink(hr, scale):
        size = (hr.shape[1] // scale, hr.shape[0] // scale)
        return np.asarray(Pillow.fromarray(hr).resize(size, kernel))

    return shrink


def moved(hr, scale):
    return low_resolution(np.concatenate([hr[:, 1:], hr[:, -1:]], axis=1), scale)


def through_jpeg(hr, scale):
    content = io.BytesIO()
    Pillow.fromarray(low_resolution(hr, scale)).save(content, "jpeg", quality=90)
    return np.asarray(Pillow.open(content))


def border_spoiled(hr, scale):
    lr = low_resolution(hr, scale)
    lr[0] = lr[2]
    return lr


WRONG = {
    "cut off": (cut_off, "was cut off to 8 bits instead of rounded"),
    "box": (of_pillow(Pillow.Resampling.BOX), "another kernel, most like BOX of Pillow"),
    "lanczos": (of_pillow(Pillow.Resampling.LANCZOS), "another kernel, most like LANCZOS"),
    "shifted": (moved, "is shifted: HR moved by -1 px across and 0 px down fits better"),
    "jpeg": (through_jpeg, "changed afterwards, or by an unknown kernel"),
    "bgr": (lambda hr, s: low_resolution(hr, s)[:, :, ::-1], "channels in the order B, G, R"),
    "border": (border_spoiled, "differs along its border only"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_lr_picture_that_is_not_the_protocols_is_named(sets, kind):
    make, words = WRONG[kind]
    write_png(sets.lr / "b.png", np.ascontiguousarray(make(hr_of(sets, "b.png"), 3)))
    found = pictures_of(sets, 3)
    (verdict,) = pair_verdicts(found, own_lr=False)
    assert (verdict.value, verdict.passed) == (1, False)
    assert verdict.note.startswith("b.png ") and words in verdict.note
    assert found.protocol != PROTOCOL and found.protocol.startswith(PROTOCOL)
    looks, _, allowed = verdict.note.partition("; ")
    assert picture_warnings(found, None) == [f"LR of {looks}"]
    assert ("--own-lr" in allowed) == ("kernel" in looks)


def test_swapped_pairs_name_each_other_and_no_kernel_excuses_them(sets):
    first, second = ((sets.lr / name).read_bytes() for name in NAMES[:2])
    (sets.lr / "a.png").write_bytes(second)
    (sets.lr / "b.png").write_bytes(first)
    (verdict,) = pair_verdicts(pictures_of(sets, 3), own_lr=True)
    assert verdict.value == 2
    assert verdict.note == "a.png looks like the LR of `b.png`; b.png looks like the LR of `a.png`"


def test_own_lr_is_accepted_under_another_protocols_name(sets):
    write_png(sets.lr / "b.png", of_pillow(Pillow.Resampling.BOX)(hr_of(sets, "b.png"), 3))
    found = pictures_of(sets, 3)
    (verdict,) = pair_verdicts(found, own_lr=True)
    assert verdict.passed and found.protocol != PROTOCOL
    assert len(picture_warnings(found, None)) == 1


def test_all_problems_of_pairs_come_at_once(sets):
    (sets.lr / "a.png").unlink()
    write_png(sets.lr / "b.png", picture(20, 23, 1))
    (sets.lr / "c.png").write_bytes(b"no picture")
    with pytest.raises(Problems) as found:
        pictures_of(sets, 3)
    text = str(found.value)
    assert len(found.value.problems) == 3
    assert "no LR picture for `a.png`" in text and "`ax3`" in text
    assert "LR `b.png` is 23 x 20, `b.png` at x3 asks for 23 x 21" in text
    assert "c.png" in text


def test_all_problems_of_hr_come_at_once(tmp_path):
    for name in ("small.png", "narrow.png"):
        write_png(tmp_path / name, picture(12, 40))
    with pytest.raises(Problems, match="is too small to be measured at x2") as found:
        pictures_of(Asked(data=tmp_path), 2)
    assert [Path(p.where).name for p in found.value.problems] == ["narrow.png", "small.png"]


def test_no_pictures_and_no_folder_are_said(tmp_path):
    with pytest.raises(UserError, match="no validation picture"):
        pictures_of(Asked(data=tmp_path), 2)
    with pytest.raises(UserError, match="does not exist"):
        pictures_of(Asked(data=tmp_path / "none"), 2)
    with pytest.raises(UserError, match="`--images` must be at least 1"):
        pictures_of(Asked(images=0), 2)
