"""The publisher of the soak: real small networks, a bad one, rollouts and a way back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from soak_observer import Watch

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import Published, publish_draft
from toolkit.channel.rollout import roll_back, set_share
from toolkit.drafts.draft import Draft, DraftFile
from toolkit.keys.ring import KeyRing
from toolkit.release import ALL_BASIS_POINTS, GoldenPair

FAMILY = "soak"
BAD = "bad"  # the recipe of a release whose self-test fails
SIDE_PX = 16
CHANNELS = 64
SCALE = 4
SHAPE = (1, 3, SIDE_PX, SIDE_PX)
CONTRACT = {
    "input": {"name": "x", "shape": list(SHAPE), "dtype": "float32", "layout": "nchw"},
    "output": {"name": "y"},
    "image": {"white": 1.0},
}


def network(seed: int) -> bytes:
    """An ONNX file of about 125 kB: two convolutions and a DepthToSpace, weights of the seed."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.1, (CHANNELS, 3, 3, 3)).astype(np.float32)
    second = rng.normal(0, 0.02, (3 * SCALE**2, CHANNELS, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["c"], ["y"], blocksize=SCALE, mode="CRD"),
    ]
    wide = (1, 3, SIDE_PX * SCALE, SIDE_PX * SCALE)
    graph = helper.make_graph(
        nodes,
        "soak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, wide)],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    opset = helper.make_opsetid("", 17)
    made: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return made


def draft(seed: int, *, bad: bool = False) -> Draft:
    """A network with one golden vector; a bad one's vector is not what it gives."""
    import onnxruntime

    model = network(seed)
    given = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    output = session.run(None, {"x": given})[0] + np.float32(2.0 * bad)
    files = (
        DraftFile(name="model.onnx", role="model", content=model),
        DraftFile(name="golden.input.npy", role="golden", content=_npy(given)),
        DraftFile(name="golden.output.npy", role="golden", content=_npy(output)),
        DraftFile(name="contract.json", role="contract", content=json.dumps(CONTRACT).encode()),
        DraftFile(name="report.json", role="report", content=b"{}"),
    )
    pair = GoldenPair(
        input="golden.input.npy",
        output="golden.output.npy",
        tolerance_micro=10_000,
        least_share_ppm=999_000,
    )
    return Draft(
        compatible=FAMILY,
        min_firmware=0,
        recipe=BAD if bad else "good",
        backend="onnxruntime",
        precision="float32",
        scale=SCALE,
        licence="none",
        toolkit="0",
        runtime="onnxruntime",
        runtime_least="1.20.0",
        golden=(pair,),
        latency_limit_us=None,
        figures={},
        files=files,
    )


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    kept = io.BytesIO()
    np.save(kept, array)
    return kept.getvalue()


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """A channel and its keys; what it publishes is known to the observer before it is visible."""

    channel: Path
    keys: KeyRing
    root: Path
    watch: Watch

    @classmethod
    def made(cls, place: Path, watch: Watch) -> Publisher:
        """New keys and a channel with release 1 below `place`."""
        keys = init_keys(place / "keys", families=[FAMILY])
        made = cls(channel=place / "channel", keys=keys, root=place / "keys/root.json", watch=watch)
        made.publish(1, ALL_BASIS_POINTS)
        return made

    def publish(self, seed: int, basis_points: int, *, bad: bool = False) -> str:
        """The next release; what happened, in words."""
        prepared = draft(seed, bad=bad)

        def publish() -> Published:
            return publish_draft(
                self.channel, prepared, keys=self.keys, family=FAMILY, basis_points=basis_points
            )

        done = self._known(publish, bad=bad)
        share = f"{basis_points / 100:g} %"
        return f"release {done.release} at {share}" + (", bad" if bad else "")

    def share(self, basis_points: int) -> str:
        """The newest release for more cameras."""
        done = set_share(self.channel, basis_points, keys=self.keys, family=FAMILY)
        return f"release {done.release} at {basis_points / 100:g} %"

    def roll_back(self) -> str:
        """What was served before, as a newer release."""
        known = self.watch.published
        good = sorted(number for id, number in known.releases.items() if id not in known.bad)
        to = good[-2]
        done = self._known(lambda: roll_back(self.channel, keys=self.keys, family=FAMILY, to=to))
        return f"release {done.release} is release {to} again"

    @property
    def newest(self) -> int:
        """The number that all good cameras must come to."""
        return max(self.watch.published.releases.values())

    def _known(self, publish: Callable[[], Published], *, bad: bool = False) -> Published:
        """No observation falls between the moment of publishing and that of knowing it."""
        with self.watch.lock:
            done = publish()
            self.watch.published.releases[done.id] = done.release
            if bad:
                self.watch.published.bad.add(done.id)
        return done


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that the publisher does at a share of the run."""

    at: float
    do: Callable[[Publisher], str]


def _rollout(at: float, seed: int) -> list[Step]:
    return [
        Step(at=at, do=lambda one: one.publish(seed, 1_000)),
        Step(at=at + 0.03, do=lambda one: one.share(5_000)),
        Step(at=at + 0.06, do=lambda one: one.share(ALL_BASIS_POINTS)),
    ]


def schedule() -> Sequence[Step]:
    """Eight rollouts, a bad release that is stopped, and one way back, over a run of length 1."""
    return [
        *_rollout(0.03, 2),
        *_rollout(0.13, 3),
        *_rollout(0.23, 4),
        Step(at=0.33, do=lambda one: one.publish(5, ALL_BASIS_POINTS, bad=True)),
        Step(at=0.38, do=lambda one: one.share(0)),
        *_rollout(0.41, 6),
        *_rollout(0.51, 7),
        Step(at=0.61, do=lambda one: one.roll_back()),
        *_rollout(0.66, 8),
        *_rollout(0.76, 9),
        *_rollout(0.86, 10),
    ]
