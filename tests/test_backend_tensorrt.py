"""The TensorRT backend: explicit Q/DQ under its rules, a float16 rival, the engine script."""

from __future__ import annotations

import os
import stat
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from quant_networks import anchored, psnr_db, quantized, residual, target, tensor

from toolkit.backends import tensorrt as plug
from toolkit.digest import sha256_file

FAKE_TRTEXEC = """#!/bin/sh
if [ "$1" = --help ]; then
  echo '&&&& RUNNING TensorRT.trtexec [TensorRT v{digits}] # trtexec --help'
  exit 0
fi
echo "$@" >> "$CALLS"
for word in "$@"; do
  case "$word" in --saveEngine=*) echo engine > "${{word#--saveEngine=}}" ;; esac
done
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trt")
    network, plan, _ = quantized(anchored(), folder)
    return plug.lower(network, plan, target("tensorrt", float16=True), folder, "tiny")


def run(artefact, value):
    return plug.open(artefact, threads=1).run(value)


def test_names_and_precisions(made):
    assert [(a.path.name, a.precision) for a in made] == [
        ("tiny.float32.onnx", "float32"),
        ("tiny.float16.onnx", "float16"),
        ("tiny.int8.qdq.onnx", "int8"),
    ]


def test_every_zero_point_is_int8_zero(tmp_path):
    for build in (anchored, residual):
        folder = tmp_path / build.__name__
        network, plan, _ = quantized(build(), folder)
        path = plug.lower(network, plan, target("tensorrt"), folder, "x")[-1].path
        model = onnx.load(path)
        stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        kinds = ("QuantizeLinear", "DequantizeLinear")
        zeros = [stored[n.input[2]] for n in model.graph.node if n.op_type in kinds]
        assert zeros
        assert all(z.dtype == np.int8 and not z.any() for z in zeros)


def test_convolutions_read_dequantized_data_and_per_channel_weights(made):
    model = onnx.load(made[2].path)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {out: node for node in model.graph.node for out in node.output}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert len(convolutions) == 3
    for node in convolutions:
        data, weight = makers[node.input[0]], makers[node.input[1]]
        assert data.op_type == weight.op_type == "DequantizeLinear"
        assert stored[weight.input[1]].shape == (12,)
        assert stored[weight.input[0]].dtype == np.int8
        assert stored[node.input[2]].dtype == np.float32  # the bias


def test_both_inputs_of_a_residual_add_are_quantized(tmp_path):
    network, plan, _ = quantized(residual(), tmp_path)
    model = onnx.load(plug.lower(network, plan, target("tensorrt"), tmp_path, "x")[-1].path)
    makers = {out: node.op_type for node in model.graph.node for out in node.output}
    (add,) = [n for n in model.graph.node if n.op_type == "Add"]
    assert [makers[name] for name in add.input] == ["DequantizeLinear"] * 2


def test_input_and_output_are_float32_and_the_files_run_here(made):
    reference = run(made[0], tensor())
    for artefact, least_db in ((made[1], 60), (made[2], 44)):
        model = onnx.load(artefact.path)
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.elem_type == TensorProto.FLOAT
        onnx.checker.check_model(model, full_check=True)
        assert psnr_db(run(artefact, tensor()), reference) > least_db


def test_float16_rival_computes_in_half_precision(made):
    model = onnx.load(made[1].path)
    weights = [t for t in model.graph.initializer if t.name.endswith(".weight")]
    assert len(weights) == 3
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
    assert {o.precision for o in plug.operators(made[1]) if o.macs} == {"float16"}


def test_share_of_work_in_int8(made):
    for artefact, precision in zip(made, ("float32", "float16", "int8"), strict=True):
        work = [o for o in plug.operators(artefact) if o.macs]
        assert {o.precision for o in work} == {precision}
        assert sum(o.macs for o in work) == 360 * 640 * 3492


@pytest.fixture
def board(made, tmp_path):
    """A folder like a bundle, and a function that runs the script with a given TensorRT."""
    artefacts = [made[1], made[2]]
    for artefact in artefacts:
        (tmp_path / artefact.path.name).write_bytes(artefact.path.read_bytes())
    script = tmp_path / "build_engine.sh"
    script.write_text(plug.engine_script(artefacts))

    def build(digits):
        tool = tmp_path / "trtexec"
        tool.write_text(FAKE_TRTEXEC.format(digits=digits))
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        environment = {
            **os.environ,
            "TRTEXEC": str(tool) if digits else "/nowhere",
            "CALLS": str(tmp_path / "calls"),
        }
        return subprocess.run(
            ["bash", str(script)], capture_output=True, text=True, env=environment, check=False
        )

    return tmp_path, build


def test_script_is_valid_bash(made):
    script = plug.engine_script(made)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert all(sha256_file(a.path) in script for a in made)
    assert not any(flag in script for flag in ("--int8", "--fp16", "--calib", "--best"))


@pytest.mark.parametrize(
    "digits, release, typing", [("100300", "10.3", True), ("110401", "11.4", False)]
)
def test_script_builds_engines_named_by_gpu_and_release(board, digits, release, typing):
    folder, build = board
    result = build(digits)
    assert result.returncode == 0, result.stderr
    engines = sorted(p.name for p in (folder / "engines").iterdir())
    assert len(engines) == 2
    assert all(name.endswith(f".trt{release}.engine") for name in engines)
    calls = (folder / "calls").read_text().splitlines()
    assert all(("--stronglyTyped" in call) is typing for call in calls)
    assert all("--optShapes=lr:1x3x360x640" in call for call in calls)


def test_script_gives_no_shapes_for_a_file_of_fixed_size(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    made = plug.lower(network, plan, target("tensorrt", tile=(24, 32)), tmp_path, "tiny")
    assert plug.engine_script(made).splitlines()[-1] == "build 'tiny.int8.qdq.onnx' 'lr' 3 yes"


def test_script_refuses_a_changed_file(board):
    folder, build = board
    path = folder / "tiny.int8.qdq.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    result = build("100300")
    assert result.returncode == 5
    assert "do not use it" in result.stderr
    assert not (folder / "calls").exists()


@pytest.mark.parametrize("digits, words", [("8602", "too old"), ("", "trtexec not found")])
def test_script_says_what_the_board_lacks(board, digits, words):
    result = board[1](digits)
    assert result.returncode == 3
    assert words in result.stderr
