"""`edgesr bench` and `edgesr compare` end to end: real runtime, real processes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from seeded.builds import GOOD, make
from tiny_project import tiny_network

from toolkit.benchmark import benchmark
from toolkit.cli import main
from toolkit.measure.results import read, results_folder

SHORT = (
    "--min-runs", "30", "--min-s", "0", "--warm-up", "0", "--size", "48x64", "--threads", "1",
)  # fmt: skip
STARTED_S = 60.0  # until a child has begun to measure, on a machine that does much else


@pytest.fixture(autouse=True)
def own_device(tmp_path, monkeypatch):
    """Each test has a lock and a cache of its own."""
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))


@pytest.fixture
def bundle(tmp_path):
    """A copy of a small bundle with a float32 and an INT8 file for ONNX Runtime."""
    made = make(GOOD[0])
    return Path(shutil.copytree(made.bundle, tmp_path / made.bundle.name))


def bench(subject, *more):
    return main(["bench", str(subject), *SHORT, *more])


def left_on_device(tmp_path):
    """What lies on the device besides the cache of files named by their digest."""
    device = tmp_path / "device"
    found = {p.relative_to(device).parts[0] for p in device.rglob("*") if p.is_file()}
    return found - {"files"}


def names(bundle):
    return [file["name"] for file in json.loads((bundle / "manifest.json").read_text())["files"]]


def test_a_bundle_is_checked_timed_shown_and_kept(bundle, tmp_path, capsys):
    before = sorted(p.name for p in bundle.rglob("*"))
    assert bench(bundle) == 0
    out, err = capsys.readouterr()
    (kept,) = results_folder(bundle).iterdir()
    result = read(kept)
    assert [file.file for file in result.files] == names(bundle)
    for file in result.files:
        assert file.golden.passed
        assert (file.height_px, file.width_px, file.problem) == (48, 64, "")
        assert [len(taken) for taken in file.samples_ns] == [10, 10, 10]
        assert len(file.load_ms) == len(file.first_ms) == len(file.peak_memory_mb) == 3
        assert sum(unit.operators for unit in file.units) > 0
        assert f"{file.file}: round 3 of 3" in err
        assert f"{file.file}: numbers hold" in err
        assert file.file in out
    assert f"result: {kept}" in out.replace("\n", " ").replace("result:  ", "result: ")
    assert sorted(p.name for p in bundle.rglob("*")) == before
    assert left_on_device(tmp_path) == set()


def test_json_has_the_result_and_its_summary(bundle, tmp_path, capsys):
    name, place = names(bundle)[0], tmp_path / "out" / "x.json"
    assert bench(bundle, "--file", name, "--json", "--out", str(place), "--rounds", "2") == 0
    value = json.loads(capsys.readouterr().out)
    assert benchmark(value["benchmark"]) == read(place)
    summary = value["summary"][name]
    assert summary["runs"] == 30
    assert summary["p95_ms"] is None
    assert 0 < summary["min_ms"] <= summary["p50_ms"] <= summary["p90_ms"] <= summary["max_ms"]
    assert list(value["summary"]) == [name]
    assert not results_folder(bundle).exists()


def test_golden_vectors_that_do_not_hold_exit_4_and_the_other_files_are_timed(
    bundle, capsys, monkeypatch
):
    good, bad = names(bundle)
    _spoil_golden(bundle, bad)
    assert bench(bundle) == 4
    out, _ = capsys.readouterr()
    (kept,) = results_folder(bundle).iterdir()
    timings = {file.file: file for file in read(kept).files}
    assert not timings[bad].golden.passed
    assert timings[bad].samples_ns == ()
    assert len(timings[good].samples_ns) == 3
    assert "its golden vectors do not hold on the device" in out
    assert out.startswith("FAIL")


def _spoil_golden(bundle, name):
    """The vector of one file asks for another picture; the manifest agrees with it."""
    import numpy as np

    from toolkit.digest import sha256_file

    place = bundle / "golden" / f"{name}.0.output.npy"
    np.save(place, np.load(place) + np.float32(0.5))
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    for file in manifest["files"]:
        for vector in file["golden"]:
            output = vector["output"]
            if output["name"] == f"golden/{place.name}":
                output |= {"sha256": sha256_file(place), "size_bytes": place.stat().st_size}
    path.write_text(json.dumps(manifest))


def test_background_load_marks_the_result(bundle, capsys):
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        code = bench(bundle, "--file", names(bundle)[0], "--require-stable", "--rounds", "1")
    finally:
        for child in busy:
            child.kill()
            child.wait()
    assert code == 4
    out = capsys.readouterr().out
    assert out.startswith("UNSTABLE")
    assert "other processes used" in out


def test_a_bare_file_is_timed_without_a_word_on_its_numbers(tmp_path, capsys):
    file = tmp_path / "tiny.onnx"
    tiny_network(file)
    assert bench(file, "--rounds", "1") == 0
    out, err = capsys.readouterr()
    assert "tiny.onnx: no golden vectors" in err
    assert "not checked: no golden vectors" in out
    (kept,) = results_folder(file).iterdir()
    assert read(kept).files[0].golden is None


def test_a_file_in_a_bundle_has_its_golden_vectors_and_writes_nothing_there(bundle, capsys):
    before, name = sorted(p.name for p in bundle.rglob("*")), names(bundle)[1]
    assert bench(bundle / name, "--rounds", "1") == 0
    (kept,) = results_folder(bundle).iterdir()
    assert results_folder(bundle).name == f"{bundle.name}.bench"
    (file,) = read(kept).files
    assert (file.file, file.golden.passed) == (name, True)
    assert read(kept).bundle.count("/") == 1  # as `--file` names it: recipe and target
    assert bench(bundle / "reference.onnx", "--rounds", "1") == 0
    assert len(list(results_folder(bundle).iterdir())) == 2
    assert sorted(p.name for p in bundle.rglob("*")) == before


def test_every_bad_number_is_told_at_once(bundle, capsys):
    words = ["--threads", "0", "--rounds", "0", "--min-s", "nan", "--size", "1", "--wait", "-1"]
    assert main(["bench", str(bundle), *words]) == 2
    err = capsys.readouterr().err
    for option in ("--threads", "--rounds", "--min-s", "--size", "--wait"):
        assert option in err


def test_a_place_that_cannot_be_written_is_told_before_anything_runs(bundle, tmp_path, capsys):
    assert bench(bundle, "--out", str(tmp_path)) == 2
    assert "this is a folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert bench(bundle, "--out", str(tmp_path / "file" / "result.json")) == 3
    assert "nothing can be written there" in capsys.readouterr().err
    for place in (tmp_path / "no" / "such" / "x.json", Path("/no-such-folder/x.json")):
        assert bench(bundle, "--out", str(place)) == 2
        err = capsys.readouterr().err
        assert "there is no such folder" in err and f"mkdir -p {place.parent}" in err
    assert not (tmp_path / "device").exists()


def test_an_unknown_file_is_told_with_the_known_ones(bundle, capsys):
    assert bench(bundle, "--file", "student-x2.int8.onx") == 2
    assert "did you mean `student-x2.int8.onnx`?" in capsys.readouterr().err


def test_what_is_neither_bundle_nor_network_is_told(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("x")
    for name, words in (("notes.txt", "no file that can be timed"), ("gone", "nothing is there")):
        assert bench(tmp_path / name) == 2
        err = capsys.readouterr().err
        assert words in err and ".tflite" in err and name in err


def test_a_url_that_is_none_is_exit_2(bundle, capsys):
    assert bench(bundle, "--device", "camera") == 2
    assert "`camera` is no device" in capsys.readouterr().err


def test_a_changed_file_is_refused_before_anything_runs(bundle, capsys):
    file = bundle / names(bundle)[0]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert bench(bundle) == 5
    assert "is not the file that was packed" in capsys.readouterr().err


def test_ctrl_c_keeps_nothing_half_and_leaves_the_device_free(bundle, tmp_path):
    words = ["bench", str(bundle), "--min-s", "600", "--size", "48x64", "--threads", "1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "toolkit", *words], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    said = iter(child.stderr.readline, "")
    assert any("numbers hold" in line for line in said)
    limit = time.monotonic() + STARTED_S
    while not _runners(tmp_path) and time.monotonic() < limit:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    rest = child.stderr.read()
    assert child.wait() == 130, rest
    assert rest.rstrip().endswith("interrupted")
    assert not results_folder(bundle).exists()
    assert left_on_device(tmp_path) == set()
    assert _runners(tmp_path) == []


def _runners(tmp_path):
    """Processes that work below the device's folder."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            place = str(cwd.readlink())
        except OSError:
            continue
        if place.startswith(str(tmp_path / "device")):
            found.append(cwd.parent.name)
    return found


