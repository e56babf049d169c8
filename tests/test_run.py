"""A whole run, again and again: what is built, what is kept, what a fault leaves behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from tiny_project import command, edgesr_run, make_project

from toolkit.contracts import Artefact
from toolkit.digest import sha256_file
from toolkit.model.contract import ImageContract, IoContract, TensorSpec
from toolkit.run.convert import tiling_warnings

TESTS = Path(__file__).parent
ALL_TARGETS = "generic-cpu, intel-n100, raspberry-pi-5, jetson-orin-nano"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An undisturbed run on four targets, whose folder tests copy before they harm it."""
    recipe = make_project(tmp_path_factory.mktemp("built"), targets=ALL_TARGETS)
    done = edgesr_run(recipe)
    assert done.returncode == 0, done.stderr
    return recipe


@pytest.fixture
def project(built, tmp_path):
    """A copy of the built project, with its cache and bundles."""
    folder = tmp_path / "project"
    shutil.copytree(built.parent, folder)
    return folder / built.name


def cached(recipe):
    """Every file of the cache by its name; only content decides them."""
    root = recipe.parent / "cache"
    return {
        p.relative_to(root): sha256_file(p)
        for p in sorted((root / "files").rglob("*"))
        if p.is_file()
    }


def keys(recipe):
    return sorted(p.name for p in (recipe.parent / "cache" / "keys").rglob("*.json"))


def steps_run(done):
    return [line for line in done.stderr.splitlines() if line.startswith("  run")]


def test_every_target_has_a_bundle_whose_files_are_measured(built):
    for target in ALL_TARGETS.split(", "):
        folder = built.parent / "out" / "tiny" / target
        report = json.loads((folder / "report.json").read_text())
        manifest = json.loads((folder / "manifest.json").read_text())
        assert report["passed"]
        apart = {entry["name"] for entry in manifest["not_packed"]}  # a clock decides these
        assert {f["name"] for f in manifest["files"]} | apart == {
            f["file"] for f in report["files"] if f["precision"] != "bfloat16"
        }
        assert all(f["latency"]["runs"] >= 10 for f in report["files"])
        assert all(f["latency"]["peak_memory_mb"] > 0.5 for f in report["files"])
        assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert (built.parent / "out/tiny/jetson-orin-nano/build_engine.sh").exists()


def test_int8_is_int8_and_float_is_not(built):
    for target in ALL_TARGETS.split(", "):
        report = json.loads((built.parent / "out/tiny" / target / "report.json").read_text())
        shares = {f["precision"]: f["int8_macs_share"] for f in report["files"]}
        assert shares["int8"] > 0.5
        assert shares["float32"] == 0


@pytest.mark.parametrize(
    ("target", "suffix"),
    [("generic-cpu", "onnx"), ("intel-n100", "xml"), ("raspberry-pi-5", "tflite")],
)
def test_psnr_in_the_report_is_what_an_independent_script_computes(built, target, suffix):
    folder = built.parent / "out" / "tiny" / target
    report = json.loads((folder / "report.json").read_text())
    packed = {p.name for p in folder.iterdir()}
    for file in report["files"]:
        left_out = file["file"] not in packed or file["precision"] == "bfloat16"
        if left_out or not file["file"].endswith(suffix):
            continue
        script = TESTS / "independent_psnr.py"
        pictures = built.parent / "validation"
        words = [sys.executable, str(script), str(folder), file["file"], str(pictures)]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        reported = np.mean([image["psnr_db"] for image in file["images"]])
        assert float(said.split()[-1]) == pytest.approx(reported, abs=1e-6)


def test_a_second_run_keeps_everything(project):
    done = edgesr_run(project)
    assert done.returncode == 0, done.stderr
    assert steps_run(done) == []
    assert "timing" not in done.stderr


def test_the_network_that_was_handed_in_is_never_written_to(built, tmp_path):
    fresh = make_project(tmp_path / "fresh")
    assert sha256_file(built.parent / "tiny.onnx") == sha256_file(fresh.parent / "tiny.onnx")


