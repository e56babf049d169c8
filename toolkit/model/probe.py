"""What a network expects of pixels, found by trial runs where the recipe does not say."""

from __future__ import annotations

import math
import time

import numpy as np
import onnx

from toolkit.errors import UserError
from toolkit.images.resize import low_resolution
from toolkit.model.contract import Color, ImageContract
from toolkit.model.facts import network_facts
from toolkit.model.graph import Array, dims, tile_of
from toolkit.model.original import image_like
from toolkit.model.trial import TrialFailed, Trials
from toolkit.spec.recipe import NetworkSource

BUDGET_S = 2.0  # of trial runs for sizes
MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15, 16, 20, 24, 32, 48, 64)
LARGEST_MINIMUM_PX = 64
PICTURE_PX = 48  # side of the picture that is enlarged to find out what white is
BORDER_PX = 8
TRAINED_DB = 15.0  # bicubic reaches 24 dB on that picture, a grey plane 10
TIE_DB = 0.1  # a network without biases does not care; then 1 is what most were trained with


def probe_contract(model: onnx.ModelProto, source: NetworkSource) -> ImageContract:
    """The image contract of a spine network: what `source` states, the rest from trial runs.

    One channel is luma, three are RGB: BGR cannot be told from a picture that only became larger,
    so it has to be stated. Raises UserError where the network runs at no size.
    """
    with Trials() as trials:
        return probed_contract(model, source, trials, [])


def probed_contract(
    model: onnx.ModelProto, source: NetworkSource, trials: Trials, warnings: list[str]
) -> ImageContract:
    """As `probe_contract`, in a child process that runs already; doubts go to `warnings`."""
    facts = network_facts(model)
    shape = dims(model.graph.input[0])
    assert shape is not None
    channels = shape[1] or 3
    multiple, minimum = _sizes(model, source, channels, trials)
    multiple = math.lcm(multiple, facts.period_px)  # tiles must start where the grid repeats
    minimum = math.ceil(minimum / multiple) * multiple
    if facts.halo_px is None:
        warnings.append(f"the output depends on the whole picture: {facts.whole_picture}")
    color: Color = source.color or ("luma" if channels == 1 else "rgb")
    white = source.white
    if white is None:
        white, best_db = _white(model, channels, source.scale, multiple, trials)
        if best_db < TRAINED_DB:
            warnings.append(
                f"with neither 1 nor 255 as white does it restore a picture (`{best_db:.1f}` dB at "
                "best): state `white` and `color`, or train the network"
            )
    return ImageContract(
        scale=source.scale,
        color=color,
        white=white,
        minimum_px=minimum,
        multiple_of=multiple,
        halo_px=facts.halo_px,
    )


def _sizes(
    model: onnx.ModelProto, source: NetworkSource, channels: int, trials: Trials
) -> tuple[int, int]:
    """`multiple_of` and `minimum_px`."""
    tile = tile_of(model)
    if tile is not None:
        return 1, min(tile)
    probe = _SizeProbe(model, channels, source.scale, trials)
    multiple = source.multiple_of or probe.multiple()
    return multiple, source.minimum_px or probe.minimum(multiple)


class _SizeProbe:
    """Runs at square sizes, each once, until the time is up; then the last answer stands."""

    def __init__(self, model: onnx.ModelProto, channels: int, scale: int, trials: Trials) -> None:
        self.model, self.channels, self.scale, self.trials = model, channels, scale, trials
        self.end = time.monotonic() + BUDGET_S
        self.known: dict[tuple[int, int], bool] = {}

    def runs(self, height: int, width: int) -> bool:
        """Whether the network gives a finite picture of the right size."""
        key = (height, width)
        if key not in self.known:
            tensor = image_like(self.channels, height, width)
            try:
                answer = self.trials.run(self.model, tensor, limit_s=BUDGET_S)
            except TrialFailed:
                self.known[key] = False
            else:
                right = answer.shape == (1, self.channels, height * self.scale, width * self.scale)
                self.known[key] = right and bool(np.isfinite(answer).all())
        return self.known[key]

    def multiple(self) -> int:
        """The smallest multiple of which all tried sizes run."""
        for multiple in MULTIPLES:
            first = math.ceil(33 / multiple)
            sizes = [multiple * (first + more) for more in (0, 1, 2)]
            if self.runs(sizes[0], sizes[1]) and self.runs(sizes[1], sizes[2]):
                return multiple
        raise UserError(
            f"the network runs at none of the sizes tried, multiples of {MULTIPLES}",
            hint="state `multiple_of` and `minimum_px`",
        )

    def minimum(self, multiple: int) -> int:
        """The smallest size from which on all run, by halving: small sizes are what fails."""
        tried = list(range(multiple, max(LARGEST_MINIMUM_PX, multiple) + 1, multiple))
        low, high = 0, len(tried) - 1
        while low < high and time.monotonic() < self.end:
            middle = (low + high) // 2
            if self.runs(tried[middle], tried[middle]):
                high = middle
            else:
                low = middle + 1
        return tried[high]


def _white(
    model: onnx.ModelProto, channels: int, scale: int, multiple: int, trials: Trials
) -> tuple[float, float]:
    """1.0 or 255.0, whichever restores a shrunk picture better, and the PSNR it reaches in dB."""
    side = math.ceil(PICTURE_PX / multiple) * multiple
    height, width = tile_of(model) or (side, side)
    large = image_like(channels, height * scale, width * scale)[0].transpose(1, 2, 0)
    original = np.round(large * 255).astype(np.uint8)
    small = low_resolution(original, scale).reshape(height, width, channels)
    tensor = small.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    found = {}
    for white in (1.0, 255.0):
        try:
            answer = trials.run(model, tensor * np.float32(white)) / white
        except TrialFailed:
            continue
        found[white] = _psnr_db(answer, large.transpose(2, 0, 1)[None])
    best = max(found.values(), default=-math.inf)
    white = 1.0 if found.get(1.0, -math.inf) >= best - TIE_DB else 255.0
    return white, best


def _psnr_db(answer: Array, wanted: Array) -> float:
    """Over all channels, peak 1, without the borders: a guide, not the protocol of the gates."""
    height, width = wanted.shape[2:]
    rows = slice(min(BORDER_PX, height // 4), -min(BORDER_PX, height // 4) or None)
    columns = slice(min(BORDER_PX, width // 4), -min(BORDER_PX, width // 4) or None)
    error = np.clip(answer, 0, 1).astype(np.float64) - wanted
    return -10 * math.log10(max(float(np.mean(error[:, :, rows, columns] ** 2)), 1e-12))
