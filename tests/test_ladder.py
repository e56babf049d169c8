"""The ladder of a whole run: where it stops, what it keeps, what it says when nothing passes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quant_networks import anchored, quantized, target
from sample_report import FILES, REFERENCE, measured
from tiny_project import command, edgesr_run, make_project

from toolkit.cli import main
from toolkit.errors import UserError
from toolkit.quant.carried import kept_rounded
from toolkit.report import NpuUse, Rung
from toolkit.run import timing
from toolkit.run.host import faster_floats
from toolkit.run.measure import Samples
from toolkit.run.recommend import file_verdicts, left_out, recommend
from toolkit.run.rungs import at_rung, rungs_to_try
from toolkit.spec.recipe import Gates, StepSpec

STUDENT = Path(__file__).parent.parent / "toolkit" / "weights" / "student.onnx"
UNTRAINED = ["ranges", "equalise", "rounding", "mixed"]
LOUD = 100.0  # how much larger some channels are: a scale for all of them loses the others


def quantizing(recipe, parameters):
    """Set parameters of the recipe's `quantize`."""
    text = recipe.read_text()
    recipe.write_text(text.replace("charts: false", f"charts: false, {parameters}"))
    return recipe


def loud_project(folder, **limits):
    """The reference student with some channels made large and taken back: equal in float."""
    recipe = make_project(folder, **limits)
    text = recipe.read_text().replace("color: rgb", "color: luma")
    recipe.write_text(text.replace("patches: 4", "patches: 8"))
    model = onnx.load(STUDENT)
    factors = np.where(np.arange(16) % 5 == 0, LOUD, 1.0).astype(np.float32)
    changes = {
        "body_1_Conv_output_0.weight": factors[:, None, None, None],
        "body_1_Conv_output_0.bias": factors,
        "body_2_Conv_output_0.weight": 1 / factors[None, :, None, None],
    }
    for stored in model.graph.initializer:
        if stored.name in changes:
            value = numpy_helper.to_array(stored) * changes[stored.name]
            stored.CopyFrom(numpy_helper.from_array(value, stored.name))
    onnx.save(model, folder / "tiny.onnx")
    return recipe


def report_of(recipe, target="generic-cpu"):
    out = recipe.parent / "out" / "tiny"
    folder = out / target if (out / target).exists() else out / f"{target}.failed"
    return json.loads((folder / "report.json").read_text())


def tried(recipe, target="generic-cpu"):
    return [(rung["name"], rung["state"]) for rung in report_of(recipe, target)["ladder"]]