def test_a_changed_gate_rebuilds_nothing_and_can_fail(project):
    text = project.read_text().replace("gates:\n", "gates:\n  size_kb: 0.5\n")
    project.write_text(text)
    bundle = project.parent / "out/tiny/generic-cpu"
    before = sha256_file(bundle / "manifest.json")
    done = edgesr_run(project, "--target", "generic-cpu")
    assert done.returncode == 4
    assert steps_run(done) == []
    assert "large, at most 0.5 kB" in done.stdout
    assert (bundle.parent / "generic-cpu.failed" / "report.html").exists()
    assert sha256_file(bundle / "manifest.json") == before


def test_a_changed_parameter_runs_that_step_and_what_depends_on_it(project):
    project.write_text(project.read_text().replace("patches: 4", "patches: 5"))
    done = edgesr_run(project, "--target", "generic-cpu")
    assert done.returncode == 0, done.stderr
    assert "params.patches: 4 -> 5" in steps_run(done)[0]
    assert not any("import" in line for line in steps_run(done))


def test_kill_at_every_step_boundary_then_resume_gives_the_same_bytes(built, tmp_path):
    reference = make_project(tmp_path / "reference")
    assert edgesr_run(reference).returncode == 0
    boundaries = len(keys(reference))
    recipe = make_project(tmp_path / "killed")
    for _ in range(boundaries):
        child = subprocess.Popen(
            command(recipe), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        for line in child.stderr:
            if line.startswith("  done"):  # the first new step of this run is stored
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
    done = edgesr_run(recipe)
    assert done.returncode == 0, done.stderr
    assert steps_run(done) == []  # every step had been kept by one of the killed runs
    assert keys(recipe) == keys(reference)
    assert cached(recipe) == cached(reference)


def test_a_flipped_byte_in_the_cache_is_built_again_to_the_same_bytes(project):
    before = cached(project)
    victim = max(
        (project.parent / "cache" / "files").rglob("*"),
        key=lambda p: p.stat().st_size if p.is_file() else -1,
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0x10
    victim.write_bytes(bytes(data))
    done = edgesr_run(project)
    assert done.returncode == 0
    assert "changed on disk; it is built again" in done.stderr
    assert cached(project) == before


def test_two_runs_at_once_take_turns(tmp_path):
    recipe = make_project(tmp_path / "both")
    children = [
        subprocess.Popen(
            command(recipe), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        for _ in range(2)
    ]
    talk = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum("waiting for another run" in said for said in talk) == 1
    assert (
        sorted(len([x for x in said.splitlines() if x.startswith("  run")]) for said in talk)[0]
        == 0
    )


def test_a_full_disk_is_exit_3_and_the_same_command_resumes(tmp_path):
    recipe = make_project(tmp_path / "full")
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))\n"
        "from toolkit.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", program, *command(recipe)[3:]]
    full = subprocess.run(words, capture_output=True, text=True, check=False)
    assert full.returncode == 3, full.stderr
    assert "Traceback" not in full.stderr
    assert not list(recipe.parent.rglob("*.part"))
    assert edgesr_run(recipe).returncode == 0


def harmed(recipe, harm):
    """The project's network with one initializer changed by `harm`."""
    path = recipe.parent / "tiny.onnx"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    harm(values)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


def test_a_nan_weight_is_named(tmp_path):
    recipe = make_project(tmp_path / "nan")

    def harm(values):
        values[1, 2, 0, 1] = np.nan

    harmed(recipe, harm)
    done = edgesr_run(recipe)
    assert done.returncode == 2
    assert "`head.weight`" in done.stderr
    assert not (recipe.parent / "out").exists()


