"""What people read: the text screen, the page, the crops."""

import base64
import hashlib
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_report import FILES, REFERENCE, report, scores

from toolkit.report import Verdict
from toolkit.show.crops import worst_crops
from toolkit.show.html import html_text, image_rows, write_html
from toolkit.show.ladder import advice, rung_rows
from toolkit.show.page import amplification
from toolkit.show.rows import bound, file_rows, number, percent, quantity, sentence
from toolkit.show.text import plan_text, report_text

GOLDEN = Path(__file__).parent / "golden"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """What a browser would see: the words, the elements and their attributes."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.scripts, self._inside = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside and data.strip():
            self.words.append(" ".join(data.split()))


def addresses(page):
    return [a[key] for _, a in page.tags for key in ("src", "href", "action", "data") if key in a]


@pytest.fixture
def planes():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 200, (48, 64, 3), dtype=np.uint8) for name in ("a.png", "b.png")}


def crops_of(planes, **where):
    """Crops of `planes` against a copy that is `levels` brighter in one 8 x 8 window per image."""
    changed = {name: plane.copy() for name, plane in planes.items()}
    for name, (top, left, levels) in where.items():
        changed[f"{name}.png"][top : top + 8, left : left + 8] += np.uint8(levels)
    return worst_crops(planes, planes, changed, 2, 8, file="net.int8.xml")


# the text screen


@pytest.mark.parametrize("width", [80, 100])
def test_passed_report_reads_like_this(width):
    text = report_text(report(), colour=False, width=width, place=Path("out/student-x2/intel-n100"))
    assert text == (GOLDEN / f"report_pass_{width}.txt").read_text()


def test_failed_report_reads_like_this():
    failed = report(worst_limit_db=0.15)
    place = Path("out/student-x2/intel-n100.failed")
    text = report_text(failed, colour=False, place=place)
    assert text == (GOLDEN / "report_fail_100.txt").read_text()


def test_no_line_is_wider_than_the_terminal():
    for width in (80, 100):
        text = report_text(report(worst_limit_db=0.1), colour=False, width=width)
        assert max(map(len, text.splitlines())) <= width


def test_colour_changes_no_character_of_the_text():
    plain = report_text(report(), colour=False)
    coloured = report_text(report(), colour=True)
    assert "\x1b" not in plain and "\x1b" in coloured
    assert ANSI.sub("", coloured) == plain


def test_a_name_cannot_drive_the_terminal():
    hostile = report(recipe="x\x1b[2Jy\n", warnings=("bell \x07",))
    text = report_text(hostile, colour=False)
    assert "x\\x1b[2Jy" in text and "bell \\x07" in text and "\x1b" not in text


def test_plan_reads_like_this():
    steps = [
        ("distill", "kept", "nothing changed"),
        ("quantize", "run", "parameter `patches` was 128, is 256; the cached result is of another"),
        ("convert intel-n100 openvino", "run", "an earlier step runs"),
    ]
    assert plan_text(steps, colour=False, width=80) == (GOLDEN / "plan_80.txt").read_text()
    assert plan_text([], colour=False) == "nothing to do\n"


# the numbers


def test_speed_is_against_true_float32_of_the_same_runtime():
    speeds = {(r.measured.file, r.measured.precision): r.speed_up for r in file_rows(report())}
    assert speeds == {
        ("net.float32.xml", "float32"): None,
        ("net.float32.xml", "bfloat16"): 2.0,
        ("net.int8.xml", "int8"): 3.0,
        ("net.float32.onnx", "float32"): None,
        ("net.int8.onnx", "int8"): 30 / 32,
    }


def test_a_float_file_computed_in_bfloat16_is_no_baseline():
    first = replace(FILES[0], latency=replace(FILES[0].latency, precision="bfloat16"))
    row = file_rows(report(files=(first, FILES[2])))[1]
    assert row.measured.precision == "int8" and row.speed_up is None


def test_every_runtime_is_told_what_to_ship():
    assert advice(report()) == [
        "ship INT8 on openvino: net.int8.xml; 1.50 times as fast as bfloat16, 0.060 dB lost",
        "ship float on onnxruntime: net.float32.onnx; INT8 is only 0.94 times as fast as float32 "
        "on this host, 0.100 dB lost",
    ]


def test_a_rung_gains_against_the_last_one_that_could_be_built():
    gains = {row.rung.name: row.gained_db for row in rung_rows(report())}
    assert gains["ranges"] is None
    assert gains["equalise"] is None
    assert gains["rounding"] == pytest.approx(0.912 - 0.1)


def test_time_of_a_rung_is_of_the_file_that_is_least_faster_than_float():
    first, _, last = rung_rows(report())
    assert first.slowest.file == "net.int8.xml"  # the other one was not timed
    assert last.slowest.file == "net.int8.onnx"


def test_a_ladder_of_one_rung_needs_no_table_on_the_screen():
    one = report(ladder=report().ladder[2:])
    assert "gained" in report_text(report(), colour=False)
    assert "gained" not in report_text(one, colour=False)


def test_a_ratio_and_the_layers_left_read_like_this():
    slow = Verdict(gate="int8_speedup", file="a.xml", value=0.9, limit=1.5, unit="x", passed=False)
    assert (quantity(slow), bound(slow)) == ("0.90x", "at least 1.5x")
    assert sentence(slow) == "a.xml is 0.90x as fast as the fastest float mode, at least 1.5x"
    none = Verdict(
        gate="int8_macs_share", file="a.xml", value=0.0, limit=0.5, unit="at least",
        passed=False, note="0 of 7 layers left in INT8",
    )  # fmt: skip
    assert sentence(none).endswith("in INT8, at least 50 % (0 of 7 layers left in INT8)")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (-0.0001, "0.000"), (-0.25, "-0.250"), (math.nan, "NaN"), (math.inf, "inf")],
)
def test_numbers_are_never_minus_zero(value, text):
    assert number(value, 3) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100 %"), (0.9999, "99.9 %"), (0.0, "0 %"), (0.0001, "0.1 %"), (0.5, "50 %")],
)
def test_all_is_said_only_of_all(share, text):
    assert percent(share) == text


def test_a_missing_number_is_called_missing():
    verdict = Verdict(
        gate="psnr_drop_db.mean", file="a.onnx", value=math.nan, limit=0.3, unit="dB", passed=False
    )
    assert sentence(verdict) == "a.onnx has no number for psnr_drop_db.mean, at most 0.3 dB"


def test_worst_image_is_the_one_without_a_number():
    collapsed = replace(FILES[2], images=scores(0.1, math.nan, 0.3))
    broken = report(files=(collapsed,))
    assert image_rows(broken)[0].name == "toys.png"


# the page


@pytest.mark.parametrize(("name", "limit"), [("pass", 0.5), ("fail", 0.15)])
def test_page_says_this(name, limit):
    words = "\n".join(Page(html_text(report(worst_limit_db=limit), [])).words) + "\n"
    assert words == (GOLDEN / f"page_{name}.txt").read_text()


def test_page_needs_no_network(planes):
    page = Page(html_text(report(), crops_of(planes, a=(0, 0, 9))))
    assert addresses(page)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses(page))
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object", "base")]


def test_names_cannot_become_markup(planes):
    hostile_files = tuple(replace(file, file=HOSTILE, label=HOSTILE) for file in FILES)
    images = tuple(replace(image, name=HOSTILE + image.name) for image in REFERENCE.images)
    hostile = report(
        recipe=HOSTILE,
        target_title=HOSTILE,
        reference=replace(REFERENCE, images=images),
        files=tuple(replace(file, images=images) for file in hostile_files),
        network={HOSTILE: {HOSTILE: [HOSTILE]}},
        host={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        protocol=HOSTILE,
    )
    renamed = {HOSTILE: planes["a.png"]}
    page = Page(html_text(hostile, worst_crops(renamed, renamed, renamed, 1, 8, file=HOSTILE)))
    assert len(page.scripts) == 1
    assert {
        attribute for _, a in page.tags for attribute in a if attribute.startswith("on")
    } == set()
    assert all(a["src"].startswith("data:") for tag, a in page.tags if tag == "img")
    assert any("<script>alert(1)</script>" in words for words in page.words)


def test_only_the_own_script_may_run():
    page = Page(html_text(report(), []))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_page_shows_the_pixels_themselves(planes):
    crop = crops_of(planes, a=(16, 24, 9))[0]
    page = Page(html_text(report(), [crop]))
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
        for address in addresses(page)
        if address.startswith("data:")
    ]
    own = planes["a.png"][16:24, 24:32]
    expected = (own, own, own + 9, np.full((8, 8, 3), 9 * 16))
    assert len(shown) == 4
    for picture, pixels in zip(shown, expected, strict=True):
        assert np.array_equal(picture, pixels)


def test_same_report_same_bytes(planes, tmp_path):
    crops = crops_of(planes, a=(0, 0, 9), b=(8, 8, 3))
    write_html(report(), crops, tmp_path / "a.html")
    write_html(report(), crops, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


# the crops


def test_crops_find_the_windows_that_differ(planes):
    first, second = crops_of(planes, a=(5, 7, 4), b=(30, 50, 20))
    assert (first.image, first.top_px, first.left_px) == ("b.png", 30, 50)
    assert (second.image, second.top_px, second.left_px) == ("a.png", 5, 7)
    assert (first.rms_levels, second.rms_levels) == (20.0, 4.0)


def test_crops_of_one_image_do_not_overlap():
    flat = np.full((40, 40), 100, np.uint8)
    noisy = flat + np.random.default_rng(1).integers(0, 9, flat.shape, dtype=np.uint8)
    found = worst_crops({"x": flat}, {"x": flat}, {"x": noisy}, 3, 16)
    corners = [(crop.top_px, crop.left_px) for crop in found]
    assert len(found) == 3
    for index, (top, left) in enumerate(corners):
        for other in corners[index + 1 :]:
            assert abs(top - other[0]) >= 16 or abs(left - other[1]) >= 16


def test_an_image_smaller_than_the_window_is_shown_whole():
    tiny = np.zeros((1, 5), np.uint8)
    (crop,) = worst_crops({"x": tiny}, {"x": tiny}, {"x": tiny + np.uint8(1)}, 4, 96)
    assert crop.original.shape == (1, 5)


def test_darker_differs_as_much_as_brighter():
    flat = np.full((8, 8), 100, np.uint8)
    (crop,) = worst_crops({"x": flat}, {"x": flat}, {"x": flat - np.uint8(7)}, 1, 8)
    assert crop.difference.min() == crop.difference.max() == 7


def test_crops_compare_like_with_like(planes):
    with pytest.raises(ValueError, match="same images"):
        worst_crops(planes, planes, {"a.png": planes["a.png"]}, 1, 8)
    with pytest.raises(ValueError, match="against"):
        worst_crops(planes, planes, {k: v[:-1] for k, v in planes.items()}, 1, 8)


def test_amplification_shows_the_difference_without_clipping_it(planes):
    assert amplification(crops_of(planes, a=(0, 0, 1))) == 32
    assert amplification(crops_of(planes, a=(0, 0, 8))) == 16
    assert amplification(crops_of(planes, a=(0, 0, 55))) == 4
    assert amplification([]) == 32


def test_one_bad_pixel_does_not_leave_the_rest_black():
    flat = np.full((40, 40), 100, np.uint8)
    other = flat + np.uint8(7)
    other[0, 0] += 140
    assert amplification(worst_crops({"x": flat}, {"x": flat}, {"x": other}, 1, 40)) == 32
    other[:2] += 100
    assert amplification(worst_crops({"x": flat}, {"x": flat}, {"x": other}, 1, 40)) == 2


def test_a_runtime_that_is_not_at_hand_is_said_to_be_stood_in_for():
    """TensorRT files are computed by ONNX Runtime here; their time is not the board's."""
    from dataclasses import replace

    import sample_report

    made = sample_report.report()
    files = [
        replace(
            file,
            backend="tensorrt",
            latency=replace(file.latency, p50_ms=150.0 if file.precision == "int8" else 50.0),
        )
        for file in made.files
        if file.latency
    ]
    text = report_text(replace(made, files=tuple(files)), colour=False)
    assert "onnxruntime, in the place of tensorrt" in text
