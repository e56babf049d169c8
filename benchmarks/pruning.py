"""The student pruned against the student whole: MACs, latency and dB, files timed in turn.

python benchmarks/pruning.py TRAINING_IMAGES TEST_SET... [--ratio 0.25] [--finetune-steps 3000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import onnx
from distillation import charts, psnr_db

from toolkit.contracts import Progress, StepInput
from toolkit.digest import sha256_file
from toolkit.images.sets import shipped
from toolkit.model.facts import network_facts
from toolkit.model.network import read_network
from toolkit.run.measure import time_interleaved
from toolkit.run.score import spine_artefact
from toolkit.run.sources import WEIGHTS, Spine
from toolkit.spec.recipe import Measuring
from toolkit.steps import prune


def pruned(images: Path, ratio: float, steps: int, out: Path) -> Path:
    """The student with `ratio` of its channels removed; returns its spine file."""
    out.mkdir()
    params = {
        "ratio": ratio,
        "macs_share": None,
        "channel_multiple": None,
        "finetune_steps": steps,
        "images": str(images),
        "exclude": charts(),
        "holdout_every": 20,
        "learning_rate": 5e-4,
        "batch": 16,
        "lr_px": 32,
        "threads": 2,
        "seed": 0,
    }
    given = StepInput(
        network=read_network(WEIGHTS / "student.onnx"),
        params=params,
        calibration=shipped("calibration"),
        work=out / "work",
        show=lambda p: (
            print(p.done, p.total, p.note, file=sys.stderr) if p.done % 500 == 0 else None
        ),
        channel_multiple=1,
    )
    prune.run(given, out)
    return out / "network.onnx"


def told(progress: Progress) -> None:
    """One line now and then."""
    if progress.done % 500 == 0:
        print(progress.done, progress.total, progress.note, file=sys.stderr)


def main() -> None:
    """Prune, score, time in turn, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--ratio", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--finetune-steps", type=int, default=3000)
    arguments = parser.parse_args()
    names = [
        folder.parent.name if folder.name == "HR" else folder.name for folder in arguments.sets
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = {"whole": WEIGHTS / "student.onnx"}
        for ratio in arguments.ratio:
            out = Path(folder) / str(ratio)
            files[f"{ratio:.0%} fewer channels"] = pruned(
                arguments.images, ratio, arguments.finetune_steps, out
            )
        artefacts = [spine_artefact(Spine(path=p, digest=sha256_file(p))) for p in files.values()]
        samples = time_interleaved(artefacts, Measuring(threads=2, min_runs=100, min_s=3.0))
        print(f"{arguments.finetune_steps} fine-tuning steps; float32 in ONNX Runtime, 2 threads\n")
        print(
            "| network | parameters | MACs at 360x640 | p50 ms | "
            + " | ".join(f"{n} dB" for n in names)
            + " |"
        )
        print("|---|--:|--:|--:|" + "--:|" * len(names))
        for (name, path), taken in zip(files.items(), samples, strict=True):
            facts = network_facts(onnx.load(path))
            scores = " | ".join(f"{psnr_db(path, test):.3f}" for test in arguments.sets)
            work = f"{facts.parameters:,} | {facts.macs / 1e9:.2f} G"
            print(f"| {name} | {work} | {taken.percentile_ms(50):.1f} | {scores} |")


if __name__ == "__main__":
    main()
