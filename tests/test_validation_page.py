"""The page of a validation in a real browser: what is clicked moves, and nothing is fetched."""

import base64
import hashlib
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from needs import needs
from PIL import Image
from sample_validation import FLOAT, INT8, benchmark, crops, stage, timing, validation

from toolkit.benchmark import Stability
from toolkit.report import Verdict
from toolkit.show import validation_page
from toolkit.show.html import html_text
from toolkit.show.latency_charts import BOTTOM, charts, nice_ticks
from toolkit.show.pictures import pictures_json
from toolkit.show.timed import readings, timed_files
from toolkit.show.validation_page import gate_rows, page_text

HOSTILE = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>'
WORST = "fixed-camera-vehicle.webp"


def failing(**changes):
    return validation(worst_limit_db=0.3, seams_levels=4, **changes)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts = [("", {})], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.tags.append(("", {}))

    def handle_data(self, data):
        if self.tags[-1][0] == "script":
            self.scripts.append((self.tags[-1][1].get("type"), data))


# the page as a text


def test_what_a_program_does_not_tell_is_left_out():
    file = benchmark().files[0]
    silent = replace(benchmark(), files=(replace(file, first_ms=(), load_ms=()),))
    assert "first inference" not in page_text(validation(), crops(), silent)
    assert "first inference" in page_text(validation(), crops(), benchmark())


def test_page_needs_no_network_and_runs_only_its_own_script():
    page = Elements(page_text(validation(), crops(), benchmark()))
    addresses = [a[k] for _, a in page.tags for k in ("src", "href", "action", "data") if k in a]
    assert addresses and all(a.startswith(("#", "data:image/png;base64,")) for a in addresses)
    (script,) = (text for kind, text in page.scripts if kind is None)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_every_contents_link_has_its_section():
    for made, taken in ((failing(), benchmark()), (validation(verdicts=(), stages=()), None)):
        page = Elements(page_text(made, crops() if taken else (), taken))
        ids = {a["id"] for _, a in page.tags if "id" in a}
        links = {a["href"][1:] for tag, a in page.tags if tag == "a"}
        assert links and links <= ids


