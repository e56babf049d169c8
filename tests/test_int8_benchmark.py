"""The INT8 benchmark's arithmetic: what is worst, what is met, and what a missing figure is."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from int8_results import ChartError, Drops, NetworkResult, Timing, Variant, geometric_mean
from int8_table import replace_section
from int8_verdicts import Requirement, requirements

FINE = {"white": ChartError(largest=1, mean=0.1)}


def drops(set5, set14, charts=None):
    return Drops(by_set={"Set5": set5, "Set14": set14}, charts=charts or FINE)


def variant(name="rounding", **by_runtime):
    shares = {"onnxruntime, openvino": 1.0, "onnxruntime, litert": 0.99, "openvino, litert": 1.0}
    return Variant(name=name, drops=by_runtime, within_one_level=shares, minutes=1.0)


def three(a, b, c, name="rounding"):
    each = {"onnxruntime": a, "openvino": b, "litert": c, "tensorrt": a}
    return variant(name, **{k: drops(v, v) for k, v in each.items()})


def cell(result, words):
    found = [c for c in requirements([result]) if words in c.text]
    assert len(found) == 1, [c.text for c in found]
    return found[0]


def result(*variants, name="student", timings=None):
    return NetworkResult(
        name=name, float_db={}, variants={v.name: v for v in variants}, timings=timings or {}
    )


def test_the_mean_counts_each_set_once_and_the_worst_runtime_is_taken():
    one = variant(
        onnxruntime=drops(0.01, 0.03), openvino=drops(0.06, 0.08), litert=drops(0.0, 0.01)
    )
    assert one.worst_db() == pytest.approx(0.07)
    assert one.spread_db() == pytest.approx(0.065)
    assert one.least_within() == 0.99


def test_a_runtime_that_is_missing_makes_the_cell_not_measured():
    one = variant(onnxruntime=drops(0.01, 0.01), openvino=drops(0.01, 0.01))
    assert math.isnan(one.worst_db())
    assert math.isnan(one.spread_db())
    found = cell(result(one), "no training (`rounding`): drop, worst")
    assert found.verdict(found.required).startswith("not measured")


@pytest.mark.parametrize(
    "sense, value, said",
    [
        ("at most", 0.05, "met"),
        ("at most", 0.062, "MISSED by 0.012 dB"),
        ("at most", 0.0502, "MISSED by less than 0.001 dB"),
        ("at least", 0.05, "met"),
        ("at least", 0.041, "MISSED by 0.009 dB"),
        ("at most", math.nan, "not measured"),
    ],
)
def test_a_verdict_says_by_how_much(sense, value, said):
    one = Requirement(
        text="", network="", value=value, required=0.05, aim=0.03, unit="dB", sense=sense
    )
    assert one.verdict(one.required) == said


def test_limits_are_the_issues_and_the_stand_in_has_two_hundredths_more():
    found = {
        name: [
            (c.required, c.aim)
            for c in requirements([result(three(0, 0, 0), name=name)])
            if "drop, " in c.text
        ]
        for name in ("student", "etds_s_x2")
    }
    rounded = {k: [(round(a, 3), b) for a, b in v] for k, v in found.items()}
    assert rounded["student"] == [(0.05, 0.03), (0.07, 0.03), (0.02, 0.0), (0.04, 0.0)]
    assert rounded["etds_s_x2"] == [(0.9, 0.5), (0.92, 0.5), (0.15, 0.05), (0.17, 0.05)]


def test_the_hard_network_is_held_to_plain_8_bits():
    plain, wide = three(1.0, 1.0, 1.0), three(0.1, 0.1, 0.1, "mixed")
    hard = result(plain, wide, name="etds_s_x2")
    assert cell(hard, "no training (`rounding`): drop, worst").value == 1.0
    assert cell(result(plain, wide), "no training (`mixed`): drop, worst").value == 0.1


def test_a_rung_that_holds_the_limit_counts_before_one_that_loses_less():
    low, less = three(0.04, 0.04, 0.04), three(0.01, 0.01, 0.01, "mixed")
    assert cell(result(low, less), "no training (`rounding`): drop, worst").value == 0.04


def test_speed_is_of_the_variant_whose_drop_counts():
    def times(**median_ms):
        return {tuple(k.split("_")): Timing(median_ms=v, n=9) for k, v in median_ms.items()}

    timings = {}
    for runtime in ("onnxruntime", "openvino", "litert"):
        timings |= times(**{f"{runtime}_float32": 100.0, f"{runtime}_rounding": 10.0})
        timings |= times(**{f"{runtime}_mixed": 50.0, f"{runtime}_vendors": 40.0})
    vendors = three(0.2, 0.0, 0.2, "vendors")
    one = result(three(0.2, 0.2, 0.2), three(0.1, 0.1, 0.1, "mixed"), vendors, timings=timings)
    assert cell(one, "INT8 speed over float32, all runtimes").value == pytest.approx(2.0)
    assert cell(one, "litert: speed over the vendor's default").value == pytest.approx(0.8)
    assert cell(one, "openvino: drop over the vendor's default").value == pytest.approx(0.1)


def test_a_vendor_that_made_no_file_is_not_lost_against():
    vendors = variant("vendors", onnxruntime=drops(0.5, 0.5))
    cells = requirements([result(three(0.1, 0.1, 0.1), vendors)])
    assert [c.text for c in cells if "vendor's" in c.text] == [
        "onnxruntime: drop over the vendor's default"
    ]


def test_charts_count_the_worst_runtime_and_both_signs():
    dark = {"white": ChartError(largest=3, mean=-0.4)}
    one = variant(onnxruntime=drops(0, 0), openvino=drops(0, 0, dark), litert=drops(0, 0))
    assert cell(result(one), "charts, largest").value == 3
    assert cell(result(one), "charts, mean").value == 0.4


def test_geometric_mean_of_a_missing_ratio_is_missing():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([2.0, math.nan]))


def test_a_section_replaces_its_last_run_and_nothing_else():
    text = "# Results\n\n## A\n\nold\n\n### part\n\nolder\n\n## B\n\nkept\n"
    new = replace_section(text, "## A\n\nnew\n")
    assert new == "# Results\n\n## A\n\nnew\n\n## B\n\nkept\n"
    assert replace_section(new, "## C\n\nmore\n").endswith("kept\n\n## C\n\nmore\n")
