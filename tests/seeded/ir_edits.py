"""Faults in OpenVINO's IR: the .xml is text, the .bin beside it holds the constants."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def replaced(old: str, new: str) -> Callable[[Path, dict[str, Any]], None]:
    """Another word in the .xml."""

    def change_file(path: Path, _entry: dict[str, Any]) -> None:
        text = path.read_text()
        assert old in text, f"no {old} in {path.name}"
        path.write_text(text.replace(old, new))

    return change_file


# PyTorch's order of channels in a pixel shuffle read as TensorFlow's
swap_shuffle = replaced('mode="depth_first"', 'mode="blocks_first"')
zero_borders = replaced('pad_mode="edge"', 'pad_mode="constant"')


def reverse_weight_scales(path: Path, _entry: dict[str, Any]) -> None:
    """The scales of the last layer's channels lie in the wrong order."""
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    start, size = _scales(path, "tail/weight.restored.dq")
    scales = np.frombuffer(bytes(content[start : start + size]), np.float32)
    content[start : start + size] = scales[::-1].tobytes()
    weights.write_bytes(bytes(content))


def double_one_scale(path: Path, _entry: dict[str, Any]) -> None:
    """One channel of the first layer is twice as strong."""
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    start, size = _scales(path, "conv0/weight.restored.dq")
    scales = np.frombuffer(bytes(content[start : start + size]), np.float32).copy()
    scales[len(scales) // 2] *= 2
    content[start : start + size] = scales.tobytes()
    weights.write_bytes(bytes(content))


def _scales(path: Path, multiply: str) -> tuple[int, int]:
    """Where in the .bin the constant lies that a Multiply reads as its second operand."""
    root = ElementTree.parse(path).getroot()
    layers = {layer.get("id"): layer for layer in root.iter("layer")}
    reader = next(i for i, layer in layers.items() if layer.get("name") == multiply)
    edge = next(
        e for e in root.iter("edge") if e.get("to-layer") == reader and e.get("to-port") == "1"
    )
    data = layers[edge.get("from-layer")].find("data")
    return int(data.get("offset")), int(data.get("size"))
