"""Weight files of other people: tensors only, never code, and the network they belong to.

`.safetensors` is read by its own library, `.pth` and `.pt` by PyTorch's tensors-only unpickler.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from toolkit import plugins
from toolkit.errors import SecurityError, UserError
from toolkit.model.state_names import Shapes, renamed, shapes_built

PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "net_g.", "generator.")
# What a pickled tensor needs; PyTorch's unpickler builds these itself.
TENSOR_NAMES = re.compile(
    r"collections\.OrderedDict"
    r"|torch\.(_utils\._rebuild_\w+|\w+Storage|Size|device|nn\.parameter\.Parameter)"
    r"|torch\.(bool|uint8|int\d+|b?float\d+)"
)
LISTED = 6  # problems named in one message


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weight file, float32, without wrappers and common prefixes.

    Raises UserError for a damaged file, one without tensors, or a NaN or infinity in one;
    SecurityError for a pickle that wants to run code. Nothing of the file is ever executed.
    """
    if not path.is_file():
        raise UserError("no such weight file", where=str(path))
    if path.suffix == ".safetensors":
        stored: Any = _read_safetensors(path)
    elif path.suffix in PICKLE_SUFFIXES:
        stored = _read_pickle(path)
    else:
        raise UserError(
            f"`{path.suffix}` is not a weight file",
            where=str(path),
            hint=f"give a .safetensors, {', '.join(PICKLE_SUFFIXES)} or .onnx file",
        )
    tensors = _without_prefix(_unwrapped(stored, path))
    return {name: _checked(name, tensor, path) for name, tensor in tensors.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as problem:
        raise UserError(
            f"damaged safetensors file: {problem}",
            where=f"{path} ({path.stat().st_size} bytes)",
            hint="fetch or export it again",
        ) from None


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        wanted = _foreign_names(path)
        if not wanted:
            raise _damaged(path) from None
        raise SecurityError(
            f"the file wants to run {_listed(wanted)} while it is read",
            where=str(path),
            hint="nothing was run; store the state dict alone: "
            "torch.save(model.state_dict(), FILE), or use .safetensors",
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AssertionError, OSError):
        raise _damaged(path) from None


def _damaged(path: Path) -> UserError:
    return UserError(
        "this is not a PyTorch weight file, or it is damaged or cut off",
        where=f"{path} ({path.stat().st_size} bytes)",
        hint="fetch or export it again",
    )


def _foreign_names(path: Path) -> tuple[str, ...]:
    """What the pickle would import besides tensors, read from its opcodes without running any."""
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = [name for name in archive.namelist() if name.endswith("data.pkl")]
            data = archive.read(inner[0]) if inner else b""
    found: dict[str, None] = {}
    texts: list[str] = []
    try:
        for opcode, argument, _position in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                found[str(argument).replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL":
                found[".".join(texts[-2:])] = None
            elif isinstance(argument, str):
                texts.append(argument)
    except (ValueError, KeyError, IndexError):  # not a pickle, or cut off
        pass
    return tuple(name for name in found if not TENSOR_NAMES.fullmatch(name))


def _unwrapped(stored: Any, path: Path) -> dict[str, Tensor]:
    """The state dict itself: files nest it under names such as `params_ema`."""
    while isinstance(stored, Mapping):
        inner = [stored[key] for key in WRAPPERS if isinstance(stored.get(key), Mapping)]
        if not inner:
            break
        stored = inner[0]
    if isinstance(stored, Mapping):
        tensors = {str(k): v for k, v in stored.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
    raise UserError(
        f"no tensors in this file, but `{type(stored).__name__}`",
        where=str(path),
        hint="store the state dict: torch.save(model.state_dict(), FILE)",
    )


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _without_prefix({n.removeprefix(prefix): t for n, t in tensors.items()})
    return tensors


def _checked(name: str, tensor: Tensor, path: Path) -> Tensor:
    """The tensor as float32 (integers stay). Raises UserError at the first value not finite."""
    tensor = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        index = torch.nonzero(~torch.isfinite(tensor))[0].tolist()
        value = float(tensor[tuple(index)])
        raise UserError(
            f"tensor `{name}` holds `{value}` at index {index}",
            where=str(path),
            hint="this training went wrong; use an earlier checkpoint",
        )
    return tensor.contiguous()


def load_network(
    path: Path,
    *,
    arch: str | None,
    scale: int,
    hyper: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network of a weight file, collapsed, in eval mode.

    `arch` names a file in `archs/`; None takes the one that explains every tensor. `hyper` states
    what shapes do not tell (an activation, a value range) and overrides what was detected.
    Raises UserError where architecture or scale disagree with the tensors, and names them.
    """
    tensors = read_tensors(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    name = arch or _only_fitting(shapes, scale, path)
    plug = plugins.load("archs", name)
    found = plug.detect(shapes)
    if found is None:
        raise _misfit(name, shapes, scale, path)
    if found.get("scale", scale) != scale:
        raise _wrong_scale(plug, name, found, shapes, scale, path)
    try:
        module: nn.Module = plug.build(**{**found, "scale": scale, **(hyper or {})})
    except (TypeError, KeyError) as problem:
        raise UserError(
            f"`{name}` cannot be built with {dict(hyper or {})}: {problem}",
            where=str(path),
            hint=f"the tensors say {found}",
        ) from None
    module.load_state_dict(tensors)
    collapsed: nn.Module = plug.collapse(module)
    return collapsed.eval()


def _only_fitting(shapes: Shapes, scale: int, path: Path) -> str:
    fitting = [n for n in plugins.names("archs") if plugins.load("archs", n).detect(shapes)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(
            f"the tensors fit more than one architecture: {', '.join(fitting)}",
            where=str(path),
            hint="state `arch` in the recipe",
        )
    near = max((_likeness(n, shapes) for n in plugins.names("archs")), key=lambda n: n.share)
    raise UserError(
        f"no architecture explains these {len(shapes)} tensors; the nearest is "
        f"`{near.name}`, {near.share:.0%} of them{_disagreement(near, shapes, scale)}",
        where=str(path),
        hint="export the network to ONNX, which needs no architecture: "
        "torch.onnx.export(model, example, 'network.onnx')",
    )


@dataclass(frozen=True, kw_only=True)
class _Likeness:
    """How near the tensors are to one architecture; names with `N` for every number."""

    name: str
    share: float  # of the file's tensors
    unknown: tuple[str, ...]
    missing: tuple[str, ...]


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"`{name}`" for name in names[:LISTED]) + more


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "N", name)


def _likeness(name: str, shapes: Shapes) -> _Likeness:
    """Names and ranks compared, numbers left out, so that depth and width do not matter."""
    plug = plugins.load("archs", name)
    ours = {(_pattern(n), len(s)) for n, s in shapes_built(plug.build, {"scale": 2}).items()}
    theirs = [(_pattern(n), len(s)) for n, s in renamed(shapes, plug.rename).items()]
    known = sum(1 for entry in theirs if entry in ours)
    return _Likeness(
        name=name,
        share=known / len(theirs),
        unknown=tuple(dict.fromkeys(n for n, rank in theirs if (n, rank) not in ours)),
        missing=tuple(sorted({n for n, rank in ours - set(theirs)})),
    )


def _misfit(name: str, shapes: Shapes, scale: int, path: Path) -> UserError:
    """What in the file disagrees with the stated architecture."""
    near = _likeness(name, shapes)
    return UserError(
        f"this is not `{name}`, which explains {near.share:.0%} of the tensors"
        + _disagreement(near, shapes, scale),
        where=str(path),
        hint="leave `arch` out to have it detected, or export the network to ONNX",
    )


def _disagreement(near: _Likeness, shapes: Shapes, scale: int) -> str:
    """Names that differ; where all are known, the tensors that differ by number or shape."""
    parts = []
    if near.unknown:
        parts.append(f"not in it: {_listed(near.unknown)}")
    if near.missing:
        parts.append(f"missing: {_listed(near.missing)}")
    if parts:
        return f" ({'; '.join(parts)})"
    plug = plugins.load("archs", near.name)
    ours = renamed(shapes, plug.rename)
    hyper = plug.guess(ours) or {}
    return ":" + "".join(
        f"\n  {line}" for line in _differences(plug, {"scale": scale, **hyper}, ours)
    )


def _differences(plug: ModuleType, hyper: Mapping[str, Any], ours: Shapes) -> list[str]:
    expected = shapes_built(plug.build, hyper)
    lines = [f"missing `{n}` {list(expected[n])}" for n in expected if n not in ours]
    lines += [f"unknown `{n}` {list(ours[n])}" for n in ours if n not in expected]
    lines += [
        f"`{n}` is {list(ours[n])}, not {list(expected[n])}"
        for n in expected
        if n in ours and ours[n] != expected[n]
    ]
    return lines[:LISTED] + ([f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else [])


def _wrong_scale(
    plug: ModuleType, name: str, found: Mapping[str, Any], shapes: Shapes, scale: int, path: Path
) -> UserError:
    lines = _differences(plug, {**found, "scale": scale}, renamed(shapes, plug.rename))
    return UserError(
        f"this `{name}` upscales by {found['scale']}, not by {scale}:"
        + "".join(f"\n  {line}" for line in lines),
        where=str(path),
        hint=f"write `scale: {found['scale']}`",
    )
