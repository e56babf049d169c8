"""The spine: one float ONNX file whose metadata carries its image contract."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from toolkit.digest import sha256_file
from toolkit.errors import UserError
from toolkit.model.contract import ImageContract, image_contract

CONTRACT_KEY = "edgesr.image_contract"
OPSET = 17  # the newest that every converter we use reads


@dataclass(frozen=True, kw_only=True)
class Network:
    """A spine file: float32, one input and one output, NCHW, N = 1, H and W free, opset 17."""

    path: Path
    digest: str
    contract: ImageContract


def write_network(model: onnx.ModelProto, contract: ImageContract, path: Path) -> Network:
    """Store `model` with its contract; the bytes depend on nothing but the two."""
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    kept = [p for p in stored.metadata_props if p.key != CONTRACT_KEY]
    del stored.metadata_props[:]
    stored.metadata_props.extend(kept)
    entry = stored.metadata_props.add()
    entry.key = CONTRACT_KEY
    entry.value = json.dumps(asdict(contract), sort_keys=True)
    path.write_bytes(stored.SerializeToString(deterministic=True))
    return Network(path=path, digest=sha256_file(path), contract=contract)


def read_network(path: Path) -> Network:
    """Open a spine file. Raises UserError where the file is not one."""
    model = onnx.load(path, load_external_data=False)
    for entry in model.metadata_props:
        if entry.key == CONTRACT_KEY:
            contract = image_contract(json.loads(entry.value))
            return Network(path=path, digest=sha256_file(path), contract=contract)
    raise UserError(
        "this ONNX file carries no image contract",
        where=str(path),
        hint="import it first: `edgesr init FILE --scale N --target NAME > my.yaml`",
    )


def tensor_names(path: Path) -> tuple[str, str]:
    """Names of the one input and the one output of a spine file."""
    graph = onnx.load(path, load_external_data=False).graph
    return graph.input[0].name, graph.output[0].name
