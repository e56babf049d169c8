"""A file without a manifest: what it takes and gives is read from the file itself."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from toolkit.contracts import Artefact, Precision
from toolkit.errors import UserError
from toolkit.model.contract import Color, DType, ImageContract, IoContract, Layout, TensorSpec

LIMIT_BYTES = 512 << 20  # networks for devices take a few MB
CHANNELS = (1, 3)
INTEGER_KINDS = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger")
INTEGER_STORED = ("i8", "u8")  # weights of an IR
DTYPES: dict[str, DType] = {
    # in the words of ONNX, of an IR, of TFLite
    "FLOAT": "float32", "FLOAT16": "float16", "UINT8": "uint8", "INT8": "int8",
    "f32": "float32", "f16": "float16", "u8": "uint8", "i8": "int8",
    "FLOAT32": "float32",
}  # fmt: skip

Shape = Sequence[int | None]
Kind = Literal[".onnx", ".tflite", ".xml"]
BACKENDS: dict[str, str] = {".onnx": "onnxruntime", ".tflite": "litert", ".xml": "openvino"}


@dataclass(frozen=True, kw_only=True)
class Stated:
    """One end of a file as the file states it; step is None where it states none."""

    name: str
    dtype: str  # in the format's own word
    shape: tuple[int | None, ...]
    step: float | None = None
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What a file takes and gives, and what it computes in."""

    input: Stated
    output: Stated
    precision: Precision


def bare_artefact(path: Path, image: ImageContract) -> Artefact:
    """A bare file as an artefact: `image` is what its float network was trained on.

    Layout, type, quantization and sizes are the file's own. Raises UserError, SecurityError.
    """
    ends = ends_of(path)
    image = replace(image, white=_white(ends.input, image.white))
    return Artefact(
        path=path,
        backend=BACKENDS[path.suffix],
        precision=ends.precision,
        contract=IoContract(
            image=image,
            input=_spec(path, ends.input, image),
            output=_spec(path, ends.output, image),
        ),
    )


def check_scale(artefact: Artefact) -> None:
    """Raise UserError where the file's own sizes, if it fixes them, are not `scale` apart."""
    path, contract = artefact.path, artefact.contract
    given, made = contract.tile, replace(contract, input=contract.output).tile
    scale = contract.image.scale
    if given is None or made is None or made == (given[0] * scale, given[1] * scale):
        return
    raise UserError(
        f"`{path.name}` makes {made[1]} x {made[0]} of {given[1]} x {given[0]}, which is not "
        f"x{scale}",
        where=str(path),
        hint="state the scale of this file, and a reference of the same scale",
    )


def ends_of(path: Path) -> Ends:
    """What a bare file says of itself. Raises UserError, SecurityError."""
    check_kind(path)
    return {".onnx": _onnx_ends, ".tflite": _tflite_ends, ".xml": _ir_ends}[path.suffix](path)


def check_color(path: Path, color: Color | None) -> None:
    """Raise UserError where a float network takes other channels than `color` has."""
    if color is None:
        return
    shape = ends_of(path).input.shape
    channels = next((s for s in shape[1:] if s in CHANNELS), None) if len(shape) == 4 else None
    stated = 1 if color == "luma" else 3
    if channels not in (None, stated):
        raise UserError(
            f"`{path.name}` takes {channels} channel{'s' if channels == 3 else ''}, "
            f"`--color {color}` has {stated}",
            where=str(path),
            hint="--color luma" if channels == 1 else "--color rgb, or --color bgr",
        )


def check_kind(path: Path) -> None:
    """Raise UserError where `path` is no plain file of a kind that can be run here."""
    if not path.is_file():
        raise UserError(
            "there is no such bundle or file", where=str(path), hint="name a bundle's folder"
        )
    if path.suffix not in BACKENDS:
        raise UserError(
            f"`{path.suffix}` is no file that runs here",
            where=str(path),
            hint=f"a bundle's folder, or a file: {', '.join(BACKENDS)}",
        )
    if path.stat().st_size > LIMIT_BYTES:
        raise UserError(f"`{path.name}` is larger than {LIMIT_BYTES} bytes", where=str(path))


def _spec(path: Path, stated: Stated, image: ImageContract) -> TensorSpec:
    """Raises UserError where this is no picture of the network's channels."""
    dtype = DTYPES.get(stated.dtype)
    if dtype is None:
        raise UserError(
            f"`{stated.name}` is `{stated.dtype}`, which is no type of pixels",
            where=str(path),
            hint="there are float32, float16, uint8 and int8",
        )
    integer = dtype in ("uint8", "int8")
    step = (stated.step or image.white / 255) if integer else None
    zero_point = stated.zero_point if stated.step else (-128 if dtype == "int8" else 0)
    return TensorSpec(
        name=stated.name,
        dtype=dtype,
        layout=_layout(path, stated, image),
        shape=(1, *stated.shape[1:]),
        step=step,
        zero_point=zero_point if integer else 0,
    )


