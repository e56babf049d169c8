"""Any ONNX file of a super-resolution network in, the clean spine network out, proven equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from toolkit.errors import UserError
from toolkit.model.clip_forms import mirrored_relus_to_clip
from toolkit.model.contract import ImageContract
from toolkit.model.free_size import freed
from toolkit.model.graph import (
    CONTROL_FLOW,
    copy_of,
    inferred,
    load_checked,
    named,
    pruned,
    set_dims,
    tile_of,
    with_input_shape,
)
from toolkit.model.movement import chains, recognised
from toolkit.model.movement_forms import replaced
from toolkit.model.opset import at_opset
from toolkit.model.original import ImageInput, Sample, difference, image_input, samples_of
from toolkit.model.probe import probed_contract
from toolkit.model.rewrite import (
    IDLE_KINDS,
    batchnorm_to_affine,
    deconvolution_to_shuffle,
    to_float32,
    without_idle,
)
from toolkit.model.trial import TrialFailed, Trials
from toolkit.spec.recipe import NetworkSource

EQUAL = 1e-5  # share of the output's range; float32 sums in another order differ by about 1e-6
EQUAL_HALF = 2e-2  # against an original that computes in float16
FREE = ("height", "width")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A spine network. `warnings` say what was odd, left out, or could not be made free."""

    model: onnx.ModelProto
    contract: ImageContract
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Proof:
    """The original's answers, and the child process to compare with them."""

    trials: Trials
    samples: tuple[Sample, ...]
    tolerance: float
    known: dict[int, tuple[onnx.ModelProto, str]] = field(default_factory=dict)

    def failure(self, network: onnx.ModelProto) -> str:
        """Why `network` is not the original, or an empty string; each network is run once."""
        if id(network) not in self.known:
            self.known[id(network)] = (network, self._failure(network))
        return self.known[id(network)][1]

    def _failure(self, network: onnx.ModelProto) -> str:
        try:
            worst = difference(network, self.samples, self.trials)
        except TrialFailed as failure:
            return str(failure)
        return "" if worst <= self.tolerance else f"outputs differ by `{worst:.1e}` of their range"


def import_onnx(path: Path, source: NetworkSource) -> Imported:
    """Read an untrusted ONNX file and bring it into the spine's form.

    float32, opset 17, N = 1, H and W free where the graph lets them be (else the input's shape is
    static and a warning says so), batch normalisation and constants folded, pixel shuffles,
    channel repeats and deconvolutions as plain operators, every node named. Each change is kept
    only if ONNX Runtime then gives the same picture as for the original. All runs happen in a
    child process. Raises UserError, SecurityError.
    """
    warnings: list[str] = []
    where = str(path)
    original = load_checked(path, warnings)
    taken = image_input(original, where)
    _check_color(taken, source, where)
    plain = _plain(original, taken, where)
    with Trials() as trials:
        samples = samples_of(named(original), taken, trials, where)  # the runtime wants names
        _check_scale(samples, taken, source, where)
        tolerance = EQUAL_HALF if taken.dtype is np.float16 or _has_half(original) else EQUAL
        proof = _Proof(trials=trials, samples=samples, tolerance=tolerance)
        network = _finished(_simplified(plain, taken, proof, source.scale, warnings), source.scale)
        _demand_equal(network, proof, where)
        contract = probed_contract(network, source, trials, warnings)
    return Imported(model=network, contract=contract, warnings=tuple(warnings))


def _check_color(taken: ImageInput, source: NetworkSource, where: str) -> None:
    stated = None if source.color is None else (1 if source.color == "luma" else 3)
    if stated is not None and stated != taken.channels:
        raise UserError(
            f"the recipe says color `{source.color}` ({stated} channels), "
            f"the network takes `{taken.channels}`",
            where=where,
            hint="say `color: luma`" if taken.channels == 1 else "say `color: rgb` or `color: bgr`",
        )


