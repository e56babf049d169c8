"""Faults that lie in a bundle: of the converter, the quantizer and the packer."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seeded import ir_edits, onnx_edits, repack, tflite_edits
from seeded.builds import GOOD, Build, Made, make
from seeded.case import Case, Fault, patched, validate
from toolkit.bundle.manifest import MANIFEST, REFERENCE, REPORT
from toolkit.bundle.report_file import json_bytes

BUILDS = {build.name: build for build in GOOD}
ORT = BUILDS["rgb-generic-cpu"]
OPENVINO = BUILDS["rgb-intel-n100"]
LITERT = BUILDS["rgb-raspberry-pi-5-32x40"]
EDGE = BUILDS["edge-intel-n100"]
RESIZE = BUILDS["resize-x4-generic-cpu"]
JETSON = BUILDS["student-jetson-orin-nano"]


def in_file(change: repack.Change, only: str = "") -> Callable[[Made, Path], Any]:
    """The change in every file whose name ends in `only`, packed again."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        copy = repack.copied(made.bundle, folder)
        bundle = repack.changed(copy, change, made.pictures, only=only)
        yield Case(made=made, bundle=bundle, ask=validate)

    return put_in


def _onnx(change: Callable[[Any], None], only: str = ".onnx") -> Callable[[Made, Path], Any]:
    return in_file(onnx_edits.edited(change), only)


def _tflite(change: Callable[[Any], None], only: str = ".tflite") -> Callable[[Made, Path], Any]:
    return in_file(tflite_edits.edited(change), only)


@contextlib.contextmanager
def _bfloat16(made: Made, folder: Path) -> Iterator[Case]:
    """What OpenVINO does by itself on this CPU: nobody asks it for float32."""
    hints = "toolkit.runner.runtimes.openvino.HINTS"
    with patched((hints, {"float32": "bf16", "int8": "f32", "bfloat16": "bf16"})):
        copy = repack.copied(made.bundle, folder)
        bundle = repack.changed(copy, lambda path, entry: None, made.pictures)
        yield Case(made=made, bundle=bundle, ask=validate)


def _no_bfloat16() -> str:
    from toolkit.run.host import faster_floats

    return "" if "bfloat16" in faster_floats() else "this CPU computes no bfloat16"


CONVERSION = (
    Fault(
        name="CRD read as DCR", where="OpenVINO IR, both files: DepthToSpace's mode",
        stage="conversion", build=OPENVINO, put_in=in_file(ir_edits.swap_shuffle),
    ),
    Fault(
        name="BGR for RGB", where="ONNX Runtime, both files: input channels reversed",
        stage="conversion", build=ORT, put_in=_onnx(onnx_edits.reverse_input_channels),
    ),
    Fault(
        name="wrong range", where="ONNX Runtime, both files: 0 to 255 in place of 0 to 1",
        stage="conversion", build=ORT, put_in=_onnx(onnx_edits.range_of_bytes),
    ),
    Fault(
        name="missing clip", where="ONNX Runtime, both files: cast to a byte, 256 becomes 0",
        stage="conversion", build=ORT, put_in=_onnx(onnx_edits.wrap_bytes),
    ),
    Fault(
        name="half-pixel shift", where="ONNX Runtime, both files: Resize is `asymmetric`",
        stage="conversion", build=RESIZE, put_in=_onnx(onnx_edits.shift_half_a_pixel),
    ),
    Fault(
        name="bf16 baseline", where="OpenVINO session: no precision hint",
        stage="conversion", build=OPENVINO, put_in=_bfloat16, lacks=_no_bfloat16,
    ),
    Fault(
        name="wrong border", where="OpenVINO IR, both files: Pad with zeros, not edge pixels",
        stage="conversion", build=EDGE, put_in=in_file(ir_edits.zero_borders),
    ),
    Fault(
        name="bias lost", where="LiteRT, both files: the first convolution's bias is 0",
        stage="conversion", build=LITERT, put_in=_tflite(tflite_edits.lose_bias),
    ),
    Fault(
        name="float16 overflow", where="ONNX, float16 file: infinity where it is white",
        stage="conversion", build=JETSON, put_in=_onnx(onnx_edits.overflow, ".float16.onnx"),
    ),
)  # fmt: skip

