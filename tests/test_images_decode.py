"""Pictures of every usual kind come in as 8-bit RGB; damaged ones are refused by name."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from toolkit.errors import EnvironmentFailure, UserError
from toolkit.images.decode import decode, read_rgb, replacing, write_png


def picture(height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_png_written_and_read_again_is_the_same(tmp_path):
    write_png(tmp_path / "new" / "a.png", picture())
    assert (read_rgb(tmp_path / "new" / "a.png") == picture()).all()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_grey_is_repeated(tmp_path):
    grey = picture()[:, :, 0]
    Pillow.fromarray(grey).save(tmp_path / "grey.png")
    decoded = decode(tmp_path / "grey.png")
    assert (decoded.rgb == grey[:, :, None]).all()
    assert decoded.rgb.shape == (6, 8, 3)
    assert decoded.notes == ()


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 257, 32896, 65535, 128, 129]], np.uint16)
    Pillow.fromarray(levels).save(tmp_path / "deep.png")
    decoded = decode(tmp_path / "deep.png")
    # 257 deep levels are one 8-bit level; 128 is just below half of one, 129 just above
    assert decoded.rgb[0, :, 0].tolist() == [0, 1, 128, 255, 0, 1]
    assert decoded.notes == ("16 bits per channel: scaled to 8",)


def png_16_bit_rgb(pixels):
    """A 16-bit RGB PNG, which Pillow reads but does not write."""
    height, width, _ = pixels.shape

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_16_bit_colour_is_scaled_and_noted(tmp_path):
    (tmp_path / "deep.png").write_bytes(png_16_bit_rgb(picture().astype(np.uint16) * 257))
    decoded = decode(tmp_path / "deep.png")
    assert (decoded.rgb == picture()).all()
    assert decoded.notes == ("16 bits per channel: scaled to 8",)


def test_alpha_is_composited_over_white_with_a_notice(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = 0, 255, 128
    Pillow.fromarray(rgba).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png")
    assert decoded.rgb[0, :, 0].tolist() == [255, 0, 127]
    assert decoded.notes == ("transparency: composited over white",)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opaque_alpha_changes_nothing_and_is_not_worth_a_word(tmp_path, mode):
    Pillow.fromarray(picture()).convert(mode).save(tmp_path / "a.png")
    decoded = decode(tmp_path / "a.png")
    assert (decoded.rgb == np.array(Pillow.fromarray(picture()).convert(mode).convert("RGB"))).all()
    assert decoded.notes == ()


def test_palette_with_a_transparent_entry(tmp_path):
    indexed = Pillow.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.save(tmp_path / "p.png", transparency=1)
    assert read_rgb(tmp_path / "p.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_cmyk_is_converted_with_a_notice(tmp_path):
    Pillow.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    decoded = decode(tmp_path / "c.jpg")
    assert np.abs(decoded.rgb.astype(int) - [255, 0, 0]).max() <= 3
    assert decoded.notes == ("CMYK: converted without its colour profile",)


def test_exif_rotation_is_applied(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # the camera lay on its right side: turn clockwise
    Pillow.fromarray(picture()).save(tmp_path / "r.png", exif=exif)
    decoded = decode(tmp_path / "r.png")
    assert (decoded.rgb == np.rot90(picture(), -1)).all()
    assert decoded.notes == ("turned as its EXIF orientation says",)


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Pillow.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    decoded = decode(tmp_path / "a.gif")
    assert decoded.rgb[0, 0].tolist() == [255, 0, 0]
    assert decoded.notes == ("several frames: the first was taken",)


def test_one_pixel_is_a_picture(tmp_path):
    write_png(tmp_path / "1.png", picture(1, 1))
    assert (read_rgb(tmp_path / "1.png") == picture(1, 1)).all()


def truncated(path, kind):
    Pillow.fromarray(picture(64, 64)).save(path, format=kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path, side=14000):
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT")


REFUSED = {
    "the file is empty (0 bytes)": lambda path: path.write_bytes(b""),
    "not a picture in a known format": lambda path: path.write_text("hello, I am a text\n" * 9),
    "damaged or cut off": lambda path: truncated(path, "PNG"),
    "damaged or cut off (": lambda path: truncated(path, "JPEG"),
    "more than 100 megapixels": bomb,
    "is a directory": lambda path: path.mkdir(),
    "there is no such file": lambda path: None,
    "floating-point pixels": lambda path: Pillow.new("F", (4, 4)).save(path, format="TIFF"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_read_is_refused_by_name_and_reason(tmp_path, reason):
    path = tmp_path / "bad.png"
    REFUSED[reason](path)
    with pytest.raises(UserError) as caught:
        decode(path)
    assert caught.value.problem.startswith(f"cannot read the picture `bad.png`: {reason}")
    assert caught.value.where == str(path)


def test_the_cap_is_our_own_and_not_the_one_where_pillow_warns(tmp_path, monkeypatch, recwarn):
    bomb(tmp_path / "large.png", side=10001)  # Pillow alone only warns below 178 megapixels
    with pytest.raises(UserError, match=r"more than 100 megapixels, found 10001 x 10001"):
        decode(tmp_path / "large.png")
    write_png(tmp_path / "warned.png", picture())
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", picture().size // 3 - 1)
    assert (read_rgb(tmp_path / "warned.png") == picture()).all()
    assert not recwarn.list


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    with (
        pytest.raises(EnvironmentFailure, match=r"cannot write `a\.png`: No space left"),
        replacing(tmp_path / "a.png") as temporary,
    ):
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