def _check_scale(
    samples: tuple[Sample, ...], taken: ImageInput, source: NetworkSource, where: str
) -> None:
    for sample in samples:
        (height, width), shape = sample.tensor.shape[2:], sample.answer.shape
        if shape == (1, taken.channels, height * source.scale, width * source.scale):
            continue
        found = f"`{height} x {width}` in gives `{' x '.join(map(str, shape))}`"
        if len(shape) == 4 and shape[1] == taken.channels and shape[2] * width == shape[3] * height:
            scale = shape[2] / height
            raise UserError(
                f"the network's scale is `{scale:g}`, not the stated `{source.scale}`: {found}",
                where=where,
                hint=f"say `scale: {scale:g}`" if scale == int(scale) else "",
            )
        raise UserError(
            f"the network is no super-resolution network of scale {source.scale}: {found}",
            where=where,
            hint="the output must have the input's channels and `scale` times its height and width",
        )


def _has_half(model: onnx.ModelProto) -> bool:
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    return onnx.TensorProto.FLOAT16 in kinds or onnx.TensorProto.BFLOAT16 in kinds


def _plain(original: onnx.ModelProto, taken: ImageInput, where: str) -> onnx.ModelProto:
    """The same graph in float32, at the spine's opset, NCHW, without names of files and people."""
    model = at_opset(original, where)
    model = to_float32(model) or model
    del model.metadata_props[:]
    model.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    if taken.channels_last:
        _transpose_input(model)
    if taken.channels_last_output:
        _transpose_output(model)
    return with_input_shape(model, (1, taken.channels, *(taken.size or FREE)))


def _transpose_input(model: onnx.ModelProto) -> None:
    name = model.graph.input[0].name
    for node in model.graph.node:
        for index, used in enumerate(node.input):
            if used == name:
                node.input[index] = f"{name}/nhwc"
    turn = helper.make_node("Transpose", [name], [f"{name}/nhwc"], perm=[0, 2, 3, 1])
    model.graph.node.insert(0, turn)


def _transpose_output(model: onnx.ModelProto) -> None:
    name = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, used in enumerate(names):
                if used == name:
                    names[index] = f"{name}/nhwc"
    model.graph.node.append(
        helper.make_node("Transpose", [f"{name}/nhwc"], [name], perm=[0, 3, 1, 2])
    )


def _simplified(
    plain: onnx.ModelProto, taken: ImageInput, proof: _Proof, scale: int, warnings: list[str]
) -> onnx.ModelProto:
    """Free sizes as soon as possible: a baked size must not be folded deeper into the graph."""
    free = with_input_shape(plain, (1, taken.channels, *FREE))
    if taken.size is None:
        return _rewritten(_slimmed(free, proof, warnings), proof, warnings)
    candidate = _rewritten(_slimmed(free, proof, []), proof, [])
    if not proof.failure(candidate) and _runs_at_other_sizes(candidate, scale, proof):
        return candidate
    fixed = _rewritten(_slimmed(plain, proof, warnings), proof, warnings)
    for candidate in freed(fixed, FREE):
        if not proof.failure(candidate) and _runs_at_other_sizes(candidate, scale, proof):
            return _rewritten(_slimmed(candidate, proof, warnings), proof, warnings)
    height, width = taken.size
    warnings.append(
        f"the file fixes the input to {height} x {width} and its sizes cannot be made free: "
        "it will run on tiles of exactly this size"
    )
    return fixed


def _runs_at_other_sizes(network: onnx.ModelProto, scale: int, proof: _Proof) -> bool:
    """Two sizes that the file was not exported at give pictures of the right size."""
    shape = proof.samples[0].tensor.shape
    passed = 0
    for height, width in ((48, 64), (96, 48), (60, 120), (64, 128), (240, 120)):
        if (height, width) == shape[2:]:
            continue
        tensor = np.resize(proof.samples[0].tensor, (1, shape[1], height, width))
        try:
            answer = proof.trials.run(network, tensor)
        except TrialFailed:
            continue
        passed += answer.shape == (1, shape[1], height * scale, width * scale)
    return passed >= 2


def _slimmed(model: onnx.ModelProto, proof: _Proof, warnings: list[str]) -> onnx.ModelProto:
    try:
        candidate = proof.trials.slim(model)
        reason = proof.failure(candidate)
    except TrialFailed as failure:
        reason = str(failure)
    if not reason:
        return candidate
    warnings.append(f"the graph was not simplified: {reason}")
    return model


