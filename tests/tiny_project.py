"""A project small enough to be built whole in a test: a network, pictures, a recipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

FEATURES = 4
SIDE_PX = 96
RECIPE = """\
version: 1
name: tiny
network: {{file: tiny.onnx, scale: 2, color: rgb, white: 1.0}}
targets: [{targets}]
data: {{calibration: calibration, validation: validation}}
steps:
  - quantize: {{patches: 4, patch_px: 32, charts: false, train_minutes: 0}}
gates:
  psnr_drop_db: {{mean: {mean}, worst: {worst}}}
measure: {{threads: 1, min_runs: 10, min_s: 0.1, input_px: [48, 64]}}
"""


def photograph(seed: int, side: int = SIDE_PX) -> np.ndarray:
    """Something like a photograph: slow waves, an edge, a little noise. uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = sum(
        rng.random(3)
        * np.cos(2 * np.pi * (rng.integers(1, 6) * x + rng.integers(1, 6) * y))[..., None]
        for _ in range(4)
    )
    edge = (x * rng.random() + y > 0.8)[..., None] * rng.random(3)
    picture = 0.5 + 0.1 * waves + 0.3 * edge + rng.normal(0, 0.01, (side, side, 3))
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def tiny_network(path: Path, *, seed: int = 0) -> None:
    """Two convolutions beside a nearest-neighbour anchor, scale 2, RGB from 0 to 1."""
    rng = np.random.default_rng(seed)
    weights = {
        "head.weight": rng.normal(0, 0.2, (FEATURES, 3, 3, 3)),
        "head.bias": rng.normal(0, 0.05, FEATURES),
        "tail.weight": rng.normal(0, 0.02, (12, FEATURES, 3, 3)),
        "tail.bias": np.zeros(12),
        "anchor.weight": np.repeat(np.eye(3), 4, axis=0)[:, :, None, None],
    }
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    nodes = [
        helper.make_node("Conv", ["lr", "head.weight", "head.bias"], ["a"], "head", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "tail.weight", "tail.bias"], ["c"], "tail", pads=[1] * 4),
        helper.make_node("Conv", ["lr", "anchor.weight"], ["d"], "anchor"),
        helper.make_node("Add", ["c", "d"], ["e"], "add"),
        helper.make_node("DepthToSpace", ["e"], ["sr"], "shuffle", blocksize=2, mode="CRD"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *size])
        for name, size in (("lr", ["h", "w"]), ("sr", ["H", "W"]))
    ]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def make_project(
    folder: Path, *, targets: str = "generic-cpu", mean: float = 3.0, worst: float = 5.0
) -> Path:
    """Fill `folder`; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_network(folder / "tiny.onnx")
    for name, seeds in (("calibration", (1, 2)), ("validation", (3, 4))):
        (folder / name).mkdir(exist_ok=True)
        for seed in seeds:
            Image.fromarray(photograph(seed)).save(folder / name / f"{name}-{seed}.png")
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(targets=targets, mean=mean, worst=worst))
    return recipe


def command(recipe: Path, *more: str) -> list[str]:
    """The words that run a recipe with everything it writes beside it."""
    places = ["--out", str(recipe.parent / "out"), "--cache", str(recipe.parent / "cache")]
    return [sys.executable, "-m", "toolkit", "run", str(recipe), *places, *more]


def edgesr_run(recipe: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a recipe in a process of its own."""
    return subprocess.run(command(recipe, *more), capture_output=True, text=True, check=False)