def test_names_cannot_become_markup():
    made = failing()
    stages = tuple(
        replace(s, file=HOSTILE, images=(replace(s.images[0], name=HOSTILE),)) for s in made.stages
    )
    hostile = replace(
        made,
        subject=HOSTILE,
        recipe=HOSTILE,
        target=HOSTILE,
        stages=stages,
        verdicts=tuple(replace(v, file=HOSTILE, note=HOSTILE) for v in made.verdicts),
        data={HOSTILE: HOSTILE},
        digests={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
    )
    taken = benchmark()
    timed = replace(
        taken.files[0], file=HOSTILE, stability=Stability(is_stable=False, reasons=(HOSTILE,))
    )
    crop = replace(crops()[0], image=HOSTILE, file=HOSTILE, against=HOSTILE)
    page = Elements(page_text(hostile, [crop], replace(taken, files=(timed,))))
    assert len(page.scripts) == 2  # the data, and the page's own
    assert not {name for _, a in page.tags for name in a if name.startswith("on")}
    assert all(a["src"].startswith("data:") for tag, a in page.tags if tag == "img")
    (data,) = (text for kind, text in page.scripts if kind == "application/json")
    assert not set("<>&") & set(data)  # not even `<!--<script`, after which no script ends
    assert json.loads(data)["names"] == [HOSTILE]


def test_same_validation_same_bytes():
    assert page_text(failing(), crops(), benchmark()) == page_text(failing(), crops(), benchmark())


def test_no_number_is_no_json_that_a_browser_refuses():
    one = stage("total", INT8, "float network", seed=1, mean_db=0.1, count=2)
    images = (replace(one.images[0], psnr_db=math.nan), replace(one.images[1], psnr_db=-math.inf))
    data = json.loads(pictures_json(validation(stages=(replace(one, images=images),)), None))
    assert [row[0] for row in data["stages"][0]["rows"]] == ["nan", "inf"]
    text = page_text(validation(stages=(replace(one, images=images),)), (), None)
    assert re.findall(r'"who">(.*?)<', text) == [one.images[0].name, one.images[1].name]


def test_a_file_without_a_number_is_shown_first():
    good = stage("total", FLOAT, "float network", seed=1, mean_db=0.1, count=2)
    images = (replace(good.images[0], psnr_db=math.nan), good.images[1])
    made = validation(stages=(good, replace(good, file=INT8, images=images)))
    assert f'<span id="shown"><code>{INT8}</code>' in page_text(made, (), None)


def test_crops_that_do_not_fit_are_left_out_and_counted(monkeypatch):
    one = len(page_text(validation(), crops()[:1], None)) - len(page_text(validation(), (), None))
    monkeypatch.setattr(validation_page, "MAX_CROP_BYTES", 3 * one)
    text = page_text(validation(), crops(), None)
    shown = re.findall(r'<figure class="crop".*?<code>(.*?)</code>', text, re.DOTALL)
    assert 0 < len(shown) < len(crops())
    assert f"{len(crops()) - len(shown)} more crops were left out" in text
    assert set(shown) == {FLOAT, INT8}  # each file's worst comes before any file's second


def test_five_hundred_pictures_of_six_files_stay_small():
    stages = [
        replace(s, file=f"file-{i}.onnx")
        for i in range(6)
        for s in validation(count=500).stages[2:]
    ]
    text = page_text(validation(stages=tuple(stages)), (), None)
    assert len(text) < 2_500_000
    assert text.count("<tr") < 700  # the other files' rows are made when they are asked for


def test_a_gate_is_one_row_over_its_files():
    rows = {row.gate: row for row in gate_rows(failing())}
    seams = rows["seams"]
    assert [cell.verdict.passed for cell in seams.cells] == [True, False]
    assert not seams.passed and seams.limit == "at most 1 level"
    assert [row.passed for row in gate_rows(failing())[:3]] == [False] * 3
    assert rows["total.psnr_drop_db.mean"].cells[0] is None


def test_a_gate_on_what_is_no_file_takes_no_column():
    def held(gate, file, passed=True):
        return Verdict(gate=gate, file=file, value=1, limit=1, unit="dB", passed=passed)

    made = validation(
        verdicts=(
            held("protocol", "", passed=False),
            held("reference.psnr_db", "float network"),
            held("report", "float network", passed=False),
            held("report", INT8),
        )
    )
    rows = {row.gate: row for row in gate_rows(made)}
    assert [cell.verdict.file for cell in rows["report"].others] == ["float network"]
    assert [cell.verdict.file for cell in rows["report"].cells] == [INT8]
    assert rows["reference.psnr_db"].cells == (None,) and not rows["report"].passed
    text = page_text(made, (), None)
    assert text.count("✕ failed:") == 2


def test_conditions_are_least_to_largest_while_it_ran():
    rounds = (
        {"before": {"t": 40, "g": "a"}, "during": [{"t": 50}, {"t": 61.5}], "after": {"t": 60}},
        {
            "before": {"t": 60},
            "during": [{"t": 70, "g": "b"}, {"g": "c"}],
            "after": {"t": {"x": 1}},
        },
    )
    assert readings(rounds) == [
        ("t", "40", "50 to 70", ""),
        ("g", "a", "b, c", ""),
        ("t x", "", "", "1"),
    ]
    cores = {"at_s": 3, "mhz": [800, None, 2400], "limit": [], "governors": ["a", "a"]}
    assert readings(({"before": cores, "during": None, "after": {"mhz": [900]}},)) == [
        ("mhz", "800 to 2400", "", "900"),
        ("governors", "a", "", ""),
    ]
    assert readings(()) == []
    assert readings(({"before": None, "during": [7], "other_cpu_share": 0.82},)) == [
        ("other processes", "", "up to 82 % of the CPU", "")
    ]


def test_what_is_known_besides_the_times_is_said():
    taken = benchmark()
    slow, fast = timed_files(taken)
    assert fast.notes[0].startswith("2.30 times as fast as student-x2.float32.xml (p50; 95 %: ")
    assert "99.91 % the very same." in slow.notes[0]
    broken = replace(taken.files[0], problem="the device ran out of memory", golden=None)
    (shown, _) = timed_files(replace(taken, files=(broken, taken.files[1])))
    assert shown.notes == ("Not timed: the device ran out of memory.",)
    stated = replace(
        taken.files[0], samples_ns=(), stated_ms=({"runs": 50.0, "average": 4.5},), tool="a tool"
    )
    text = page_text(validation(), (), replace(taken, files=(stated,)))
    assert "average 4.50 ms; 50 runs (all stated by a tool" in text
    assert "No time was taken" not in text


# the charts


def test_every_run_is_counted_in_the_histogram_or_said_to_lie_beyond():
    one = timing(INT8, "int8", "b" * 64, base_ms=20, seed=3)
    found = charts(one).histogram
    counted = sum(int(bar.told.split(": ")[1].split()[0]) for bar in found.bars)
    beyond = int(found.beyond.split()[0])
    assert beyond > 0 and counted + beyond == sum(map(len, one.samples_ns))
    assert [mark.label.split()[0] for mark in found.marks] == ["p50", "p90"]


def test_equal_times_make_one_bar():
    one = replace(
        timing(INT8, "int8", "b" * 64, base_ms=20, seed=3), samples_ns=((5_000_000,) * 40,)
    )
    found = charts(one)
    assert len(found.histogram.bars) == 1 and found.histogram.beyond == ""
    assert all(tick.at <= BOTTOM for tick in found.series.ticks)


def test_without_times_there_is_no_chart():
    emulated = replace(timing(INT8, "int8", "b" * 64, base_ms=20, seed=3), samples_ns=())
    assert charts(emulated) is None
    text = page_text(validation(), (), replace(benchmark(), files=(emulated,)))
    assert "No time was taken." in text and "<svg" not in text


def test_labels_of_two_close_percentiles_do_not_cover_each_other():
    samples = tuple([20_000_000] * 95 + [21_000_000] * 5)
    one = replace(timing(INT8, "int8", "b" * 64, base_ms=20, seed=3), samples_ns=(samples,))
    p50, p90 = charts(one).series.marks
    assert p50.at == p90.at and p50.label_at - p90.label_at == 14


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(18.2, 25.9, [20, 22, 24]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.011, 0.019, [0.012, 0.014,
     0.016, 0.018])],
)  # fmt: skip
def test_ticks_are_round_numbers(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


# in the browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from browser import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "validation.html"
    path.write_text(page_text(failing(), crops(), benchmark()), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, page):
    """The page of a failed validation, and afterwards: no complaint and no request."""
    from browser import requests_of

    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert requests_of(browser, page.as_uri()) == [page.as_uri()]


def cells(driver, column):
    rows = "[...document.querySelectorAll('#table > tbody > tr:not(.detail)')]"
    return driver.execute_script(
        f"return {rows}.map(row => row.cells[{column}].textContent.replace(/[\\n▸▾]/g, ''))"
    )


def heading(driver, column):
    return driver.find_elements("css selector", "#table thead th")[column]


@needs("browser")
def test_a_heading_sorts_and_the_second_click_turns_the_order(opened):
    assert cells(opened, 0)[0] == WORST
    assert heading(opened, 1).get_attribute("aria-sort") == "descending"
    heading(opened, 1).find_element("css selector", "button").click()
    drops = [float(text) for text in cells(opened, 1)]
    assert heading(opened, 1).get_attribute("aria-sort") == "ascending"
    assert drops == sorted(drops) and drops[0] < drops[-1] and cells(opened, 0)[-1] == WORST
    heading(opened, 1).find_element("css selector", "button").click()
    assert heading(opened, 1).get_attribute("aria-sort") == "descending"
    assert [float(text) for text in cells(opened, 1)] == drops[::-1]


@needs("browser")
def test_headings_sort_from_the_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    heading(opened, 0).find_element("css selector", "button").send_keys(Keys.ENTER)
    names = cells(opened, 0)
    assert names == sorted(names) and heading(opened, 0).get_attribute("aria-sort") == "ascending"
    assert heading(opened, 1).get_attribute("aria-sort") is None
    heading(opened, 7).find_element("css selector", "button").send_keys(Keys.SPACE)
    shares = [float(text.split()[0]) for text in cells(opened, 7)]
    assert shares == sorted(shares)  # the smallest share is the worst


@needs("browser")
def test_another_file_is_shown_on_demand_with_the_same_texts(opened):
    from selenium.webdriver.support.ui import Select

    before = [cells(opened, column) for column in range(9)]
    choice = Select(opened.find_element("id", "stage"))
    assert choice.first_selected_option.text == f"{INT8}, total"
    choice.select_by_visible_text(f"{FLOAT}, conversion")
    assert cells(opened, 1)[0] == "0.013" and cells(opened, 0)[0] == WORST
    choice.select_by_visible_text(f"{INT8}, total")
    assert [cells(opened, column) for column in range(9)] == before


@needs("browser")
def test_a_picture_opens_into_every_file_and_stage(opened):
    button = opened.find_element("css selector", "#table .who button")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    lines = opened.find_elements("css selector", "tr.detail tbody tr")
    assert [line.find_element("css selector", "td").text for line in lines] == [
        f"{s.file}, {s.name}" for s in failing().stages
    ]
    button.click()
    assert not opened.find_elements("css selector", "tr.detail")


@needs("browser")
def test_a_picture_is_found_by_its_name(opened):
    opened.find_element("id", "find").send_keys("CAMERA")
    rows = opened.find_elements("css selector", "#table > tbody > tr")
    names = [row.text for row in rows if row.is_displayed()]
    assert len(names) == 4 and all("camera" in name for name in names)
    assert opened.find_element("id", "found").text == "4 of 12"


def clip(driver):
    return driver.find_element("css selector", ".compare .over").value_of_css_property("clip-path")


@needs("browser")
def test_the_slider_uncovers_the_file_by_key_mouse_and_touch(opened):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    slider = opened.find_element("css selector", ".compare input")
    stack = opened.find_element("css selector", ".compare .stack")
    assert clip(opened) == "inset(0px 0px 0px 50%)"
    slider.send_keys(Keys.ARROW_LEFT * 10)
    assert clip(opened) == "inset(0px 0px 0px 40%)"
    width = stack.size["width"]
    mouse = ActionChains(opened).move_to_element(stack).click_and_hold()
    mouse.move_by_offset(width // 4, 0).release().perform()
    assert clip(opened) == "inset(0px 0px 0px 75%)"
    place = stack.rect
    scrolled = opened.execute_script("return window.scrollY")
    finger = {"x": place["x"] + place["width"] / 4, "y": place["y"] - scrolled + 20}
    for kind, points in (("touchStart", [finger]), ("touchEnd", [])):
        opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert clip(opened) == "inset(0px 0px 0px 25%)"


@needs("browser")
def test_the_left_picture_can_be_chosen(opened):
    from selenium.webdriver.support.ui import Select

    crop = opened.find_element("css selector", ".crop")
    under = crop.find_element("css selector", ".compare img")
    for kind in ("float", "original", "input"):
        Select(opened.find_element("css selector", "[data-left]")).select_by_value(kind)
        wanted = crop.find_element("css selector", f".panel.{kind} img")
        assert under.get_attribute("src") == wanted.get_attribute("src")


@needs("browser")
def test_zoom_shows_each_pixel_as_a_block(opened):
    image = opened.find_element("css selector", ".panel.file img")
    for factor in (1, 2, 4, 8):
        button = opened.find_element("css selector", f'[data-zoom="{factor}"]')
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert image.size == {"width": 96 * factor, "height": 96 * factor}
    assert image.value_of_css_property("image-rendering") == "pixelated"
    opened.find_element("css selector", '[data-zoom="4"]').click()
    png = opened.find_element("css selector", ".panel.float .picture").screenshot_as_png
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    own = max(crops(), key=lambda crop: crop.rms_levels).reference
    assert seen.shape[:2] == (384, 384)
    for at in (0, 3):  # the first and the last screen pixel of each block
        assert np.array_equal(seen[at::4, at::4], own)


@needs("browser")
def test_crops_that_are_folded_away_fit_once_they_are_opened(browser, tmp_path):
    page = tmp_path / "validation.html"
    page.write_text(page_text(failing(), crops() * 2, None), encoding="utf-8")
    browser.get(page.as_uri())
    (more,) = browser.find_elements("css selector", "details.more")
    more.find_element("css selector", "summary").click()
    shown = "document.querySelectorAll('.panel.file img')"
    widths = browser.execute_script(f"return [...{shown}].map(image => image.clientWidth)")
    assert len(widths) == 12 and len(set(widths)) == 1 and widths[0] > 96


@needs("browser")
def test_holding_the_file_shows_the_reference(opened):
    from selenium.webdriver import ActionChains

    crop = opened.find_element("css selector", ".crop")
    image = crop.find_element("css selector", ".panel.file img")
    own = image.get_attribute("src")
    ActionChains(opened).click_and_hold(image).perform()
    wanted = crop.find_element("css selector", ".panel.float img").get_attribute("src")
    assert image.get_attribute("src") == wanted != own
    ActionChains(opened).release().perform()
    assert image.get_attribute("src") == own


@needs("browser")
@pytest.mark.parametrize("preferred", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_and_colours_follow_the_reader(opened, width, preferred):
    from browser import prefer, resized

    prefer(opened, preferred)
    with resized(opened, width):
        assert opened.execute_script("return document.documentElement.scrollWidth") == width
    ground = opened.find_element("tag name", "body").value_of_css_property("background-color")
    level = int(re.findall(r"\d+", ground)[0])
    assert (level < 64) == (preferred == "dark")


@needs("browser")
def test_the_page_of_a_run_has_slider_zoom_and_sort_too(browser, tmp_path):
    from browser import requests_of
    from sample_report import report

    page = tmp_path / "report.html"
    page.write_text(html_text(report(), crops()[:1]), encoding="utf-8")
    browser.get(page.as_uri())
    browser.find_element("css selector", '[data-zoom="2"]').click()
    assert browser.find_element("css selector", ".panel.file img").size["width"] == 192
    assert clip(browser) == "inset(0px 0px 0px 50%)"
    head = browser.find_element("css selector", ".sortable th:nth-child(3)")
    head.find_element("css selector", "button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert browser.get_log("browser") == []
    assert requests_of(browser, page.as_uri()) == [page.as_uri()]
