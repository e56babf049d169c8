"""`edgesr validate` from end to end, on a bundle and on bare files, with every way it may fail."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_bundle
from onnx import numpy_helper
from quant_networks import picture
from test_images_tiles import contract
from test_validate_checks import bicubic, open_file

from toolkit.benchmark import Stability
from toolkit.bundle.manifest import MANIFEST, REPORT, read_bundle
from toolkit.bundle.report_file import json_bytes
from toolkit.cli import main
from toolkit.commands.validate import budgets
from toolkit.digest import sha256_file
from toolkit.errors import SecurityError, UserError
from toolkit.images.decode import write_png
from toolkit.images.sets import folder_set
from toolkit.measure.subject import file_digest
from toolkit.model.contract import ImageContract
from toolkit.report import Verdict
from toolkit.validate.asked import Asked
from toolkit.validate.pictures import pictures_of
from toolkit.validate.sanity import sanity
from toolkit.validate.validating import validate_bundle, validate_file
from toolkit.validation import Budget

INT8, FLOAT = "tiny.int8.onnx", "tiny.float32.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The float network, its files, the pictures, and a good bundle; nobody changes them."""
    folder = tmp_path_factory.mktemp("validate")
    data = small_bundle.pictures(folder / "data")
    reference, files = small_bundle.files(folder / "work")
    return small_bundle.bundle(folder / "out", data, reference, files), data, reference, files


@pytest.fixture
def copy(made, tmp_path):
    """The bundle, to be spoiled."""
    return Path(shutil.copytree(made[0], tmp_path / "copy"))


def ask(made, **more):
    return Asked(data=made[1], threads=1, in_child=False, **more)


def found(made, bundle=None, **more):
    return validate_bundle(bundle or made[0], ask(made, **more)).validation


def failed(validation):
    return {(verdict.gate, verdict.file) for verdict in validation.verdicts if not verdict.passed}


def restate(bundle, name):
    """The manifest states the present bytes of a file, as if they had been packed."""
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    entries = [*manifest["files"], *manifest["other"], manifest["reference"]]
    entry = next(one for one in entries if one["name"] == name)
    path = bundle / name
    entry.update(sha256=sha256_file(path), size_bytes=path.stat().st_size)
    (bundle / MANIFEST).write_bytes(json_bytes(manifest))


def change_report(bundle, change):
    report = json.loads((bundle / REPORT).read_bytes())
    change(report)
    (bundle / REPORT).write_bytes(json_bytes(report))
    restate(bundle, REPORT)


def test_a_good_bundle_passes_and_every_stage_is_there(made):
    validation = found(made)
    assert failed(validation) == set() and validation.passed
    assert [(s.name, s.file, s.against) for s in validation.stages] == [
        ("conversion", FLOAT, "float network"),
        ("quantization", INT8, FLOAT),
        ("total", INT8, "float network"),
    ]
    # the network is no trained one, and nothing else is odd
    assert all("the float network" in warning for warning in validation.warnings)
    assert set(validation.digests) == {FLOAT, INT8, "float network"}
    assert validation.data["count"] == 2
    gates = {verdict.gate for verdict in validation.verdicts}
    assert gates >= {
        "protocol", "digest", "golden", "report", "reference.gain_db", "bias_levels",
        "borders", "clip", "seams", "charts.white", "charts.pixel", "baseline_precision",
        "int8_macs_share",
        "conversion.max_error_levels", "conversion.psnr_drop_db.mean", "total.psnr_drop_db.worst",
    }  # fmt: skip


def test_the_bundle_lists_its_float_network(made):
    bundle = read_bundle(made[0])
    assert "reference.onnx" in bundle.names
    assert bundle.reference.contract == made[2].contract
    assert bundle.reference.path.read_bytes() == made[2].path.read_bytes()


def test_a_changed_float_network_is_refused(copy):
    (copy / "reference.onnx").write_bytes(b"another network")
    with pytest.raises(SecurityError, match=r"`reference.onnx` is not the file that was packed"):
        read_bundle(copy)


