"""The student with and without its teacher: equal steps, several seeds, one table.

    python benchmarks/distillation.py TRAINING_IMAGES TEST_SET... [--steps 3000] [--seeds 3]

TEST_SET is a folder of HR pictures. Runs for minutes; nothing here is part of the test suite.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import yaml

from toolkit.backends import onnxruntime
from toolkit.contracts import Progress, StepInput
from toolkit.digest import sha256_file
from toolkit.images.sets import folder_set, read_picture, shipped
from toolkit.metrics.protocol import score_image
from toolkit.model.network import read_network
from toolkit.run.score import spine_artefact
from toolkit.run.sources import WEIGHTS, Spine
from toolkit.steps import distill

ZOO = Path(__file__).parent.parent / "recipes" / "zoo" / "student.yaml"
TEACHER_WEIGHT = 0.5


def trained(images: Path, steps: int, seed: int, *, teacher: bool, folder: Path) -> Path:
    """One student from scratch; returns its spine file."""
    out = folder / f"{seed}-{teacher}"
    out.mkdir()
    params = {
        "images": str(images),
        "exclude": charts(),
        "holdout_every": 20,
        "steps": steps,
        "batch": 16,
        "lr_px": 32,
        "learning_rate": 5e-4,
        "final_learning_rate": 1e-6,
        "warmup_steps": 200,
        "loss": "l1",
        "weight_hr": 1.0,
        "weight_teacher": TEACHER_WEIGHT if teacher else 0.0,
        "weight_features": 0.0,
        "ema": 0.999,
        "bfloat16_share": 0.97,
        "threads": 2,
        "seed": seed,
        "arch": {"name": "sesr", "hyper": {"channels": 1, "features": 16, "blocks": 5}},
    }
    networks = {"teacher": read_network(WEIGHTS / "teacher.onnx")} if teacher else {}
    given = StepInput(
        network=read_network(WEIGHTS / "student.onnx"),
        params=params,
        calibration=shipped("calibration"),
        work=out / "work",
        show=lambda p: told(p, seed, teacher=teacher),
        networks=networks,
    )
    distill.run(given, out)
    return out / "network.onnx"


def charts() -> list[str]:
    """The zoo recipe's list of pictures that are no photographs."""
    exclude: list[str] = yaml.safe_load(ZOO.read_text())["steps"][0]["distill"]["exclude"]
    return exclude


def told(progress: Progress, seed: int, *, teacher: bool) -> None:
    """One line now and then."""
    if progress.done % 1000 == 0:
        kind = "with" if teacher else "without"
        print(f"seed {seed} {kind} teacher: {progress.done} {progress.note}", file=sys.stderr)


def set_name(folder: Path) -> str:
    """`Set5` for both `Set5` and `Set5/HR`."""
    return folder.parent.name if folder.name == "HR" else folder.name


def psnr_db(spine: Path, folder: Path) -> float:
    """Mean Y-PSNR of a spine file on a folder of HR pictures, in ONNX Runtime."""
    artefact = spine_artefact(Spine(path=spine, digest=sha256_file(spine)))
    session = onnxruntime.open(artefact, threads=2)
    pictures = folder_set(folder, folder.name).files
    scores = [score_image(read_picture(f), artefact.contract, session.run) for f in pictures]
    session.close()
    return statistics.fmean(score.psnr_db for score in scores)


def main() -> None:
    """Train, score, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    names = [
        folder.parent.name if folder.name == "HR" else folder.name for folder in arguments.sets
    ]
    print(f"{arguments.steps} steps each\n")
    print("| seed | teacher | " + " | ".join(f"{name} dB" for name in names) + " |")
    print("|---|---|" + "---|" * len(names))
    rows: dict[bool, list[list[float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for teacher in (False, True):
                spine = trained(
                    arguments.images, arguments.steps, seed, teacher=teacher, folder=Path(folder)
                )
                scores = [psnr_db(spine, test) for test in arguments.sets]
                rows[teacher].append(scores)
                cells = " | ".join(f"{score:.3f}" for score in scores)
                print(f"| {seed} | {'yes' if teacher else 'no'} | {cells} |", flush=True)
    for teacher, scores in rows.items():
        means = [statistics.fmean(column) for column in zip(*scores, strict=True)]
        cells = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| mean | {'yes' if teacher else 'no'} | {cells} |")


if __name__ == "__main__":
    main()