@pytest.mark.parametrize("keep", [0, 1, 200])
def test_a_truncated_network_is_refused_by_name(tmp_path, keep):
    recipe = make_project(tmp_path / "cut")
    path = recipe.parent / "tiny.onnx"
    path.write_bytes(path.read_bytes()[:keep])
    done = edgesr_run(recipe)
    assert done.returncode == 2
    assert "tiny.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_external_data_outside_the_folder_is_refused_and_never_read(tmp_path):
    recipe = make_project(tmp_path / "outside" / "inner")
    secret = recipe.parent.parent / "secret"
    secret.write_bytes(b"SECRET" * 100)
    path = recipe.parent / "tiny.onnx"
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "432")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    done = edgesr_run(recipe)
    assert done.returncode == 5
    assert "SECRET" not in done.stdout + done.stderr


def test_a_calibration_picture_among_the_validation_ones_is_named(tmp_path):
    recipe = make_project(tmp_path / "leak")
    picture = Image.open(recipe.parent / "calibration" / "calibration-1.png")
    picture.save(recipe.parent / "validation" / "renamed.webp", lossless=True)
    done = edgesr_run(recipe)
    assert done.returncode == 2
    assert "calibration-1.png" in done.stderr
    assert "renamed.webp" in done.stderr


def test_a_missing_backend_is_exit_3_before_any_work(tmp_path, monkeypatch, capsys):
    from importlib import metadata

    from toolkit.cli import main

    found = metadata.version

    def without_openvino(name):
        if name == "openvino":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", without_openvino)
    recipe = make_project(tmp_path / "missing", targets="intel-n100")
    assert main(command(recipe)[3:]) == 3
    assert "`openvino`" in capsys.readouterr().err
    assert not (recipe.parent / "cache" / "keys").exists()


def test_a_bad_target_does_not_stop_the_good_one(tmp_path):
    recipe = make_project(tmp_path / "bad")
    source = (TESTS.parent / "targets" / "generic-cpu.yaml").read_text()
    refusing = source.replace("name: generic-cpu", "name: no-shuffle")
    rule = "    DepthToSpace: {level: refused, instead: shuffle on the host, source: test}\n"
    refusing = refusing.replace("  operators:\n", "  operators:\n" + rule)
    assert "DepthToSpace" in refusing
    (recipe.parent / "no-shuffle.yaml").write_text(refusing)
    text = recipe.read_text().replace("[generic-cpu]", "[no-shuffle.yaml, generic-cpu]")
    recipe.write_text(text)
    done = edgesr_run(recipe)
    assert done.returncode == 2
    assert "no-shuffle" in done.stderr
    assert "`shuffle`" in done.stderr
    assert (recipe.parent / "out/tiny/generic-cpu/manifest.json").exists()


def test_a_failed_gate_writes_the_report_and_packs_nothing(tmp_path):
    recipe = make_project(tmp_path / "strict", mean=0.0, worst=0.0)
    done = edgesr_run(recipe)
    assert done.returncode == 4
    assert "validation-" in done.stdout  # the worst image is named
    out = recipe.parent / "out" / "tiny"
    assert [p.name for p in out.iterdir() if not p.name.startswith(".")] == ["generic-cpu.failed"]


@pytest.mark.parametrize(("halo_px", "tile", "said"), [(None, 64, 1), (3, 64, 0), (None, None, 0)])
def test_a_fixed_tile_of_a_network_that_sees_the_whole_picture_is_a_warning(halo_px, tile, said):
    given = TensorSpec(name="lr", dtype="float32", layout="nhwc", shape=(1, tile, tile, 3))
    image = ImageContract(scale=2, halo_px=halo_px)
    contract = IoContract(image=image, input=given, output=given)
    artefact = Artefact(
        path=Path("net.tflite"), backend="litert", precision="float32", contract=contract
    )
    found = tiling_warnings([(artefact, "")])
    assert len(found) == said
    assert all("`net.tflite` sees 64 x 64" in text for text in found)
    # Attention and shifts see the whole picture too: no cause is named that was not looked up.
    assert not any("pooling" in text for text in found)
