"""A run that measures on a device: asked first, numbers before speed, and said in the report."""

from __future__ import annotations

import json
import platform
from dataclasses import replace

import pytest
import scripted_programs as scripted
from needs import needs
from ssh_server import programs, ssh_server
from tiny_project import command, make_project

from toolkit.cli import main
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.measure import rounds
from toolkit.measure.results import read, results_folder
from toolkit.run import reporting
from toolkit.run.reach import Reach, unreachable
from toolkit.spec.read_recipe import read_recipe
from toolkit.spec.read_target import read_target


@pytest.fixture(autouse=True)
def own_device(tmp_path, monkeypatch):
    """Each test has a lock and a cache of its own."""
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))


def edgesr(recipe, *more):
    return main(command(recipe, *more)[3:])


def report_of(recipe, place="generic-cpu"):
    return json.loads((recipe.parent / "out" / "tiny" / place / "report.json").read_text())


def with_gate(recipe, gate):
    recipe.write_text(recipe.read_text().replace("gates:\n", f"gates:\n  {gate}\n"))
    return recipe


def test_a_named_device_takes_the_times_and_checks_the_numbers(tmp_path, capsys):
    recipe = make_project(tmp_path / "named")
    recipe.write_text(recipe.read_text() + "devices: {generic-cpu: 'local:'}\n")
    assert edgesr(recipe) == 0
    report = report_of(recipe)
    assert {file["latency"]["device"] for file in report["files"]} == {"local:"}
    golden = [v for v in report["verdicts"] if v["gate"] == "golden"]
    assert [(v["passed"], v["value"]) for v in golden] == [(True, 1.0)] * 2
    assert report["host"]["device"]["url"] == "local:"
    assert "runtime, local:" in capsys.readouterr().out
    bundle = recipe.parent / "out" / "tiny" / "generic-cpu"
    (stored,) = results_folder(bundle).iterdir()
    taken = read(stored)
    assert all(sum(map(len, file.samples_ns)) >= 10 for file in taken.files)
    assert edgesr(recipe) == 0  # nothing changed: nothing is measured again
    assert list(results_folder(bundle).iterdir()) == [stored]


def test_without_a_device_the_report_says_so(tmp_path):
    recipe = make_project(tmp_path / "here")
    assert edgesr(recipe) == 0
    report = report_of(recipe)
    assert "no device was named" in report["host"]["device"]
    assert {file["latency"]["device"] for file in report["files"]} == {""}


def test_a_file_that_computes_otherwise_on_the_device_is_not_packed(tmp_path, monkeypatch, capsys):
    computed = reporting.golden_of

    def other_numbers(artefact, validation, *, threads):
        vector = computed(artefact, validation, threads=threads)
        return replace(vector, output=vector.output + 0.5)

    monkeypatch.setattr(reporting, "golden_of", other_numbers)
    recipe = make_project(tmp_path / "other")
    assert edgesr(recipe, "--device", "local:") == 4
    bundle = recipe.parent / "out" / "tiny" / "generic-cpu"
    assert not bundle.exists()
    (stored,) = results_folder(bundle).iterdir()  # what was measured is not lost with the gate
    assert not any(file.golden.passed for file in read(stored).files)
    failed = [v for v in report_of(recipe, "generic-cpu.failed")["verdicts"] if not v["passed"]]
    assert "golden" in {v["gate"] for v in failed}
    assert "tiny.int8.onnx answers otherwise than" in " ".join(capsys.readouterr().out.split())


def test_a_file_that_the_device_cannot_run_is_not_packed(tmp_path, monkeypatch, capsys):
    asked = rounds.ask_numbers

    def lacks_memory(board, subject, protocol):
        if "int8" in subject.name:
            raise EnvironmentFailure("the device has too little memory for the file")
        return asked(board, subject, protocol)

    monkeypatch.setattr(rounds, "ask_numbers", lacks_memory)
    recipe = make_project(tmp_path / "small")
    assert edgesr(recipe, "--device", "local:") == 4
    failed = [v for v in report_of(recipe, "generic-cpu.failed")["verdicts"] if not v["passed"]]
    assert [(v["gate"], v["file"]) for v in failed] == [("golden", "tiny.int8.onnx")]
    said = " ".join(capsys.readouterr().out.split())
    assert "tiny.int8.onnx has no number for golden" in said
    assert "not run on the device: the device has too little memory for the file" in said


def test_coverage_is_looked_at_on_this_host_where_no_device_is_named(tmp_path):
    recipe = with_gate(make_project(tmp_path / "covered"), "coverage: 1.0")
    assert edgesr(recipe) == 0
    report = report_of(recipe)
    held = [v for v in report["verdicts"] if v["gate"] == "coverage"]
    assert [(v["file"], v["passed"], v["value"]) for v in held] == [("tiny.int8.onnx", True, 1.0)]


