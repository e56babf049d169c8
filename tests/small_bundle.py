"""A bundle of one small network for ONNX Runtime, with its float network, for the tests of QA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quant_networks import anchored, picture, quantized, target
from sample_report import report

from toolkit.backends import onnxruntime as plug
from toolkit.bundle.pack import pack
from toolkit.contracts import Artefact
from toolkit.digest import sha256_file
from toolkit.images.decode import write_png
from toolkit.images.sets import folder_set, read_picture
from toolkit.metrics.protocol import PROTOCOL, score_image
from toolkit.report import ImageScore, Measured
from toolkit.run.evidence import golden_of
from toolkit.run.host import host_facts
from toolkit.run.key import declared, tool_versions
from toolkit.run.score import spine_artefact
from toolkit.run.sources import Spine

SIDES = ((64, 72), (75, 61))  # of the HR pictures


def pictures(folder: Path) -> Path:
    """Two HR pictures that calibrated nothing."""
    for seed, (height, width) in enumerate(SIDES, start=50):
        write_png(folder / f"{seed}.png", picture(height, width, seed))
    return folder


def files(folder: Path) -> tuple[Artefact, list[Artefact]]:
    """The float network as a spine, and its float and INT8 files."""
    network, plan, _ = quantized(anchored(), folder, rung="ranges")
    spine = folder / "given.onnx"
    made = plug.lower(network, plan, target("onnxruntime"), folder, "tiny")
    return spine_artefact(Spine(path=spine, digest=sha256_file(spine))), made


def measured(artefact: Artefact, data: Path, label: str) -> Measured:
    """What a run would have reported of a file."""
    session = plug.open(artefact, threads=1)
    scores = [
        (file.name, score_image(read_picture(file), artefact.contract, session.run))
        for file in folder_set(data, "validation").files
    ]
    images = tuple(ImageScore(name=n, psnr_db=s.psnr_db, ssim=s.ssim) for n, s in scores)
    return Measured(
        label=label,
        file=artefact.path.name if label != "float network" else "",
        backend=artefact.backend,
        precision=artefact.precision,
        digest=sha256_file(artefact.path),
        size_kb=1.0,
        images=images,
        latency=None,
        int8_operators_share=0.0,
        int8_macs_share=0.0,
    )


def bundle(out: Path, data: Path, network: Artefact, made: list[Artefact], /, **changes) -> Path:
    """Packed as a run packs it; `changes` are of the report."""
    images = folder_set(data, "validation")
    said = replace(
        report(),
        recipe="tiny",
        target="generic-cpu",
        reference=measured(network, data, "float network"),
        files=tuple(measured(one, data, "file") for one in made),
        verdicts=(),
        drops={},
        ladder=(),
        recommendations=(),
        explanation=None,
        warnings=(),
        images={
            "calibration": {"count": 1, "digest": "0" * 64, "pictures": {"x": "0" * 64}},
            "validation": {"count": len(images.files), "digest": images.digest},
        },
        host=host_facts(),
        versions=dict(tool_versions(declared("backends", "onnxruntime")[1])),
        protocol=PROTOCOL,
    )
    said = replace(said, **changes)
    golden = [golden_of(one, images, threads=1) for one in made]
    return pack(said, made, golden, {}, "none", [], out, network)
