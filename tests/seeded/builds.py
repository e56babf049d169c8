"""Good builds: bundles that `edgesr run` makes, small ones, with a scripted clock.

Only the clock is not real: whether INT8 is packed must not depend on what else this machine does.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from seeded import networks
from seeded.networks import Kind
from toolkit import __version__, plugins
from toolkit.bundle.manifest import REPORT
from toolkit.bundle.report_file import parse_report
from toolkit.cli import main
from toolkit.contracts import Artefact
from toolkit.digest import sha256_file
from toolkit.images.decode import read_rgb, write_png
from toolkit.images.sets import shipped_folder
from toolkit.report import Report
from toolkit.run.measure import Samples, artefact_input
from toolkit.run.trial import Trial
from toolkit.spec.read_target import target_folders

HERE = Path(__file__).parent
PICTURE_PX = (132, 120)  # height, width of the HR pictures: multiples of 2, 3 and 4
PICTURES = 4
CALIBRATION_PX = 192
STUDENT = Kind(name="student", color="luma")  # the reference network; nothing is fitted


@dataclass(frozen=True, kw_only=True)
class Build:
    """One network for one target."""

    kind: Kind
    target: str
    tile: tuple[int, int] | None = None  # None: as the target says
    gates: tuple[float, float] = (0.10, 0.30)  # mean and worst drop in dB, as targets ship

    @property
    def name(self) -> str:
        tile = "" if self.tile is None else f"-{self.tile[0]}x{self.tile[1]}"
        return f"{self.kind.name}-{self.target}{tile}"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A build that lies on the disk."""

    build: Build
    bundle: Path
    network: Path  # what was handed in
    pictures: Path  # HR, none of them used for calibration


def _rgb(**changes) -> Kind:
    return Kind(**{"name": "rgb", **changes})


RGB = _rgb()
SMALL_TILE = (32, 40)  # LR pictures are larger at x2, so that every picture has seams
GOOD = (
    Build(kind=STUDENT, target="generic-cpu"),
    Build(kind=STUDENT, target="intel-n100"),
    Build(kind=STUDENT, target="raspberry-pi-5", tile=(48, 48)),
    Build(kind=STUDENT, target="jetson-orin-nano"),
    Build(kind=RGB, target="generic-cpu"),
    Build(kind=RGB, target="intel-n100"),
    Build(kind=RGB, target="raspberry-pi-5", tile=SMALL_TILE),
    Build(kind=RGB, target="intel-n100", tile=SMALL_TILE),
    Build(kind=_rgb(name="bgr", color="bgr"), target="intel-n100"),
    Build(kind=_rgb(name="bgr", color="bgr"), target="raspberry-pi-5", tile=SMALL_TILE),
    Build(kind=_rgb(name="rgb255", white=255.0, clip=True), target="generic-cpu"),
    Build(kind=_rgb(name="rgb255", white=255.0, clip=True), target="raspberry-pi-5", tile=(40, 40)),
    Build(kind=_rgb(name="rgb-x3", scale=3), target="intel-n100"),
    Build(kind=_rgb(name="luma-x3", scale=3, color="luma", features=8), target="android-npu"),
    Build(kind=_rgb(name="resize-x4", scale=4, anchor="resize"), target="generic-cpu"),
    Build(kind=_rgb(name="tanh", activation="Tanh"), target="raspberry-pi-5", tile=SMALL_TILE),
    Build(kind=_rgb(name="prelu", activation="PRelu"), target="intel-n100"),
    Build(kind=_rgb(name="skip", depth=2, skip=True), target="generic-cpu"),
    Build(kind=_rgb(name="edge", edge=True), target="intel-n100"),
    Build(kind=_rgb(name="clip", clip=True), target="artpec-8", tile=SMALL_TILE),
)

_RECIPE = {
    "version": 1,
    "steps": [{"quantize": {"patches": 24, "patch_px": 48, "train_minutes": 0}}],
    "measure": {"threads": 1, "min_runs": 10, "min_s": 0.1, "input_px": [48, 64]},
}


