"""Writes a first recipe for a network of the user's own, ready to run and to be changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from toolkit.model.contract import ImageContract
from toolkit.spec.numerals import text_hint

PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+=@-]*")


def recipe_text(
    model_path: Path,
    *,
    contract: ImageContract,
    targets: Sequence[str],
    arch: str | None = None,
    schema: str | None = None,
) -> str:
    """The text of a recipe, with comments; it is meant to be saved where relative paths start.

    model_path: the network, as the recipe should say it. contract: what was probed or stated.
    arch: the architecture of a weight file. schema: path or address of the JSON Schema for the
    editor's hint.
    """
    network = "\n".join(_network_lines(model_path, contract, arch))
    hint = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    return f"""{hint}# Check it with `edgesr check FILE`, run it with `edgesr run FILE`.
version: 1

network:
{network}

targets: [{", ".join(_written(target) for target in targets)}]  # names, or YAML files of your own

# data:  # folders of your own photographs; the shipped ones are used otherwise
#   calibration: photographs/calibration/
#   validation: photographs/validation/

steps:
  # Train the network further, with or without a teacher (`teacher: {{file: big.onnx, scale: \
{contract.scale}}}`):
  # - distill: {{images: photographs/train/, steps: 2000}}
  # Remove channels, then train what is left against the whole network:
  # - prune: {{ratio: 0.25, finetune_steps: 2000, images: photographs/train/}}
  # INT8, by the cheapest rung of the ladder whose real files hold the gates: ranges, equalise,
  # rounding, mixed (a few layers in more than 8 bits), qat (trains). `rung:` names one of them,
  # `train_minutes: 0` never trains, `images:` is a folder to train on.
  - quantize: {{rung: auto, train_minutes: 20}}

gates:  # one that is missed: the report says why, nothing is packed, exit code 4
  psnr_drop_db: {{mean: 0.10, worst: 0.30}}  # INT8 against the float network
  int8_macs_share: 0.7  # of the work really in INT8; rung `mixed` may take out what is left
  # int8_speedup: 1.5  # over the runtime's fastest float mode; not stated: float ships if faster
  # coverage: 0.95  # of the operators on the unit that the target names
  # latency_p90_ms: 400  # on the device that `devices` names, else on this host
  # size_kb: 200

measure: {{threads: 2, min_runs: 100, min_s: 3.0, input_px: [360, 640]}}
# devices: {{{_name(targets[0])}: ssh://user@board}}  # measure there, not on this host
"""


def _name(target: str) -> str:
    """A target's name: its file's, where it is one of the user's own."""
    return Path(target).stem if target.endswith((".yaml", ".yml")) else target


def _network_lines(model_path: Path, contract: ImageContract, arch: str | None) -> list[str]:
    """The block below `network:`; what is worth a second look has a comment."""
    white = f"{contract.white:.1f}"
    lines = [f"  file: {_written(str(model_path))}", f"  scale: {contract.scale}"]
    lines += [f"  arch: {arch}"] if arch else []
    lines += [
        f"  color: {contract.color}  # or {_others(contract.color)}; a wrong one shows in the dB",
        f"  white: {white}  # the tensor value of a white pixel: 1.0 or 255.0",
    ]
    if contract.minimum_px > 1:
        lines.append(f"  minimum_px: {contract.minimum_px}  # smallest height and width it takes")
    if contract.multiple_of > 1:
        lines.append(f"  multiple_of: {contract.multiple_of}  # of height and width")
    if contract.halo_px is None:
        lines.append("  # Each output pixel depends on the whole picture: tiles change the result.")
    return lines


def _others(color: str) -> str:
    return " or ".join(word for word in ("rgb", "bgr", "luma") if word != color)


def _written(text: str) -> str:
    """`text` as a YAML scalar: plain where every reader takes it as text, else in quotes."""
    if PLAIN.fullmatch(text) and not text_hint(text):
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=len(text) + 99)
    return quoted.strip()
