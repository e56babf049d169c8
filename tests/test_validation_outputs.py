"""What a validation hands to people and to CI systems: screen, CSV, JUnit XML, files."""

import csv
import io
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from sample_validation import DEVICE, FLOAT, INT8, benchmark, stage, validation

from toolkit.benchmark import Stability
from toolkit.errors import EnvironmentFailure
from toolkit.report import Verdict
from toolkit.show.junit import junit_text
from toolkit.show.validation_csv import COLUMNS, cell, csv_text
from toolkit.show.validation_rows import answers, checks
from toolkit.show.validation_text import validation_text
from toolkit.show.verdict_words import gate_sentence, held_text, share_text
from toolkit.show.written import write_text
from toolkit.validation import Budget, Interval

GOLDEN = Path(__file__).parent / "golden"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = 'a\x00\x1b[2J\ud800"><failure/>&]]>\n'


def failed():
    return validation(worst_limit_db=0.3, seams_levels=4)


# the terminal screen


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(("name", "made"), [("pass", validation), ("fail", failed)])
def test_screen_reads_like_this(name, made, width):
    text = validation_text(made(), width=width, colour=False)
    assert text == (GOLDEN / f"validation_{name}_{width}.txt").read_text()
    assert max(map(len, text.splitlines())) <= width


def test_three_questions_are_answered_in_the_first_lines():
    lines = validation_text(failed(), width=120, colour=False).splitlines()
    assert lines[0].startswith("FAIL  ")
    assert lines[2].startswith("As good as float?    No: ") and "at most 0.3 dB" in lines[2]
    assert lines[3] == f"Worst picture?       fixed-camera-vehicle.webp, 0.365 dB lost by {INT8}"
    assert "exit code 4: 3 of 25 gates failed" in lines[4]


def test_colour_changes_no_character():
    plain = validation_text(failed(), width=80, colour=False)
    coloured = validation_text(failed(), width=80, colour=True)
    assert "\x1b" not in plain and "\x1b" in coloured
    assert ANSI.sub("", coloured) == plain


def test_a_name_cannot_drive_the_terminal():
    hostile = validation(subject="x\x1b[2J", recipe="", warnings=("bell \x07",))
    text = validation_text(hostile, width=80, colour=False)
    assert "x\\x1b[2J" in text and "bell \\x07" in text and "\x1b" not in text
    one = stage("total", "f\x1b[2J", "float network", seed=1, mean_db=0.1, count=1)
    named = replace(one, images=(replace(one.images[0], name="p\x1b[2J"),))
    for width in (80, 120):
        text = validation_text(validation(stages=(named,)), width=width, colour=False)
        assert "f\\x1b[2J" in text and "p\\x1b[2J" in text and "\x1b" not in text


def test_a_picture_without_a_number_is_the_worst():
    one = stage("total", INT8, "float network", seed=1, mean_db=0.1)
    broken = replace(one.images[7], psnr_db=math.nan)
    images = (*one.images[:7], broken, *one.images[8:])
    made = validation(stages=(replace(one, images=images),))
    assert answers(made)[1].answer == f"{broken.name}, NaN dB lost by {INT8}"


def test_what_is_below_nothing_is_a_gain():
    better = stage("total", INT8, "float network", seed=1, mean_db=0.1)
    swapped = [replace(i, psnr_db=i.reference_psnr_db + 0.4) for i in better.images]
    made = validation(stages=(replace(better, images=tuple(swapped)),), verdicts=())
    good, worst, _ = answers(made)
    assert f"{INT8} gains 0.400 dB on average" in good.answer
    assert worst.answer.endswith(f"0.400 dB gained by {INT8}")


def test_an_interval_over_the_limit_is_said():
    close = stage("total", INT8, "float network", seed=1, mean_db=0.1, budget=Budget(mean_db=0.15))
    close = replace(close, interval=Interval(low=0.1, high=0.2))
    build = answers(validation(stages=(close,)))[2]
    assert build.good and "its interval reaches 0.200 dB, at most 0.15 dB" in build.answer


def verdict(gate, file, passed=False, value=2.0, limit=1.0, unit="levels", **more):
    return Verdict(gate=gate, file=file, value=value, limit=limit, unit=unit, passed=passed, **more)


