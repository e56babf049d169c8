"""One backend against ONNX Runtime on a network of one convolution; run by `edgesr doctor`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from toolkit import plugins
from toolkit.model.contract import ImageContract
from toolkit.model.network import Network, write_network
from toolkit.spec.target import Build, OperatorLimits, Scheme, Target

TILE = (16, 16)
TOLERANCE = 1e-4
SCHEMES: dict[str, Scheme] = {
    "litert": "litert",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
}


def nearest_network(path: Path) -> Network:
    """A luma network that repeats every pixel twice: its right answer is known."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 1, 1, 1), np.float32), "weight")
    nodes = [
        helper.make_node("Conv", ["lr", "weight"], ["phases"], "conv"),
        helper.make_node("DepthToSpace", ["phases"], ["sr"], "shuffle", blocksize=2, mode="CRD"),
    ]
    sizes: tuple[list[str | int | None], ...] = ([1, 1, "h", "w"], [1, 1, "sh", "sw"])
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in zip(("lr", "sr"), sizes, strict=True)
    ]
    graph = helper.make_graph(nodes, "nearest", infos[:1], infos[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return write_network(model, ImageContract(scale=2, color="luma"), path)


def selftest_target(backend: str) -> Target:
    """The least a backend must be told to write a float file."""
    nhwc = backend == "litert"
    build = Build(
        backend=backend,
        scheme=SCHEMES[backend],
        layout="nhwc" if nhwc else "nchw",
        tile=TILE if nhwc else None,
    )
    return Target(
        name="selftest",
        title="self-test",
        builds=(build,),
        limits=OperatorLimits(refused={}),
        rules=(),
        gates={},
        path=Path("selftest"),
        facts={},
    )


def main(backend: str) -> None:
    """Lower, open and run; print one line, or raise."""
    plug = plugins.load("backends", backend)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = nearest_network(folder / "network.onnx")
        artefact = plug.lower(network, None, selftest_target(backend), folder, "selftest")[0]
        session = plug.open(artefact, threads=1)
        picture = np.linspace(0, 1, TILE[0] * TILE[1], dtype=np.float32).reshape(TILE)
        nhwc = artefact.contract.input.layout == "nhwc"
        tensor = picture[None, :, :, None] if nhwc else picture[None, None]
        output = np.squeeze(np.asarray(session.run(tensor), np.float32))
        session.close()
    wanted = picture.repeat(2, axis=0).repeat(2, axis=1)
    worst = float(np.abs(output - wanted).max())
    if worst > TOLERANCE:
        raise RuntimeError(f"the answer is wrong by {worst:g}")
    print(f"loads, runs, answers right ({artefact.path.suffix[1:]})")  # noqa: T201
