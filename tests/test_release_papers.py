"""What proves a release: figures, lock, provenance, SBOM and licence."""

import json
from dataclasses import replace

import pytest
import release_bundle as made
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from release_bundle import files_of
from sample_report import REFERENCE

from toolkit.digest import canonical_json, sha256_bytes
from toolkit.drafts.of_bundle import draft_of


def floats_in(value, place="$"):
    if isinstance(value, float):
        return [place]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [found for key, part in items for found in floats_in(part, f"{place}.{key}")]


# figures


def test_figures_are_the_report_s_in_whole_millionths_and_microseconds(tmp_path):
    figures = draft_of(made.bundle(tmp_path)).figures
    losses_db, psnr_db = (0.05, 0.02, 0.11), (31.25, 36.5, 28.0)
    assert figures["psnr_drop_mean_udb"] == 60000
    assert figures["psnr_drop_worst_udb"] == 110000
    assert figures["psnr_udb"] == round((sum(psnr_db) - sum(losses_db)) / 3 * 1e6)
    assert figures["psnr_float_udb"] == round(sum(psnr_db) / 3 * 1e6)
    assert figures["ssim_float_ppm"] == 915000
    assert figures["int8_macs_share_ppm"] == 999000
    assert figures["images"] == 3
    assert figures["size_bytes"] == sum(map(len, made.content_of("net.int8.xml").values()))
    assert figures["host_latency_p90_us"] == 10000
    assert "latency_p90_us" not in figures  # no device was named
    assert all(type(value) is int for value in figures.values())


def test_times_of_a_board_are_told_as_such_and_its_gate_is_the_limit(tmp_path):
    file, gate = made.on_a_board(made.OPENVINO, limit_ms=45.5)
    draft = draft_of(made.bundle(tmp_path, file, verdicts=[gate]))
    assert draft.latency_limit_us == 45500
    assert draft.figures["latency_p90_us"] == 10000
    assert "host_latency_p90_us" not in draft.figures
    assert draft.figures["gates_held"] == 1


def test_a_gate_held_against_the_building_host_is_no_limit_for_cameras(tmp_path):
    _, gate = made.on_a_board(made.OPENVINO)
    assert draft_of(made.bundle(tmp_path, verdicts=[gate])).latency_limit_us is None


def test_no_time_is_told_of_a_file_that_another_runtime_stood_in_for(tmp_path):
    figures = draft_of(made.bundle(tmp_path, made.TENSORRT)).figures
    assert not [name for name in figures if "latency" in name]


def test_what_is_no_finite_number_has_no_figure(tmp_path):
    exact = tuple(replace(image, psnr_db=float("inf")) for image in made.OPENVINO.images)
    figures = draft_of(made.bundle(tmp_path, replace(made.OPENVINO, images=exact))).figures
    assert not {"psnr_udb", "psnr_drop_mean_udb"} & set(figures)
    assert figures["psnr_float_udb"] > 0


# papers


def test_papers_of_the_channel_are_canonical_and_hold_no_float(tmp_path):
    device = {"name": "a board", "url": "ssh://pi@10.0.0.7", "memory_mb": 1024.5, "cores": 4}
    host = {"cpu": "a test CPU", "cores": 2, "device": device}
    files = files_of(draft_of(made.bundle(tmp_path, host=host)))
    for name in ("lock.json", "provenance.json", "sbom.cdx.json"):
        value = json.loads(files[name])
        assert floats_in(value) == []
        assert files[name] == canonical_json(value)
    told = files["lock.json"].decode()
    assert json.loads(told)["device"] == {"name": "a board", "cores": 4}
    assert "10.0.0.7" not in told


def test_the_lock_names_every_input_and_tool(tmp_path):
    bundle = made.bundle(tmp_path)
    lock = json.loads(files_of(draft_of(bundle))["lock.json"])
    assert lock["network"]["sha256"] == REFERENCE.digest
    assert lock["report_sha256"] == sha256_bytes((bundle / "report.json").read_bytes())
    assert lock["steps"] == [
        {"name": "prune", "key": "b" * 64},
        {"name": "quantize", "key": "c" * 64},
    ]
    assert lock["images"] == {"validation": {"count": 3, "digest": "d" * 64}}
    assert lock["tools"] == made.VERSIONS
    assert set(lock["files"]) == {"net.int8.xml", "net.int8.bin"}


def test_the_provenance_is_a_statement_with_a_slsa_predicate_about_the_model(tmp_path):
    """Required fields: in-toto Statement v1, and SLSA Build L1 of predicate v1."""
    draft = draft_of(made.bundle(tmp_path))
    files = files_of(draft)
    statement = json.loads(files["provenance.json"])
    read = ParseDict(statement, StatementMessage())  # no field that the specification lacks
    Statement.copy_from_pb(read).validate()
    ParseDict(statement["predicate"], Provenance())
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {one["name"]: one["digest"] for one in statement["subject"]} == {
        name: {"sha256": sha256_bytes(files[name])} for name in ("net.int8.xml", "net.int8.bin")
    }
    predicate = statement["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert definition["buildType"].startswith("pkg:") and details["builder"]["id"].startswith(
        "pkg:"
    )
    assert definition["externalParameters"] == {"recipe": "student-x2", "target": "intel-n100"}
    inputs = {one["name"]: one["digest"]["sha256"] for one in definition["resolvedDependencies"]}
    assert inputs == {"network": REFERENCE.digest, "validation": "d" * 64}
    (lock, _) = details["byproducts"]
    assert lock == {"name": "lock.json", "digest": {"sha256": sha256_bytes(files["lock.json"])}}


@pytest.mark.parametrize("licence", ["Apache-2.0", "MIT OR Apache-2.0", "none", "ours, ask us"])
def test_the_sbom_holds_to_its_schema_and_names_model_licence_and_tools(tmp_path, licence):
    files = files_of(draft_of(made.bundle(tmp_path, licence=licence)))
    text = files["sbom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    value = json.loads(text)
    model = value["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "net.int8.xml")
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256_bytes(files["net.int8.xml"])}]
    assert licence in json.dumps(model["licenses"])
    tools = {one["name"]: one["version"] for one in value["components"] if "version" in one}
    assert tools == {k: v for k, v in made.VERSIONS.items() if k != "edge-sr-toolkit"}
    assert "timestamp" not in text


def test_the_licence_text_says_whose_and_where(tmp_path):
    text = files_of(draft_of(made.bundle(tmp_path)))["licence.txt"].decode("ascii")
    assert "net.int8.xml" in text and "SPDX-License-Identifier: Apache-2.0" in text
    other = made.bundle(tmp_path / "b", licence="ours, ask us")
    assert "SPDX" not in files_of(draft_of(other))["licence.txt"].decode("ascii")


def test_the_published_report_tells_no_address_of_the_lab(tmp_path):
    timed = replace(
        made.LITERT, latency=replace(made.LITERT.latency, device="ssh://pi&co@camera.lab:2222")
    )
    draft = draft_of(made.bundle(tmp_path, timed))
    reports = [one for one in draft.files if one.role == "report"]
    assert {one.name for one in reports} == {"report.json", "report.html"}
    for one in reports:
        assert b"camera.lab" not in one.content and b"ssh:" in one.content