def test_a_bundle_of_an_older_toolkit_holds_its_files_against_its_own_float_file(made, copy):
    manifest = json.loads((copy / MANIFEST).read_bytes())
    del manifest["reference"]
    (copy / MANIFEST).write_bytes(json_bytes(manifest))
    validation = found(made, copy)
    assert [(s.name, s.file, s.against) for s in validation.stages] == [
        ("quantization", INT8, FLOAT)
    ]
    assert "conversion: not measured, no reference in this bundle; give --reference" in (
        validation.warnings
    )
    again = found(made, copy, reference=made[2].path)
    assert {s.name for s in again.stages} == {"conversion", "quantization", "total"}
    assert again.passed


def test_crops_are_of_each_file_in_rgb_and_few(made):
    crops = validate_bundle(made[0], ask(made, crops=1)).crops
    assert [crop.file for crop in crops] == [FLOAT, INT8]
    assert all(c.original.shape == c.low.shape == c.measured.shape for c in crops)
    assert {crop.against for crop in crops} == {"float network"}


def test_only_the_first_pictures_are_measured_and_the_report_is_not_compared(made):
    validation = found(made, images=1)
    assert {len(stage.images) for stage in validation.stages} == {1}
    assert "report" not in {verdict.gate for verdict in validation.verdicts}


# the float network itself


def test_a_float_network_that_is_fed_wrongly_fails_though_nothing_drops(made, tmp_path):
    """White of 255 where it is 1: the file and its reference are wrong alike."""
    validation = validate_file(
        made[3][0].path, ask(made, reference=made[2].path), scale=2, color="rgb", white=255.0
    ).validation
    assert failed(validation) == {("reference.psnr_db", "float network")}
    assert any("are white and color right?" in warning for warning in validation.warnings)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_red_and_blue_swapped_are_suspected(tmp_path, color):
    """A network that was trained on B, G, R, of pictures whose red is dark."""

    def of_bgr(tensor):
        return np.minimum(bicubic(tensor), np.array([1, 1, 0.4], np.float32).reshape(1, 3, 1, 1))

    dark_red = picture(60, 64, 7) // np.array([3, 1, 1], np.uint8)
    write_png(tmp_path / "a.png", dark_red)
    pictures = pictures_of(Asked(data=tmp_path), 2)
    _, warnings = sanity(open_file(of_bgr, contract(scale=2, color=color)), pictures)
    assert any("with red and blue swapped" in w for w in warnings) == (color == "rgb")


# what is wrong with a bundle


def test_another_file_under_a_new_manifest_is_not_what_the_report_measured(made, copy):
    shutil.copyfile(copy / FLOAT, copy / INT8)
    restate(copy, INT8)
    assert {("digest", INT8), ("int8_macs_share", INT8)} <= failed(found(made, copy))


def test_another_float_network_is_not_what_the_files_were_made_from(made, copy):
    spoiled(copy / "reference.onnx", "tail.bias", 1.5)
    restate(copy, "reference.onnx")
    gates = failed(found(made, copy))
    assert ("digest", "float network") in gates and ("digest", INT8) not in gates


def test_the_pruned_network_is_known_by_the_reports_word(made, tmp_path):
    other = replace(small_bundle.measured(made[2], made[1], "float network"), digest="1" * 64)
    said = {"float_digest": sha256_file(made[2].path)}
    bundle = small_bundle.bundle(tmp_path, made[1], *made[2:], reference=other, network=said)
    validation = found(made, bundle)
    assert failed(validation) == set()
    pruned = "the float network is the pruned one; what pruning lost is in the report"
    assert pruned in validation.warnings


def spoiled(path, name, factor):
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(value, name))
            onnx.save(model, path)
            return
    raise AssertionError(f"no {name}")


def test_a_wrong_weight_in_the_float_file_fails_the_conversion(made, copy):
    spoiled(copy / FLOAT, "tail.bias", 4.0)
    restate(copy, FLOAT)
    gates = failed(found(made, copy))
    assert {("conversion.psnr_drop_db.mean", FLOAT), ("conversion.max_error_levels", FLOAT)} <= (
        gates
    )
    assert {("golden", FLOAT), ("digest", FLOAT), ("report", FLOAT)} <= gates
    assert ("total.psnr_drop_db.mean", INT8) not in gates


def test_figures_that_cannot_be_measured_again_fail(made, copy):
    def better(report):
        report["files"][1]["images"][0]["psnr_db"] += 0.01

    change_report(copy, better)
    assert failed(found(made, copy)) == {("report", INT8)}