QUANTIZATION = (
    Fault(
        name="unfused Q/DQ", where="ONNX Runtime, INT8 file: a clip between DQ and Conv",
        stage="quantization", build=ORT, put_in=_onnx(onnx_edits.part_from_conv, ".int8.onnx"),
    ),
    Fault(
        name="one wrong scale", where="OpenVINO IR, INT8: one channel of one weight, doubled",
        stage="quantization", build=OPENVINO,
        put_in=in_file(ir_edits.double_one_scale, ".int8.xml"),
    ),
    Fault(
        name="one range too short", where="LiteRT, INT8: features end at half of what they reach",
        stage="quantization", build=LITERT,
        put_in=_tflite(tflite_edits.halve_one_scale, ".int8.tflite"),
    ),
    Fault(
        name="percentile-clipped white", where="LiteRT, INT8: the picture's range ends at 0.96",
        stage="quantization", build=LITERT,
        put_in=_tflite(tflite_edits.clip_white, ".int8.tflite"),
    ),
    Fault(
        name="double rounding", where="ONNX Runtime, INT8: a grid of 232 steps before the 255",
        stage="quantization", build=ORT, put_in=_onnx(onnx_edits.round_twice, ".int8.onnx"),
    ),
    Fault(
        name="truncating, not rounding", where="ONNX Runtime, INT8: the last layer is cut off",
        stage="quantization", build=ORT, put_in=_onnx(onnx_edits.truncate, ".int8.onnx"),
    ),
    Fault(
        name="scales in wrong order", where="OpenVINO IR, INT8: the last layer's, reversed",
        stage="quantization", build=OPENVINO,
        put_in=in_file(ir_edits.reverse_weight_scales, ".int8.xml"),
    ),
    Fault(
        name="zero point moved", where="LiteRT, INT8: the last layer starts two levels off",
        stage="quantization", build=LITERT, put_in=_tflite(tflite_edits.move_zero, ".int8.tflite"),
    ),
    Fault(
        name="collapsed range", where="LiteRT, INT8: all features on one step",
        stage="quantization", build=LITERT, put_in=_tflite(tflite_edits.collapse, ".int8.tflite"),
    ),
)  # fmt: skip


def older(made: Made) -> Build:
    """The same build as it was before the network was trained again."""
    import dataclasses

    kind = dataclasses.replace(made.build.kind, seed=made.build.kind.seed + 1)
    return dataclasses.replace(made.build, kind=kind)


def _stale(names: tuple[str, ...], *, restated: bool) -> Callable[[Made, Path], Any]:
    """Files of the build before under the manifest of the new one."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        bundle = repack.copied(made.bundle, folder)
        before = make(older(made)).bundle
        for file in bundle.iterdir():
            if file.name.endswith(names):
                shutil.copyfile(before / file.name, file)
        if restated:
            repack.restate(bundle, json.loads((bundle / MANIFEST).read_bytes()), report=False)
        yield Case(made=made, bundle=bundle, ask=validate)

    return put_in


def _short_halo(path: Path, entry: dict[str, Any]) -> None:
    entry["contract"]["image"]["halo_px"] -= 1


@contextlib.contextmanager
def _other_golden(made: Made, folder: Path) -> Iterator[Case]:
    """Golden vectors of the build before, all digests stated again."""
    bundle = repack.copied(made.bundle, folder)
    before = make(older(made)).bundle
    shutil.copytree(before / "golden", bundle / "golden", dirs_exist_ok=True)
    repack.restate(bundle, json.loads((bundle / MANIFEST).read_bytes()))
    yield Case(made=made, bundle=bundle, ask=validate)


@contextlib.contextmanager
def _other_network(made: Made, folder: Path) -> Iterator[Case]:
    """The float network of the build before, all digests stated again."""
    bundle = repack.copied(made.bundle, folder)
    shutil.copyfile(make(older(made)).bundle / REFERENCE, bundle / REFERENCE)
    repack.restate(bundle, json.loads((bundle / MANIFEST).read_bytes()))
    yield Case(made=made, bundle=bundle, ask=validate)


@contextlib.contextmanager
def _polished(made: Made, folder: Path) -> Iterator[Case]:
    """Figures of INT8 files that nobody measured, all digests stated again."""
    bundle = repack.copied(made.bundle, folder)
    report = json.loads((bundle / REPORT).read_bytes())
    for file in report["files"]:
        for image in file["images"] if file["precision"] == "int8" else ():
            image["psnr_db"] += 0.01
    (bundle / REPORT).write_bytes(json_bytes(report))
    repack.restate(bundle, json.loads((bundle / MANIFEST).read_bytes()))
    yield Case(made=made, bundle=bundle, ask=validate)


PACKAGING = (
    Fault(
        name="stale artefact", where="an older INT8 file under the new manifest",
        stage="packaging", build=OPENVINO, error="its digest differs",
        put_in=_stale((".int8.xml", ".int8.bin"), restated=False),
    ),
    Fault(
        name="stale artefact, new digests", where="the same, the manifest written anew",
        stage="packaging", build=ORT, put_in=_stale((".int8.onnx",), restated=True),
    ),
    Fault(
        name="halves of two releases", where="an older .bin beside the new .xml, digests anew",
        stage="packaging", build=OPENVINO,
        put_in=_stale((".float32.bin",), restated=True),
    ),
    Fault(
        name="halo one pixel short", where="the manifest's tile contract",
        stage="packaging", build=LITERT, put_in=in_file(_short_halo),
    ),
    Fault(
        name="golden vectors of another build", where="golden/ of the build before, digests anew",
        stage="packaging", build=ORT, put_in=_other_golden,
    ),
    Fault(
        name="another float network", where="the network of the build before, digests anew",
        stage="packaging", build=ORT, put_in=_other_network,
    ),
    Fault(
        name="polished figures", where="the report: 0.01 dB more for INT8, digests anew",
        stage="packaging", build=ORT, put_in=_polished,
    ),
)  # fmt: skip
