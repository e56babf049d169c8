"""From path to path: image, folder, video; the source is never touched."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow
from test_images_tiles import contract, picture
from test_images_video import enlarge, frames_of, make_video

from toolkit.errors import Problems, UserError
from toolkit.images.decode import read_rgb, write_png
from toolkit.images.upscaling import upscale_path


def upscale(src, dst, seen=None):
    show = (lambda *progress: None) if seen is None else (lambda *progress: seen.append(progress))
    return upscale_path(src, dst, contract(scale=2), enlarge(2), show)


def doubled(rgb):
    return rgb.repeat(2, axis=0).repeat(2, axis=1)


def test_an_image_to_a_file_and_into_a_folder(tmp_path):
    write_png(tmp_path / "a.png", picture(9, 7))
    seen = []
    assert upscale(tmp_path / "a.png", tmp_path / "new" / "b.png", seen) == ()
    assert seen == [(1, 1, "")]
    (tmp_path / "folder").mkdir()
    upscale(tmp_path / "a.png", tmp_path / "folder")
    for made in (tmp_path / "new" / "b.png", tmp_path / "folder" / "a.png"):
        assert (read_rgb(made) == doubled(picture(9, 7))).all()


def test_what_was_converted_on_the_way_in_is_told(tmp_path):
    Pillow.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "a.png")
    assert upscale(tmp_path / "a.png", tmp_path / "b.png") == (
        "a.png: transparency: composited over white",
    )


def test_a_folder_keeps_going_and_names_what_it_could_not_read(tmp_path):
    source = tmp_path / "in"
    write_png(source / "a.png", picture(5, 6))
    write_png(source / "z.png", picture(7, 6))
    (source / "m.png").write_bytes(b"")
    (source / "n.jpg").write_text("no picture")
    seen = []
    with pytest.raises(Problems) as caught:
        upscale(source, tmp_path / "out", seen)
    assert [p.where for p in caught.value.problems] == [
        str(source / "m.png"),
        str(source / "n.jpg"),
    ]
    assert seen == [(1, 4, "a.png"), (2, 4, "m.png"), (3, 4, "n.jpg"), (4, 4, "z.png")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
    assert (read_rgb(tmp_path / "out" / "z.png") == doubled(picture(7, 6))).all()


def test_two_pictures_of_one_stem_do_not_overwrite_each_other(tmp_path):
    write_png(tmp_path / "in" / "a.png", picture(5, 6))
    Pillow.fromarray(picture(8, 8)).save(tmp_path / "in" / "a.webp", lossless=True)
    upscale(tmp_path / "in", tmp_path / "out")
    assert (read_rgb(tmp_path / "out" / "a.png.png") == doubled(picture(5, 6))).all()
    assert (read_rgb(tmp_path / "out" / "a.webp.png") == doubled(picture(8, 8))).all()


def test_a_video_to_a_file_and_into_a_folder(tmp_path):
    make_video(tmp_path / "in.mp4", sound=None)
    (tmp_path / "folder").mkdir()
    for dst, made in (("out.mp4", "out.mp4"), ("folder", "folder/in.mp4")):
        upscale(tmp_path / "in.mp4", tmp_path / dst)
        assert frames_of(tmp_path / made)[0].width == 128


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_the_source_is_never_overwritten(tmp_path, link):
    write_png(tmp_path / "a.png", picture(5, 6))
    before = (tmp_path / "a.png").read_bytes()
    dst = tmp_path / "a.png"
    if link:
        dst = tmp_path / "b.png"
        getattr(dst, link)(tmp_path / "a.png")
    for src, other in ((tmp_path / "a.png", dst), (tmp_path / "a.png", tmp_path)):
        with pytest.raises(UserError, match="this would overwrite the source"):
            upscale(src, other)
    with pytest.raises(UserError, match="this would overwrite the source"):
        upscale(tmp_path, tmp_path / "." / "")
    assert (tmp_path / "a.png").read_bytes() == before


def test_what_is_refused_before_anything_is_written(tmp_path):
    write_png(tmp_path / "a.png", picture(5, 6))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    cases = {
        "there is nothing to upscale": (tmp_path / "no.png", tmp_path / "o.png"),
        r"a picture is written as \.png, without loss; found `\.jpg`": (
            tmp_path / "a.png",
            tmp_path / "o.jpg",
        ),
        "no picture in this folder": (tmp_path / "empty", tmp_path / "o"),
        "a folder of pictures needs a folder to go to": (tmp_path, tmp_path / "file.txt"),
    }
    for message, (src, dst) in cases.items():
        with pytest.raises(UserError, match=message):
            upscale(src, dst)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "empty", "file.txt"]