def _rewritten(model: onnx.ModelProto, proof: _Proof, warnings: list[str]) -> onnx.ModelProto:
    """All rewrites that prove equal; the graph is simplified once more after the last one."""
    current = model
    for title, step in _STEPS:
        candidate = step(current, proof, warnings)
        if candidate is None:
            continue
        reason = proof.failure(candidate)
        if reason:
            warnings.append(f"{title} was left as it is: {reason}")
        else:
            current = candidate
    return current if current is model else _slimmed(current, proof, warnings)


def _shuffled(model: onnx.ModelProto, proof: _Proof, warnings: list[str]) -> onnx.ModelProto | None:
    short = deconvolution_to_shuffle(model, drop_surplus=True)
    return short if short is None or not proof.failure(short) else deconvolution_to_shuffle(model)


def _without_idle(
    model: onnx.ModelProto, proof: _Proof, warnings: list[str]
) -> onnx.ModelProto | None:
    if len(proof.samples) < 2 or not any(n.op_type in IDLE_KINDS for n in model.graph.node):
        return None
    try:
        seen = [proof.trials.observe(model, sample.tensor) for sample in proof.samples]
    except TrialFailed:
        return None
    return without_idle(model, [one.shapes for one in seen])


def _known_movements(
    model: onnx.ModelProto, proof: _Proof, warnings: list[str]
) -> onnx.ModelProto | None:
    """Every recognised chain replaced; one by one only if together they do not prove equal."""
    if not chains(model):
        return None
    try:
        seen = proof.trials.observe(model, proof.samples[-1].tensor)
    except TrialFailed:
        return None
    findings = recognised(model, seen, proof.trials)
    together = model
    for finding in findings:
        together = replaced(together, finding)
    if together is model or not proof.failure(together):
        return None if together is model else together
    kept = model
    for finding in findings:
        candidate = replaced(kept, finding)
        reason = proof.failure(candidate)
        if reason:
            warnings.append(f"tensor `{finding.chain.result}` was left as it is: {reason}")
        else:
            kept = candidate
    return None if kept is model else kept


_Step = Callable[[onnx.ModelProto, _Proof, list[str]], onnx.ModelProto | None]
_STEPS: tuple[tuple[str, _Step], ...] = (
    ("batch normalisation", lambda model, proof, warnings: batchnorm_to_affine(model)),
    ("deconvolution", _shuffled),
    ("a clip made of activations", lambda model, proof, warnings: mirrored_relus_to_clip(model)),
    ("an operator without effect", _without_idle),
    ("movement of pixels", _known_movements),
)


def _finished(model: onnx.ModelProto, scale: int) -> onnx.ModelProto:
    """Named nodes, inferred `value_info`, an output shape that says what is free."""
    network = named(pruned(model))
    network.producer_name = "edge-sr-toolkit"
    network.ClearField("producer_version")
    network.graph.name = "network"
    for node in network.graph.node:
        if node.op_type in CONTROL_FLOW:
            raise UserError(
                f"operator `{node.op_type}` at node `{node.name}` branches on values",
                hint="export the network without control flow (torch: trace, do not script)",
            )
    shape = [d.dim_value or d.dim_param for d in network.graph.input[0].type.tensor_type.shape.dim]
    set_dims(network.graph.input[0], tuple(shape))
    plain = with_input_shape(network, tuple(shape))
    try:
        network = inferred(plain)
    except onnx.shape_inference.InferenceError:
        network = copy_of(plain)
    tile = tile_of(network)
    size = (f"{scale}*height", f"{scale}*width") if tile is None else tuple(scale * s for s in tile)
    set_dims(network.graph.output[0], (1, shape[1], *size))
    return network


def _demand_equal(network: onnx.ModelProto, proof: _Proof, where: str) -> None:
    reason = proof.failure(network)
    if reason:
        raise UserError(
            f"the network cannot be brought to opset 17 in float32 unchanged: {reason}",
            where=where,
            hint="export it again with opset 17 and float32 weights",
        )
