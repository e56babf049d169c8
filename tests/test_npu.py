"""Without an NPU: its compiler says what runs on it, what does not and why, and gates hold that."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from sample_report import report as sample_report
from test_backend_litert import plain, target_of
from tiny_project import edgesr_run, make_project

from toolkit.backends import litert
from toolkit.bundle.report_file import parse_report, report_bytes
from toolkit.errors import EnvironmentFailure, ToolkitError, UserError
from toolkit.lowering import vela
from toolkit.lowering.vela import compile_for_npu
from toolkit.report import Drop, NpuOperator, NpuUse
from toolkit.run.judge import judge
from toolkit.show.html import html_text
from toolkit.show.rows import sentence
from toolkit.show.text import report_text
from toolkit.spec.read_target import read_target
from toolkit.spec.recipe import Gates
from toolkit.spec.target import Npu

ETHOS = ("ethos-u55", "ethos-u65", "ethos-u85")
DROP = Drop(mean_db=0.0, worst_db=0.0, worst_image="a.png")


def npu_of(name: str) -> Npu:
    (build,) = read_target(name).builds
    assert build.npu is not None
    return build.npu


def int8_file(folder: Path, network: str = "plain_x2", **build) -> Path:
    spine, plan = plain(folder, network)
    return litert.lower(spine, plan, target_of(io_dtype="int8", **build), folder, "net")[1].path


@pytest.mark.parametrize("name", ETHOS)
def test_every_operator_of_a_network_with_a_shuffle_is_on_the_npu(tmp_path, name):
    (build,) = read_target(name).builds
    file = int8_file(tmp_path, upsampler=build.upsampler)
    out = tmp_path / "out"
    out.mkdir()
    use = compile_for_npu(file, npu_of(name), out)
    assert use.off == ()
    assert [o.kind for o in use.on] == ["CONV_2D"] * 3 + ["RESHAPE", "TRANSPOSE", "RESHAPE"]
    assert [p.name for p in out.iterdir()] == [use.file] == ["net.int8_vela.tflite"]
    assert use.inference_ms == pytest.approx(use.cycles / use.clock_mhz / 1000, abs=1e-3)
    assert use.sram_kb > 0 and use.sram_traffic_kb > use.sram_kb
    in_flash = name == "ethos-u55"
    assert (use.flash_kb > 0, use.dram_kb > 0) == (in_flash, not in_flash)


def test_what_stays_on_the_cpu_is_named_with_the_reason(tmp_path):
    file = int8_file(tmp_path, upsampler="depth_to_space")
    use = compile_for_npu(file, npu_of("ethos-u55"), tmp_path)
    shuffle = litert_output(file)
    assert use.off == (
        NpuOperator(name=shuffle, kind="DEPTH_TO_SPACE", reason="Unsupported opType"),
    )
    assert [o.kind for o in use.on] == ["CONV_2D"] * 3


def litert_output(file: Path) -> str:
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0).subgraphs[0]
    return graph.tensors[graph.outputs[0]].name.decode()


def test_the_same_file_is_compiled_to_the_same_bytes(tmp_path):
    file = int8_file(tmp_path, upsampler="reshape")
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        use = compile_for_npu(file, npu_of("ethos-u65"), tmp_path / name)
        made.append((asdict(use), (tmp_path / name / use.file).read_bytes()))
    assert made[0] == made[1]


def test_a_file_that_vela_refuses_is_told_in_its_words(tmp_path):
    file = tmp_path / "broken.tflite"
    file.write_bytes(b"not a file")
    with pytest.raises(UserError) as refusal:
        compile_for_npu(file, npu_of("ethos-u55"), tmp_path)
    assert refusal.value.problem.startswith("Vela cannot compile `broken.tflite` for ethos-u55-256")
    wrong = replace(npu_of("ethos-u55"), system_config="Nothing")
    with pytest.raises(UserError, match=r"System_Config.Nothing not found"):
        compile_for_npu(int8_file(tmp_path), wrong, tmp_path)


def test_a_compiler_that_hangs_or_is_not_there_does_not_take_the_run_with_it(tmp_path, monkeypatch):
    file = int8_file(tmp_path)
    monkeypatch.setattr(vela, "TIMEOUT_S", 0.01)
    with pytest.raises(UserError, match="no answer within"):
        compile_for_npu(file, npu_of("ethos-u55"), tmp_path)
    monkeypatch.undo()
    gone = (
        "import sys; sys.modules['ethosu'] = None; from toolkit.lowering import vela; vela.main([])"
    )
    child = subprocess.run([sys.executable, "-c", gone], capture_output=True, text=True)
    assert child.returncode == 1
    answer = subprocess.CompletedProcess([], 1, "", "ModuleNotFoundError: No module named 'ethosu'")
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: answer)
    with pytest.raises(EnvironmentFailure) as missing:
        compile_for_npu(file, npu_of("ethos-u55"), tmp_path)
    assert "pip install ethos-u-vela" in (missing.value.hint or "")


def test_another_vela_that_writes_nothing_is_our_mistake(tmp_path, monkeypatch):
    answer = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: answer)
    with pytest.raises(ToolkitError, match="not one file and one summary"):
        compile_for_npu(tmp_path / "net.tflite", npu_of("ethos-u55"), tmp_path)


USE = NpuUse(
    accelerator="ethos-u65-512",
    system_config="Ethos_U65_High_End",
    memory_mode="Dedicated_Sram_512KB",
    file="net.int8_vela.tflite",
    clock_mhz=1000.0,
    cycles=1_744_574,
    inference_ms=1.745,
    sram_kb=516.3,
    dram_kb=866.8,
    flash_kb=0.0,
    sram_traffic_kb=5902.2,
    dram_traffic_kb=5252.1,
    flash_traffic_kb=0.0,
    on=(NpuOperator(name="a", kind="CONV_2D"),),
    off=(NpuOperator(name="sr<b>", kind="DEPTH_TO_SPACE", reason="Unsupported opType"),),
)


def with_use():
    given = sample_report()
    files = tuple(replace(f, npu=USE) if f.file == "net.int8.onnx" else f for f in given.files)
    return replace(given, files=files)


@pytest.mark.parametrize(
    ("gates", "passed"),
    [
        ({"npu_operators_off": 1}, True),
        ({"npu_operators_off": 0}, False),
        ({"npu_sram_kb": 516.3}, True),
        ({"npu_sram_kb": 516.2}, False),
        ({"npu_cycles": 1_744_574}, True),
        ({"npu_cycles": 1_744_573}, False),
    ],
)
def test_each_gate_holds_to_its_last_unit(gates, passed):
    measured = next(f for f in with_use().files if f.npu)
    found = [v for v in judge(Gates(**gates), measured, DROP) if v.gate in gates]
    assert [v.passed for v in found] == [passed]


def test_files_that_are_not_compiled_do_not_answer_for_the_npu():
    measured = next(f for f in with_use().files if f.npu is None and f.precision == "int8")
    gates = Gates(npu_operators_off=0, npu_sram_kb=1.0, npu_cycles=1)
    assert not [v for v in judge(gates, measured, DROP) if v.gate.startswith("npu")]


def test_a_failed_gate_is_a_sentence_and_names_what_stays_on_the_cpu():
    measured = next(f for f in with_use().files if f.npu)
    verdicts = judge(Gates(npu_operators_off=0, npu_sram_kb=1.0, npu_cycles=1), measured, DROP)
    said = {v.gate: (sentence(v), v.note) for v in verdicts if v.gate.startswith("npu")}
    assert said["npu_operators_off"] == (
        "net.int8.onnx leaves 1 operator to the CPU, at most 0 operators",
        "DEPTH_TO_SPACE (Unsupported opType)",
    )
    assert said["npu_sram_kb"][0] == (
        "net.int8.onnx needs 516.3 kB of SRAM on the NPU, at most 1 kB"
    )
    assert said["npu_cycles"][0] == "net.int8.onnx takes 1744574 cycles on the NPU, at most 1 cycle"


def test_text_page_and_json_carry_the_estimate():
    report = with_use()
    text = " ".join(report_text(report, colour=False).split())
    assert "ethos-u65-512 (Ethos_U65_High_End, Dedicated_Sram_512KB): 1 of 2 operators" in text
    assert "1744574 cycles a tile, 1.75 ms at 1000 MHz" in text
    assert "DEPTH_TO_SPACE `sr<b>` stays on the CPU: Unsupported opType" in text
    assert "NPU" not in report_text(sample_report(), colour=False)
    page = html_text(report, ())
    assert "DEPTH_TO_SPACE <code>sr&lt;b&gt;</code>: Unsupported opType" in page
    assert 'id="npu"' in page and 'id="npu"' not in html_text(sample_report(), ())
    assert next(f for f in parse_report(report_bytes(report)).files if f.npu).npu == USE


def test_a_run_packs_the_compiled_file_once_and_keeps_it(tmp_path):
    recipe = make_project(tmp_path / "p", targets="ethos-u55")
    first = edgesr_run(recipe)
    assert first.returncode == 0, first.stderr
    folder = recipe.parent / "out" / "tiny" / "ethos-u55"
    report = json.loads((folder / "report.json").read_text())
    (use,) = [f["npu"] for f in report["files"] if f["npu"]]
    assert (folder / use["file"]).stat().st_size > 1000
    assert use["off"] == [] and len(use["on"]) >= 5 and math.isfinite(use["inference_ms"])
    assert "npu_operators_off" in {v["gate"] for v in report["verdicts"]}
    assert edgesr_run(recipe).returncode == 0
    assert "kept  compile tiny.int8.tflite for ethos-u55-256" in edgesr_run(recipe).stderr


def test_accelerators_are_checked_by_name(tmp_path):
    source = read_target("ethos-u55").path.read_text().replace("name: ethos-u55", "name: board")
    path = tmp_path / "board.yaml"
    path.write_text(source.replace("accelerator: ethos-u55-256", "accelerator: ethos-u55-257"))
    with pytest.raises(UserError, match=r"accelerator"):
        read_target(path)
    assert MappingProxyType(dict(read_target("ethos-u55").facts))["builds"][0]["npu"] == {
        "accelerator": "ethos-u55-256",
        "system_config": "Ethos_U55_High_End_Embedded",
        "memory_mode": "Shared_Sram",
    }