def test_coverage_on_the_wrong_unit_fails(tmp_path, capsys):
    recipe = with_gate(make_project(tmp_path / "wrong"), "coverage: 0.5")
    text = recipe.read_text().replace("generic-cpu", "gpu-board.yaml")
    recipe.write_text(text)
    (recipe.parent / "gpu-board.yaml").write_text(
        "version: 1\nname: gpu-board\ntitle: a board\n"
        "builds:\n  - {backend: onnxruntime, scheme: onnxruntime}\n"
        "units: {onnxruntime: GPU}\n"
    )
    assert edgesr(recipe) == 4
    assert "runs 0 % of its operators on the unit that the target names" in " ".join(
        capsys.readouterr().out.split()
    )


def test_an_unreachable_device_stops_the_run_before_any_work(tmp_path, capsys):
    recipe = make_project(tmp_path / "gone")
    assert edgesr(recipe, "--device", "ssh://nobody@127.0.0.1:9") == 3
    assert "127.0.0.1" in capsys.readouterr().err
    assert not (recipe.parent / "out").exists()
    assert list((recipe.parent / "cache").rglob("*.onnx")) == []


def test_devices_must_belong_to_targets_and_links(tmp_path):
    recipe = make_project(tmp_path / "bad")
    recipe.write_text(
        recipe.read_text() + "devices: {generic-cpus: 'local:', generic-cpu: 'sssh://camera'}\n"
    )
    with pytest.raises(UserError) as caught:
        read_recipe(recipe)
    assert "sssh://camera" in str(caught.value)
    assert "did you mean `ssh`?" in str(caught.value)
    recipe.write_text(recipe.read_text().replace("sssh", "ssh"))
    with pytest.raises(UserError, match="generic-cpus") as caught:
        read_recipe(recipe)
    assert "did you mean `generic-cpu`?" in str(caught.value)


def test_a_device_without_a_target_is_asked_about_where_there_are_several(tmp_path, capsys):
    recipe = make_project(tmp_path / "two", targets="generic-cpu, intel-n100")
    assert edgesr(recipe, "--device", "local:") == 2
    assert "--device generic-cpu=local:" in capsys.readouterr().err
    assert edgesr(recipe, "--device", "generic-cpu=") == 2
    assert "names no device" in capsys.readouterr().err


@needs("ssh")
def test_a_run_measures_through_ssh(tmp_path, monkeypatch):
    with ssh_server(tmp_path / "server") as server:
        monkeypatch.setenv("EDGESR_SSH_CONFIG", str(server.client_config))
        recipe = make_project(tmp_path / "far")
        assert edgesr(recipe, "--device", server.url) == 0
    report = report_of(recipe)
    assert {file["latency"]["device"] for file in report["files"]} == {server.url}
    assert report["files"][0]["latency"]["tool"] == "runner"


@needs("ssh")
def test_a_jetson_recipe_builds_and_times_the_engines_on_the_board(tmp_path, monkeypatch, capsys):
    tools = tmp_path / "tensorrt"
    scripted.install(tools, "trtexec")
    path = f"{tools}:{programs(tmp_path / 'bin')}"
    environment = {"PATH": path, "EDGESR_PYTHON": "/no/python"}  # a board without any Python
    recipe = make_project(tmp_path / "jetson", targets="jetson-orin-nano")
    with ssh_server(tmp_path / "server", environment=environment) as server:
        monkeypatch.setenv("EDGESR_SSH_CONFIG", str(server.client_config))
        assert edgesr(with_gate(recipe, "latency_p90_ms: 100"), "--device", server.url) == 0
        assert [name for name in server.left() if not name.startswith("engines")] == []
    report = report_of(recipe, "jetson-orin-nano")
    assert {file["latency"]["tool"] for file in report["files"]} == {"trtexec"}
    held = {v["gate"] for v in report["verdicts"] if v["passed"]}
    assert {"golden", "latency_p90_ms"} <= held
    assert not any("not held here" in warning for warning in report["warnings"])
    other = f"the device is {platform.machine()}, NVIDIA Jetson Orin Nano 8 GB is aarch64"
    is_told = any(warning.startswith(other) for warning in report["warnings"])
    assert is_told == (platform.machine() != "aarch64")
    assert "in the place of" not in capsys.readouterr().out
    bundle = recipe.parent / "out" / "tiny" / "jetson-orin-nano"
    (stored,) = results_folder(bundle).iterdir()
    assert {unit.unit for unit in read(stored).files[-1].units} == {"GPU", "DLA"}
    assert len(list(bundle.with_name(f"{bundle.name}.engines").iterdir())) == 3


@needs("ssh")
def test_a_board_with_the_vendors_program_alone_can_be_measured(tmp_path, monkeypatch):
    recipe = read_recipe(make_project(tmp_path / "phone"))
    target, tools = read_target("android-npu"), tmp_path / "tools"
    path = f"{tools}:{programs(tmp_path / 'bin')}"
    environment = {"PATH": path, "EDGESR_PYTHON": "/no/python"}
    with ssh_server(tmp_path / "server", environment=environment) as server:
        monkeypatch.setenv("EDGESR_SSH_CONFIG", str(server.client_config))
        reach = Reach(urls={target.name: server.url})
        (problem,) = unreachable(recipe, [target], reach)
        assert "Python 3.9" in str(problem)
        scripted.install(tools, "benchmark_model")
        assert unreachable(recipe, [target], reach) == []
