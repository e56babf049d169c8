"""The float network as a reference: a spine file, or any ONNX file brought into that form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.contracts import Artefact
from toolkit.errors import UserError
from toolkit.model.contract import Color
from toolkit.run.score import spine_artefact
from toolkit.run.sources import Spine
from toolkit.spec.recipe import NetworkSource

# What stands between the last layer and the picture and keeps steps of one size as they are.
KEEPS_STEPS = frozenset(
    {
        "Add", "Cast", "Clip", "DepthToSpace", "Div", "Identity", "Max", "Min", "Mul", "Pad",
        "Relu", "Reshape", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
CURVES = frozenset({"Erf", "HardSigmoid", "Sigmoid", "Softsign", "Tanh"})


@dataclass(frozen=True, kw_only=True)
class FloatNetwork:
    """A reference that ONNX Runtime runs in true float32."""

    artefact: Artefact
    warnings: tuple[str, ...]  # what its import had to say


def float_network(
    path: Path, work: Path, *, scale: int, color: Color | None = None, white: float | None = None
) -> FloatNetwork:
    """Import an ONNX file into `work` as `edgesr init` does; what is not stated is probed.

    A spine file, which carries its contract, is taken as it is unless something else is stated.
    All trial runs happen in a child process. Raises UserError, SecurityError.
    """
    from toolkit.digest import sha256_file
    from toolkit.model.graph import load_checked
    from toolkit.model.importing import import_onnx
    from toolkit.model.network import CONTRACT_KEY, read_network, write_network

    if path.suffix != ".onnx":
        raise UserError(
            f"a float reference is an .onnx file, found `{path.name}`",
            where=str(path),
            hint="--reference net.onnx: the network that the file was made from",
        )
    own = any(entry.key == CONTRACT_KEY for entry in load_checked(path).metadata_props)
    if own:
        network = read_network(path)
        image = network.contract
        if image.scale != scale:
            raise UserError(f"this network's scale is {image.scale}, not {scale}", where=str(path))
        if color in (None, image.color) and white in (None, image.white):
            spine = Spine(path=path, digest=network.digest)
            return FloatNetwork(artefact=spine_artefact(spine), warnings=())
    source = NetworkSource(scale=scale, file=path, color=color, white=white)
    imported = import_onnx(path, source)
    made = work / "reference.onnx"
    write_network(imported.model, imported.contract, made)
    spine = Spine(path=made, digest=sha256_file(made))
    return FloatNetwork(artefact=spine_artefact(spine), warnings=imported.warnings)


def graph_halo_px(reference: Artefact | None) -> int | None:
    """The halo that the float network's graph needs; None where it is not known, or no halo is
    enough."""
    from toolkit.model.facts import network_facts
    from toolkit.model.graph import load_checked

    if reference is None:
        return None
    try:
        return network_facts(load_checked(reference.path)).halo_px
    except UserError:  # a graph with sizes of its own kind: then only pictures can tell
        return None


def ends_in_curve(reference: Artefact | None) -> bool:
    """Whether the float network bends its last layer's values, as sigmoid does, into a picture.

    Then equal steps of that layer in INT8 are wider than a level where the curve is steep.
    """
    from toolkit.model.graph import load_checked

    if reference is None:
        return False
    graph = load_checked(reference.path).graph
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    node = made_by.get(graph.output[0].name)
    while node is not None and node.op_type in KEEPS_STEPS:
        data = [name for name in node.input if name and name not in constants]
        node = made_by.get(data[0]) if len(data) == 1 else None
    return node is not None and node.op_type in CURVES
