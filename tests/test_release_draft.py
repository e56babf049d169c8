"""A draft: one model of a passed bundle, what tests it and what proves it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import release_bundle as made
from release_bundle import data_of, files_of
from sample_report import FILES

from toolkit import plugins
from toolkit.digest import sha256_bytes
from toolkit.drafts.of_bundle import RUNTIMES, draft_of
from toolkit.errors import GateFailed, Problems, SecurityError, UserError
from toolkit.model.contract import io_contract
from toolkit.release import (
    Entry,
    File,
    Release,
    Rollout,
    content_digest,
    file_bytes,
    read_release,
    target_path,
)
from toolkit.report import NpuUse


def released(draft):
    """The draft as release 7 of a family, as a channel numbers it."""
    files = tuple(
        File(name=n, role=one.role, length=len(data_of(one)), sha256=sha256_bytes(data_of(one)))
        for n, one in ((one.name, one) for one in draft.files)
    )
    plain = {name: value for name, value in vars(draft).items() if name != "files"}
    return Release(
        family="street", release=7, created="2026-11-21T18:00:00Z", content=content_digest(files),
        files=files, **plain,
    )  # fmt: skip


# what is in it


def test_a_draft_of_an_ir_holds_what_a_camera_fetches_and_what_people_read(tmp_path):
    draft = draft_of(made.bundle(tmp_path))
    assert [(one.role, one.name) for one in draft.files] == [
        ("model", "net.int8.xml"),
        ("part", "net.int8.bin"),
        ("golden", "golden.0.input.npy"),
        ("golden", "golden.0.output.npy"),
        ("contract", "contract.json"),
        ("report", "report.json"),
        ("lock", "lock.json"),
        ("provenance", "provenance.json"),
        ("sbom", "sbom.cdx.json"),
        ("licence", "licence.txt"),
        ("report", "report.html"),
    ]
    files = files_of(draft)
    assert files["net.int8.xml"] == made.content_of("net.int8.xml")["net.int8.xml"]
    assert files["net.int8.bin"] == made.content_of("net.int8.xml")["net.int8.bin"]
    assert io_contract(json.loads(files["contract.json"])) == made.CONTRACT
    assert (draft.compatible, draft.min_firmware, draft.scale) == ("intel-n100", 0, 2)
    assert (draft.runtime, draft.runtime_least) == ("openvino", "2026.4.1")


def test_a_client_reads_the_release_that_comes_of_a_draft(tmp_path):
    release = released(draft_of(made.bundle(tmp_path), min_firmware=41, compatible="cam-7"))
    entry = Entry(
        release=7, compatible="cam-7", min_firmware=41,
        rollout=Rollout(basis_points=1000, salt="0" * 16),
        manifest=target_path("street", 7, "release.json"),
    )  # fmt: skip
    assert read_release(json.loads(file_bytes(release.as_json())), entry, "street") == release


def test_the_same_bundle_gives_the_same_bytes_wherever_it_lies(tmp_path):
    bundle = made.bundle(tmp_path, made.OPENVINO, made.ONNX)
    copy = Path(shutil.copytree(bundle, tmp_path / "elsewhere" / "intel-n100"))
    first, second = draft_of(bundle), draft_of(copy)
    assert files_of(first) == files_of(second)
    assert replace(first, files=()) == replace(second, files=())


@pytest.mark.parametrize(
    ("file", "runtime", "least"),
    [
        (made.OPENVINO, "openvino", "2026.4.1"),
        (made.ONNX, "onnxruntime", "1.31.1"),
        (made.LITERT, "litert", "2.3.0"),
        (made.TENSORRT, "onnxruntime", "1.31.1"),
    ],
    ids=lambda value: getattr(value, "backend", None),
)
def test_the_runtime_is_what_proved_the_file(tmp_path, file, runtime, least):
    draft = draft_of(made.bundle(tmp_path, file))
    assert (draft.backend, draft.runtime, draft.runtime_least) == (file.backend, runtime, least)


def test_every_backend_has_a_runtime_that_tests_its_files():
    assert sorted(RUNTIMES) == plugins.names("backends")


def test_the_int8_file_is_taken_unless_another_is_named(tmp_path):
    bundle = made.bundle(tmp_path, FILES[0], made.ONNX, made.LITERT)
    assert draft_of(bundle).files[0].name == "net.int8.onnx"
    assert draft_of(bundle, file="net.int8.tflite").files[0].name == "net.int8.tflite"
    assert draft_of(bundle, file="net.float32.xml").precision == "float32"


def test_all_vectors_of_the_file_and_of_no_other_go_along(tmp_path):
    golden = [made.golden_of("net.int8.onnx", seed) for seed in (1, 2)]
    golden.append(made.golden_of("net.int8.tflite", 3))
    bundle = made.bundle(tmp_path, made.ONNX, made.LITERT, golden=golden)
    draft = draft_of(bundle)
    files = files_of(draft)
    assert [(one.input, one.output) for one in draft.golden] == [
        ("golden.0.input.npy", "golden.0.output.npy"),
        ("golden.1.input.npy", "golden.1.output.npy"),
    ]
    packed = bundle / "golden" / "net.int8.onnx.1.output.npy"
    assert files["golden.1.output.npy"] == packed.read_bytes()
    assert (draft.golden[0].tolerance_micro, draft.golden[0].least_share_ppm) == (1000000, 995000)


def test_tolerances_are_never_stricter_than_the_bundle_s(tmp_path):
    vector = replace(made.golden_of("net.int8.xml"), tolerance=1.01 / 255, least_share=0.9999999)
    pair = draft_of(made.bundle(tmp_path, golden=[vector])).golden[0]
    assert pair.tolerance_micro == 3961  # 3960.78 rounded up
    assert pair.least_share_ppm == 999999


def test_an_engine_s_script_builds_the_released_file_alone(tmp_path):
    bundle = made.bundle(
        tmp_path, made.TENSORRT, made.ONNX, extra={"build_engine.sh": b"#!/bin/sh\n"}
    )
    draft = draft_of(bundle, file="net.int8.qdq.onnx")
    (script,) = [one for one in draft.files if one.role == "extra"]
    text = data_of(script).decode()
    digest = next(f.sha256 for f in released(draft).files if f.name == "net.int8.qdq.onnx")
    assert f"check_digest {digest} 'net.int8.qdq.onnx'" in text
    assert "net.int8.onnx" not in text


def test_what_an_npu_s_compiler_made_is_fetched_too(tmp_path):
    npu = NpuUse(
        accelerator="ethos-u85-256", system_config="a", memory_mode="b", file="net.vela.tflite",
        clock_mhz=1000.0, cycles=123456, inference_ms=0.1, sram_kb=300.5, dram_kb=0.0,
        flash_kb=20.0, sram_traffic_kb=1.0, dram_traffic_kb=1.0, flash_traffic_kb=1.0,
        on=(), off=(),
    )  # fmt: skip
    bundle = made.bundle(
        tmp_path, replace(made.LITERT, npu=npu), extra={"net.vela.tflite": b"compiled"}
    )
    draft = draft_of(bundle)
    parts = [one for one in draft.files if one.role == "part"]
    assert [(one.name, data_of(one)) for one in parts] == [("net.vela.tflite", b"compiled")]
    assert draft.figures["npu_cycles"] == 123456
    assert draft.figures["npu_sram_bytes"] == 300500


# what is refused


def rewrite_report(bundle, change):
    """A report of other content, and a manifest that fits it."""
    report = json.loads((bundle / "report.json").read_text())
    change(report)
    data = json.dumps(report).encode()
    (bundle / "report.json").write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for one in manifest["other"]:
        if one["name"] == "report.json":
            one.update(sha256=sha256_bytes(data), size_bytes=len(data))
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_that_did_not_pass_is_refused_with_the_gates(tmp_path):
    _, gate = made.on_a_board(made.OPENVINO)
    bundle = made.bundle(tmp_path, verdicts=[gate])

    def fail(report):
        report["passed"] = report["verdicts"][0]["passed"] = False

    rewrite_report(bundle, fail)
    with pytest.raises(GateFailed) as caught:
        draft_of(bundle)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "gate failed: the bundle's report did not pass: `latency_p90_ms` 10, limit 45 ms\n"
        f"  --> {bundle}/report.json\n\n"
        "hint: only a bundle that passed its gates is published; run the recipe again"
    )


def test_a_bundle_that_a_later_run_failed_is_refused(tmp_path):
    bundle = made.bundle(tmp_path)
    failed = bundle.with_name(f"{bundle.name}.failed")
    failed.mkdir()
    shutil.copy(bundle / "report.json", failed)
    with pytest.raises(GateFailed, match="a later run of this recipe and target failed") as caught:
        draft_of(bundle)
    assert caught.value.where == str(failed / "report.json")


@pytest.mark.parametrize("name", ["net.int8.xml", "net.int8.bin", "report.json"])
def test_a_flipped_byte_is_refused(tmp_path, name):
    bundle = made.bundle(tmp_path)
    data = bytearray((bundle / name).read_bytes())
    data[3] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(SecurityError, match=f"`{name}` is not the file that was packed"):
        draft_of(bundle)


def test_an_unknown_file_is_told_the_nearest(tmp_path):
    with pytest.raises(UserError) as caught:
        draft_of(made.bundle(tmp_path), file="net.int8.xm")
    assert caught.value.hint == "did you mean `net.int8.xml`?"


def test_everything_that_cannot_be_published_is_told_at_once(tmp_path):
    bundle = made.bundle(tmp_path, golden=[], licence="gemeinfrei, für alle", versions={})
    with pytest.raises(Problems) as caught:
        draft_of(bundle, compatible="two words", min_firmware=-1)
    assert [one.problem for one in caught.value.problems] == [
        "`two words` is no word that cameras state",
        "`min_firmware` must be 0 or more, got -1",
        "the licence is no short ASCII text",
        "`net.int8.xml` has no golden vectors",
        "the report does not state the version of `openvino` that proved the file",
    ]


def test_a_vector_that_the_manifest_does_not_list_is_not_published(tmp_path):
    bundle = made.bundle(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    side = manifest["files"][0]["golden"][0]["output"]
    shutil.copy(bundle / side["name"], bundle / "golden" / "other.npy")
    side["name"] = "golden/other.npy"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"output\.npy` is not listed"):
        draft_of(bundle)
