"""The network as it was handed in: what it takes and what it answers, the measure of the spine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from toolkit.errors import UserError
from toolkit.model.graph import Array, arrays, attributes, dims
from toolkit.model.trial import TrialFailed, Trials

FLOAT_TYPES: Mapping[int, type] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
}
IMAGE_CHANNELS = (1, 3)
# Heights and widths tried on networks with free sizes. The second one that runs has as few common
# factors as the network bears, so that what happens to agree at a round size is seen to differ.
# fmt: off
TRIAL_SIZES = (
    (24, 32), (37, 53), (26, 46), (33, 57), (36, 60), (40, 56), (48, 80), (60, 120), (64, 96),
    (128, 64), (240, 120), (256, 256),
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """What the network's one input takes. `size` is None where height and width are free."""

    channels: int
    size: tuple[int, int] | None
    channels_last: bool
    batch: int
    dtype: type
    channels_last_output: bool


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An input (1, C, H, W) float32 and what the original network answers, the same layout."""

    tensor: Array
    answer: Array


def image_input(model: onnx.ModelProto, where: str) -> ImageInput:
    """Read the input's shape and type. Raises UserError where it is no image."""
    value, result = model.graph.input[0], model.graph.output[0]
    kind = value.type.tensor_type.elem_type
    if kind not in FLOAT_TYPES:
        raise UserError(
            f"input `{value.name}` is `{TensorProto.DataType.Name(kind).lower()}`, "
            "a network is trained on float",
            where=where,
            hint="export the float network, without the conversion from and to bytes",
        )
    shape = dims(value)
    if shape is None:
        shape = (None, _channels_of_first_convolution(model), None, None)
    if len(shape) != 4:
        raise UserError(
            f"input `{value.name}` has {len(shape)} axes `{_text(shape)}`, an image has four",
            where=where,
            hint="export with an input of shape (1, channels, height, width)",
        )
    last = _is_channels_last(shape)
    channels = shape[3] if last else (shape[1] or _channels_of_first_convolution(model))
    if channels not in IMAGE_CHANNELS:
        raise UserError(
            f"input `{value.name}` has `{channels}` channels in `{_text(shape)}`, "
            "an image has 1 (luma) or 3 (colour)",
            where=where,
            hint="a network that takes several frames or a noise map is not supported",
        )
    height, width = shape[1:3] if last else shape[2:4]
    out = dims(result)
    return ImageInput(
        channels=channels,
        size=(height, width) if height and width else None,
        channels_last=last,
        batch=shape[0] or 1,
        dtype=FLOAT_TYPES[kind],
        channels_last_output=out is not None and len(out) == 4 and _is_channels_last(out),
    )


def _text(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape)


def _is_channels_last(shape: tuple[int | None, ...]) -> bool:
    return shape[3] in IMAGE_CHANNELS and shape[1] not in IMAGE_CHANNELS


def _channels_of_first_convolution(model: onnx.ModelProto) -> int | None:
    stored = arrays(model.graph)
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in stored:
            return int(stored[node.input[1]].shape[1] * attributes(node).get("group", 1))
    return None


def image_like(channels: int, height: int, width: int, *, seed: int = 0) -> Array:
    """A smooth picture with edges and a little noise: float32 (1, C, H, W) in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    planes = []
    for channel in range(channels):
        smooth = 0.5 + 0.3 * np.sin(x / (9 + channel)) * np.cos(y / (7 + 2 * channel))
        edges = 0.25 * ((x + 2 * y) % 23 > 11) - 0.1 * (x > width / 2)
        planes.append(smooth + edges + 0.02 * random.standard_normal((height, width)))
    return np.clip(np.stack(planes)[None], 0, 1).astype(np.float32)


def samples_of(
    model: onnx.ModelProto, taken: ImageInput, trials: Trials, where: str
) -> tuple[Sample, ...]:
    """What the original answers at up to two sizes, white being 1 in one and 255 in the other.

    Raises UserError with the runtime's own words where it runs at none.
    """
    sizes = TRIAL_SIZES if taken.size is None else (taken.size,)
    found: list[Sample] = []
    reason = ""
    for height, width in sizes:
        tensor = image_like(taken.channels, height, width, seed=height)
        tensor *= 255 if len(found) == 1 else 1
        try:
            answer = original_answer(model, taken, tensor, trials)
        except TrialFailed as failure:
            reason = reason or f"at {height} x {width}: {failure}"
            continue
        found.append(Sample(tensor=tensor, answer=answer))
        if len(found) == 2:
            break
    if not found:
        raise UserError(f"the network does not run {reason}", where=where)
    return tuple(found)


def original_answer(
    model: onnx.ModelProto, taken: ImageInput, tensor: Array, trials: Trials
) -> Array:
    """The original's output for float32 (1, C, H, W), as float32 (1, C, H, W)."""
    fed = tensor.transpose(0, 2, 3, 1) if taken.channels_last else tensor
    fed = np.repeat(fed, taken.batch, axis=0).astype(taken.dtype)
    answer = trials.run(model, np.ascontiguousarray(fed))
    if answer.ndim == 4 and taken.channels_last_output:
        answer = answer.transpose(0, 3, 1, 2)
    return answer[:1].astype(np.float32)


def difference(network: onnx.ModelProto, samples: tuple[Sample, ...], trials: Trials) -> float:
    """Largest difference to the original, as a share of the output's range. Raises TrialFailed."""
    worst = 0.0
    for sample in samples:
        answer = trials.run(network, sample.tensor)
        if answer.shape != sample.answer.shape:
            raise TrialFailed(f"its output is `{answer.shape}`, not `{sample.answer.shape}`")
        span = float(np.ptp(sample.answer)) or 1.0
        worst = max(worst, float(np.abs(answer - sample.answer).max()) / span)
    return worst