def _layout(path: Path, stated: Stated, image: ImageContract) -> Layout:
    shape, channels = stated.shape, image.channels
    if len(shape) == 4 and shape[1] == channels:
        return "nchw"
    if len(shape) == 4 and shape[3] == channels:
        return "nhwc"
    seen = " x ".join("?" if size is None else str(size) for size in shape)
    raise UserError(
        f"`{stated.name}` has the shape {seen}, a picture of this network has {channels} channels "
        "at its second or its last place",
        where=str(path),
        hint="state --color, or name the float network that this file was made from",
    )


def _white(stated: Stated, white: float) -> float:
    """The file's own white where its input is integer: 255 steps, if those are 1 or 255."""
    if stated.step is None:
        return white
    nearest = min((1.0, 255.0), key=lambda value: abs(stated.step * 255 - value))  # type: ignore[operator]
    return nearest if abs(stated.step * 255 / nearest - 1) < 0.05 else white


def _onnx_ends(path: Path) -> Ends:
    from onnx import TensorProto

    from toolkit.model.graph import dims, load_parsed

    model = load_parsed(path)
    kinds = {node.op_type for node in model.graph.node}
    stored = {tensor.data_type for tensor in model.graph.initializer}
    precision: Precision = "float32"
    if any(kind.startswith(INTEGER_KINDS) for kind in kinds):
        precision = "int8"
    elif TensorProto.FLOAT16 in stored:
        precision = "float16"

    def stated(value: Any) -> Stated:
        shape = dims(value) or ()
        word = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        return Stated(name=value.name, dtype=word, shape=shape)

    given, made = stated(model.graph.input[0]), stated(model.graph.output[0])
    if len(made.shape) != 4 or (made.shape[1], made.shape[3]) == (None, None):
        # what an exporter could not infer is laid out as the input
        made = replace(made, shape=tuple(s if s in CHANNELS else None for s in given.shape))
    return Ends(input=given, output=made, precision=precision)


def _tflite_ends(path: Path) -> Ends:
    from ai_edge_litert import schema_py_generated as schema

    from toolkit.lowering.tflite_inspect import operators_of

    content = path.read_bytes()
    try:
        graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
        ends = [_tflite_stated(schema, graph.tensors[i[0]]) for i in (graph.inputs, graph.outputs)]
        kinds = {operator.precision for operator in operators_of(content)}
    except Exception as problem:  # a damaged flatbuffer fails in any way its offsets lead to
        raise UserError(
            f"`{path.name}` cannot be read as TFLite ({type(problem).__name__})", where=str(path)
        ) from problem
    integer = kinds & {"int8", "int16"}
    return Ends(input=ends[0], output=ends[1], precision="int8" if integer else "float32")


def _tflite_stated(schema: Any, tensor: Any) -> Stated:
    words = {v: k for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
    grid = tensor.quantization
    quantized = grid is not None and grid.scale is not None and len(grid.scale) == 1
    return Stated(
        name=tensor.name.decode(),
        dtype=words[tensor.type],
        shape=tuple(int(size) for size in tensor.shape),
        step=float(grid.scale[0]) if quantized else None,
        zero_point=int(grid.zeroPoint[0]) if quantized else 0,
    )


def _ir_ends(path: Path) -> Ends:
    """From the XML alone, without a runtime. Python's parser refuses entities that multiply."""
    if not path.with_suffix(".bin").is_file():
        raise UserError(
            f"`{path.with_suffix('.bin').name}`, the weights of this IR, does not lie beside it",
            where=str(path),
        )
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as problem:
        raise UserError(f"`{path.name}` is no XML: {problem}", where=str(path)) from problem
    layers = root.findall("./layers/layer")
    ends = [[one for one in layers if one.get("type") == kind] for kind in ("Parameter", "Result")]
    if any(len(found) != 1 for found in ends):
        raise UserError("an IR of a network has one input and one output", where=str(path))
    stored = {data.get("element_type") for data in root.iterfind("./layers/layer/data")}
    integer = any(one.get("type") == "FakeQuantize" for one in layers)
    integer = integer or not stored.isdisjoint(INTEGER_STORED)
    return Ends(
        input=_ir_stated(path, ends[0][0].find("./output/port")),
        output=_ir_stated(path, ends[1][0].find("./input/port")),
        precision="int8" if integer else "float32",
    )


def _ir_stated(path: Path, port: ElementTree.Element | None) -> Stated:
    if port is None:
        raise UserError("an end of this IR has no shape", where=str(path))
    sizes = [int(cast(str, dim.text)) for dim in port.findall("dim")]
    word = {"FP32": "f32", "FP16": "f16", "U8": "u8", "I8": "i8"}
    kind = port.get("precision", "")
    return Stated(
        name=port.get("names", ""),
        dtype=word.get(kind, kind),
        shape=tuple(None if size < 0 else size for size in sizes),
    )
