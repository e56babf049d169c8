"""Where a recipe's networks and pictures come from, as files with digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.digest import sha256_file, sha256_json
from toolkit.errors import UserError
from toolkit.plugins import PACKAGE
from toolkit.run.key import Ingredients, tool_versions
from toolkit.run.walk import Walk
from toolkit.spec.recipe import NetworkSource, Recipe

if TYPE_CHECKING:
    from toolkit.images.sets import ImageSet

WEIGHTS = PACKAGE / "weights"
IMPORT_VERSION = 2
IMPORT_TOOLS = ("onnx", "onnxruntime", "onnxslim", "numpy")
WEIGHT_FILE_TOOLS = ("torch", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Spine:
    """A spine file that lies ready, with what its import had to say."""

    path: Path
    digest: str
    warnings: tuple[str, ...] = ()


def label(source: NetworkSource) -> str:
    """A short name for a network: what its files are called."""
    if source.reference:
        return f"{source.reference}-x{source.scale}"
    if source.file:
        return source.file.stem
    return f"{source.arch}-x{source.scale}"


def spine_of(walk: Walk, source: NetworkSource, slot: str) -> Spine | None:
    """The source as a spine file; None where only planning and the import would run."""
    if source.reference:
        path = WEIGHTS / f"{source.reference}.onnx"
        return Spine(path=path, digest=sha256_file(path))
    entry = walk.step(
        f"{slot}.import",
        f"import {label(source)}",
        _import_ingredients(source),
        lambda out, _work: _import(source, out),
    )
    if entry is None:
        return None
    return Spine(
        path=entry.paths["network.onnx"],
        digest=entry.digests["network.onnx"],
        warnings=tuple(entry.facts["warnings"]),
    )


def _import_ingredients(source: NetworkSource) -> Ingredients:
    params = {k: v for k, v in asdict(source).items() if k not in ("file", "reference")}
    onnx_file = source.file is not None and source.file.suffix == ".onnx"
    return Ingredients(
        step="import",
        version=IMPORT_VERSION,
        params=params,
        inputs={"file": sha256_file(source.file)} if source.file else {},
        tools=tool_versions(IMPORT_TOOLS if onnx_file else IMPORT_TOOLS + WEIGHT_FILE_TOOLS),
    )


def _import(source: NetworkSource, out: Path) -> dict[str, Any]:
    from toolkit.model.network import write_network

    imported = import_source(source)
    write_network(imported.model, imported.contract, out / "network.onnx")
    return {"warnings": list(imported.warnings), "contract": asdict(imported.contract)}


def import_source(source: NetworkSource) -> Any:
    """`toolkit.model.importing.Imported` of an ONNX file, a weight file or a fresh architecture."""
    import tempfile

    from toolkit.model.importing import import_onnx

    if source.file is not None and source.file.suffix == ".onnx":
        return import_onnx(source.file, source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(_module_as_onnx(source).SerializeToString(deterministic=True))
        return import_onnx(path, source)


def _module_as_onnx(source: NetworkSource) -> Any:
    import torch

    from toolkit import plugins
    from toolkit.model.torch_bridge import to_onnx
    from toolkit.model.weights_file import load_network

    channels = 1 if source.color == "luma" else 3
    if source.file is not None:
        module = load_network(
            source.file, arch=source.arch, scale=source.scale, hyper=source.hyper or None
        )
        first = next(p for p in module.parameters() if p.dim() == 4)
        return to_onnx(module, channels=first.shape[1], scale=source.scale)
    if source.arch is None:
        raise UserError("a network needs a `reference`, a `file` or an `arch`")
    torch.manual_seed(0)
    arch = plugins.load("archs", source.arch)
    module = arch.collapse(arch.build(scale=source.scale, channels=channels, **source.hyper))
    return to_onnx(module.eval(), channels=channels, scale=source.scale)


def image_sets(recipe: Recipe) -> tuple[ImageSet, ImageSet]:
    """Calibration and validation pictures, proven to share none."""
    from toolkit.images.sets import check_disjoint, folder_set, shipped

    calibration = (
        folder_set(recipe.calibration, "calibration")
        if recipe.calibration
        else shipped("calibration")
    )
    validation = (
        folder_set(recipe.validation, "validation") if recipe.validation else shipped("validation")
    )
    check_disjoint(calibration, validation)
    return calibration, validation


def folder_digest(folder: Path) -> str:
    """Digest of the names and bytes of every file below a folder of training pictures."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return sha256_json([[p.relative_to(folder).as_posix(), sha256_file(p)] for p in files])


def fresh_arch(source: NetworkSource) -> Mapping[str, Any] | None:
    """Name and hyper-parameters of an architecture that starts untrained, else None."""
    if source.arch is None or source.file is not None:
        return None
    channels = 1 if source.color == "luma" else 3
    return {"name": source.arch, "hyper": {"channels": channels, **source.hyper}}
