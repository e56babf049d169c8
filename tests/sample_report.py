"""A small report with every part in it, for the tests of what is shown and packed."""

from dataclasses import replace

from toolkit.report import (
    ImageScore,
    Latency,
    Measured,
    Report,
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
    )
    return replace(whole, **changes)