def test_the_first_answer_is_of_the_files_that_ship():
    """The float file loses more, and is not what goes to the device."""
    whole, twin = Budget(mean_db=0.3), Budget(mean_db=0.05)
    stages = (
        stage("conversion", FLOAT, "float network", seed=1, mean_db=0.25, budget=whole),
        stage("quantization", INT8, FLOAT, seed=2, mean_db=0.02, budget=twin),
        stage("total", INT8, "float network", seed=3, mean_db=0.02, budget=whole),
    )
    good, worst, _ = answers(validation(stages=stages, verdicts=validation().verdicts))
    assert good.answer.startswith(f"Yes: {INT8} ") and worst.answer.endswith(INT8)
    drops = [verdict(f"{name}.psnr_drop_db.mean", file, unit="dB")
             for name, file in (("conversion", FLOAT), ("total", INT8))]  # fmt: skip
    failing = validation(stages=stages, verdicts=tuple(drops), passed=False)
    assert answers(failing)[0].answer.startswith(f"No: {INT8} loses 2.000 dB")


@pytest.mark.parametrize(
    ("gate", "word"),
    [("seams", "No"), ("charts.white", "No"), ("reference.gain_db", "Not shown"),
     ("pairs", "Not shown"), ("stable", "Yes"), ("latency_p90_ms", "Yes")],
)  # fmt: skip
def test_no_picture_that_failed_a_gate_is_called_as_good_as_float(gate, word):
    made = validation()
    broken = replace(made, verdicts=(*made.verdicts, verdict(gate, INT8)), passed=False)
    assert answers(broken)[0].answer.startswith(f"{word}: ")
    assert answers(broken)[0].good == (word == "Yes")


def test_without_a_budget_nothing_is_called_good():
    first = answers(validation(verdicts=()))[0]
    assert first.good is None and first.answer.startswith("Nobody set a limit: ")


def test_a_check_shows_the_file_that_is_nearest_to_its_limit():
    def share(file, value):
        return Verdict(gate="device.within_one_share", file=file, value=value, limit=0.995,
                       unit="", passed=value >= 0.995)  # fmt: skip

    made = validation(verdicts=(share("a", 0.9951), share("b", 1.0), share("c", 0.999)))
    assert [check.shown.file for check in checks(made)] == ["a"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"),
        (0.999999, "99.99 %"),
        (0.99496, "99.50 %"),
        (0.0, "0.00 %"),
        (1e-9, "0.01 %"),
        (math.nan, "NaN"),
    ],
)
def test_a_share_is_rounded_but_never_to_all_or_nothing(share, text):
    assert share_text(share) == text


@pytest.mark.parametrize(
    ("gate", "value", "limit", "unit", "text", "words"),
    [
        ("digest", 0, 0, "files", "none wrong",
         "a.onnx is not what its manifest says: none wrong, none allowed"),
        ("stable", 0, 0, "reasons", "nothing against it",
         "a.onnx was timed on an unsteady device: nothing against it, none allowed"),
        ("digest", 1, 0, "files", "1 file, none allowed",
         "a.onnx is not what its manifest says: 1 file, none allowed"),
        ("seams", 0, 0, "levels", "0 levels, at most 0 levels",
         "a.onnx shows its tiles by 0 levels at the seams, at most 0 levels"),
        ("borders", 0.48, 1, "levels", "0.48 levels, at most 1 level",
         "a.onnx is off by 0.48 levels at the borders, at most 1 level"),
        ("charts.pixel", 0.25, 0.1, "px", "0.250 px, at most 0.1 px",
         "a.onnx shifts a single pixel by 0.250 px, at most 0.1 px"),
        ("device.within_one_share", 0.99496, 0.995, "at least", "99.496 %, at least 99.5 %",
         "a.onnx has 99.496 % of the device's pixels within one level, at least 99.5 %"),
    ],
)  # fmt: skip
def test_a_gate_reads_like_this(gate, value, limit, unit, text, words):
    one = Verdict(gate=gate, file="a.onnx", value=float(value), limit=limit, unit=unit, passed=True)
    assert held_text(one) == text
    assert gate_sentence(one) == words


# CSV


