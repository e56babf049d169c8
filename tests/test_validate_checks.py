"""Each check of a validation finds what it is for, and says nothing of a file that is right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from quant_networks import picture as photograph
from test_images_tiles import contract, picture, shuffle_network

from toolkit.benchmark import Stability
from toolkit.contracts import Artefact
from toolkit.images.resize import bicubic_resize
from toolkit.images.tiles import with_tile
from toolkit.metrics.protocol import Score
from toolkit.validate.chart_checks import _largest, chart_verdicts, chart_wraps, charts_for
from toolkit.validate.comparing import (
    Rendered,
    border_mask,
    compared,
    interval,
    stage_verdicts,
    wrapped,
)
from toolkit.validate.files import OpenFile
from toolkit.validate.measuring import stage_of
from toolkit.validate.operators import float32_share, precision_verdicts
from toolkit.validate.picture_checks import (
    allowance,
    conversion_verdicts,
    device_verdicts,
    gain_verdict,
    picture_verdicts,
    reference_warnings,
)
from toolkit.validate.seams import folded, seam_verdicts
from toolkit.validate.subject import Pairing
from toolkit.validate.times import time_verdicts
from toolkit.validation import Budget

SCORE = Score(psnr_db=30.0, ssim=0.9)


class Session:
    """A session that is a function."""

    def __init__(self, run):
        self.run = run

    def close(self):
        pass


def open_file(run, io, name="net.onnx"):
    artefact = Artefact(path=name, backend="onnxruntime", precision="float32", contract=io)
    return OpenFile(name=name, artefact=artefact, contract=io, session=Session(run))


def bicubic(tensor):
    """A good x2 network without a seam: float32 (1, 3, h, w) in and out, white 1."""
    planes = np.round(tensor[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    large = bicubic_resize(planes, 2).astype(np.float32) / 255
    return large.transpose(2, 0, 1)[None]


def changed(change):
    """The good network with its output levels, float64 (H, W, 3), changed."""

    def run(tensor):
        levels = bicubic(tensor)[0].transpose(1, 2, 0).astype(np.float64) * 255
        return (change(levels) / 255).astype(np.float32).transpose(2, 0, 1)[None]

    return run


# seams


GOOD_CONTRACT = contract(scale=2, halo_px=2)


def seams(io, tile=None, run=None, graph_halo_px=None):
    io = io if tile is None else with_tile(io, tile)
    return seam_verdicts(open_file(run or shuffle_network(), io), graph_halo_px)


@pytest.mark.parametrize("tile", [None, (24, 24), (32, 20)])
def test_the_right_halo_leaves_no_seam(tile):
    (verdict,) = seams(GOOD_CONTRACT, tile)
    assert verdict.gate == "seams" and verdict.passed
    assert verdict.value <= 1 / 64


@pytest.mark.parametrize("tile", [None, (24, 24)])
def test_a_halo_one_pixel_short_leaves_one(tile):
    (verdict,) = seams(contract(scale=2, halo_px=1), tile)
    assert not verdict.passed and verdict.value > 0.1


@pytest.mark.parametrize("tile", [None, (24, 24)])
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("reach_px", [-2, 2])
def test_a_seam_is_found_whichever_way_the_network_looks(reach_px, axis, tile):
    def looks_one_way(tensor):
        seen = np.roll(tensor, reach_px, axis)
        beyond = [slice(None)] * 4
        beyond[axis] = slice(reach_px) if reach_px > 0 else slice(reach_px, None)
        seen[tuple(beyond)] = 0
        return seen.repeat(2, axis=2).repeat(2, axis=3)

    assert not seams(contract(scale=2, halo_px=1), tile, looks_one_way)[0].passed


def test_a_seam_far_below_one_level_is_still_seen():
    """A two hundredth of what the network gives: rounding would hide it."""

    def faint(tensor):
        return np.float32(0.5) + np.float32(0.005) * shuffle_network()(tensor)

    assert seams(GOOD_CONTRACT, run=faint)[0].passed
    (verdict,) = seams(contract(scale=2, halo_px=1), run=faint)
    assert not verdict.passed and verdict.value < 1


def test_equal_values_stay_equal_under_the_magnifier_and_others_part():
    levels = np.linspace(0, 255, 1000)
    assert (folded(levels, 255.0) == folded(levels.copy(), 255.0)).all()
    apart = np.abs(folded(levels, 255.0) - folded(levels + 1 / 64, 255.0))
    assert np.median(apart) == pytest.approx(1.0)
    assert folded(levels, 255.0).min() >= 0 and folded(levels, 255.0).max() <= 255


def test_a_contract_that_states_less_halo_than_the_graph_needs_fails_by_itself():
    halo, short = seams(GOOD_CONTRACT, graph_halo_px=2)[1], seams(GOOD_CONTRACT, graph_halo_px=3)[1]
    assert (halo.gate, halo.passed) == ("seams.halo_short_px", True)
    assert (short.value, short.passed) == (1, False)
    assert "states 2 px" in short.note and "needs 3 px" in short.note


def test_nothing_is_said_of_a_network_that_sees_the_whole_picture():
    assert seams(contract(scale=2, halo_px=None)) == []


# charts


def charts_of(run, reference=bicubic, io=GOOD_CONTRACT):
    file, wanted = open_file(run, io), open_file(reference, io)
    own = charts_for(file)
    found = chart_verdicts("net.onnx", own, own.drawn(file), own.drawn(wanted))
    return {verdict.gate: verdict for verdict in found}, chart_wraps(
        own.drawn(file), own.drawn(wanted)
    )


def test_a_file_that_is_its_reference_passes_every_chart():
    verdicts, wraps = charts_of(bicubic)
    assert set(verdicts) == {f"charts.{n}" for n in ("white", "black", "gradient", "bars", "pixel")}
    assert all(v.passed and v.value == 0 for v in verdicts.values()) and wraps == 0


def step_in_the_middle(levels):
    return levels + 9 * (levels > 128)


def back_in_the_middle(levels):
    return levels - 9 * (levels > 128)


CHART_FAULTS = {
    "white clipped by a percentile": (lambda x: np.minimum(x, 246), "charts.white"),
    "black raised": (lambda x: np.maximum(x, 6), "charts.black"),
    "a step": (step_in_the_middle, "charts.gradient"),
    "a step back": (back_in_the_middle, "charts.gradient"),
    "red and blue swapped": (lambda x: x[:, :, ::-1], "charts.bars"),
    "half a pixel across": (lambda x: (x + np.roll(x, 1, axis=1)) / 2, "charts.pixel"),
    "a pixel down": (lambda x: np.roll(x, 1, axis=0), "charts.pixel"),
}


@pytest.mark.parametrize("fault", CHART_FAULTS)
def test_a_chart_finds_its_fault(fault):
    change, gate = CHART_FAULTS[fault]
    verdicts, _ = charts_of(changed(change))
    assert not verdicts[gate].passed, verdicts[gate]


def test_red_and_blue_swapped_show_on_no_other_chart():
    verdicts, _ = charts_of(changed(lambda x: x[:, :, ::-1]))
    assert [gate for gate, v in verdicts.items() if not v.passed] == ["charts.bars"]


def test_bright_values_that_come_back_as_dark_ones_are_counted():
    wraps = charts_of(changed(lambda x: np.where(x > 250, x - 250, x)))[1]
    assert wraps > 1000
    assert wrapped(np.array([[5, 250]], np.uint8), np.array([[250, 5]], np.uint8)) == 2
    assert wrapped(np.array([[40, 220]], np.uint8), np.array([[250, 5]], np.uint8)) == 0


def test_a_network_that_gives_nan_passes_no_chart():
    def broken(tensor):
        return np.full_like(bicubic(tensor), np.nan)

    verdicts, _ = charts_of(broken)
    assert not any(v.passed for v in verdicts.values())


def test_one_gradient_that_is_no_number_is_enough():
    assert math.isnan(_largest(1.0, math.nan)) and math.isnan(_largest(math.nan, 1.0))


def test_charts_fill_a_fixed_tile_and_are_large_enough_for_the_halo():
    tiled = with_tile(contract(scale=2, halo_px=4), (48, 80))
    assert charts_for(open_file(bicubic, tiled)).pictures["chart-white"].shape == (48, 80, 3)
    wide = contract(scale=2, halo_px=60, multiple_of=8)
    assert charts_for(open_file(bicubic, wide)).pictures["chart-white"].shape == (136, 136, 3)


# pictures


def stage(change, name="conversion", pictures=3, budget=None):
    """A stage whose file is the photograph changed, uint8 in and out."""
    images = []
    for seed in range(pictures):
        wanted = photograph(40, 44, seed).astype(np.float64)
        found = np.clip(np.floor(change(wanted) + 0.5), 0, 255).astype(np.uint8)
        sides = (Rendered(planes=p.astype(np.uint8), score=SCORE) for p in (found, wanted))
        images.append(compared(f"{seed}.png", *sides, band_px=4))
    pair = Pairing(stage=name, file="net", against="float network", budget=budget or Budget())
    return stage_of(pair, images)


def failed(verdicts):
    return [verdict.gate for verdict in verdicts if not verdict.passed]


def border_changed(levels):
    spoiled = levels.copy()
    spoiled[:4] += 6
    return spoiled


PICTURE_FAULTS = {
    "nothing": (lambda x: x, []),
    "one level of noise": (lambda x: x + np.indices(x.shape).sum(0) % 2 - 0.5, ["bias_levels"]),
    "cut off instead of rounded": (lambda x: x - 0.51, ["bias_levels"]),
    "another border": (border_changed, ["bias_levels", "borders"]),
    "wrapped": (lambda x: np.where(x > 240, x - 240, x), ["bias_levels", "clip"]),
}


@pytest.mark.parametrize("fault", PICTURE_FAULTS)
def test_pictures_show_bias_borders_and_wraps(fault):
    change, gates = PICTURE_FAULTS[fault]
    assert set(gates) <= set(failed(picture_verdicts(stage(change), 0)))
    assert gates or not failed(picture_verdicts(stage(change), 0))


def test_a_border_may_differ_twice_as_much_as_the_rest():
    noisy = np.random.default_rng(0).normal(0, 3, (40, 44, 3))
    assert failed(picture_verdicts(stage(lambda x: x + noisy), 0)) == []


def test_a_noisier_int8_file_may_move_white_and_bias_with_the_rest():
    """Its noise is for the budget of dB to judge; a float file has no noise to excuse it."""
    noise = np.random.default_rng(0).normal(0, 6, (40, 44, 3))
    noisy, quiet = stage(lambda x: x + noise, "total"), stage(lambda x: x + noise / 12, "total")
    assert 3 < allowance(noisy) < 4.5 and allowance(quiet) == 1
    assert allowance(stage(lambda x: x + noise)) == 1
    assert allowance(stage(lambda x: x + 9 * noise, "total")) == 4
    half = stage(lambda x: x + noise - 0.51, "total")
    assert failed(picture_verdicts(half, 0)) == []
    assert failed(picture_verdicts(replace(half, name="conversion"), 0)) == ["bias_levels"]
    clipped = changed(lambda x: np.minimum(x, 246))
    file, wanted = open_file(clipped, GOOD_CONTRACT), open_file(bicubic, GOOD_CONTRACT)
    own = charts_for(file)
    drawn = (own.drawn(file), own.drawn(wanted))
    assert "charts.white" in failed(chart_verdicts("net", own, *drawn, allowance(quiet)))
    assert "charts.white" not in failed(chart_verdicts("net", own, *drawn, allowance(noisy)))


def test_wraps_of_charts_count_as_well():
    assert failed(picture_verdicts(stage(lambda x: x), 1)) == ["clip"]


def test_a_converted_float_file_may_be_one_level_off_and_no_more():
    def far(levels):
        levels = levels.copy()
        levels[20, 20] += 2 if levels[20, 20, 0] < 200 else -2
        return levels

    def near(levels):
        return levels + np.where(levels < 255, 1, 0)

    assert failed(conversion_verdicts(stage(near), "float32")) == []
    assert failed(conversion_verdicts(stage(far), "float32")) == ["conversion.max_error_levels"]
    assert failed(conversion_verdicts(stage(far), "float16")) == []
    assert conversion_verdicts(stage(far), "int8") == []


def test_noise_of_one_level_on_a_device_is_found_though_it_is_within_one():
    rng = np.random.default_rng(1)
    one = rng.choice([-1, 0, 1], (40, 44, 3))
    noisy = stage(lambda x: x + one, "device")
    assert failed(device_verdicts(noisy)) == ["device.rms_levels"]
    few = (rng.random((40, 44, 3)) < 0.05).astype(float)
    assert failed(device_verdicts(stage(lambda x: x + few, "device"))) == []
    two = 2 * (rng.random((40, 44, 1)) < 0.02)
    assert "device.within_one_share" in failed(device_verdicts(stage(lambda x: x + two, "device")))


def test_nan_passes_nothing():
    wanted = Rendered(planes=photograph(40, 44), score=SCORE)
    nothing = Rendered(planes=None, score=Score(psnr_db=math.nan, ssim=math.nan))
    pair = Pairing(
        stage="conversion", file="net", against="x", budget=Budget(mean_db=0.1, worst_db=0.3)
    )
    lost = stage_of(pair, [compared("a", wanted, wanted, 4), compared("b", nothing, wanted, 4)])
    verdicts = [
        *stage_verdicts(lost),
        *conversion_verdicts(lost, "float32"),
        *device_verdicts(lost),
        *picture_verdicts(lost, 0),
    ]
    assert len(verdicts) == 8
    assert failed(verdicts) == [verdict.gate for verdict in verdicts]
    assert lost.worst.name == "b"


def test_two_perfect_pictures_differ_by_nothing():
    perfect = Rendered(planes=photograph(40, 44), score=Score(psnr_db=math.inf, ssim=1.0))
    assert compared("a", perfect, perfect, 4).drop_db == 0


def test_levels_are_compared_over_all_planes_and_with_their_sign():
    wanted = np.full((20, 20, 3), 100, np.uint8)
    found = wanted.copy()
    found[10, 10] = (103, 100, 99)
    one = compared(
        "a", Rendered(planes=found, score=SCORE), Rendered(planes=wanted, score=SCORE), 2
    )
    assert one.max_error_levels == 3
    assert one.within_one_share == 399 / 400
    assert one.bias_levels == pytest.approx(2 / 1200)
    assert one.border_rms_levels == 0
    assert one.inner_rms_levels == pytest.approx(math.sqrt(10 / (16 * 16 * 3)))


def gaining(*drops_db):
    blank = compared("a", *[Rendered(planes=photograph(40, 44), score=SCORE)] * 2, 4)
    images = [replace(blank, reference_psnr_db=SCORE.psnr_db + drop) for drop in drops_db]
    pair = Pairing(stage="total", file="net", against="float network", budget=Budget())
    return [stage_of(pair, images)]


def test_a_file_that_is_better_than_its_reference_is_suspected():
    """A drop says nothing beside a network that the file was not made from."""
    (said,) = reference_warnings(gaining(-0.4, -0.3, -0.5))
    assert said.startswith("net is 0.400 dB better than float network: ")
    for usual in ((0.1, 0.2, 0.1), (-0.01, -0.02, 0.0), (-0.6, 0.3, 0.1), (math.nan, -1.0)):
        assert reference_warnings(gaining(*usual)) == []


def test_the_border_is_a_band_on_all_four_sides():
    mask = border_mask(6, 8, 2)
    assert mask.sum() == 6 * 8 - 2 * 4
    assert not mask[2:4, 2:6].any()


# budgets


def test_budgets_hold_the_mean_and_the_worst_picture():
    pair = Pairing(
        stage="quantization", file="net", against="f", budget=Budget(mean_db=0.1, worst_db=0.3)
    )
    planes = Rendered(planes=picture(40, 44), score=SCORE)

    def of(*drops_db):
        images = [
            replace(compared(f"{n}.png", planes, planes, 4), psnr_db=30 - drop)
            for n, drop in enumerate(drops_db)
        ]
        return [(v.gate, v.passed) for v in stage_verdicts(stage_of(pair, images))]

    mean, worst = "quantization.psnr_drop_db.mean", "quantization.psnr_drop_db.worst"
    assert of(0.05, 0.1) == [(mean, True), (worst, True)]
    assert of(0.0, 0.0, 0.0, 0.35) == [(mean, True), (worst, False)]
    assert of(0.15, 0.15) == [(mean, False), (worst, True)]


def test_a_limit_that_is_not_stated_is_not_held():
    verdicts = stage_verdicts(stage(lambda x: x, budget=Budget(worst_db=0.1)))
    assert [verdict.gate for verdict in verdicts] == ["conversion.psnr_drop_db.worst"]


def test_the_interval_is_that_of_the_mean_and_the_same_every_time():
    """Against the normal theory: a mean of 200 values of deviation 1 spreads by 1 / sqrt(200)."""
    drops = np.random.default_rng(3).normal(0.2, 1.0, 200)
    found = interval(list(drops))
    half = 1.96 * drops.std() / math.sqrt(200)
    assert found.low == pytest.approx(drops.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(drops.mean() + half, abs=0.15 * half)
    assert found == interval(list(drops))


def test_one_picture_has_no_spread_and_nan_no_interval():
    assert (interval([0.25]).low, interval([0.25]).high) == (0.25, 0.25)
    assert math.isnan(interval([0.1, math.nan]).low)


# precision


def operators(*precisions):
    return [{"precision": p, "macs": 100 if p else 0, "kind": "Conv"} for p in precisions]


def bare(precision):
    return Artefact(path=GoodPath, backend="openvino", precision=precision, contract=GOOD_CONTRACT)


class GoodPath:
    name = "net.xml"


def test_a_baseline_in_bfloat16_is_no_baseline():
    (verdict,) = precision_verdicts(bare("float32"), operators("float32", "bfloat16", ""), {})
    assert (verdict.gate, verdict.passed) == ("baseline_precision", False)
    assert verdict.note == "computes in bfloat16 as well"
    (verdict,) = precision_verdicts(bare("float32"), operators("float32", ""), {})
    assert verdict.passed
    assert float32_share([]) == 0


def test_work_that_fell_back_to_float_is_no_int8():
    unfused = operators("int8", "float32", "float32")
    (verdict,) = precision_verdicts(bare("int8"), unfused, {})
    assert (verdict.gate, verdict.passed) == ("int8_macs_share", False)
    (verdict,) = precision_verdicts(bare("int8"), unfused, {"int8_macs_share": 0.3})
    assert verdict.passed and verdict.note == "1 of 3 layers left in INT8"
    assert precision_verdicts(bare("float16"), operators("float16"), {}) == []


# a file that is too good, and times


def test_a_file_far_above_its_reference_fails():
    """Whatever a conversion does, it finds no detail that the network did not."""
    (found,) = [gain_verdict(one) for one in gaining(-3.7, -3.6, -3.8)]
    assert not found.passed and found.gate == "reference.gain_db"
    assert found.value == pytest.approx(3.7) and "made from another network" in found.note
    for usual in ((-0.9, -1.0, -1.1), (-0.4, 0.1), (2.0, 3.0), (math.inf, 0.0)):
        assert gain_verdict(gaining(*usual)[0]).passed
    assert gain_verdict(gaining(0.3, 0.1)[0]).value == 0
    assert not gain_verdict(gaining(math.nan, 0.1)[0]).passed


def timed(**changes):
    from sample_validation import INT8, benchmark

    made = benchmark()
    (one,) = (timing for timing in made.files if timing.file == INT8)
    return replace(made, files=(replace(one, **changes),)), INT8


def gates(taken, file, limits=None):
    return {v.gate: v for v in time_verdicts(taken, file, limits or {})}


def test_times_are_held_against_the_limit_that_the_bundle_states():
    taken, file = timed()
    found = gates(taken, file, {"latency_p90_ms": 15.0})
    assert list(found) == ["device.golden_share", "stable", "latency_p90_ms"]
    assert found["stable"].passed and found["device.golden_share"].passed
    assert not found["latency_p90_ms"].passed and found["latency_p90_ms"].value > 19
    assert gates(taken, file, {"latency_p90_ms": 99.0})["latency_p90_ms"].passed
    assert "latency_p90_ms" not in gates(taken, file)
    assert gates(taken, "another.onnx") == {} == gates(None, file)


def test_unsteady_and_wrong_times_fail():
    shaky = Stability(is_stable=False, reasons=("it drifts", "the clock fell"))
    found = gates(*timed(stability=shaky))["stable"]
    assert (found.passed, found.value, found.note) == (False, 2, "it drifts")
    assert not gates(*timed(stability=Stability(is_stable=False)))["stable"].passed
    golden = replace(timed()[0].files[0].golden, passed=False)
    assert not gates(*timed(golden=golden))["device.golden_share"].passed


def test_what_was_not_timed_is_never_stable_nor_fast():
    untimed = timed(samples_ns=(), problem="it ran out of memory")
    found = gates(*untimed, {"latency_p90_ms": 99.0})
    assert not found["stable"].passed and not found["latency_p90_ms"].passed
    assert found["stable"].note == found["latency_p90_ms"].note == "it ran out of memory"
    few = gates(*timed(samples_ns=((10**7,) * 5,)), {"latency_p90_ms": 99.0})["latency_p90_ms"]
    assert not few.passed and few.note == "too few runs for a p90"
    emulated = gates(*timed(samples_ns=()), {"latency_p90_ms": 99.0})
    assert list(emulated) == ["device.golden_share"]


def test_what_a_vendors_program_states_is_held_at_its_largest():
    stated = timed(samples_ns=(), stated_ms=({"p90": 7.5}, {"p90": 8.25}, {"p50": 9.0}))
    assert gates(*stated, {"latency_p90_ms": 8.0})["latency_p90_ms"].value == 8.25