def test_figures_of_another_cpu_may_differ_by_roundings(made, copy):
    def elsewhere(report):
        report["host"]["cpu"] = "another one"
        report["files"][1]["images"][0]["psnr_db"] += 0.02  # as a device's budget lets it

    change_report(copy, elsewhere)
    assert failed(found(made, copy)) == set()

    def further(report):
        report["files"][1]["images"][0]["psnr_db"] += 0.04

    change_report(copy, further)
    assert failed(found(made, copy)) == {("report", INT8)}


def test_another_reference_is_not_held_against_the_report(made, tmp_path):
    """Its figures are in no report; QA is told that it is another network."""
    path = tmp_path / "other.onnx"
    path.write_bytes(made[2].path.read_bytes())
    assert not any("handed in" in said for said in found(made, reference=path).warnings)
    spoiled(path, "tail.bias", 1.5)
    validation = found(made, reference=path)
    assert "report" not in {gate for gate, _ in failed(validation)}
    assert ("conversion.max_error_levels", FLOAT) in failed(validation)
    assert (
        "the reference handed in is not the network that this bundle was made from"
        in validation.warnings
    )


def test_figures_of_another_protocol_are_not_compared(made, copy):
    def other(report):
        report["protocol"] = "PSNR over RGB"
        report["files"][1]["images"][0]["psnr_db"] += 1.4

    change_report(copy, other)
    validation = found(made, copy)
    assert failed(validation) == {("protocol", "")}
    (verdict,) = [v for v in validation.verdicts if v.gate == "protocol"]
    assert "PSNR over RGB" in verdict.note
    assert "report" not in {v.gate for v in validation.verdicts}


def test_pictures_that_calibrated_are_warned_of(made, copy):
    one = folder_set(made[1], "validation").files[0]

    def calibrated(report):
        report["images"]["calibration"]["pictures"] = {"a.png": one.digest}

    change_report(copy, calibrated)
    *_, warning = found(made, copy).warnings
    assert warning == f"1 of 2 pictures calibrated these files and prove little: {one.name}"


# budgets


def test_the_limits_of_the_recipe_are_held(made, tmp_path):
    limits = tuple(
        Verdict(gate=gate, file=INT8, value=0.0, limit=limit, unit="dB", passed=True)
        for gate, limit in (("psnr_drop_db.mean", 1e-5), ("psnr_drop_db.worst", 0.7))
    )
    bundle = small_bundle.bundle(tmp_path, made[1], *made[2:], verdicts=limits)
    stages = {stage.name: stage.budget for stage in found(made, bundle).stages}
    strict = Budget(mean_db=1e-5, worst_db=0.7)
    assert (stages["quantization"], stages["total"]) == (strict, strict)
    assert stages["conversion"] == Budget(mean_db=0.01, worst_db=0.02)


def test_a_budget_that_is_asked_for_comes_first(made):
    strict = {"quantization": Budget(mean_db=-1.0)}
    assert failed(found(made, budgets=strict)) == {("quantization.psnr_drop_db.mean", INT8)}


@pytest.mark.parametrize("stage", ["device", "quantization"])
def test_a_budget_that_would_hold_nothing_is_refused(made, stage):
    asked = ask(made, reference=made[2].path, budgets={stage: Budget(mean_db=0.0)})
    with pytest.raises(UserError, match=f"`--budget {stage}` would hold nothing") as said:
        validate_file(made[3][1].path, asked, scale=2)  # INT8 alone: there is no float twin
    assert ("--device" if stage == "device" else "there is: total") in said.value.hint


def test_budgets_are_read_from_words():
    assert budgets(["device=0.02,0.05", "total=,1"]) == {
        "device": Budget(mean_db=0.02, worst_db=0.05),
        "total": Budget(worst_db=1.0),
    }
    for word in ("total", "total=1", "all=1,2", "total=a,b", "total=1,2,3", "total=nan,1"):
        with pytest.raises(UserError, match=f"`--budget {word}` is no STAGE=MEAN,WORST"):
            budgets([word])


# a device