def read_rows(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv_has_a_row_per_file_stage_and_picture():
    made = validation()
    heading, *rows = read_rows(csv_text(made))
    assert tuple(heading) == COLUMNS
    wanted = [(s.file, s.name, i.name, repr(i.drop_db)) for s in made.stages for i in s.images]
    at = [COLUMNS.index(name) for name in ("file", "stage", "picture", "drop_db")]
    assert [tuple(row[i] for i in at) for row in rows] == wanted
    assert csv_text(made).count("\r\n") == 1 + len(wanted)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "＝"])  # noqa: RUF001
def test_a_spreadsheet_runs_no_name(start):
    name = f'{start}cmd|"/c calc"!A1'
    assert cell(name)[0] in "'\\"  # an apostrophe, or a control character's escape
    one = stage("total", INT8, "float network", seed=1, mean_db=0.1, count=1)
    named = replace(one, images=(replace(one.images[0], name=name),))
    row = read_rows(csv_text(validation(stages=(named,))))[1]
    assert row[COLUMNS.index("picture")] == cell(name) and len(row) == len(COLUMNS)


def test_the_device_is_named_where_it_was_used():
    heading, *rows = read_rows(csv_text(validation()))
    stage_at, device_at = heading.index("stage"), heading.index("device")
    assert {(row[stage_at], row[device_at]) for row in rows} == {
        ("total", ""),
        ("conversion", ""),
        ("quantization", ""),
        ("device", DEVICE.url),
    }


# JUnit

# of `junit-10.xsd`, the schema of Jenkins' xUnit plugin: what an element may hold, must and may say
JUNIT = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors"},
        {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log",
         "url", "version"},
    ),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, set()),
    "testcase": (
        {"skipped", "errors", "failure", "system-out", "system-err"},
        {"name"},
        {"time", "classname", "group"},
    ),
    "failure": (set(), set(), {"type", "message"}),
    "skipped": (set(), set(), {"type", "message"}),
    "system-out": (set(), set(), set()),
}  # fmt: skip


def parsed(made, taken=None):
    text = junit_text(made, taken)
    root = ET.fromstring(text.encode("utf-8"))
    for element in root.iter():
        inner, must, may = JUNIT[element.tag]
        assert {child.tag for child in element} <= inner
        assert must <= set(element.keys()) <= must | may
    return root


def case(root, name):
    (found,) = (one for one in root.iter("testcase") if one.get("name") == name)
    return found


def test_every_gate_of_every_file_is_a_case():
    made = failed()
    root = parsed(made)
    names = {one.get("name") for one in root.iter("testcase")}
    assert {f"{v.gate} [{v.file}]" for v in made.verdicts} <= names
    assert {one.get("classname") for one in root.iter("testcase")} == {"intel-n100"}
    assert len(names) == len(list(root.iter("testcase")))


def test_counts_are_those_of_the_cases():
    for made in (validation(), failed(), validation(device=None)):
        root = parsed(made, benchmark())
        for suite in root.iter("testsuite"):
            assert int(suite.get("tests")) == len(list(suite.iter("testcase")))
            assert int(suite.get("failures")) == len(list(suite.iter("failure")))
            assert int(suite.get("skipped")) == len(list(suite.iter("skipped")))
        assert int(root.get("failures")) == sum(not v.passed for v in made.verdicts)
        assert int(root.get("tests")) == len(list(root.iter("testcase")))


def test_a_failure_says_what_was_found_where_and_what_to_do():
    failure = case(parsed(failed()), f"quantization.psnr_drop_db.worst [{INT8}]").find("failure")
    sentence = f"{INT8} loses 0.352 dB on its worst picture by quantization, at most 0.3 dB"
    assert failure.get("message") == sentence
    assert failure.text.splitlines() == [
        f"what: {sentence}",
        f"where: {INT8}, worst fixed-camera-vehicle.webp",
        "found: 0.352 dB",
        "limit: at most 0.3 dB",
        "do: `edgesr run` tries further rungs; its report names the layers that lose",
    ]


def test_what_nobody_measured_is_skipped_not_passed():
    root = parsed(validation(device=None))
    skipped = case(root, f"device.psnr_drop_db.mean [{FLOAT}]").find("skipped")
    assert skipped.get("message") == "not measured; name a device: `--device URL`"
    assert case(root, f"seams [{FLOAT}]").find("skipped") is None


