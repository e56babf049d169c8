"""Image sets: order, digests of pixels, the shipped pictures, no picture in both sets."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image as Pillow

from toolkit.digest import sha256_file
from toolkit.errors import Problems, SecurityError, UserError
from toolkit.images import sets
from toolkit.images.decode import write_png
from toolkit.images.sets import check_disjoint, folder_set, read_picture, shipped


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)


def test_a_folder_is_sorted_and_holds_pictures_only(tmp_path):
    for seed, name in enumerate(["b.PNG", "a.png", "c.png"]):
        write_png(tmp_path / name, picture(seed))
    (tmp_path / "notes.txt").write_text("no picture")
    found = folder_set(tmp_path, "mine")
    assert [f.name for f in found.files] == ["a.png", "b.PNG", "c.png"]
    assert (read_picture(found.files[0]) == picture(1)).all()


def test_the_digest_is_of_the_pixels_not_of_the_file(tmp_path):
    write_png(tmp_path / "a.png", picture(0))
    Pillow.fromarray(picture(0)).save(tmp_path / "b.webp", lossless=True)
    write_png(tmp_path / "c.png", picture(0).reshape(8, 6, 3))
    a, b, c = folder_set(tmp_path, "mine").files
    assert a.digest == b.digest
    assert a.digest != c.digest


def test_every_unreadable_picture_is_named_at_once(tmp_path):
    write_png(tmp_path / "good.png", picture(0))
    (tmp_path / "bad1.png").write_bytes(b"")
    (tmp_path / "bad2.jpg").write_text("no picture")
    with pytest.raises(Problems) as caught:
        folder_set(tmp_path, "mine")
    assert [p.where for p in caught.value.problems] == [
        str(tmp_path / "bad1.png"),
        str(tmp_path / "bad2.jpg"),
    ]


def test_a_missing_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="the folder of the validation pictures does not exist"):
        folder_set(tmp_path / "no", "validation")
    with pytest.raises(UserError, match="no validation picture in this folder"):
        folder_set(tmp_path, "validation")


def test_shared_pictures_are_found_under_other_names(tmp_path):
    for folder, seeds in (("one", [0, 1]), ("two", [2, 1])):
        for seed in seeds:
            write_png(tmp_path / folder / f"{folder}{seed}.png", picture(seed))
    one, two = (folder_set(tmp_path / name, name) for name in ("one", "two"))
    with pytest.raises(UserError, match=r"share 1 of their pictures: one1.png = two1.png"):
        check_disjoint(one, two)


def test_a_picture_that_changed_after_it_was_listed_is_refused(tmp_path):
    write_png(tmp_path / "a.png", picture(0))
    listed = folder_set(tmp_path, "mine").files[0]
    write_png(tmp_path / "a.png", picture(1))
    with pytest.raises(UserError, match=r"`a\.png` changed while it was in use"):
        read_picture(listed)


def test_the_shipped_pictures_are_what_their_manifest_says():
    calibration, validation = shipped("calibration"), shipped("validation")
    check_disjoint(calibration, validation)
    assert len(calibration.files) + len(validation.files) >= 32
    for file in (*calibration.files, *validation.files):
        height, width, _ = read_picture(file).shape  # compares both digests
        assert file.licence and file.source
        assert min(height, width) // 2 >= 128


def test_the_shipped_folder_holds_nothing_that_the_manifest_does_not_list():
    folder = sets.shipped_folder()
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        listed = {f"{row['split']}/{row['name']}" for row in csv.DictReader(file)}
    stored = {p.relative_to(folder).as_posix() for p in folder.rglob("*.webp")}
    assert stored == listed
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 12_000_000


def test_frames_of_one_recording_are_all_in_one_split():
    folder = sets.shipped_folder()
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "frame" in row["source"]]
    recordings = {(row["source"].rsplit(",", 1)[0], row["split"]) for row in rows}
    assert len(recordings) == len({source for source, _ in recordings}) >= 2


def test_a_changed_shipped_file_is_noticed_when_it_is_read(tmp_path, monkeypatch):
    copy = tmp_path / "calibration_data"
    shutil.copytree(sets.shipped_folder(), copy)
    monkeypatch.setattr(sets, "shipped_folder", lambda: copy)
    first = shipped("calibration").files[0]
    data = bytearray(first.path.read_bytes())
    data[-9] ^= 1
    first.path.write_bytes(data)
    assert sha256_file(first.path) != first.file_sha256
    with pytest.raises(SecurityError, match=f"`{first.name}` is not the file that the manifest"):
        read_picture(shipped("calibration").files[0])


def test_a_missing_shipped_picture_and_a_missing_manifest_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "shipped_folder", lambda: tmp_path)
    with pytest.raises(UserError, match="the pictures that come with the toolkit are missing"):
        shipped("validation")
    original = sets.PACKAGE.parent / "calibration_data" / "manifest.csv"
    shutil.copy(original, tmp_path)
    with pytest.raises(UserError, match=r"missing pictures: street-taxis.webp, "):
        shipped("validation")