def make(build: Build) -> Made:
    """The bundle of a build, made once per content of toolkit, tests and build."""
    root = Path(os.environ.get("EDGESR_SEEDED") or _default_root())
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / f"{build.name}-{_key(build)}"
    with (root / f"{build.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of tests that run side by side
        if not (folder / "done").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _run(build, folder)
            (folder / "done").touch()
    return Made(
        build=build,
        bundle=folder / "out" / _stem(build) / build.target,
        network=folder / f"{_stem(build)}.onnx",
        pictures=folder / "validation",
    )


def _default_root() -> str:
    return f"{tempfile.gettempdir()}/edgesr-seeded-{os.getuid()}"


def _stem(build: Build) -> str:
    return build.kind.name


@functools.cache
def _key(build: Build) -> str:
    """Changes with the build, the toolkit's sources and how builds are made here."""
    package = Path(main.__code__.co_filename).parent
    sources = [*sorted(package.rglob("*.py")), HERE / "builds.py", HERE / "networks.py"]
    digest = hashlib.sha256(repr((build, __version__)).encode())
    for source in sources:
        if source.parent.name not in ("show", "commands", "measure", "links", "validate"):
            digest.update(sha256_file(source).encode())
    return digest.hexdigest()[:16]


def _run(build: Build, folder: Path) -> None:
    with scripted_clock(), patch("toolkit.run.score.try_out", _tried_here):
        report = built(build, folder)
    if not report.passed:
        raise RuntimeError(f"{build.name} is no good build: {report.verdicts}")
    shutil.rmtree(folder / "cache")


def _tried_here(artefact: Artefact, *, threads: int, input_px: tuple[int, int]) -> Trial:
    """A file's first run without a process of its own: these files abort nobody's."""
    backend = plugins.load("backends", artefact.backend)
    found = tuple(asdict(operator) for operator in backend.operators(artefact))
    return Trial(peak_memory_mb=1.0, finite=True, operators=found)


def built(build: Build, folder: Path, gates: Mapping[str, Any] | None = None) -> Report:
    """The report of `edgesr run` on a build, made in a new folder, which holds the bundle too."""
    folder.mkdir(parents=True)
    for split, side in (("calibration", (CALIBRATION_PX,) * 2), ("validation", PICTURE_PX)):
        write_pictures(folder / split, split, side)
    recipe = _recipe(build, folder)
    recipe["gates"] |= gates or {}
    path = folder / f"{_stem(build)}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    places, talk = ["--out", str(folder / "out"), "--cache", str(folder / "cache")], io.StringIO()
    with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
        main(["run", str(path), *places])
    out = folder / "out" / _stem(build)
    for place in (out / f"{build.target}.failed", out / build.target):
        if (place / REPORT).is_file():
            return parse_report((place / REPORT).read_bytes())
    raise RuntimeError(f"{build.name} was not built:\n{talk.getvalue()}")


def _recipe(build: Build, folder: Path) -> dict[str, Any]:
    kind = build.kind
    network: dict[str, Any] = {"reference": "student"}
    if kind != STUDENT:
        path = networks.write(kind, folder)
        network = {"file": path.name, "scale": kind.scale, "color": kind.color, "white": kind.white}
    return {
        **_RECIPE,
        "name": _stem(build),
        "network": network,
        "targets": [_target(build, folder)],
        "data": {"calibration": "calibration", "validation": "validation"},
        "gates": {"psnr_drop_db": dict(zip(("mean", "worst"), build.gates, strict=True))},
    }


def _target(build: Build, folder: Path) -> str:
    """The target's name, or a copy of its file with another tile."""
    if build.tile is None:
        return build.target
    name = f"{build.target}.yaml"
    shipped = next(place / name for place in target_folders() if (place / name).is_file())
    target = yaml.safe_load(shipped.read_text())
    for one in target["builds"]:
        if one["backend"] in ("litert", "openvino"):
            one["tile"] = list(build.tile)
    path = folder / name
    path.write_text(yaml.safe_dump(target))
    return str(path)


def write_pictures(folder: Path, split: str, sides: tuple[int, int]) -> None:
    """The middles of the photographs that ship, as PNG."""
    folder.mkdir(parents=True)
    paths = sorted((shipped_folder() / split).glob("*.webp"))
    for path in paths[:: len(paths) // PICTURES][:PICTURES]:
        rgb = read_rgb(path)
        top, left = ((whole - side) // 2 for whole, side in zip(rgb.shape, sides, strict=False))
        write_png(folder / f"{path.stem}.png", rgb[top : top + sides[0], left : left + sides[1]])


@contextlib.contextmanager
def scripted_clock() -> Iterator[None]:
    """INT8 files take half as long as float ones, and nothing is timed."""

    def timed(artefacts, measuring, pace=None):
        found = []
        for artefact in artefacts:
            _, height, width = artefact_input(artefact, measuring.input_px)
            time_ns = 1_000_000 if artefact.precision == "int8" else 2_000_000
            found.append(Samples(nanoseconds=(time_ns,) * 10, height_px=height, width_px=width))
        return found

    with (
        patch("toolkit.run.timing.time_interleaved", timed),
        patch("toolkit.run.attempt.time_interleaved", timed),
    ):
        yield
