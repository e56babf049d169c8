"""`trtexec` and `benchmark_model` as their documentation and source say they behave, for a device.

`trtexec` "builds" by copying the ONNX file and runs it in ONNX Runtime, so that its outputs are
numbers; times are made up. Texts and files: NVIDIA/TensorRT samples/common/sampleReporting.cpp,
tensorflow/lite/tools/benchmark/benchmark_model.cc, tensorflow/core/util/stats_calculator.cc.
Every call is appended to `calls` beside the program.
"""

# ruff: noqa: E501  (the programs' own lines)
from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path

import numpy as np

LATENCIES_MS = [2.5, 2.0, 2.25, 4.0]
CONVOLUTION = {
    "Name": "node_conv + node_relu",
    "LayerType": "CaskConvolution",
    "Inputs": [
        {
            "Name": "a",
            "Dimensions": [1, 12, 24, 32],
            "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format.",
        }
    ],
    "Outputs": [],
    "Weights": {"Type": "Int8", "Count": 1296},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
}
REFORMAT = {
    "Name": "Reformatting CopyNode for Input Tensor 0 to node_conv",
    "LayerType": "Reformat",
    "Inputs": [{"Name": "lr", "Dimensions": [1, 3, 24, 32], "Format/Datatype": "Row major linear FP32"}],
    "Outputs": [],
}  # fmt: skip
POINTWISE = {
    "Name": "PWN(add)",
    "LayerType": "PointWiseV2",
    "Inputs": [{"Name": "b", "Dimensions": [1, 12, 24, 32], "Format/Datatype": "Row major linear FP16 format"}],
    "Outputs": [],
}  # fmt: skip
DLA = {"Name": "{ForeignNode[conv...shuffle]}", "LayerType": "DLA", "Inputs": [], "Outputs": []}
LAYERS = [REFORMAT, CONVOLUTION, POINTWISE, DLA]

BENCHMARK_MODEL = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [tiny.int8.tflite]
INFO: Loaded model tiny.int8.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.004448
INFO: Initialized session in 18.777ms.
INFO: Running benchmark for at least 2 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=9 first=64791 curr=56295 min=54873 max=65831 avg=57758.2 std=4065

INFO: Running benchmark for at least 34 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562 p5=53100 median=54900 p95=58100

INFO: Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, Inference (avg): 55043.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.7227
"""
OLD_BENCHMARK_MODEL = """\
STARTING!
Loaded model tiny.int8.tflite
Initialized session in 17.527ms.
count=1 curr=1058871

count=50 first=885931 curr=881142 min=851668 max=903937 avg=880688 std=12426

Inference timings in us: Init: 17527, First inference: 1058871, Warmup (avg): 1.05887e+06, Inference (avg): 880688
"""
PROFILE = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t         AllocateTensors\t    1.608\t    1.608\t 100.000%\t 100.000%\t     0.000\t        1\tAllocateTensors/0

============================== Top by Computation Time ==============================
Number of nodes executed: 1

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t   TfLiteXNNPackDelegate\t    6.458\t    6.441\t 60.000%\t 60.000%\t     0.000\t        1\t[tfl.quantize4]:222
\t     TfLiteNnapiDelegate\t    1.023\t    1.078\t 10.000%\t 70.000%\t     0.000\t        1\t[a, b]:219
\t          DEPTH_TO_SPACE\t    3.001\t    3.221\t 30.000%\t 100.000%\t     0.000\t        1\t[StatefulPartitionedCall:0]:5

============================== Top by Computation Time ==============================
"""
INSIDE_PROFILE = """\
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\tConvolution (NHWC, QC8) IGEMM\t    2.000\t    2.100\t 50.000%\t 50.000%\t     0.000\t        1\tDelegate/Convolution (NHWC, QC8) IGEMM:0
\tAdd (ND, QS8)\t    1.000\t    1.050\t 25.000%\t 75.000%\t     0.000\t        1\tDelegate/Add (ND, QS8):1
\t   TfLiteXNNPackDelegate\t    3.000\t    3.150\t 75.000%\t 75.000%\t     0.000\t        1\t[out]:3
\t          DEPTH_TO_SPACE\t    1.000\t    1.000\t 25.000%\t 100.000%\t     0.000\t        1\t[out]:5
"""
OLD_PROFILE = """\
============================== Run Order ==============================
                     [node type]                  [start]         [first]        [avg ms]            [%]          [cdf%]          [mem KB]      [times called]  [Name]
               DEPTHWISE_CONV_2D                    0.000           0.802           0.719        45.131%         45.131%             0.000              1       [Relu6]
                 FULLY_CONNECTED                    0.719           0.848           0.849        53.325%         98.456%             0.000              1       [BiasAdd_1]
"""


