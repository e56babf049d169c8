"""Faults of whoever hands in the pictures, and of whoever measures them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from seeded import repack
from seeded.builds import Build, Made, scripted_clock
from seeded.case import Case, Fault, validate
from seeded.file_faults import OPENVINO, ORT
from seeded.networks import Kind
from toolkit.bundle.manifest import MANIFEST, REPORT
from toolkit.bundle.report_file import json_bytes
from toolkit.cli import _handler, _parser
from toolkit.errors import UserError
from toolkit.images.decode import read_rgb, write_png
from toolkit.images.resize import low_resolution
from toolkit.report import Verdict

# Without an anchor: one that adds the picture itself still gives a picture when fed wrongly.
PLAIN = Build(kind=Kind(name="plain", activation="Tanh", anchor="none"), target="generic-cpu")
Shrink = Callable[[np.ndarray, int], np.ndarray]


def in_lr(shrink: Shrink, after: Callable[[Path], None] = lambda folder: None) -> Any:
    """Pairs whose LR pictures `shrink` makes of HR and the scale; the files are good ones."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        (folder / "lr").mkdir()
        for path in sorted(made.pictures.iterdir()):
            write_png(folder / "lr" / path.name, shrink(read_rgb(path), made.build.kind.scale))
        after(folder / "lr")
        yield Case(made=made, bundle=made.bundle, ask=validate, more={"lr": folder / "lr"})

    return put_in


def _truncated(hr: np.ndarray, scale: int) -> np.ndarray:
    def cut(values: np.ndarray) -> np.ndarray:
        return np.clip(values, 0, 255).astype(np.uint8)

    with patch("toolkit.images.resize.round_half_up_u8", cut):
        return low_resolution(hr, scale)


def _of_pillow(kernel: Image.Resampling) -> Shrink:
    def shrink(hr: np.ndarray, scale: int) -> np.ndarray:
        size = (hr.shape[1] // scale, hr.shape[0] // scale)
        return np.asarray(Image.fromarray(hr).resize(size, kernel))

    return shrink


def _shifted(hr: np.ndarray, scale: int) -> np.ndarray:
    moved = np.concatenate([hr[:, 1:], hr[:, -1:]], axis=1)
    return low_resolution(moved, scale)


def _jpeg(hr: np.ndarray, scale: int) -> np.ndarray:
    content = io.BytesIO()
    Image.fromarray(low_resolution(hr, scale)).save(content, "jpeg", quality=95)
    return np.asarray(Image.open(content))


def _swap(folder: Path) -> None:
    first, second = sorted(folder.iterdir())[:2]
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])


def _bgr(hr: np.ndarray, scale: int) -> np.ndarray:
    return np.ascontiguousarray(low_resolution(hr, scale)[:, :, ::-1])


def _data(name: str, where: str, put_in: Any) -> Fault:
    return Fault(name=name, where=where, stage="data", build=ORT, put_in=put_in, error="LR")


@contextlib.contextmanager
def _calibrated_on_validation(made: Made, folder: Path) -> Iterator[Case]:
    """One picture that the gates are measured on is calibrated on as well."""
    project = folder / "project"
    shutil.copytree(made.network.parent, project)
    picture = next((project / "validation").iterdir())
    shutil.copyfile(picture, project / "calibration" / f"another-name{picture.suffix}")
    yield Case(made=made, bundle=project, ask=_run)


def _run(case: Case) -> Sequence[Verdict]:
    """`edgesr run` on a project that lies ready."""
    recipe = case.bundle / f"{case.made.bundle.parent.name}.yaml"
    places = ["--out", str(case.bundle / "out"), "--cache", str(case.bundle / "cache")]
    arguments = _parser().parse_args(["run", str(recipe), *places])
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = _handler("run")(arguments)
    if code:  # one target's error does not stop the others: it is printed
        errors = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
        raise UserError(errors[0].removeprefix("error: "))
    return ()


