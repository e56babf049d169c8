"""The vendors' own INT8 quantizers with their defaults, each in a process of its own.

They need packages that the toolkit does not: `pip install edge-sr-toolkit[bench]`. Every one gets
the same float network and the same crops. `python int8_vendors.py` reads one request as JSON from
stdin and prints the files it made; it is a child process because some conversions abort.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.child import die_with_parent
from toolkit.contracts import Artefact
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.images.sets import ImageSet
from toolkit.model.contract import DType, ImageContract, IoContract, TensorSpec
from toolkit.model.network import Network, read_network
from toolkit.quant.patches import cut_patches
from toolkit.run.trial import artefact_from_json, artefact_json

CROPS = 32
CROP_PX = 128  # low-resolution pixels
TIMEOUT_S = 1800.0
LOG_TAIL_CHARS = 300
Crops = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """One vendor's default path. `beside` is the runtime of ours that it is compared with."""

    name: str
    title: str
    beside: str
    packages: Mapping[str, str]  # distribution -> module
    convert: Callable[[Request], list[Artefact]]

    def missing(self) -> list[str]:
        """Distributions that are not installed."""
        return [d for d, m in self.packages.items() if importlib.util.find_spec(m) is None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The float network, crops (32, C, 128, 128) float32 in [0, white], where to write.

    `tiles` are the fixed input sizes (height, width) that a TFLite file is made for.
    """

    network: Network
    crops: Crops
    out: Path
    tiles: tuple[tuple[int, int], ...]


def calibration_crops(images: ImageSet, contract: ImageContract) -> Crops:
    """The first 32 crops of full size; some photographs are too small for one at x3 and x4."""
    drawn = cut_patches(images, contract, count=4 * CROPS, size_px=CROP_PX, seed=0)
    whole = (crop for crop in drawn if min(crop.shape[2:]) == CROP_PX)
    return np.concatenate(list(itertools.islice(whole, CROPS)))


def convert(name: str, network: Path, crops: Path, out: Path, tiles: Any) -> list[Artefact]:
    """Run one vendor in a child process and return its files.

    Raises EnvironmentFailure where its packages are missing, UserError where it failed or died.
    """
    missing = VENDORS[name].missing()
    if missing:
        raise EnvironmentFailure(
            f"not installed: {', '.join(missing)}", hint='pip install "edge-sr-toolkit[bench]"'
        )
    request = {"vendor": name, "network": str(network), "crops": str(crops), "out": str(out)}
    child = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps({**request, "tiles": tiles}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or ["no message"]
        raise UserError(
            f"failed with exit {child.returncode}: {lines[-1][:LOG_TAIL_CHARS]}",
            where=VENDORS[name].title,
        )
    return [artefact_from_json(value) for value in json.loads(child.stdout.splitlines()[-1])]


def _nchw(network: Network) -> IoContract:
    """Contract of a file that kept the network's own input and output."""
    import onnx

    graph = onnx.load(network.path).graph
    channels = network.contract.channels

    def spec(name: str) -> TensorSpec:
        shape = (1, channels, None, None)
        return TensorSpec(name=name, dtype="float32", layout="nchw", shape=shape)

    return IoContract(
        image=network.contract,
        input=spec(graph.input[0].name),
        output=spec(graph.output[0].name),
    )


def _nncf(given: Request) -> list[Artefact]:
    """docs.openvino.ai, Basic Quantization Flow: `nncf.quantize(model, dataset)`."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import nncf
    import openvino

    model = openvino.convert_model(given.network.path)
    dataset = nncf.Dataset([crop[None] for crop in given.crops])
    quantized = nncf.quantize(model, dataset, subset_size=len(given.crops))
    path = given.out / "nncf.xml"
    openvino.save_model(quantized, path)
    contract = _nchw(given.network)
    return [Artefact(path=path, backend="openvino", precision="int8", contract=contract)]


def _ort(given: Request, name: str, **settings: Any) -> list[Artefact]:
    """onnxruntime.ai, Quantize ONNX Models: pre-process, then `quantize_static`, min-max."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    contract = _nchw(given.network)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.crops = iter(given.crops)

        def get_next(self) -> dict[str, Crops] | None:
            crop = next(self.crops, None)
            return None if crop is None else {contract.input.name: crop[None]}

    prepared, path = given.out / "prepared.onnx", given.out / f"{name}.onnx"
    quant_pre_process(str(given.network.path), str(prepared))
    quantize_static(str(prepared), str(path), Reader(), per_channel=True, **settings)
    return [Artefact(path=path, backend="onnxruntime", precision="int8", contract=contract)]


def _ort_u8s8(given: Request) -> list[Artefact]:
    from onnxruntime.quantization import QuantType

    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    return _ort(given, "ort-u8s8", **types)


def _ort_s8(given: Request) -> list[Artefact]:
    """As ONNX Runtime's TensorRT notes ask: int8 with zero point 0 for all, Q/DQ on weights."""
    from onnxruntime.quantization import QuantType

    types = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    options = {"ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True}
    return _ort(given, "ort-s8", **types, extra_options=options)


def _ai_edge(given: Request) -> list[Artefact]:
    """litert-torch README and AI Edge Quantizer README: NHWC in and out, `static_wi8_ai8`.

    Ranges are those of whole crops for every tile: its moving average would cut a bright picture
    from ranges of small parts, which have no white in them.
    """
    import litert_torch
    import onnx
    import torch
    from ai_edge_quantizer import quantizer, recipe

    from toolkit.model.torch_bridge import to_module

    module = to_module(onnx.load(given.network.path))
    wrapped = litert_torch.to_channel_last_io(module, args=[0], outputs=[0]).eval()

    def maker(height: int, width: int) -> Any:
        sample = (torch.zeros(1, height, width, given.network.contract.channels),)
        source = given.out / f"ai-edge.{height}x{width}.float32.tflite"
        litert_torch.convert(wrapped, sample).export(str(source))
        return quantizer.Quantizer(str(source), recipe.static_wi8_ai8())

    pictures = [{"args_0": crop[None]} for crop in given.crops.transpose(0, 2, 3, 1)]
    ranges = maker(CROP_PX, CROP_PX).calibrate({"serving_default": pictures}, num_threads=2)
    found = []
    for height, width in given.tiles:
        path = given.out / f"ai-edge.{height}x{width}.int8.tflite"
        maker(height, width).quantize(ranges).export_model(str(path), overwrite=True)
        found.append(_tflite(path, given.network.contract))
    return found


def _tflite(path: Path, image: ImageContract) -> Artefact:
    """The file with the contract that it states itself."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))

    def spec(detail: dict[str, Any]) -> TensorSpec:
        dtype: DType = np.dtype(detail["dtype"]).name
        step, zero_point = detail["quantization"]
        return TensorSpec(
            name=detail["name"],
            dtype=dtype,
            layout="nhwc",
            shape=tuple(int(side) for side in detail["shape"]),
            step=None if dtype == "float32" else float(step),
            zero_point=int(zero_point),
        )

    ends = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    contract = IoContract(image=image, input=spec(ends[0]), output=spec(ends[1]))
    return Artefact(path=path, backend="litert", precision="int8", contract=contract)


VENDORS = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            name="nncf",
            title="NNCF quantize()",
            beside="openvino",
            packages={"nncf": "nncf"},
            convert=_nncf,
        ),
        Vendor(
            name="ort-u8s8",
            title="ONNX Runtime quantize_static, u8s8 per channel",
            beside="onnxruntime",
            packages={"onnxruntime": "onnxruntime", "sympy": "sympy"},
            convert=_ort_u8s8,
        ),
        Vendor(
            name="ai-edge",
            title="litert-torch + AI Edge Quantizer, static_wi8_ai8",
            beside="litert",
            packages={"litert-torch": "litert_torch", "ai-edge-quantizer": "ai_edge_quantizer"},
            convert=_ai_edge,
        ),
        Vendor(
            name="ort-s8",
            title="ONNX Runtime quantize_static, s8 symmetric",
            beside="tensorrt",
            packages={"onnxruntime": "onnxruntime", "sympy": "sympy"},
            convert=_ort_s8,
        ),
    )
}


def main() -> None:
    """Answer one request; what the libraries print to stdout is kept off the answer's line."""
    asked = json.load(sys.stdin)
    given = Request(
        network=read_network(Path(asked["network"])),
        crops=np.load(asked["crops"]),
        out=Path(asked["out"]),
        tiles=tuple((height, width) for height, width in asked["tiles"]),
    )
    made = VENDORS[asked["vendor"]].convert(given)
    print("\n" + json.dumps([artefact_json(artefact) for artefact in made]))


if __name__ == "__main__":
    die_with_parent()
    main()
