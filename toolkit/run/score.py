"""A file's picture: tried in a child process first, then PSNR and SSIM through its own runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.contracts import Artefact, Progress
from toolkit.digest import sha256_json
from toolkit.errors import GateFailed
from toolkit.images.sets import ImageSet, read_picture
from toolkit.images.tiles import with_halo
from toolkit.metrics.protocol import PROTOCOL, score_image
from toolkit.model.contract import IoContract, TensorSpec
from toolkit.model.network import read_network, tensor_names
from toolkit.report import ImageScore, Latency, Measured, NpuUse
from toolkit.run.host import FASTER_FLOATS, faster_floats
from toolkit.run.key import Ingredients, declared, tool_versions
from toolkit.run.sources import Spine
from toolkit.run.trial import try_out
from toolkit.run.walk import Walk
from toolkit.spec.recipe import Recipe

SCORE_VERSION = 2
RUNS_FASTER_FLOATS = frozenset({"openvino"})  # backends that open a float32 file in such a mode
SCORE_TOOLS = ("numpy", "pillow")
# For a network that looks at the whole picture no halo is exact; the report says so.
WHOLE_PICTURE_HALO_PX = 16
INTEGER = ("int8", "int16")  # int16: 16-bit activations beside 8-bit weights, integers all the same
SPINE = "float network"  # a spine file lies in the store under its digest


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One file with everything that content alone decides: picture, operators, memory."""

    artefact: Artefact
    digest: str
    images: tuple[ImageScore, ...]
    operators: tuple[Mapping[str, Any], ...]
    peak_memory_mb: float
    npu: NpuUse | None = None  # of files that are compiled for one
    npu_file: Path | None = None  # the compiled file, in the store


def spine_artefact(spine: Spine) -> Artefact:
    """The float network itself, run by ONNX Runtime: the reference of every drop."""
    network = read_network(spine.path)
    channels = network.contract.channels
    name_in, name_out = tensor_names(spine.path)
    shape = (1, channels, None, None)
    return Artefact(
        path=spine.path,
        backend="onnxruntime",
        precision="float32",
        contract=IoContract(
            image=network.contract,
            input=TensorSpec(name=name_in, dtype="float32", layout="nchw", shape=shape),
            output=TensorSpec(name=name_out, dtype="float32", layout="nchw", shape=shape),
        ),
    )


def score(
    walk: Walk, recipe: Recipe, slot: str, artefact: Artefact, digest: str, images: ImageSet
) -> Scored:
    """PSNR and SSIM of every validation image through the real runtime, kept by content."""
    _, tools = declared("backends", artefact.backend)
    name = artefact.path.name if artefact.path.suffix else SPINE
    is_rival = artefact.backend in RUNS_FASTER_FLOATS and artefact.precision in FASTER_FLOATS
    mode = f" in {artefact.precision}" if is_rival else ""
    ingredients = Ingredients(
        step="score",
        version=SCORE_VERSION,
        params={
            "protocol": PROTOCOL,
            "contract": sha256_json(artefact.contract.as_json()),
            "backend": artefact.backend,
            "precision": artefact.precision,
        },
        inputs={"file": digest, "images": images.digest},
        tools=tool_versions(tuple(dict.fromkeys(SCORE_TOOLS + tools))),
    )
    entry = walk.step(
        f"{slot}.{name}.{artefact.precision}.score",
        f"score {name}{mode}",
        ingredients,
        lambda _out, _work: _score(walk, recipe, artefact, images),
    )
    assert entry is not None
    return Scored(
        artefact=artefact,
        digest=digest,
        images=tuple(ImageScore(**image) for image in entry.facts["images"]),
        operators=tuple(entry.facts["operators"]),
        peak_memory_mb=entry.facts["peak_memory_mb"],
    )