def _stated(old: str, new: str) -> Any:
    """Another word in the recipe: the float network is fed wrongly, and all files with it."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        project = folder / "project"
        shutil.copytree(made.network.parent, project)
        shutil.rmtree(project / "out")
        recipe = project / f"{made.bundle.parent.name}.yaml"
        text = recipe.read_text()
        assert old in text
        recipe.write_text(text.replace(old, new))
        bundle = project / "out" / made.bundle.parent.name / made.bundle.name
        yield Case(made=made, bundle=bundle, ask=_run_and_validate)

    return put_in


def _run_and_validate(case: Case) -> Sequence[Verdict]:
    with scripted_clock():
        _run(replace(case, bundle=case.bundle.parents[2]))
    return validate(case)


DATA = (
    _data("LR truncated", "LR files: cut off to 8 bits, not rounded", in_lr(_truncated)),
    _data(
        "resized by another kernel", "LR files: the bicubic of Pillow",
        in_lr(_of_pillow(Image.Resampling.BICUBIC)),
    ),
    _data("LR by area mean", "LR files: a box filter", in_lr(_of_pillow(Image.Resampling.BOX))),
    _data("swapped pair", "two LR files under each other's names", in_lr(low_resolution, _swap)),
    _data("LR shifted", "LR files: one HR pixel to the left", in_lr(_shifted)),
    _data("LR in BGR", "LR files: channels reversed", in_lr(_bgr)),
    Fault(
        name="wrong range stated", where="the recipe: 0 to 255 for a network of 0 to 1",
        stage="data", build=PLAIN, put_in=_stated("white: 1.0", "white: 255.0"), quick=False,
    ),
    Fault(
        name="calibrated on validation", where="one picture in both sets, under two names",
        stage="data", build=ORT, put_in=_calibrated_on_validation, error="share 1 of their",
    ),
    _data("LR through JPEG", "LR files: JPEG of quality 95", in_lr(_jpeg)),
)  # fmt: skip


@contextlib.contextmanager
def everywhere(place: str, make_new: Callable[[Any], Any]) -> Iterator[None]:
    """Replace a function in every module of the toolkit that knows it: a bug has no address."""
    module, _, name = place.rpartition(".")
    __import__(module)
    __import__("toolkit.validate.validating")
    old = getattr(sys.modules[module], name)
    new = make_new(old)
    known = [
        (m, key)
        for title, m in list(sys.modules.items())
        if title.startswith("toolkit.")
        for key, value in list(vars(m).items())
        if value is old
    ]
    with contextlib.ExitStack() as stack:
        for found, key in known:
            stack.enter_context(patch.object(found, key, new))
        yield


def in_metric(place: str, make_new: Callable[[Any], Any]) -> Any:
    """A good bundle, measured by what has a bug."""

    @contextlib.contextmanager
    def put_in(made: Made, folder: Path) -> Iterator[Case]:
        with everywhere(place, make_new):
            yield Case(made=made, bundle=made.bundle, ask=validate)

    return put_in


def _full_range(_old: Any) -> Any:
    return lambda rgb: rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def _rounded(old: Any) -> Any:
    return lambda rgb: np.round(old(rgb))


def _unshaved(old: Any) -> Any:
    import dataclasses

    from toolkit.metrics import protocol

    def score_planes(planes, hr_rgb, contract):
        wanted = protocol.luma_bt601(hr_rgb)
        got = protocol.output_luma(planes, contract)
        found = old(planes, hr_rgb, contract)
        return dataclasses.replace(found, psnr_db=protocol.psnr_db(wanted, got))

    return score_planes


def _of_rgb(old: Any) -> Any:
    import dataclasses

    from toolkit.metrics import protocol

    def score_planes(planes, hr_rgb, contract):
        shave = contract.image.scale
        inner = (slice(shave, -shave), slice(shave, -shave))
        a, b = hr_rgb[inner].astype(np.float64), planes[inner].astype(np.float64)
        found = old(planes, hr_rgb, contract)
        if a.shape != b.shape:
            return found  # a luma network has nothing else
        return dataclasses.replace(found, psnr_db=protocol.psnr_db(a, b))

    return score_planes


def _cut_off(_old: Any) -> Any:
    return lambda values: np.clip(values, 0, 255).astype(np.uint8)


@contextlib.contextmanager
def _pooled(made: Made, folder: Path) -> Iterator[Case]:
    """One mean of squares over all pictures, as some libraries take it."""

    def pooled_db(values):
        return -10 * np.log10(np.mean([10 ** (-value / 10) for value in values]))

    def mean_db(stage):
        ours, theirs = zip(*((i.psnr_db, i.reference_psnr_db) for i in stage.images), strict=True)
        return float(pooled_db(theirs) - pooled_db(ours))

    with patch("toolkit.validation.Stage.mean_db", property(mean_db)):
        yield Case(made=made, bundle=made.bundle, ask=validate)


@contextlib.contextmanager
def _other_protocol(made: Made, folder: Path) -> Iterator[Case]:
    """The bundle's report has figures of another protocol: nothing may be compared with it."""
    bundle = repack.copied(made.bundle, folder)
    report = json.loads((bundle / REPORT).read_bytes())
    report["protocol"] = "PSNR of RGB, pooled over all pictures, no pixel shaved"
    (bundle / REPORT).write_bytes(json_bytes(report))
    repack.restate(bundle, json.loads((bundle / MANIFEST).read_bytes()))
    yield Case(made=made, bundle=bundle, ask=validate)


def _metric(name: str, where: str, put_in: Any) -> Fault:
    return Fault(
        name=name, where=where, stage="metric", build=OPENVINO, put_in=put_in, error="metric"
    )


PROTOCOL = "toolkit.metrics.protocol"
METRIC = (
    _metric(
        "full-range luma", "luma: 0.299, 0.587, 0.114 without an offset",
        in_metric("toolkit.images.luma.luma_bt601", _full_range),
    ),
    _metric("pooled MSE", "the mean over pictures: of squares, not of dB", _pooled),
    _metric(
        "no border shaved", "PSNR over the whole picture",
        in_metric(f"{PROTOCOL}.score_planes", _unshaved),
    ),
    _metric(
        "PSNR of RGB", "three channels in place of luma",
        in_metric(f"{PROTOCOL}.score_planes", _of_rgb),
    ),
    _metric(
        "luma rounded as well", "luma: 8 bits before the difference",
        in_metric("toolkit.images.luma.luma_bt601", _rounded),
    ),
    _metric(
        "output cut off", "every value to 8 bits: cut off, not rounded",
        in_metric("toolkit.images.resize.round_half_up_u8", _cut_off),
    ),
    _metric(
        "SSIM by another window", "SSIM: sigma 0.5",
        in_metric("toolkit.metrics.ssim.SIGMA_PX", lambda _old: 0.5),
    ),
    _metric("figures of another protocol", "the bundle's report", _other_protocol),
)  # fmt: skip