def test_the_same_files_on_a_device_give_the_same_pictures(made, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path))
    validation = found(made, device="local:")
    stages = [stage for stage in validation.stages if stage.name == "device"]
    assert [stage.file for stage in stages] == [FLOAT, INT8]
    assert all(i.max_error_levels == 0 for stage in stages for i in stage.images)
    assert validation.device.url == "local:" and validation.passed
    gates = {verdict.gate for verdict in validation.verdicts}
    assert gates >= {"device.psnr_drop_db.mean", "device.within_one_share", "device.rms_levels"}


def test_a_device_that_computes_otherwise_fails_its_stage_alone(made, monkeypatch, tmp_path):
    from toolkit.measure.board import Board

    monkeypatch.setenv("EDGESR_HOME", str(tmp_path))
    honest = Board.run_batch

    def wrong(board, artefact, tensors, *, threads):
        return [out * np.float32(0.97) for out in honest(board, artefact, tensors, threads=threads)]

    monkeypatch.setattr(Board, "run_batch", wrong)
    gates = {gate for gate, _ in failed(found(made, device="local:"))}
    assert gates and all(gate.startswith("device.") for gate in gates)


# bare files


@pytest.fixture(scope="module")
def converted(made, tmp_path_factory):
    """The same network as IR and TFLite."""
    from quant_networks import target

    from toolkit.backends import litert, openvino
    from toolkit.model.network import read_network

    folder = tmp_path_factory.mktemp("bare")
    network = read_network(made[2].path)
    ir = openvino.lower(network, None, target("openvino"), folder, "tiny")[0]
    tile = {"tile": (40, 48), "layout": "nhwc", "io_dtype": "uint8"}
    tflite = litert.lower(network, None, target("litert", **tile), folder, "tiny")[0]
    return {".xml": ir, ".tflite": tflite, ".onnx": made[3][0], "int8": made[3][1]}


@pytest.mark.parametrize("kind", [".onnx", ".tflite", ".xml", "int8"])
def test_a_bare_file_is_read_from_itself(made, converted, kind):
    from toolkit.validate.bare import bare_artefact

    known = converted[kind]
    found = bare_artefact(known.path, known.contract.image)
    assert (found.backend, found.precision) == (known.backend, known.precision)
    for ours, theirs in (
        (found.contract.input, known.contract.input),
        (found.contract.output, known.contract.output),
    ):
        assert (ours.dtype, ours.layout, ours.step) == (theirs.dtype, theirs.layout, theirs.step)
    assert found.contract.tile == known.contract.tile
    assert bare_artefact(known.path, ImageContract(scale=1)).path == known.path  # as `bench` asks


@pytest.mark.parametrize("kind", [".onnx", ".tflite", ".xml", "int8"])
def test_a_bare_file_is_held_against_its_reference(made, converted, kind):
    asked = ask(made, reference=made[2].path)
    validation = validate_file(converted[kind].path, asked, scale=2).validation
    (stage,) = validation.stages
    assert stage.name == ("total" if kind == "int8" else "conversion")
    assert validation.passed, failed(validation)
    assert validation.recipe == validation.target == ""


def test_a_float_file_is_its_own_reference_and_its_pixels_are_probed(made, tmp_path):
    plain = onnx.load(made[2].path)
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "net.onnx")
    validation = validate_file(tmp_path / "net.onnx", ask(made), scale=2).validation
    assert validation.passed
    assert "the reference is `net.onnx` itself, as imported" in validation.warnings


@pytest.mark.parametrize("dims", [[], ["a", "b", "c", "d"]])
def test_an_output_whose_shape_was_not_inferred_is_laid_out_as_the_input(made, tmp_path, dims):
    from toolkit.model.graph import set_dims
    from toolkit.validate.bare import bare_artefact

    plain = onnx.load(made[2].path)
    set_dims(plain.graph.output[0], tuple(dims))
    onnx.save(plain, tmp_path / "net.onnx")
    found = bare_artefact(tmp_path / "net.onnx", made[2].contract.image).contract.output
    assert (found.layout, found.shape) == ("nchw", (1, 3, None, None))


@pytest.mark.parametrize("kind", [".tflite", ".xml", "int8"])
def test_a_file_that_cannot_be_its_own_reference_needs_one(made, converted, kind):
    with pytest.raises(UserError, match="alone cannot tell how good its float network is") as said:
        validate_file(converted[kind].path, ask(made), scale=2)
    assert "--reference" in said.value.hint


