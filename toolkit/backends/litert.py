"""TFLite files: written from the spine by `toolkit.lowering`, run by LiteRT (ai-edge-litert)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx

from toolkit.contracts import Artefact, Operator, Session, Tensor
from toolkit.errors import ToolkitError, UserError
from toolkit.lowering.tflite_conformance import tflite_breaches
from toolkit.lowering.tflite_curves import split_curves
from toolkit.lowering.tflite_flat import FlatGraph, serialise
from toolkit.lowering.tflite_float import finish, float_graph
from toolkit.lowering.tflite_grids import ALL_KINDS, SAFE_KINDS, Widening
from toolkit.lowering.tflite_inspect import operators_of
from toolkit.lowering.tflite_prelu import without_prelu
from toolkit.lowering.tflite_quantize import quantised
from toolkit.lowering.tflite_trial import Died, run_in_child
from toolkit.model.breach import refuse_breaches
from toolkit.model.contract import DType, ImageContract, IoContract, TensorSpec
from toolkit.model.graph import specialise
from toolkit.model.network import Network
from toolkit.model.quant_plan import QuantPlan
from toolkit.opening import open_here
from toolkit.quant.carried import snapped, without_rounded

if TYPE_CHECKING:
    from toolkit.spec.target import Build, Target

TOOLS = ("ai-edge-litert", "flatbuffers", "onnx", "onnxruntime", "onnxslim")
VERSION = 8
# Two float runtimes add in different orders; a wrong lowering is off by a thousand times more.
EQUAL = 1e-4


@dataclass(frozen=True, kw_only=True)
class _Lowered:
    """One tile's float graph with the picture it is proven on, NHWC float32 in [0, white]."""

    graph: FlatGraph
    image: ImageContract
    picture: Tensor


def lower(
    network: Network, plan: QuantPlan | None, target: Target, out: Path, stem: str
) -> list[Artefact]:
    """Write `STEM.float32.tflite` and, with a plan, `STEM.int8.tflite` for each LiteRT build.

    The float file is compared with ONNX Runtime before it is kept. Raises UserError for what has
    no TFLite form or has no form that LiteRT survives.
    """
    builds = [build for build in target.builds if build.backend == "litert"]
    artefacts: list[Artefact] = []
    for number, build in enumerate(builds, 1):
        name = stem if number == 1 else f"{stem}.{number}"
        artefacts += _lower_build(network, plan, build, out, name)
    return artefacts


def _lower_build(
    network: Network, plan: QuantPlan | None, build: Build, out: Path, stem: str
) -> list[Artefact]:
    if build.tile is None or build.layout != "nhwc":
        raise UserError(
            f"TFLite needs a fixed tile and NHWC, found tile `{build.tile}`, `{build.layout}`",
            where="target, build with backend `litert`",
            hint="write `layout: nhwc` and a tile such as `tile: [128, 128]`",
        )
    spine = onnx.load(network.path)
    model = specialise(without_rounded(spine), *build.tile)
    graph = float_graph(model)
    random = np.random.default_rng(0)
    shape = graph.tensors[graph.input].shape
    picture = random.random(shape, np.float32) * np.float32(network.contract.white)
    lowered = _Lowered(graph=graph, image=network.contract, picture=picture)
    content = serialise(finish(graph, "reshape"))
    _prove(content, model, lowered)
    artefacts = [_store(lowered, content, "float32", out / f"{stem}.float32.tflite")]
    if plan is not None:
        integers = _integers(spine, network, plan, build)
        rounded = specialise(without_rounded(integers), *build.tile)
        integer = _surviving(replace(lowered, graph=float_graph(rounded)), plan, build)
        kind = "a16w8" if build.scheme == "litert_a16w8" else "int8"
        artefacts.append(_store(lowered, integer, build.io_dtype, out / f"{stem}.{kind}.tflite"))
    return artefacts


def _integers(
    spine: onnx.ModelProto, network: Network, plan: QuantPlan, build: Build
) -> onnx.ModelProto:
    """The spine with weights on the grids of the build; carried ones lie on per-channel grids."""
    if not build.per_channel:
        from toolkit.quant.per_tensor import per_tensor_rounded

        return per_tensor_rounded(without_rounded(spine), network.contract)
    return snapped(spine, skip=plan.float_nodes if widening_of(build) == "none" else ())


def is_strict(build: Build) -> bool:
    """True for int8 IO, which accelerators ask for: they hold files to TFLite's specification."""
    return build.io_dtype == "int8"