def install(folder: Path, name: str, **settings) -> Path:
    """Put a program into a folder; `settings` are what it does otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(settings))
    program = folder / name
    shell = f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{folder}" {name} "$@"\n'
    program.write_text(shell)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def calls(folder: Path) -> list[list[str]]:
    """What was asked of the programs in a folder."""
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trtexec(words: list[str], settings: dict) -> int:
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{settings.get('digits', '100300')}] # trtexec")
    if "help" in flags:
        return 0
    if settings.get("fails"):
        print(f"[09/01/2026-10:00:00] [E] Error[1]: {settings['fails']}", file=sys.stderr)
        print("&&&& FAILED TensorRT.trtexec")
        return 1
    if "saveEngine" in flags:
        shutil.copyfile(flags["onnx"], flags["saveEngine"])
        return 0
    print("[09/01/2026-10:00:00] [I] Engine loaded in 0.0125 sec.")
    print("[09/01/2026-10:00:00] [I] Engine deserialized in 0.0375 sec.")
    if "exportOutput" in flags:
        export_output(flags, settings)
    if "exportTimes" in flags:
        Path(flags["exportTimes"]).write_text(settings.get("times") or times(flags))
    if "exportLayerInfo" in flags:
        layers = {"Layers": settings.get("layers", LAYERS), "Bindings": ["lr", "sr"]}
        Path(flags["exportLayerInfo"]).write_text(json.dumps(layers))
    if "exportProfile" in flags:
        profile = [{"count": 20}] + [
            {"name": layer["Name"], "timeMs": 10.0, "averageMs": 0.6, "medianMs": 0.5,
             "percentage": 25.0}
            for layer in LAYERS
        ]  # fmt: skip
        Path(flags["exportProfile"]).write_text(json.dumps(profile))
    print("&&&& PASSED TensorRT.trtexec")
    return 0


def times(flags: dict) -> str:
    """One run of the warm-up, as old releases write it, then the timed ones."""
    begins = float(flags["warmUp"])
    runs = [(0.5, 99.0), *((begins + 5 * at, ms) for at, ms in enumerate(LATENCIES_MS))]
    return json.dumps(
        [
            {"startEnqMs": at, "endEnqMs": at, "startH2dMs": at, "endH2dMs": at,
             "startComputeMs": at, "endComputeMs": at + ms, "startD2hMs": at, "endD2hMs": at,
             "h2dMs": 0.1, "computeMs": ms - 0.2, "d2hMs": 0.1, "latencyMs": ms}
            for at, ms in runs
        ]
    )  # fmt: skip


def export_output(flags: dict, settings: dict) -> None:
    import onnxruntime as ort

    name, _, file = flags["loadInputs"].partition(":")
    session = ort.InferenceSession(flags["loadEngine"], providers=["CPUExecutionProvider"])
    shape = flags.get("shapes", f"{name}:1x3x24x32").partition(":")[2]
    given = np.fromfile(file, np.float32).reshape([int(n) for n in shape.split("x")])
    made = session.run(None, {name: given})[0] + settings.get("shift", 0.0)
    value = {
        "name": session.get_outputs()[0].name,
        "dimensions": "x".join(map(str, made.shape)),
        "values": [float(f"{v:.6g}") for v in made.ravel()],
    }
    Path(flags["exportOutput"]).write_text(json.dumps([value]))


def benchmark_model(words: list[str], settings: dict) -> int:
    if settings.get("fails"):
        print(f"ERROR: {settings['fails']}", file=sys.stderr)
        return 1
    graph = next(word.partition("=")[2] for word in words if word.startswith("--graph="))
    if not Path(graph).is_file():
        print(f"ERROR: Failed to mmap model {graph}", file=sys.stderr)
        return 1
    text = settings.get("says", BENCHMARK_MODEL)
    if "--enable_op_profiling=true" in words:
        text += settings.get("profile", PROFILE)
    print(text, file=sys.stderr, end="")
    return 0


if __name__ == "__main__":
    place, program, *given = sys.argv[1:]
    with (Path(place) / "calls").open("a") as log:
        log.write(json.dumps([program, *given]) + "\n")
    does = json.loads((Path(place) / f"{program}.json").read_text())
    sys.exit({"trtexec": trtexec, "benchmark_model": benchmark_model}[program](given, does))
