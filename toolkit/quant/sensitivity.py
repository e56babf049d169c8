"""Where INT8 loses the picture: the drop with one layer at a time in 8 bits, and what to widen.

Every number comes from the Q/DQ graph that is shipped, with all other kernels left in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from toolkit.images.luma import RGB_TO_YCBCR, YCBCR_OFFSET
from toolkit.images.sets import ImageSet
from toolkit.model.contract import ImageContract
from toolkit.model.facts import macs_by_node
from toolkit.model.graph import specialise
from toolkit.model.network import Network
from toolkit.model.quant_plan import QuantPlan
from toolkit.quant.carried import without_rounded
from toolkit.quant.ort_session import quiet_session
from toolkit.quant.patches import Pair, cut_pairs, patch_px
from toolkit.quant.placement import wanted_tensors
from toolkit.quant.qdq import quantized_model
from toolkit.quant.schemes import SCHEMES, QdqScheme
from toolkit.quant.view import view, with_names

Plane = npt.NDArray[np.float64]
PAIR_PX = 48
MOST_PAIRS = 12
# Of all the runs together: about 40 s on two cores, where unfused Q/DQ graphs do 5 G a second.
MACS_BUDGET = 200e9
REST_DB = 0.03
FLAT_CROP = 0.25  # of the mean error: a crop of sky, nearly exact in float, counts no more
LEAST_PART = 0.02  # of the whole loss: layers below it are not worth a seam to float


@dataclass(frozen=True, kw_only=True)
class LayerDrop:
    """One layer in 8 bits, the rest in float: dB lost on HR crops, and its part of all MACs."""

    node: str
    kind: str  # ONNX operator
    drop_db: float
    macs_share: float


def kernel_names(network: Network, plan: QuantPlan, scheme: QdqScheme) -> list[str]:
    """Nodes with weights that the scheme runs in INT8, in order."""
    graph = view(with_names(without_rounded(onnx.load(network.path))))
    _, names = wanted_tensors(graph, scheme, plan)
    return [n.name for n in graph.nodes if n.name in names and n.op_type in scheme.kernels]


def _luma(output: npt.NDArray[np.float32], contract: ImageContract) -> Plane:
    """Luma (H, W), 16 to 235, of a network's output (1, C, H, W); clipped, not rounded."""
    planes = np.clip(output[0].astype(np.float64) / contract.white, 0, 1)
    if contract.color == "luma":
        luma: Plane = planes[0] * 255
        return luma
    rgb = planes if contract.color == "rgb" else planes[::-1]
    return np.tensordot(RGB_TO_YCBCR[0], rgb, axes=1) + YCBCR_OFFSET[0]


def _lumas(model: onnx.ModelProto, pairs: Sequence[Pair], contract: ImageContract) -> list[Plane]:
    session, name = quiet_session(model), model.graph.input[0].name
    inner = slice(contract.scale, -contract.scale)
    outputs = (np.asarray(session.run(None, {name: pair.lr})[0]) for pair in pairs)
    return [_luma(output, contract)[inner, inner] for output in outputs]


def _mean_squares(ones: Iterable[Plane], others: Iterable[Plane]) -> Plane:
    """Mean squared difference of each picture, (pictures,)."""
    return np.array([np.square(a - b).mean() for a, b in zip(ones, others, strict=True)])


def _macs(network: Network, size_px: int) -> dict[str, int]:
    static = specialise(without_rounded(onnx.load(network.path)), size_px, size_px)
    return macs_by_node(static)


def _pairs(
    images: ImageSet, contract: ImageContract, runs: int, macs: int, size_px: int, seed: int
) -> list[Pair]:
    count = int(np.clip(MACS_BUDGET / max(1, runs * macs), 2, MOST_PAIRS))
    return list(cut_pairs(images, contract, count=count, size_px=size_px, seed=seed))


def layer_drops(
    network: Network,
    plan: QuantPlan,
    images: ImageSet,
    *,
    seed: int = 0,
    scheme: QdqScheme = SCHEMES["onnxruntime"],
    show: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[LayerDrop, ...]:
    """The drop with each node alone in 8 bits, in the order of the graph.

    The node's weights, its input and (where the scheme stores it) its output are rounded. The
    drop is the mean over HR crops of `images` of 10 log10(1 + e / m): m the float network's mean
    squared luma error, e the squared difference that 8 bits make. The product of both errors
    averages to nothing over many pictures and would be noise on the few crops that time allows.
    `show` is told how many of how many nodes are done. Empty where nothing runs in 8 bits or no
    crop can be cut.
    """
    names = kernel_names(network, plan, scheme)
    contract = network.contract
    size_px = patch_px(PAIR_PX, contract)
    macs = _macs(network, size_px)
    whole = max(1, sum(macs.values()))
    pairs = _pairs(images, contract, len(names), whole, size_px, seed)
    if not pairs or not names:
        return ()
    float_model = without_rounded(onnx.load(network.path))
    kinds = {node.name: node.op_type for node in with_names(float_model).graph.node}
    ideal = _lumas(float_model, pairs, contract)
    inner = slice(contract.scale, -contract.scale)
    own = _mean_squares(ideal, (p.luma[inner, inner] for p in pairs))
    own = np.maximum(own, max(FLAT_CROP * float(own.mean()), 1e-6))
    drops = []
    for name in names:
        others = tuple(n for n in names if n != name)
        alone = quantized_model(
            network, replace(plan, float_nodes=(*plan.float_nodes, *others)), scheme
        )
        error = _mean_squares(ideal, _lumas(alone, pairs, contract))
        share = macs.get(name, 0) / whole
        drop = float(np.mean(10 * np.log10(1 + error / own)))
        drops.append(LayerDrop(node=name, kind=kinds[name], drop_db=drop, macs_share=share))
        show(len(drops), len(names))
    return tuple(drops)


def _part(drop_db: float) -> float:
    """Squared error as a multiple of the float network's own: these add up, dB do not."""
    return float(10 ** (drop_db / 10) - 1)


def predicted_drop_db(drops: Iterable[LayerDrop], widened: Iterable[str] = ()) -> float:
    """What all layers lose together, those `widened` aside, were their errors independent."""
    apart = set(widened)
    parts = sum(_part(d.drop_db) for d in drops if d.node not in apart)
    return 10 * math.log10(1 + parts)


def nodes_to_widen(
    drops: Sequence[LayerDrop], *, macs_share: float, rest_db: float = REST_DB
) -> tuple[str, ...]:
    """The few nodes that gain most per MAC when they get more than 8 bits, in graph order.

    Taken until the predicted rest is below `rest_db` or the next one would take more than
    `macs_share` of all MACs; those that the rest then does not need are given back.
    """
    total = sum(_part(d.drop_db) for d in drops)
    worth = [d for d in drops if _part(d.drop_db) >= LEAST_PART * total]
    taken: list[LayerDrop] = []
    for drop in sorted(worth, key=lambda d: -_part(d.drop_db) / max(d.macs_share, 1e-3)):
        if predicted_drop_db(drops, (d.node for d in taken)) < rest_db:
            break
        if sum(d.macs_share for d in taken) + drop.macs_share <= macs_share:
            taken.append(drop)
    for drop in sorted(taken, key=lambda d: d.drop_db):
        fewer = [d for d in taken if d is not drop]
        if predicted_drop_db(drops, (d.node for d in fewer)) < rest_db:
            taken = fewer
    chosen = {d.node for d in taken}
    return tuple(d.node for d in drops if d.node in chosen)
