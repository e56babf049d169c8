"""How much of a widened convolution's work is the network's own.

Zero channels and blocks make a convolution multiply by zeros. Counted as work they would make the
share of a file that runs in integers look larger than it is, so the file says in its metadata which
part of each node's multiply-accumulates is real.
"""

from __future__ import annotations

import json

import onnx

REAL_WORK_KEY = "edgesr.real_work"


def real_work(model: onnx.ModelProto) -> dict[str, float]:
    """Share of real multiply-accumulates, 0 to 1, by name of each node that has zeros added."""
    for entry in model.metadata_props:
        if entry.key == REAL_WORK_KEY:
            return {str(name): float(share) for name, share in json.loads(entry.value).items()}
    return {}


def note_real_work(model: onnx.ModelProto, node: str, share: float) -> None:
    """Write into `model` that `share` of what `node` does now is what it did before."""
    shares = real_work(model)
    shares[node] = shares.get(node, 1.0) * share
    kept = [entry for entry in model.metadata_props if entry.key != REAL_WORK_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=REAL_WORK_KEY, value=json.dumps(shares, sort_keys=True))
