"""A small report with every part in it, for the tests of what is shown and packed."""

from dataclasses import replace

from toolkit.report import (
    Explanation,
    ImageScore,
    Latency,
    LayerLoss,
    Measured,
    RecipeEdit,
    Recommendation,
    Report,
    Rung,
    RungFile,
    StepRecord,
    Verdict,
    psnr_drop,
)

IMAGES = (("bridge.png", 31.25, 0.9125), ("toys.png", 36.5, 0.9575), ("street.png", 28.0, 0.875))


def scores(*losses_db):
    return tuple(
        ImageScore(name=name, psnr_db=psnr - loss, ssim=ssim - loss / 100)
        for (name, psnr, ssim), loss in zip(IMAGES, losses_db, strict=True)
    )


def latency(p50_ms, precision):
    return Latency(
        p50_ms=p50_ms,
        p90_ms=p50_ms * 1.25,
        runs=240,
        threads=2,
        precision=precision,
        height_px=360,
        width_px=640,
        peak_memory_mb=81.5,
    )


def measured(file, backend, precision, size_kb, losses_db, p50_ms, *, shares=(0.0, 0.0)):
    return Measured(
        label=f"{backend} {precision}",
        file=file,
        backend=backend,
        precision=precision,
        digest="0" * 64,
        size_kb=size_kb,
        images=scores(*losses_db),
        latency=latency(p50_ms, precision),
        int8_operators_share=shares[0],
        int8_macs_share=shares[1],
    )


REFERENCE = Measured(
    label="float network",
    file="",
    backend="onnxruntime",
    precision="float32",
    digest="a" * 64,
    size_kb=58.2,
    images=scores(0, 0, 0),
    latency=None,
    int8_operators_share=0.0,
    int8_macs_share=0.0,
)
FILES = (
    measured("net.float32.xml", "openvino", "float32", 71.3, (0, 0, 0), 24.0),
    measured("net.float32.xml", "openvino", "bfloat16", 71.3, (0.02, 0.01, 0.03), 12.0),
    measured(
        "net.int8.xml", "openvino", "int8", 41.9, (0.05, 0.02, 0.11), 8.0, shares=(0.9, 0.999)
    ),
    measured("net.float32.onnx", "onnxruntime", "float32", 58.2, (0, 0, 0), 30.0),
    measured(
        "net.int8.onnx", "onnxruntime", "int8", 26.4, (0.06, 0.04, 0.20), 32.0, shares=(0.8, 1.0)
    ),
)


def drops(files):
    return {
        f"{file.file} {file.precision}": {
            "total": vars(psnr_drop(REFERENCE, file)),
            "conversion_db": 0.0,
            "quantization_db": psnr_drop(REFERENCE, file).mean_db,
        }
        for file in files
    }


def verdicts(file, worst_limit_db):
    drop = psnr_drop(REFERENCE, file)
    gates = (
        ("psnr_drop_db.mean", drop.mean_db, 0.3, "dB", ""),
        ("psnr_drop_db.worst", drop.worst_db, worst_limit_db, "dB", f"worst {drop.worst_image}"),
        ("latency_p90_ms", file.latency.p90_ms, 45.0, "ms", ""),
    )
    held = [
        Verdict(gate=g, file=file.file, value=v, limit=at, unit=unit, passed=v <= at, note=note)
        for g, v, at, unit, note in gates
    ]
    share = file.int8_macs_share
    return [
        *held,
        Verdict(
            gate="int8_macs_share",
            file=file.file,
            value=share,
            limit=0.9,
            unit="at least",
            passed=share >= 0.9,
        ),
    ]


LADDER = (
    Rung(
        name="ranges",
        state="failed",
        minutes=0.1,
        why="net.int8.onnx lost 0.912 dB, 0.3 allowed",
        key="e" * 64,
        files=(
            RungFile(file="net.int8.xml", mean_db=0.85, worst_db=1.5, p50_ms=8.2, float_p50_ms=12),
            RungFile(file="net.int8.onnx", mean_db=0.912, worst_db=1.75),
        ),
    ),
    Rung(
        name="equalise",
        state="refused",
        minutes=0.0,
        why="OpenVINO cannot convert the network",
        key="",
        files=(),
    ),
    Rung(
        name="rounding",
        state="passed",
        minutes=0.75,
        why="",
        key="f" * 64,
        files=(
            RungFile(file="net.int8.xml", mean_db=0.06, worst_db=0.11, p50_ms=8, float_p50_ms=12),
            RungFile(file="net.int8.onnx", mean_db=0.1, worst_db=0.2, p50_ms=32, float_p50_ms=30),
        ),
    ),
)
ADVICE = (
    Recommendation(
        backend="openvino",
        ship="int8",
        why="1.50 times as fast as bfloat16, 0.060 dB lost",
        int8_file="net.int8.xml",
        float_file="net.float32.xml",
        float_precision="bfloat16",
        int8_p50_ms=8.0,
        float_p50_ms=12.0,
        int8_drop_db=0.06,
        float_drop_db=0.02,
    ),
    Recommendation(
        backend="onnxruntime",
        ship="float",
        why="INT8 is only 0.94 times as fast as float32 on this host, 0.100 dB lost",
        int8_file="net.int8.onnx",
        float_file="net.float32.onnx",
        float_precision="float32",
        int8_p50_ms=32.0,
        float_p50_ms=30.0,
        int8_drop_db=0.1,
        float_drop_db=0.0,
    ),
)
EXPLANATION = Explanation(
    layers=(
        LayerLoss(node="/tail/Conv", kind="Conv", drop_db=0.07, macs_share=0.125, widened=False),
        LayerLoss(node="/head/Conv", kind="Conv", drop_db=0.02, macs_share=0.004, widened=True),
    ),
    edits=(
        RecipeEdit(
            line="- quantize: {float_nodes: [/tail/Conv]}",
            effect="keeps 1 layer with 12 % of the multiply-accumulates out of 8 bits",
        ),
    ),
)


def report(*, worst_limit_db=0.5, **changes):
    held = [v for f in FILES if f.precision == "int8" for v in verdicts(f, worst_limit_db)]
    whole = Report(
        recipe="student-x2",
        target="intel-n100",
        target_title="Intel N100 mini PC",
        passed=all(v.passed for v in held),
        verdicts=tuple(held),
        reference=REFERENCE,
        files=FILES,
        drops=drops(FILES),
        steps=(
            StepRecord(name="prune", state="kept", seconds=0.0, key="b" * 64, facts={}),
            StepRecord(
                name="quantize",
                state="ran",
                seconds=14.2,
                key="c" * 64,
                facts={"patches": 256, "float_nodes": ["tail"], "ranges": {"x": 1.0, "y": 0.5}},
            ),
        ),
        network={"parameters": 13320, "macs_360x640": 3066000000, "contract": {"scale": 2}},
        images={"validation": {"name": "validation", "count": 3, "digest": "d" * 64}},
        host={"cpu": "a test CPU", "cores": 2},
        versions={"numpy": "2.4.6", "openvino": "2026.4.1"},
        warnings=("the tail has 4 channels, the target is fast with multiples of 16",),
        protocol="BT.601 luma, 2 px shaved on each side",
        ladder=LADDER,
        recommendations=ADVICE,
        explanation=EXPLANATION,
    )
    return replace(whole, **changes)
