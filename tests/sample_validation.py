"""A validation and a benchmark with every part in them, made by code, and crops of real pictures.

Numbers are drawn from seeded distributions that look like those of real INT8 files.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from toolkit.benchmark import (
    Benchmark,
    Device,
    FileTiming,
    GoldenCheck,
    Stability,
    TimingProtocol,
    UnitUse,
)
from toolkit.report import Verdict
from toolkit.show.crops import Crop, worst_crops
from toolkit.validation import Budget, Comparison, Interval, Stage, Validation

PICTURES = Path(__file__).parent.parent / "calibration_data" / "validation"
FLOAT, INT8 = "student-x2.float32.xml", "student-x2.int8.xml"
DEVICE = Device(
    url="ssh://camera@10.0.0.17",
    name="Intel N100 mini PC",
    identity="c" * 64,
    machine="x86_64",
    cpu="Intel(R) N100",
    cores=4,
    memory_mb=7822.0,
    system="Linux 6.1.0-18-amd64",
)


def picture_names(count=12):
    real = sorted(path.name for path in PICTURES.glob("*.webp"))
    return [real[i] if i < len(real) else f"frame-{i:04}.png" for i in range(count)]


def stage(name, file, against, *, seed, mean_db, budget=None, count=12):
    """A stage whose drops scatter around `mean_db`, one picture far worse."""
    rng = np.random.default_rng(seed)
    drops = np.abs(rng.normal(mean_db, 0.35 * mean_db, count))
    drops[min(4, count - 1)] = 3.2 * mean_db
    images = []
    for index, (name_, drop) in enumerate(zip(picture_names(count), drops.tolist(), strict=True)):
        reference = 28.0 + 9.0 * ((index * 7) % 12) / 11
        images.append(
            Comparison(
                name=name_,
                psnr_db=reference - drop,
                ssim=0.9 - drop / 100,
                reference_psnr_db=reference,
                reference_ssim=0.9,
                max_error_levels=1 + round(40 * drop),
                within_one_share=1.0 - min(0.4, 0.35 * drop),
                bias_levels=float(rng.normal(0.02, 0.05)),
            )
        )
    low, high = np.quantile([rng.choice(drops, count).mean() for _ in range(400)], [0.025, 0.975])
    return Stage(
        name=name,
        file=file,
        against=against,
        budget=budget or Budget(),
        images=tuple(images),
        interval=Interval(low=float(low), high=float(high)),
    )


def drop_verdicts(stage_):
    worst, held = stage_.worst, []
    for kind, value, limit in (
        ("mean", stage_.mean_db, stage_.budget.mean_db),
        ("worst", worst.drop_db, stage_.budget.worst_db),
    ):
        if limit is not None:
            held.append(
                Verdict(
                    gate=f"{stage_.name}.psnr_drop_db.{kind}",
                    file=stage_.file,
                    value=value,
                    limit=limit,
                    unit="dB",
                    passed=value <= limit,
                    note=f"worst {worst.name}" if kind == "worst" else "",
                )
            )
    return held


def checks(file, *, seams_levels=0):
    """The gates that are no drop, for one file."""
    return [
        Verdict(gate=gate, file=file, value=value, limit=limit, unit=unit, passed=value <= limit,
                note=note)
        for gate, value, limit, unit, note in (
            ("seams", seams_levels, 1, "levels", "tiled against whole, in the seam bands"),
            ("borders", 1, 2, "levels", "outermost 16 px"),
            ("charts.white", 0, 1, "levels", ""),
            ("charts.black", 0, 1, "levels", ""),
            ("charts.gradient", 2, 3, "levels", ""),
            ("charts.bars", 2, 3, "levels", ""),
            ("charts.pixel", 0, 0.25, "px", "its centre of mass"),
            ("bias_levels", 0.03, 0.5, "levels", ""),
        )
    ]  # fmt: skip


def stages(count=12, worst_limit_db=0.5):
    held = Budget(mean_db=0.3, worst_db=worst_limit_db)
    small = Budget(mean_db=0.05, worst_db=0.1)
    whole = "float network"
    return (
        stage("total", FLOAT, whole, seed=1, mean_db=0.004, count=count),
        stage("conversion", FLOAT, whole, seed=1, mean_db=0.004, budget=small, count=count),
        stage("total", INT8, whole, seed=3, mean_db=0.114, budget=held, count=count),
        stage("quantization", INT8, FLOAT, seed=4, mean_db=0.11, budget=held, count=count),
        stage("device", INT8, "this host", seed=5, mean_db=0.002, budget=small, count=count),
    )


def validation(*, worst_limit_db=0.5, seams_levels=0, count=12, **changes):
    made = stages(count, worst_limit_db)
    verdicts = [v for one in made for v in drop_verdicts(one)]
    verdicts += [*checks(FLOAT), *checks(INT8, seams_levels=seams_levels)]
    verdicts.append(
        Verdict(gate="device.within_one_share", file=INT8, value=0.99987, limit=0.995,
                unit="", passed=True)
    )  # fmt: skip
    whole = Validation(
        subject="student-x2.intel-n100",
        recipe="student-x2",
        target="intel-n100",
        passed=all(v.passed for v in verdicts),
        protocol="Y of BT.601 (16 to 235); HR cropped to a multiple of the scale; LR by bicubic; "
        "2 px shaved on each side; mean of the PSNR per picture",
        data={"name": "validation", "count": count, "digest": "d" * 64, "lr": "made by bicubic"},
        stages=made,
        verdicts=tuple(verdicts),
        digests={FLOAT: "a" * 64, INT8: "b" * 64},
        device=DEVICE,
        versions={"numpy": "2.4.6", "openvino": "2026.4.1"},
        warnings=("12 pictures are few: the interval of the mean is wide",),
        toolkit="0.4.0",
        taken_at="2026-11-21T14:30:00Z",
    )
    return replace(whole, **changes)


def conditions(temperature_c, clock_mhz):
    def state(step):
        return {
            "temperature_c": {"x86_pkg_temp": temperature_c + 6.5 * step},
            "frequency_mhz": {"cpu0": clock_mhz - 40 * step, "cpu1": clock_mhz - 35 * step},
            "governor": "schedutil",
            "load_1m": round(0.2 + 0.9 * step, 2),
            "memory_free_mb": 5210.0 - 90 * step,
        }

    return {
        "before": state(0),
        "during": [state(1), state(2)],
        "after": state(1.5),
        "other_cpu_share": 0.03,
    }


def timing(file, precision, digest, *, base_ms, seed, drift=0.0, runs=400):
    rng = np.random.default_rng(seed)
    rounds = []
    for index in range(3):
        ms = base_ms * (1 + 0.01 * index) * rng.gamma(260, 1 / 260, runs)
        ms = ms * (1 + drift * np.linspace(index / 3, (index + 1) / 3, runs))
        ms[rng.integers(0, runs, 3)] *= rng.uniform(1.3, 1.8, 3)
        rounds.append(tuple(int(x * 1e6) for x in ms))
    reasons = ("the last third is 17.9 % slower than the first", "the CPU clock fell to 1900 MHz")
    return FileTiming(
        file=file,
        digest=digest,
        backend="openvino",
        precision=precision,
        tool="runner",
        runtime="openvino 2026.4.1",
        height_px=360,
        width_px=640,
        golden=GoldenCheck(vectors=1, worst=1.0, tolerance=1.01, within_share=1.0,
                           least_share=0.995, equal_share=0.9991, passed=True),
        samples_ns=tuple(rounds),
        load_ms=(182.0, 176.5, 179.1),
        first_ms=(base_ms * 1.9, base_ms * 1.8, base_ms * 1.7),
        peak_memory_mb=(81.5, 81.0, 82.25),
        energy_j_per_frame=None,
        stability=Stability(is_stable=not drift, reasons=reasons if drift else ()),
        units=(
            UnitUse(unit="CPU", operators=61, operators_share=61 / 64, time_ms=base_ms * 0.93,
                    precisions={"int8": 58, "float32": 3} if precision == "int8" else
                    {"float32": 61}),
            UnitUse(unit="CPU (reference)", operators=3, operators_share=3 / 64,
                    time_ms=base_ms * 0.07, precisions={"float32": 3}),
        ),
        conditions=tuple(conditions(52.0 + 4 * i, 3380.0 - 60 * i) for i in range(3)),
    )  # fmt: skip


def benchmark():
    return Benchmark(
        bundle="student-x2.intel-n100",
        target="intel-n100",
        device=DEVICE,
        protocol=TimingProtocol(threads=4),
        files=(
            timing(FLOAT, "float32", "a" * 64, base_ms=41.0, seed=11, drift=0.2),
            timing(INT8, "int8", "b" * 64, base_ms=19.5, seed=12),
        ),
        toolkit="0.4.0",
        taken_at="2026-11-21T14:32:00Z",
    )


@cache
def crops(per_file=3, size_px=96):
    """Windows of shipped pictures whose `outputs` are the originals, blurred and disturbed."""
    rng = np.random.default_rng(0)
    found: list[Crop] = []
    paths = sorted(PICTURES.glob("*.webp"))[:per_file]
    hr = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in paths}
    lr = {name: _resized(picture, 2) for name, picture in hr.items()}
    whole = {n: np.asarray(Image.fromarray(p).resize((512, 384), 3)) for n, p in lr.items()}
    for file, spread in ((FLOAT, 1.0), (INT8, 5.0)):
        noisy = {
            n: (p + rng.normal(0, spread, p.shape)).clip(0, 255).astype(np.uint8)
            for n, p in whole.items()
        }
        found += worst_crops(hr, whole, noisy, per_file, size_px, file=file, lr=lr)
    return tuple(found)


def _resized(picture, scale):
    size = (picture.shape[1] // scale, picture.shape[0] // scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