@pytest.fixture
def results(bundle, tmp_path):
    """A stable result of one file, and the same twice as slow: (old, slow)."""
    old, slow = tmp_path / "old.json", tmp_path / "slow.json"
    assert bench(bundle, "--file", names(bundle)[0], "--rounds", "1", "--out", str(old)) == 0
    value = json.loads(old.read_text())
    for place, times in ((old, 1), (slow, 2)):
        for file in value["files"]:
            file["stability"] = {"is_stable": True, "reasons": []}
            file["samples_ns"] = [[times * ns for ns in taken] for taken in file["samples_ns"]]
        place.write_text(json.dumps(value))
    return str(old), str(slow)


def test_compare_says_what_changed_and_exits_4_on_a_regression(results, capsys):
    old, slow = results
    assert main(["compare", old, slow, "--json"]) == 4
    value = json.loads(capsys.readouterr().out)
    assert value["files"][0]["is_regression"]
    assert value["files"][0]["differences"][0]["percent"] == pytest.approx(100)
    assert main(["compare", old, slow, "--limit", "150%"]) == 0
    assert main(["compare", slow, old]) == 0


def test_compare_exits_4_where_a_file_is_not_timed_any_more(results, tmp_path, capsys):
    old = json.loads(Path(results[0]).read_text())
    (file,) = old["files"]
    other = {**file, "file": "other.tflite", "backend": "litert"}
    lost = {**other, "samples_ns": [], "problem": "the runtime refuses the file"}
    both, one = tmp_path / "both.json", tmp_path / "one.json"
    both.write_text(json.dumps({**old, "files": [file, other]}))
    one.write_text(json.dumps({**old, "files": [file, lost]}))
    assert main(["compare", str(both), str(both)]) == 0
    assert main(["compare", str(one), str(both)]) == 0
    assert main(["compare", str(both), str(one)]) == 4
    assert "other.tflite was timed before only" in capsys.readouterr().out