def widening_of(build: Build) -> Widening:
    """Which operators of a build get 16-bit activations beside 8-bit weights."""
    if build.scheme == "litert_a16w8":
        return "all"
    return "nodes" if build.mixed == "int16" else "none"


def _prove(content: bytes, model: onnx.ModelProto, lowered: _Lowered) -> None:
    """The float file gives ONNX Runtime's picture, or nothing is written."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: lowered.picture.transpose(0, 3, 1, 2)}
    expected = np.asarray(session.run(None, given)[0]).transpose(0, 2, 3, 1)
    try:
        found = run_in_child(content, lowered.picture)
    except Died as death:
        raise _unusable("float", death) from death
    difference = float(np.abs(found - expected).max())
    allowed = EQUAL * max(lowered.image.white, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise ToolkitError(
            f"the float TFLite file differs from the network by {difference:.3g}, "
            f"more than {allowed:.3g}",
            where="lowering to TFLite",
            hint="this is a mistake of the toolkit: please report it with the network",
        )


def _unusable(what: str, death: Died) -> UserError:
    return UserError(
        f"LiteRT cannot run the {what} file: {death}",
        where="trial in a child process",
        hint="leave LiteRT out of this target, or replace the operator that it names",
    )


def _surviving(lowered: _Lowered, plan: QuantPlan, build: Build) -> bytes:
    """The INT8 file with the most 8-bit operators that runs."""
    last = Died()
    keeps_prelu = build.npu is not None and widening_of(build) == "none"
    given = lowered.graph if keeps_prelu else without_prelu(lowered.graph)
    for split, kinds in ((True, ALL_KINDS), (False, ALL_KINDS), (False, SAFE_KINDS)):
        groups = plan.channel_ranges if split and _may_split(build) else {}
        if split and not groups:
            continue
        whole, ranges = split_curves(given, plan.ranges, groups, plan.float_nodes)
        graph = quantised(
            whole,
            ranges,
            () if widening_of(build) == "all" and build.mixed == "int16" else plan.float_nodes,
            white=lowered.image.white,
            per_channel=build.per_channel,
            io_dtype=build.io_dtype,
            kinds=kinds,
            widening=widening_of(build),
            strict=is_strict(build),
        )
        content = serialise(finish(graph, build.upsampler))
        rules = {"per_channel": build.per_channel, "strict": is_strict(build)}
        refuse_breaches(tflite_breaches(content, **rules), "INT8 TFLite file")
        try:
            run_in_child(content, _stored(lowered, build.io_dtype))
        except Died as death:
            last = death
        else:
            return content
    raise _unusable("INT8", last)


def _may_split(build: Build) -> bool:
    """True where a layer may become several: rounding to one grid per tensor knows only whole
    ones, and 16 bits have steps enough."""
    return build.per_channel and widening_of(build) == "none"


def _stored(lowered: _Lowered, dtype: DType) -> Tensor:
    """The trial picture as a file's input takes it."""
    if dtype == "float32":
        return lowered.picture
    levels = np.round(lowered.picture / lowered.image.white * 255)
    return (levels + _zero_point(dtype)).astype(dtype)


def _zero_point(dtype: DType) -> int:
    return -128 if dtype == "int8" else 0


def _store(lowered: _Lowered, content: bytes, dtype: DType, path: Path) -> Artefact:
    path.write_bytes(content)
    ends = (lowered.graph.input, lowered.graph.output)
    specs = [_spec(lowered, name, dtype) for name in ends]
    contract = IoContract(image=lowered.image, input=specs[0], output=specs[1])
    precision = "float32" if path.suffixes[-2] == ".float32" else "int8"
    return Artefact(path=path, backend="litert", precision=cast(Any, precision), contract=contract)


def _spec(lowered: _Lowered, name: str, dtype: DType) -> TensorSpec:
    return TensorSpec(
        name=name,
        dtype=dtype,
        layout="nhwc",
        shape=lowered.graph.tensors[name].shape,
        step=None if dtype == "float32" else lowered.image.white / 255,
        zero_point=_zero_point(dtype),
    )


def open(artefact: Artefact, *, threads: int) -> Session:
    """Load a TFLite file. Raises UserError where LiteRT does not take it."""
    return open_here(
        artefact, name="litert", threads=threads, refusal="LiteRT cannot load the file"
    )


def operators(artefact: Artefact) -> list[Operator]:
    """Every operator of the file, in running order."""
    return operators_of(artefact.path.read_bytes())
