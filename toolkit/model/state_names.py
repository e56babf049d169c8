"""What weight files call their tensors, against what our modules call them.

One network is published under several sets of names. A module keeps one set; it takes the others
through a hook that renames on loading, so collapse, training and pruning see one structure.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]
Rename = Callable[[Collection[str]], Mapping[str, str]]


def renamed(shapes: Shapes, rename: Rename) -> dict[str, tuple[int, ...]]:
    """The same shapes under our names; a name that `rename` leaves out stays."""
    names = rename(list(shapes))
    return {names.get(name, name): tuple(shape) for name, shape in shapes.items()}


def by_pattern(*rules: tuple[str, str]) -> Rename:
    """Renames by regular expressions that must match the whole name; the first match counts."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(names: Collection[str]) -> dict[str, str]:
        found = {}
        for name in names:
            for pattern, replacement in compiled:
                if pattern.fullmatch(name):
                    found[name] = pattern.sub(replacement, name)
                    break
        return found

    return rename


def accept_names(module: nn.Module, rename: Rename) -> None:
    """Let `module.load_state_dict` take every set of names that `rename` knows."""
    module.register_load_state_dict_pre_hook(functools.partial(_rename_on_load, rename))


def _rename_on_load(
    rename: Rename, _module: nn.Module, tensors: dict[str, Tensor], prefix: str, *_rest: Any
) -> None:
    own = [name[len(prefix) :] for name in tensors if name.startswith(prefix)]
    moved = {
        prefix + new: tensors.pop(prefix + old) for old, new in rename(own).items() if old != new
    }
    tensors.update(moved)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters and stored buffers."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def shapes_built(build: Callable[..., nn.Module], hyper: Mapping[str, Any]) -> Shapes:
    """Shapes of the network with these hyper-parameters, without allocating its weights."""
    with torch.device("meta"):
        return shapes_of(build(**hyper))


def fits(
    build: Callable[..., nn.Module], hyper: Mapping[str, Any] | None, shapes: Shapes
) -> dict[str, Any] | None:
    """`hyper` where it explains every tensor and no tensor is missing, else None.

    `shapes` under our names. A hyper-parameter `scale` that no shape tells may be left out.
    """
    if hyper is None:
        return None
    complete = {"scale": 2, **hyper}
    return dict(hyper) if shapes_built(build, complete) == dict(shapes) else None


def square_root(number: int) -> int | None:
    """The whole square root, or None where there is none."""
    root = round(number**0.5)
    return root if root * root == number and root > 0 else None
