"""An image, a folder of images or a video from one path to another, upscaled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.images.decode import SUFFIXES, decode, write_png
from toolkit.images.tiles import upscale_rgb
from toolkit.model.contract import IoContract

if TYPE_CHECKING:
    from toolkit.contracts import Tensor

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts"})


def upscale_path(
    src: Path,
    dst: Path,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    show: Callable[[int, int, str], None],
) -> tuple[str, ...]:
    """Upscale what lies at `src`, known by being a folder or by its suffix, to `dst`.

    An image becomes a PNG (in the folder `dst` where that is one); of a folder, the images directly
    in it become PNGs in the folder `dst`; a video becomes a video. `show(done, total, note)` counts
    tiles, images or frames. Returns notes on what was converted on the way in. Each file is written
    whole or not at all and the source is never overwritten.
    Raises UserError; for a folder after all readable images are done, with every problem.
    """
    if src.is_dir():
        return _upscale_folder(src, dst, contract, run, show)
    if not src.is_file():
        raise UserError("there is nothing to upscale", where=str(src))
    target = dst / f"{src.stem}.png" if dst.is_dir() and not _is_video(src) else dst
    if dst.is_dir() and _is_video(src):
        target = dst / f"{src.stem}.mp4"
    _refuse_source(src, target)
    if _is_video(src):
        from toolkit.images.video import upscale_video  # loads the codecs

        return upscale_video(src, target, contract, run, show)
    if target.suffix.lower() != ".png":
        raise UserError(
            f"a picture is written as .png, without loss; found `{target.suffix}`",
            where=str(target),
            hint=f"name it {target.with_suffix('.png').name}",
        )
    return _upscale_image(src, target, contract, run, lambda done, total: show(done, total, ""))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _refuse_source(src: Path, dst: Path) -> None:
    if dst.exists() and dst.samefile(src):
        raise UserError(
            "this would overwrite the source", where=str(dst), hint="name another place"
        )


def _upscale_image(
    src: Path,
    dst: Path,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    on_tile: Callable[[int, int], None] | None,
) -> tuple[str, ...]:
    decoded = decode(src)
    write_png(dst, upscale_rgb(decoded.rgb, contract, run, on_tile=on_tile))
    return tuple(f"{src.name}: {note}" for note in decoded.notes)


def _upscale_folder(
    src: Path,
    dst: Path,
    contract: IoContract,
    run: Callable[[Tensor], Tensor],
    show: Callable[[int, int, str], None],
) -> tuple[str, ...]:
    if dst.exists() and not dst.is_dir():
        raise UserError("a folder of pictures needs a folder to go to", where=str(dst))
    _refuse_source(src, dst)
    paths = sorted(p for p in src.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UserError("no picture in this folder", where=str(src))
    stems = Counter(path.stem for path in paths)
    notes, problems = list[str](), list[ToolkitError]()
    for done, path in enumerate(paths, start=1):
        # `a.jpg` beside `a.png` would both become `a.png`
        name = path.stem if stems[path.stem] == 1 else path.name
        target = dst / f"{name}.png"
        try:
            notes += _upscale_image(path, target, contract, run, None)
        except UserError as problem:
            problems.append(problem)
        show(done, len(paths), path.name)
    raise_all(problems)
    return tuple(notes)
