"""Tanh of bytes, for runtimes that have a table of bytes for the sigmoid alone.

tanh(x) = 2 sigmoid(2 x) - 1. Both maps cost nothing where values are stored as integers: the bytes
of x read with twice their step are 2 x, and the bytes of a sigmoid read with twice its step and a
zero point further up by the steps in 1 are the tanh.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolkit.model.quant_plan import QuantPlan, TensorRange
from toolkit.quant.ranges import SATURATE
from toolkit.quant.view import GraphView

WHOLE = TensorRange(low=-1.0, high=128 / 127)  # 127 steps in 1, so that -1, 0 and 1 are on the grid
NEARLY_WHOLE = 1.99  # a curve that stays in less of [-1, 1] keeps its own, finer grid
# Where the input is cut. tanh(3.2) = 0.9967 rounds to 1; a cut below 3.12 would round to less, and
# every saturated value, that is most of the contrast, would come out too small.
SATURATED = SATURATE["Tanh"].flat


def with_whole_tanh(graph: GraphView, plan: QuantPlan) -> QuantPlan:
    """The plan with the range of each tanh that reaches both ends set to `WHOLE`.

    What such a tanh reads is cut at `SATURATED`, not below.
    """
    ranges = dict(plan.ranges)
    for node in graph.nodes:
        span = plan.ranges.get(node.output[0]) if node.op_type == "Tanh" else None
        if span is None or span.high - span.low < NEARLY_WHOLE:
            continue
        ranges[node.output[0]] = WHOLE
        given = plan.ranges.get(node.input[0])
        if given is not None:
            low, high = min(given.low, -SATURATED), max(given.high, SATURATED)
            ranges[node.input[0]] = TensorRange(low=low, high=high)
    return replace(plan, ranges=ranges)


def sigmoid_zero_point(step: np.float32, zero_point: int) -> int | None:
    """Zero point with which bytes that are a tanh on this grid are a sigmoid of half the step.

    None where 1 is no whole number of steps, or the zero point does not fit into 8 bits.
    """
    in_one = round(1 / float(step))
    fits = 0 <= zero_point - in_one <= 255
    return zero_point - in_one if fits and abs(in_one * float(step) - 1) < 1e-6 else None