def test_times_without_a_limit_say_what_they_are_worth():
    shaky = replace(benchmark().files[0], file=INT8)
    shaky = replace(shaky, stability=Stability(is_stable=False, reasons=("it drifts",)))
    calm = replace(shaky, stability=Stability(is_stable=True))

    def said(*timings):
        text = junit_text(validation(), replace(benchmark(), files=timings))
        cases = ET.fromstring(text).iter("testcase")
        found = {case.get("name"): case.find("skipped") for case in cases}
        return found[f"stable [{INT8}]"].get("message")

    assert said(shaky) == "times were taken and are UNSTABLE: it drifts"
    assert said(calm) == "times were taken, but no limit is set on them"
    assert said(replace(shaky, file=FLOAT)) == "this file was not timed"
    assert said(replace(calm, samples_ns=())).endswith("for its numbers only, nothing was timed")


def test_only_files_have_gates_to_skip():
    verdict = Verdict(gate="reference.psnr_db", file="float network", value=30.0, limit=15,
                      unit="dB", passed=True)  # fmt: skip
    root = parsed(validation(verdicts=(verdict,)))
    (suite,) = (one for one in root if one.get("name") == "float network")
    assert suite.get("skipped") == "0" and suite.get("tests") == "1"


def test_a_refused_validation_is_not_green():
    root = parsed(validation(passed=False, verdicts=(), warnings=("two protocols",)))
    assert root.get("failures") == "1"
    assert case(root, "verdict").find("failure").get("message") == "two protocols"


def test_properties_say_what_the_numbers_rest_on():
    (suite,) = (s for s in parsed(failed(), benchmark()) if s.get("name") == FLOAT)
    found = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert found[f"sha256.{FLOAT}"] == "a" * 64
    assert f"sha256.{INT8}" not in found
    assert found["version.openvino"] == "2026.4.1"
    assert found["device.url"] == DEVICE.url
    assert found["data.digest"] == "d" * 64
    assert found["latency.stable"] == "UNSTABLE" and "clock fell" in found["latency.unstable"]
    assert float(found["latency.p90_ms"]) > float(found["latency.p50_ms"])


def test_the_weights_of_an_ir_are_named_with_it():
    name = FLOAT.removesuffix(".xml") + ".bin"
    made = validation(digests={FLOAT: "a" * 64, name: "c" * 64, INT8: "b" * 64})
    (suite,) = (s for s in parsed(made, None) if s.get("name") == FLOAT)
    found = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert found[f"sha256.{name}"] == "c" * 64 and f"sha256.{INT8}" not in found


def test_times_that_were_given_are_not_called_missing():
    made = validation()
    calm = validation_text(made, width=120, colour=False, timed=True)
    bare = " ".join(validation_text(made, width=120, colour=False).split())
    how = "`edgesr bench BUNDLE --device URL --out times.json`, then `--bench times.json`"
    assert f"not measured: stable, latency_p90_ms; take times first: {how}" in bare
    assert "edgesr bench" not in calm and "not measured" not in calm


def test_no_case_claims_a_time():
    assert not [e for e in parsed(validation(), benchmark()).iter() if e.get("time") is not None]


def test_hostile_names_are_text():
    verdict = Verdict(gate="seams", file=HOSTILE, value=9, limit=1, unit="levels", passed=False,
                      note=HOSTILE)  # fmt: skip
    made = validation(subject=HOSTILE, target=HOSTILE, verdicts=(verdict,), data={HOSTILE: HOSTILE})
    root = parsed(made)
    shown = 'a\\x00\\x1b[2J\\ud800"><failure/>&]]>\\n'
    assert len(list(root.iter("failure"))) == 1
    assert case(root, f"seams [{shown}]").get("classname") == shown


# files


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.csv"
    write_text(path, "a\r\nä")
    assert path.read_bytes() == "a\r\nä".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "b" * 100_000 + "\ud800")
    assert path.read_bytes() == "a\r\nä".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.csv"]


def test_a_file_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match=r"cannot write `a\.csv`"):
        write_text(tmp_path / "file" / "a.csv", "x")