def test_a_bare_file_of_another_scale_is_named_before_it_runs(made, converted):
    from toolkit.validate.bare import bare_artefact, check_scale

    image = replace(made[2].contract.image, scale=3)
    with pytest.raises(UserError, match="makes 96 x 80 of 48 x 40, which is not x3"):
        check_scale(bare_artefact(converted[".tflite"].path, image))


def test_a_file_of_free_size_that_breaks_its_contract_is_named():
    wrong = open_file(bicubic, contract(scale=3, halo_px=2))
    with pytest.raises(UserError, match="promised were") as said:
        wrong.planes(picture(24, 24, 0))
    assert said.value.where == str(wrong.artefact.path)


BAD_FILES = {
    "net.tflite": (b"TFL3 but no more", "cannot be read as TFLite"),
    "net.xml": (b"<net><layers>", "is no XML"),
    "net.pb": (b"x", "`.pb` is no file that runs here"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_damaged_bare_file_is_refused(made, tmp_path, name):
    content, words = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "net.bin").write_bytes(b"")
    with pytest.raises(UserError, match=words):
        validate_file(tmp_path / name, ask(made, reference=made[2].path), scale=2)


def test_an_ir_without_its_weights_and_an_odd_input_are_refused(made, tmp_path):
    port = '<port precision="{}"><dim>1</dim><dim>{}</dim><dim>-1</dim><dim>-1</dim></port>'
    text = (
        '<net><layers><layer type="Parameter"><output>{0}</output></layer>'
        '<layer type="Result"><input>{0}</input></layer></layers></net>'
    )
    path, given = tmp_path / "net.xml", ask(made, reference=made[2].path)
    path.write_text(text.format(port.format("FP32", 3)))
    with pytest.raises(UserError, match=r"`net.bin`, the weights of this IR, does not lie beside"):
        validate_file(path, given, scale=2)
    (tmp_path / "net.bin").write_bytes(b"")
    path.write_text(text.format(port.format("FP32", 4)))
    with pytest.raises(UserError, match=r"has the shape 1 x 4 x \? x \?"):
        validate_file(path, given, scale=2)
    path.write_text(text.format(port.format("I64", 3)))
    with pytest.raises(UserError, match="`I64`, which is no type of pixels"):
        validate_file(path, given, scale=2)


# the command


def test_the_command_prints_json_writes_files_and_exits_with_0(made, tmp_path, capsys):
    outputs = {kind: tmp_path / f"qa.{kind}" for kind in ("csv", "junit", "html")}
    words = [w for kind, path in outputs.items() for w in (f"--{kind}", str(path))]
    code = main(["validate", str(made[0]), "--data", str(made[1]), "--json", *words])
    shown = capsys.readouterr()
    assert code == 0
    assert json.loads(shown.out)["passed"] is True
    assert "validate" in shown.err
    assert outputs["csv"].read_text().count("\n") == 1 + 3 * 2
    assert "<testsuite" in outputs["junit"].read_text()
    assert "<html" in outputs["html"].read_text()


def test_the_command_exits_with_4_where_a_verdict_fails(made, capsys):
    words = ["--budget", "quantization=-1,", "--images", "1"]
    assert main(["validate", str(made[0]), "--data", str(made[1]), *words]) == 4
    assert "FAIL" in capsys.readouterr().out


def test_json_of_a_network_that_gives_nan_is_json(made, copy, capsys):
    spoiled(copy / FLOAT, "tail.bias", float("nan"))
    restate(copy, FLOAT)
    assert main(["validate", str(copy), "--data", str(made[1]), "--json", "--images", "1"]) == 4

    def refuse(word):
        raise AssertionError(word)

    value = json.loads(capsys.readouterr().out, parse_constant=refuse)
    stage = next(one for one in value["stages"] if one["file"] == FLOAT)
    assert stage["images"][0]["psnr_db"] == "NaN"


def test_a_bare_file_needs_its_scale(made, capsys):
    assert main(["validate", str(made[3][0].path)]) == 2
    assert "its scale must be stated" in capsys.readouterr().err


def test_a_picture_of_another_size_than_the_tile_goes_through_it(made, converted, tmp_path):
    write_png(tmp_path / "large.png", picture(150, 170, 3))
    write_png(tmp_path / "small.png", picture(40, 50, 4))
    asked = replace(ask(made, reference=made[2].path), data=tmp_path)
    (stage,) = validate_file(converted[".tflite"].path, asked, scale=2).validation.stages
    assert stage.worst.max_error_levels <= 1


def test_the_times_of_another_build_are_refused(made, tmp_path, capsys):
    """Files of the same names, other bytes: their latency is not this bundle's."""
    from sample_validation import benchmark

    from toolkit.measure.results import write

    stale, page = tmp_path / "stale.json", tmp_path / "qa.html"
    own = {one.path.name: file_digest(one.path) for one in read_bundle(made[0]).artefacts}
    timings = [
        replace(timing, file=name, digest=digest, stability=Stability(is_stable=True))
        for timing, (name, digest) in zip(benchmark().files, own.items(), strict=True)
    ]
    words = ["validate", str(made[0]), "--data", str(made[1]), "--images", "1"]
    words += ["--bench", str(stale), "--html", str(page)]
    write(replace(benchmark(), files=(timings[0], replace(timings[1], digest="0" * 64))), stale)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"`{timings[1].file}` had SHA-256 000000000000" in said and timings[0].file not in said
    assert not page.exists()
    write(replace(benchmark(), files=tuple(timings)), stale)
    assert main(words) == 0 and page.exists()
    capsys.readouterr()
    shaky = Stability(is_stable=False, reasons=("it drifts",))
    write(replace(benchmark(), files=(timings[0], replace(timings[1], stability=shaky))), stale)
    junit = tmp_path / "qa.xml"
    assert main([*words, "--json", "--junit", str(junit)]) == 4
    shown = capsys.readouterr()
    assert f"gate failed: stable ({timings[1].file})\n" in shown.err
    assert json.loads(shown.out)["passed"] is False
    assert "it drifts" in junit.read_text() and "take times first" not in junit.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "PICTURE"], "`50.png` is a file, name a folder"),
        (["--lr", "PICTURE"], "`50.png` is a file, name a folder"),
        (["--junit", "a.xml", "--csv", "./a.xml"], "`--csv` and `--junit` name one file"),
        (["--budget", "total=0.5,0.1"], "allows the mean more than the worst picture"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_its_words(made, capsys, words, said):
    one = made[1] / "50.png"
    assert (
        main(["validate", str(made[0]), *(str(one) if w == "PICTURE" else w for w in words)]) == 2
    )
    assert said in capsys.readouterr().err


def test_a_picture_is_neither_a_bundle_nor_a_network(made, capsys):
    assert main(["validate", str(made[1] / "50.png")]) == 2
    said = capsys.readouterr().err
    assert "`50.png` is neither a bundle nor an .onnx, .tflite or .xml file" in said


def test_a_wrong_color_of_a_bare_file_is_said_without_a_recipe(made, capsys):
    words = ["validate", str(made[2].path), "--scale", "2", "--color", "luma"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "takes 3 channels, `--color luma` has 1" in said and "--color rgb" in said
    assert "recipe" not in said


def test_data_is_named_by_its_folder_and_known_by_its_lr_too(made, tmp_path):
    plain = pictures_of(ask(made), 2)
    assert plain.as_json()["name"] == "data"
    own = [(file.name, plain.pair(file)[0].copy()) for file in plain.images.files]
    for name, picture_ in own:
        write_png(tmp_path / name, picture_)
    right = pictures_of(ask(made, lr=tmp_path), 2).as_json()
    own[0][1][0, 0] ^= 1
    write_png(tmp_path / own[0][0], own[0][1])
    changed = pictures_of(ask(made, lr=tmp_path), 2).as_json()
    assert len({one["digest"] for one in (plain.as_json(), right, changed)}) == 3


def test_what_a_bundle_states_itself_is_not_taken_from_options(made, capsys):
    words = ["validate", str(made[0]), "--scale", "3", "--white", "255"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "`--scale` is of a bare file" in said and "`--white` is of a bare file" in said


@pytest.mark.parametrize("option", ["--csv", "--junit", "--html", "--bench"])
def test_files_are_looked_at_before_any_work(made, tmp_path, capsys, option):
    words = ["validate", str(made[0]), "--data", str(made[1]), option, str(tmp_path)]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert str(tmp_path) in shown.err
    assert "validate" not in shown.err  # it says so when it begins