def lines(done, start):
    return [line for line in done.stderr.splitlines() if line.startswith(start)]


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A network that needs rounding to pass, on two targets: (recipe, what the run said)."""
    folder = tmp_path_factory.mktemp("climbed")
    recipe = loud_project(folder, targets="generic-cpu, intel-n100", mean=0.4, worst=0.55)
    return recipe, edgesr_run(recipe)


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory):
    """A gate that no rung can hold: (recipe, what the run said)."""
    recipe = make_project(tmp_path_factory.mktemp("hopeless"), mean=0.0, worst=0.0)
    return recipe, edgesr_run(recipe)


# where it stops


def test_gates_that_hold_on_the_first_rung_end_the_climb_there(tmp_path):
    recipe = make_project(tmp_path / "easy")
    done = edgesr_run(recipe)
    assert done.returncode == 0, done.stderr
    assert tried(recipe) == [("ranges", "passed")]
    assert len(lines(done, "  run   quantize")) == 1
    assert "shortly" not in done.stderr  # what passes is timed once, at length


def test_a_gate_that_only_rounding_holds_is_climbed_to(climbed):
    recipe, done = climbed
    assert done.returncode == 0, done.stderr
    assert tried(recipe) == [("ranges", "failed"), ("equalise", "failed"), ("rounding", "passed")]
    losses = [rung["files"][0]["mean_db"] for rung in report_of(recipe)["ladder"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 0.8 and losses[-1] < 0.4
    assert "rung ranges will not do: tiny.int8.onnx lost 1." in done.stderr


def test_every_rung_is_timed_beside_float(climbed):
    for rung in report_of(climbed[0])["ladder"]:
        assert all(file["p50_ms"] > 0 and file["float_p50_ms"] > 0 for file in rung["files"])


def test_two_targets_share_the_rungs(climbed):
    recipe, done = climbed
    assert tried(recipe, "intel-n100") == tried(recipe)
    assert len(lines(done, "  run   quantize")) == 3
    assert len(lines(done, "  kept  quantize")) == 3


def test_the_same_run_again_keeps_everything_and_takes_no_time(climbed):
    again = edgesr_run(climbed[0])
    assert again.returncode == 0
    assert lines(again, "  run") == []
    assert "timing" not in again.stderr


def test_a_rung_that_is_named_is_the_only_one(tmp_path):
    recipe = quantizing(make_project(tmp_path / "named"), "rung: equalise")
    assert edgesr_run(recipe).returncode == 0
    assert tried(recipe) == [("equalise", "passed")]


# when nothing passes


def test_a_gate_that_nothing_holds_lists_all_rungs_and_what_would_help(hopeless):
    recipe, done = hopeless
    assert done.returncode == 4
    ladder = report_of(recipe)["ladder"]
    assert [rung["name"] for rung in ladder] == UNTRAINED
    best = min(ladder, key=lambda rung: rung["files"][0]["mean_db"])
    assert [r["name"] for r in ladder if r["state"] == "best"] == [best["name"]]
    assert all(rung["why"] for rung in ladder)
    assert "- quantize: {train_minutes: 20}" in done.stdout
    assert all(rung in done.stdout for rung in UNTRAINED)


def test_the_report_of_a_failure_says_which_layers_lose(hopeless):
    layers = report_of(hopeless[0])["explanation"]["layers"]
    assert {layer["node"] for layer in layers} == {"head", "tail", "anchor"}
    assert [la["drop_db"] for la in layers] == sorted(
        (la["drop_db"] for la in layers), reverse=True
    )
    assert sum(layer["macs_share"] for layer in layers) == pytest.approx(1)
    page = (hopeless[0].parent / "out/tiny/generic-cpu.failed/report.html").read_text()
    assert "Where the drop comes from" in page


def test_a_failed_run_again_takes_the_times_of_its_rungs_over(hopeless):
    again = edgesr_run(hopeless[0])
    assert again.returncode == 4
    assert "shortly" not in again.stderr


def test_a_climb_that_is_killed_goes_on_where_it_was(hopeless, tmp_path):
    recipe = tmp_path / "killed" / "tiny.yaml"
    shutil.copytree(
        hopeless[0].parent, recipe.parent, ignore=shutil.ignore_patterns("cache", "out")
    )
    words = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command(recipe), **words) as child:
        for line in child.stderr:
            if line.startswith("  done  quantize equalise"):
                child.send_signal(signal.SIGKILL)
                break
    done = edgesr_run(recipe)
    assert done.returncode == 4
    kept = [line.split()[-1] for line in lines(done, "  kept  quantize")]
    assert kept == ["ranges", "equalise"]
    assert tried(recipe) == tried(hopeless[0])


# what is no INT8


def nearest(path):
    """Doubles every pixel by Resize: nothing in it multiplies."""
    sizes = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "sizes")
    node = helper.make_node("Resize", ["lr", "", "sizes"], ["sr"], "grow", mode="nearest")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *size])
        for name, size in (("lr", ["h", "w"]), ("sr", ["H", "W"]))
    ]
    graph = helper.make_graph([node], "nearest", ends[:1], ends[1:], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)


def test_a_network_that_no_scheme_quantizes_fails_by_itself_and_is_not_climbed_for(tmp_path):
    recipe = make_project(tmp_path / "nearest")
    nearest(recipe.parent / "tiny.onnx")
    done = edgesr_run(recipe)
    assert done.returncode == 4, done.stderr
    assert "0 of 0 layers left in INT8" in " ".join(done.stdout.split())
    assert "steps: []" in done.stdout
    assert tried(recipe) == [("ranges", "best")]


def test_layers_that_were_all_left_float_are_no_int8_file(tmp_path):
    recipe = make_project(tmp_path / "float")
    done = edgesr_run(quantizing(recipe, "float_nodes: [head, tail, anchor]"))
    assert done.returncode == 4, done.stderr
    assert "0 % of its multiply-accumulates in INT8, at least 50 %" in " ".join(done.stdout.split())
    assert "0 of 3 layers left in INT8" in " ".join(done.stdout.split())
    assert "float_nodes: []" in done.stdout


# the speed guard


def slow_int8(monkeypatch):
    """Every INT8 file takes 9 ms and every float one 3 ms."""

    def timed(artefacts, measuring):
        ms = [9 if artefact.precision == "int8" else 3 for artefact in artefacts]
        return [Samples(nanoseconds=(int(t * 1e6),) * 10, height_px=48, width_px=64) for t in ms]

    monkeypatch.setattr(timing, "time_interleaved", timed)


def test_int8_that_is_slower_is_measured_but_not_packed(tmp_path, monkeypatch, capsys):
    slow_int8(monkeypatch)
    recipe = make_project(tmp_path / "slow")
    assert main(command(recipe)[3:]) == 0
    assert "ship float on onnxruntime: tiny.float32.onnx" in capsys.readouterr().out
    manifest = json.loads((recipe.parent / "out/tiny/generic-cpu/manifest.json").read_text())
    assert [file["name"] for file in manifest["files"]] == ["tiny.float32.onnx"]
    assert manifest["not_packed"][0]["name"] == "tiny.int8.onnx"
    assert "0.33 times as fast as float32" in manifest["not_packed"][0]["why"]


def test_a_stated_speed_up_fails_instead(tmp_path, monkeypatch, capsys):
    slow_int8(monkeypatch)
    recipe = make_project(tmp_path / "gated")
    recipe.write_text(recipe.read_text().replace("gates:\n", "gates:\n  int8_speedup: 2.0\n"))
    assert main(command(recipe)[3:]) == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "tiny.int8.onnx is 0.33x as fast as the fastest float mode, at least 2x" in said


FLOAT, BF16, INT8 = FILES[:3]  # 24, 12 and 8 ms; the drops are 0, 0.02 and 0.06 dB


def at_ms(file, p50_ms):
    return replace(file, latency=replace(file.latency, p50_ms=p50_ms))


def advised(*files, **gates):
    return recommend(Gates(**gates), REFERENCE, files)


def test_the_fastest_float_mode_is_the_one_to_beat():
    (told,) = advised(FLOAT, BF16, INT8)
    assert (told.ship, told.float_precision, told.speed_up) == ("int8", "bfloat16", 1.5)
    (told,) = advised(FLOAT, BF16, at_ms(INT8, 15.0))  # faster than float32 alone
    assert (told.ship, told.float_drop_db) == ("float", pytest.approx(0.02))
    assert left_out([told]) == {"net.int8.xml": told.why}


def test_a_float_mode_that_breaks_a_gate_is_not_shipped():
    slow = at_ms(INT8, 15.0)
    assert advised(FLOAT, BF16, slow, psnr_drop_db_mean=0.01)[0].ship == "int8"
    assert "breaks size_kb" in advised(FLOAT, BF16, slow, size_kb=50.0)[0].why
    slowest = at_ms(INT8, 30.0)  # then plain float32 is left
    told = advised(FLOAT, BF16, slowest, psnr_drop_db_mean=0.01)[0]
    assert (told.ship, told.float_precision) == ("float", "float32")


def test_where_the_speed_up_is_gated_float_is_not_put_in_its_place():
    slow = at_ms(INT8, 30.0)
    told = advised(FLOAT, slow, int8_speedup=2.0)[0]
    assert told.ship == "int8" and "gates int8_speedup" in told.why
    judged = file_verdicts(Gates(int8_speedup=2.0), REFERENCE, (FLOAT, slow), [told], {})
    assert [v.passed for v in judged if v.gate == "int8_speedup"] == [False]


def test_a_float_file_in_the_place_of_int8_answers_for_size_too():
    files = (FLOAT, at_ms(INT8, 30.0))
    gates = Gates(size_kb=80.0)
    told = recommend(gates, REFERENCE, files)
    judged = {(v.file, v.gate) for v in file_verdicts(gates, REFERENCE, files, told, {})}
    assert ("net.float32.xml", "size_kb") in judged
    beside = file_verdicts(gates, REFERENCE, (FLOAT, INT8), advised(FLOAT, INT8), {})
    assert ("net.float32.xml", "size_kb") not in {(v.file, v.gate) for v in beside}


def test_what_another_unit_computes_is_not_decided_by_this_hosts_clock():
    slow = [replace(file, backend="tensorrt") for file in (FLOAT, at_ms(INT8, 30.0))]
    (told,) = advised(*slow)
    assert told.ship == "either" and "the board decides" in told.why
    gates = Gates(int8_speedup=2.0, latency_p90_ms=1.0)
    verdicts = file_verdicts(gates, REFERENCE, slow, [told], {})
    assert {v.gate for v in verdicts} == {"int8_macs_share"}


def test_an_npu_that_computes_int8_alone_gets_int8():
    use = NpuUse(
        **dict.fromkeys(NpuUse.__dataclass_fields__, 0)
        | {"accelerator": "ethos-u65-512", "on": (), "off": ()}
    )
    told = advised(FLOAT, replace(at_ms(INT8, 30.0), npu=use))[0]
    assert told.ship == "int8" and "ethos-u65-512" in told.why


def test_without_a_stated_share_half_of_the_work_must_be_int8():
    thin = replace(measured("a.onnx", "onnxruntime", "int8", 1.0, (0, 0, 0), 1.0), label="a")
    verdicts = file_verdicts(Gates(), REFERENCE, [thin], [], {"a.onnx": "0 of 7 layers left"})
    assert [(v.gate, v.passed, v.note) for v in verdicts] == [
        ("int8_macs_share", False, "0 of 7 layers left")
    ]
    stated = file_verdicts(Gates(int8_macs_share=0.0), REFERENCE, [thin], [], {})
    assert stated[0].passed


@pytest.mark.parametrize(
    ("facts", "modes"),
    [
        ("flags\t\t: fpu avx512_bf16 avx512_vnni\nflags : fpu", ("bfloat16",)),
        ("flags : fpu avx2", ()),
        ("Features\t: fp asimdhp bf16\n", ("bfloat16", "float16")),
        ("", ()),
    ],
)
def test_float_modes_are_those_the_cpu_states(facts, modes):
    assert faster_floats(facts) == modes


# which rungs


def step(**params):
    given = {
        "patches": 4, "rung": "auto", "float_nodes": (), "train_minutes": 20.0,
        "mixed_macs_share": 0.3, "seed": 0, **params,
    }  # fmt: skip
    return StepSpec(name="quantize", params=given, where="", folders={"images": Path("photos")})


GATED = Gates(psnr_drop_db_mean=0.1)


def test_rungs_are_what_gates_ask_for_and_the_recipe_allows():
    assert rungs_to_try(step(), GATED) == (*UNTRAINED, "qat")
    assert rungs_to_try(step(train_minutes=0), GATED) == tuple(UNTRAINED)
    assert rungs_to_try(step(), replace(GATED, int8_macs_share=1.0)) == (*UNTRAINED[:3], "qat")
    assert rungs_to_try(step(), Gates()) == tuple(UNTRAINED[:3])
    assert rungs_to_try(step(rung="mixed"), Gates()) == ("mixed",)


def test_a_rung_depends_only_on_what_it_reads():
    quick, slow = step(train_minutes=1.0), step(train_minutes=60.0)
    assert at_rung(quick, "rounding", GATED) == at_rung(slow, "rounding", GATED)
    assert at_rung(quick, "qat", GATED) != at_rung(slow, "qat", GATED)
    assert at_rung(quick, "rounding", GATED).folders == {}
    assert at_rung(quick, "qat", GATED).folders == {"images": Path("photos")}
    share = at_rung(step(), "mixed", Gates(int8_macs_share=0.9)).params["mixed_macs_share"]
    assert share == pytest.approx(0.1)


def test_the_rung_that_trains_leaves_a_plan_of_the_network_it_leaves(tmp_path, monkeypatch):
    from toolkit.qat import training

    small = {"LR_PX": 24, "BATCH": 2, "MOST_STEPS": 12, "MOST_VALIDATIONS": 2, "HOLDOUT_BATCHES": 2}
    for name, value in small.items():
        monkeypatch.setattr(training, name, value)
    given = {"patches": 2, "charts": False}
    network, plan, facts = quantized(anchored(), tmp_path, rung="qat", train_minutes=1, **given)
    assert plan.network == network.digest
    assert (facts["training_images"], facts["holdout_images"]) == (2, 1)
    assert set(kept_rounded(onnx.load(network.path))) == {"node_head", "node_body", "node_tail"}
    start, _, _ = quantized(anchored(), tmp_path / "start", rung="rounding", **given)
    assert facts["training_gained"] == (start.digest != network.digest)


def test_training_needs_pictures_of_a_patchs_size(tmp_path, monkeypatch):
    from toolkit.qat import training

    monkeypatch.setattr(training, "LR_PX", 480)
    with pytest.raises(UserError, match="0 of 3 calibration images are large enough to train on"):
        quantized(anchored(), tmp_path, rung="qat", train_minutes=1, patches=2, charts=False)


def test_plan_shows_the_rungs_that_may_run_and_imports_nothing_heavy(tmp_path):
    recipe = make_project(tmp_path / "planned")
    recipe.write_text(recipe.read_text().replace("train_minutes: 0", "train_minutes: 20"))
    program = (
        "import sys\nfrom toolkit.cli import main\n"
        f"main(['plan', {str(recipe)!r}, '--cache', {str(tmp_path / 'cache')!r}])\n"
        "print({'onnx', 'torch', 'onnxruntime', 'openvino'} & set(sys.modules))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[-1] == "set()"
    words = [line.split()[:3] for line in said if "quantize" in line]
    assert words == [["run", "quantize", "ranges"]] + [
        ["may", "quantize", name] for name in ("equalise", "rounding", "mixed", "qat")
    ]
    assert "trains 20 minutes at most" in said[-3]


def test_a_rung_without_files_loses_without_end():
    rung = Rung(name="qat", state="refused", minutes=0, why="no torch", key="", files=())
    assert rung.mean_db == float("inf") and not rung.is_taken


def test_training_follows_the_grids_of_the_target():
    board, host = target("tensorrt"), target("onnxruntime")
    assert at_rung(step(), "qat", GATED, board).params["symmetric"] is True
    assert at_rung(step(), "qat", GATED, host).params["symmetric"] is False
    assert at_rung(step(), "rounding", GATED, board) == at_rung(step(), "rounding", GATED, host)
