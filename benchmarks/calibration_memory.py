"""Peak memory of the quantize step on 1080p pictures, each rung in a process of its own.

    python benchmarks/calibration_memory.py [--out benchmarks/RESULTS.md] [--rungs rounding,qat]

The network is the reference teacher (96,516 parameters), the pictures are synthetic. One child
prints its peak resident size (VmHWM, Linux), runtime libraries included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from int8_table import replace_section, table

from toolkit.child import die_with_parent
from toolkit.contracts import StepInput
from toolkit.images.decode import write_png
from toolkit.images.resize import Image
from toolkit.images.sets import folder_set
from toolkit.model.network import read_network
from toolkit.run.sources import WEIGHTS

HEADING = "## Memory of calibration"
LIMIT_MB = 1500
PICTURES = 24
HEIGHT, WIDTH = 1080, 1920
TRAINING_MINUTES = 0.5  # memory is reached in the first steps
CASES = (
    ("ranges", 64, 96),
    ("equalise", 64, 96),
    ("rounding", 64, 96),
    ("mixed", 64, 96),
    ("qat", 64, 96),
    ("equalise", 8, 512),
)
RESULTS = Path(__file__).parent / "RESULTS.md"


def picture(seed: int) -> Image:
    """uint8 (1080, 1920, 3): waves, an edge, noise; every seed another."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) / HEIGHT
    waves = [np.sin(rng.uniform(9, 90) * x + rng.uniform(9, 90) * y) for _ in range(3)]
    levels = 128 + 60 * np.stack(waves, axis=2) + 40 * (x > y)[:, :, None]
    noise = rng.normal(0, 3, levels.shape).astype(np.float32)
    return np.clip(np.round(levels + noise), 0, 255).astype(np.uint8)


def peak_mb() -> float:
    """Largest resident size of this process so far; `ru_maxrss` would keep the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) / 1024


def answer(folder: Path, rung: str, patches: int, patch_px: int) -> dict[str, float]:
    """Run the step on the pictures of `folder`; peak in MB before the step and after it."""
    from toolkit.steps import quantize

    images = folder_set(folder, "calibration")
    given = StepInput(
        network=read_network(WEIGHTS / "teacher.onnx"),
        params={
            "patches": patches,
            "patch_px": patch_px,
            "charts": True,
            "rung": rung,
            "float_nodes": (),
            "train_minutes": TRAINING_MINUTES if rung == "qat" else 0,
            "images": None,
            "mixed_macs_share": 0.3,
            "seed": 0,
        },
        calibration=images,
        work=folder / "work",
        show=lambda progress: None,
    )
    before = peak_mb()
    with tempfile.TemporaryDirectory() as out:
        quantize.run(given, Path(out))
    return {"before_mb": before, "peak_mb": peak_mb()}


def measured(folder: Path, rung: str, patches: int, patch_px: int) -> dict[str, float]:
    """`answer` from a child process."""
    request = json.dumps({"folder": str(folder), "case": [rung, patches, patch_px]})
    child = subprocess.run(
        [sys.executable, __file__, "--child"],
        input=request,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return found


def section(rows: Sequence[Sequence[str]]) -> str:
    """The part of RESULTS.md."""
    return "\n\n".join([
        HEADING,
        f"`python benchmarks/calibration_memory.py`: the quantize step on {PICTURES} synthetic "
        f"pictures of {WIDTH} x {HEIGHT} with the teacher (96,516 parameters), peak resident size "
        f"of the whole process. Required: under {LIMIT_MB} MB.",
        table(("rung", "patches", "before the step MB", "peak MB", "verdict"), rows),
    ]) + "\n"  # fmt: skip


def main() -> None:
    """Make the pictures, run each case, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rungs", help="with commas; all by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.child:
        die_with_parent()
        request = json.load(sys.stdin)
        print(json.dumps(answer(Path(request["folder"]), *request["case"])))
        return
    cases = [c for c in CASES if asked.rungs is None or c[0] in asked.rungs.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(PICTURES):
            write_png(Path(name) / f"{seed:02}.png", picture(seed))
        for rung, patches, patch_px in cases:
            found = measured(Path(name), rung, patches, patch_px)
            over = found["peak_mb"] - LIMIT_MB
            verdict = "met" if over < 0 else f"MISSED by {over:.0f} MB"
            sizes = (f"{found['before_mb']:.0f}", f"{found['peak_mb']:.0f}")
            rows.append((f"`{rung}`", f"{patches} of {patch_px} px", *sizes, verdict))
            print(*rows[-1], file=sys.stderr, flush=True)
    text = section(rows)
    print(text)
    old = asked.out.read_text() if asked.out.exists() else "# Results\n"
    asked.out.write_text(replace_section(old, text))


if __name__ == "__main__":
    main()