def _score(walk: Walk, recipe: Recipe, artefact: Artefact, images: ImageSet) -> dict[str, Any]:
    measuring = recipe.measuring
    trial = try_out(artefact, threads=measuring.threads, input_px=measuring.input_px)
    if not trial.finite:
        raise GateFailed(
            f"`{artefact.path.name}` gives NaN or infinity",
            hint="float16 overflow or a collapsed range: leave the layer float (`float_nodes`)",
        )
    session = plugins.load("backends", artefact.backend).open(artefact, threads=measuring.threads)
    contract = tileable(artefact.contract)
    scores = []
    try:
        for done, file in enumerate(images.files, 1):
            result = score_image(read_picture(file), contract, session.run)
            scores.append({"name": file.name, "psnr_db": result.psnr_db, "ssim": result.ssim})
            walk.listener.progress(
                Progress(done=done, total=len(images.files), note=f"{result.psnr_db:.2f} dB")
            )
    finally:
        session.close()
    return {
        "images": scores,
        "operators": [dict(operator) for operator in trial.operators],
        "peak_memory_mb": trial.peak_memory_mb,
    }


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Scores the files of one target, each of them once in a run."""

    walk: Walk
    recipe: Recipe
    slot: str
    images: ImageSet
    known: dict[tuple[str, str, str], Scored] = field(default_factory=dict)

    def of(self, artefact: Artefact, digest: str) -> Scored:
        """The file's score; its path is always the one that was asked about."""
        key = (digest, artefact.backend, artefact.precision)
        if key not in self.known:
            scored = score(self.walk, self.recipe, self.slot, artefact, digest, self.images)
            self.known[key] = scored
        return replace(self.known[key], artefact=artefact)

    def reference(self, spine: Spine) -> Measured:
        """The float network that every drop is measured against."""
        return measured_file(self.of(spine_artefact(spine), spine.digest), label=SPINE)


def measured_file(scored: Scored, latency: Latency | None = None, label: str = "") -> Measured:
    """What a report says of one file; `label` names the reference, which is no file."""
    artefact = scored.artefact
    operators_share, macs_share = int8_shares(scored.operators)
    return Measured(
        label=label or f"{artefact.backend} {artefact.precision}",
        file="" if label else artefact.path.name,
        backend=artefact.backend,
        precision=artefact.precision,
        digest=scored.digest,
        size_kb=_size_kb(artefact.path),
        images=scored.images,
        latency=latency,
        int8_operators_share=operators_share,
        int8_macs_share=macs_share,
        npu=scored.npu,
    )


def _size_kb(path: Path) -> float:
    """Size in kilobytes of 1000; an OpenVINO IR counts its .bin too."""
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    return round(sum(part.stat().st_size for part in parts) / 1000, 1)


def layers_left(operators: Sequence[Mapping[str, Any]]) -> str:
    """How many of a file's layers, operators that multiply, the runtime runs in INT8."""
    layers = [o for o in operators if o["macs"] > 0]
    left = sum(1 for o in layers if o["precision"] in INTEGER)
    return f"{left} of {len(layers)} layers left in INT8"


def int8_shares(operators: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Share of computing operators, and of MACs, that the runtime runs in INT8, 0 to 1."""
    counted = [o for o in operators if o["precision"]]
    macs = sum(o["macs"] for o in counted)
    int8 = [o for o in counted if o["precision"] in INTEGER]
    operators_share = len(int8) / len(counted) if counted else 0.0
    macs_share = sum(o["macs"] for o in int8) / macs if macs else 0.0
    return operators_share, macs_share


def tileable(contract: IoContract) -> IoContract:
    """The contract itself, or with a stated halo where no halo is exact but the tile is fixed."""
    if contract.tile is None or contract.image.halo_px is not None:
        return contract
    return with_halo(contract, WHOLE_PICTURE_HALO_PX)


def float_rivals(artefacts: Sequence[tuple[Artefact, str]]) -> list[tuple[Artefact, str]]:
    """Files once more in each faster float mode that this host's hardware has."""
    return [
        (replace(artefact, precision=mode), digest)
        for artefact, digest in artefacts
        if artefact.backend in RUNS_FASTER_FLOATS and artefact.precision == "float32"
        for mode in faster_floats()
    ]
