"""The OpenVINO backend: true f32, INT8 that really runs, no telemetry."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import onnx
import pytest
from quant_networks import anchored, psnr_db, quantized, target, tensor

from toolkit.backends import openvino as plug
from toolkit.errors import UserError
from toolkit.quant.ort_session import quiet_session


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ov")
    network, plan, _ = quantized(anchored(), folder)
    return plug.lower(network, plan, target("openvino"), folder, "tiny")


def run(artefact, value):
    session = plug.open(artefact, threads=1)
    try:
        return session.run(value)
    finally:
        session.close()


def reference(value):
    return quiet_session(anchored()).run(None, {"lr": value})[0]


def test_names_and_contract(made):
    assert [a.path.name for a in made] == ["tiny.float32.xml", "tiny.int8.xml"]
    assert all(a.path.with_suffix(".bin").exists() for a in made)
    assert made[1].contract.input.name == "lr"
    assert made[1].contract.output.name == "sr"


def test_float_file_keeps_float32_weights_and_runs_in_float32(made):
    weights = sum(numpy_size(t) for t in anchored().graph.initializer if "weight" in t.name)
    assert made[0].path.with_suffix(".bin").stat().st_size >= 4 * weights
    assert np.abs(run(made[0], tensor()) - reference(tensor())).max() < 1e-5


def numpy_size(stored):
    return int(np.prod(stored.dims))


def test_bfloat16_is_another_precision_of_the_same_file(made):
    half = dataclasses.replace(made[0], precision="bfloat16")
    assert {o.precision for o in plug.operators(half) if o.macs} <= {"bfloat16", "float32"}
    assert {o.precision for o in plug.operators(made[0]) if o.macs} == {"float32"}
    assert psnr_db(run(half, tensor()), reference(tensor())) > 40


def test_int8_file_is_close_to_float_and_takes_any_size(made):
    assert psnr_db(run(made[1], tensor()), reference(tensor())) > 48
    assert run(made[1], tensor(1, 20, 30)).shape == (1, 3, 40, 60)


def test_every_convolution_of_the_int8_file_runs_in_int8(made):
    work = [o for o in plug.operators(made[1]) if o.macs]
    assert sum(o.macs for o in work) == 360 * 640 * 3492
    assert {(o.kind, o.precision) for o in work} == {("Convolution", "int8")}


def test_result_is_not_overwritten_by_the_next_run(made):
    session = plug.open(made[0], threads=1)
    first = session.run(tensor(1))
    kept = first.copy()
    session.run(tensor(2))
    assert np.array_equal(first, kept)


def test_tile_fixes_the_sizes(tmp_path):
    network, plan, _ = quantized(anchored(), tmp_path)
    made = plug.lower(network, plan, target("openvino", tile=(24, 32)), tmp_path, "tiny")
    assert made[1].contract.tile == (24, 32)
    assert run(made[1], tensor(1, 24, 32)).shape == (1, 3, 48, 64)
    assert sum(o.macs for o in plug.operators(made[1])) == 24 * 32 * 3492


def test_file_without_its_weights_is_refused(made, tmp_path):
    alone = tmp_path / "alone.xml"
    alone.write_bytes(made[0].path.read_bytes())
    with pytest.raises(UserError, match="OpenVINO refuses"):
        plug.open(dataclasses.replace(made[0], path=alone), threads=1)


def test_operator_that_openvino_lacks_is_named(tmp_path):
    from quant_networks import CONTRACT, Graph

    from toolkit.model.network import write_network

    g = Graph(3)
    g.node("Det", [g.conv("lr", "c", 3, 3)], "sr")
    model = g.model("sr")
    network = write_network(model, CONTRACT, tmp_path / "n.onnx")
    assert "Det" in {n.op_type for n in onnx.load(network.path).graph.node}
    with pytest.raises(UserError, match="Det"):
        plug.lower(network, None, target("openvino"), tmp_path, "x")


def test_telemetry_is_never_loaded():
    program = (
        "import sys\n"
        "from toolkit.backends import openvino as plug\n"
        "plug._openvino()\n"
        "print([m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m]])\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == "[]"