def test_compare_takes_a_bundle_for_its_newest_result(bundle, results, capsys):
    folder = results_folder(bundle)
    folder.mkdir()
    for place, when in zip(
        results, ("20260101T000000Z-a.json", "20260102T000000Z-a.json"), strict=True
    ):
        shutil.copy(place, folder / when)
    assert main(["compare", results[0], str(bundle), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["after"].endswith("20260102T000000Z-a.json")


def test_compare_refuses_a_bundle_that_was_not_measured(bundle, capsys):
    assert main(["compare", str(bundle), str(bundle)]) == 2
    assert "no result of a bench yet" in capsys.readouterr().err


def test_compare_refuses_a_limit_that_is_no_percentage(capsys):
    assert main(["compare", "a", "b", "--limit", "much"]) == 2
    assert "`--limit` must be a percentage" in capsys.readouterr().err


def test_undecided_is_exit_4_where_it_must_be_stable(results, capsys):
    old = Path(results[0])
    value = json.loads(old.read_text())
    value["files"][0]["stability"] = {"is_stable": False, "reasons": ["a reason"]}
    old.write_text(json.dumps(value))
    assert main(["compare", str(old), str(old)]) == 0
    assert main(["compare", str(old), str(old), "--require-stable"]) == 4
    assert "NOT DECIDED" in capsys.readouterr().out
