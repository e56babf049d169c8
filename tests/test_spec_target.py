"""Targets: what the shipped ones promise, and how they are found."""

from dataclasses import asdict
from pathlib import Path

import pytest
import spec_files

from toolkit.digest import canonical_json
from toolkit.errors import UserError
from toolkit.spec.read_target import read_target, target_names
from toolkit.spec.target import Build

ETHOS = ("ethos-u55", "ethos-u65", "ethos-u85")
ISSUED = ["android-npu", "generic-cpu", "intel-n100", "jetson-orin-nano", "raspberry-pi-5"]


@pytest.fixture
def board(tmp_path):
    def write(**lines):
        path = tmp_path / "board.yaml"
        path.write_text(spec_files.target(**lines))
        return path

    return write


def test_the_five_devices_are_there():
    assert set(ISSUED) <= set(target_names())


@pytest.mark.parametrize("name", target_names())
def test_every_fact_names_where_it_was_read(name):
    target = read_target(name)
    assert target.rules
    assert all(rule.source for rule in target.rules)
    assert all(fact.source and fact.instead for fact in target.limit_facts.values())


@pytest.mark.parametrize("name", target_names())
def test_facts_can_be_part_of_a_cache_key(name):
    assert canonical_json(dict(read_target(name).facts))


def test_the_devices_get_the_files_they_run():
    def schemes(name):
        return [(build.backend, build.scheme) for build in read_target(name).builds]

    assert schemes("jetson-orin-nano") == [("tensorrt", "tensorrt")]
    assert schemes("raspberry-pi-5") == [("litert", "litert"), ("onnxruntime", "onnxruntime")]
    assert schemes("intel-n100") == [("openvino", "openvino")]
    assert schemes("generic-cpu") == [("onnxruntime", "onnxruntime")]
    assert read_target("jetson-orin-nano").builds[0].float16
    assert read_target("raspberry-pi-5").builds[0] == Build(
        backend="litert",
        scheme="litert",
        io_dtype="uint8",
        layout="nhwc",
        tile=(128, 128),
        upsampler="reshape",
    )
    npu = read_target("android-npu").builds[0]
    assert (npu.io_dtype, npu.tile, npu.upsampler) == ("int8", (128, 128), "depth_to_space")


def test_cameras_and_npus_get_the_file_they_take():
    def build(name):
        (only,) = read_target(name).builds
        return only

    assert {build(n).io_dtype for n in ("edge-tpu", "artpec-8", "artpec-9", *ETHOS)} == {"int8"}
    assert {n: build(n).upsampler for n in ("edge-tpu", "artpec-8", "artpec-9", *ETHOS)} == {
        "edge-tpu": "transpose_conv",
        "artpec-8": "transpose_conv",
        "artpec-9": "depth_to_space",
        **dict.fromkeys(ETHOS, "reshape"),
    }
    assert [build(n).per_channel for n in ("edge-tpu", "artpec-8", "artpec-9")] == [
        True,
        False,
        True,
    ]
    assert [build(n).npu.accelerator for n in ETHOS] == [
        "ethos-u55-256",
        "ethos-u65-512",
        "ethos-u85-512",
    ]
    assert {read_target(n).gates["npu_operators_off"] for n in ETHOS} == {0}


def test_a_target_is_read_from_any_file(board):
    path = board(
        more="limits:\n"
        "  operators:\n"
        "    Resize: {level: refused, instead: shuffle, source: manual p. 3}\n"
        "    PRelu: {instead: use Relu, source: manual p. 4}\n"
        "  depth_to_space_blocks: {value: [], instead: end in a deconvolution, source: p. 5}\n"
    )
    target = read_target(path)
    assert target.limits.refused == {"Resize": "shuffle"}
    assert target.limits.depth_to_space_blocks == ()
    assert target.limit_facts["PRelu"].level == "slow"
    assert target.facts["builds"] == [asdict(build) for build in target.builds]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("intel-n10", "error: no target `intel-n10`\n\nhint: did you mean `intel-n100`?"),
        ("none.yaml", "error: there is no file `none.yaml`"),
    ],
)
def test_an_unknown_target_is_told_with_the_nearest(word, message):
    with pytest.raises(UserError) as caught:
        read_target(word)
    assert str(caught.value) == message


def test_a_name_never_leads_out_of_the_folders_of_targets(tmp_path, monkeypatch):
    (tmp_path / "board.yaml").write_text(spec_files.target())
    monkeypatch.chdir(tmp_path)
    for word in ("board", "./board", "../targets/intel-n100", str(tmp_path / "board")):
        with pytest.raises(UserError, match="no target"):
            read_target(word)


def test_a_target_is_called_like_its_file(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(spec_files.target())
    with pytest.raises(UserError) as caught:
        read_target(path)
    assert str(caught.value) == (
        f"error: `name` is `board`, but the file is `other.yaml`\n  --> {path}:2:1\n\n"
        "hint: a target is found by its file's name; make the two agree"
    )


def test_a_key_given_twice_is_told_beside_the_rest(board):
    with pytest.raises(UserError) as caught:
        read_target(board(title="title: A\ntitle: B", builds="builds: []"))
    problems = [problem.problem for problem in caught.value.problems]
    assert problems == ["`title` is given twice", "`builds` must be a list of at least 1, got 0"]


def test_another_version_is_told_alone(board):
    with pytest.raises(UserError) as caught:
        read_target(board(version="version: 9", builds="builds: []"))
    assert caught.value.problem == "`version` must be `1`, got `9`"


def test_a_missing_backend_is_told_by_name(board):
    with pytest.raises(UserError) as caught:
        read_target(board(builds="builds: [{backend: openvio, scheme: openvino}]"))
    assert caught.value.problem == "no `openvio` in backends"
    assert caught.value.hint == "did you mean `openvino`?"


def test_installed_without_a_checkout_targets_are_found_in_the_data_folder(tmp_path, monkeypatch):
    folder = tmp_path / "share" / "edgesr" / "targets"
    folder.mkdir(parents=True)
    (folder / "board.yaml").write_text(spec_files.target())
    monkeypatch.setattr("toolkit.plugins.PACKAGE", Path(tmp_path / "site-packages" / "toolkit"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path) if name == "data" else "")
    assert target_names() == ["board"]
