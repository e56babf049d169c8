"""LR pictures that were handed in, held against the protocol's own; and what others look like."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolkit.contracts import Image
from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.images.decode import SUFFIXES, read_rgb
from toolkit.images.resize import low_resolution
from toolkit.images.sets import ImageFile, read_picture
from toolkit.metrics.protocol import protocol_pair

OTHER_PICTURE_RMS = 8.0  # levels; kernels differ by less, pictures by more
BORDER_PX = 3  # LR pixels that see beyond the border
SIGNATURE = 8  # rows and columns of means by which a picture is known again
SAME_SIGNATURE_RMS = 3.0  # levels; kernels do not change the mean of a block
CLOSER = 0.5  # what explains a difference leaves at most this part of it
KERNELS = ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")  # of Pillow

Means = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairFault:
    """One LR picture that is not the protocol's."""

    name: str  # of the HR picture
    looks: str  # what it looks like, as the end of a sentence
    is_swapped: bool = False  # no kernel makes one picture of another


def lr_paths(files: Sequence[ImageFile], folder: Path, scale: int) -> Mapping[str, Path]:
    """The LR picture of each HR picture: the same stem, or with `x2` or `_x2` behind it.

    Raises UserError with every problem: no folder, LR missing, unreadable, or of another size.
    """
    if not folder.is_dir():
        raise UserError("the folder of LR pictures does not exist", where=str(folder))
    there = {
        path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES
    }
    found: dict[str, Path] = {}
    problems: list[ToolkitError] = []
    for file in files:
        stem = Path(file.name).stem
        endings = ("", f"x{scale}", f"_x{scale}")
        path = next((there[stem + end] for end in endings if stem + end in there), None)
        if path is None:
            looked = ", ".join(f"`{stem}{end}`" for end in endings)
            hint = f"looked for {looked}, each with the ending of a picture"
            no_lr = UserError(f"no LR picture for `{file.name}`", where=str(folder), hint=hint)
            problems.append(no_lr)
            continue
        found[file.name] = path
        try:
            problems += _size_problem(file, path, scale)
        except UserError as problem:
            problems.append(problem)
    raise_all(problems)
    return found


def _size_problem(file: ImageFile, path: Path, scale: int) -> list[ToolkitError]:
    wanted, found = protocol_pair(read_picture(file), scale)[0].shape, read_rgb(path).shape
    if wanted == found:
        return []
    return [
        UserError(
            f"LR `{path.name}` is {found[1]} x {found[0]}, `{file.name}` at x{scale} asks for "
            f"{wanted[1]} x {wanted[0]}",
            where=str(path),
            hint="it may be of another scale, or belong to another picture",
        )
    ]


def pair_faults(
    files: Sequence[ImageFile], lr: Mapping[str, Path], scale: int
) -> tuple[PairFault, ...]:
    """Every pair whose LR is not, bit for bit, what the protocol makes of HR."""
    wrong = [file for file in files if not _is_protocols(file, lr[file.name], scale)]
    if not wrong:
        return ()
    known = {file.name: signature(_own_lr(file, scale)) for file in files}
    return tuple(_fault(file, lr[file.name], scale, known) for file in wrong)


def _own_lr(file: ImageFile, scale: int) -> Image:
    return protocol_pair(read_picture(file), scale)[0]


def _is_protocols(file: ImageFile, path: Path, scale: int) -> bool:
    return bool(np.array_equal(_own_lr(file, scale), read_rgb(path)))


def _fault(file: ImageFile, path: Path, scale: int, known: Mapping[str, Means]) -> PairFault:
    given = read_rgb(path)
    ours, hr = protocol_pair(read_picture(file), scale)
    if rms(given, ours) > OTHER_PICTURE_RMS and (other := _other_picture(given, file.name, known)):
        return PairFault(name=file.name, looks=f"looks like the LR of `{other}`", is_swapped=True)
    return PairFault(name=file.name, looks=looks(given, ours, hr, scale))


def _other_picture(given: Image, own: str, known: Mapping[str, Means]) -> str:
    """The name of another HR picture that this is the LR of, or an empty string."""
    found = signature(given)
    distances = {name: math.sqrt(np.mean((found - one) ** 2)) for name, one in known.items()}
    best = min(distances, key=distances.__getitem__)
    return best if best != own and distances[best] < SAME_SIGNATURE_RMS else ""


def signature(rgb: Image) -> Means:
    """Means of 8 x 8 blocks of uint8 (h, w, 3), over what whole blocks cover: (8, 8, 3)."""
    height, width = (side // SIGNATURE for side in rgb.shape[:2])
    part = rgb[: height * SIGNATURE, : width * SIGNATURE].astype(np.float64)
    means: Means = part.reshape(SIGNATURE, height, SIGNATURE, width, 3).mean(axis=(1, 3))
    return means


def rms(a: Image, b: Image) -> float:
    """Root mean square of the difference of two pictures of one shape, in levels."""
    return math.sqrt(float(np.mean((a.astype(np.float64) - b) ** 2)))


def looks(given: Image, ours: Image, hr: Image, scale: int) -> str:
    """What an LR picture looks like that is not the protocol's, as the end of a sentence.

    given, ours: uint8 (h, w, 3); hr: uint8 (h * scale, w * scale, 3).
    """
    difference = given.astype(np.int16) - ours
    apart = rms(given, ours)
    if np.array_equal(given[:, :, ::-1], ours):
        return "has its channels in the order B, G, R"
    # each of the two axes may lose up to one level
    if difference.max() <= 0 and difference.min() >= -2 and difference.mean() < -0.2:
        return "was cut off to 8 bits instead of rounded"
    if not difference[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX].any():
        return "differs along its border only, where HR was continued in another way"
    by_kernel, kernel = min((rms(given, made), name) for name, made in _by_kernels(hr, ours))
    by_shift, shift = min((rms(given, made), name) for name, made in _shifted(hr, scale))
    if min(by_kernel, by_shift) > CLOSER * apart:
        return f"differs by {apart:.2f} levels: changed afterwards, or by an unknown kernel"
    if by_shift < by_kernel:
        return f"is shifted: HR moved {shift} fits better"
    return f"was made by another kernel, most like {kernel} of Pillow"


def _by_kernels(hr: Image, ours: Image) -> Iterator[tuple[str, Image]]:
    from PIL import Image as Pillow

    picture, size = Pillow.fromarray(np.ascontiguousarray(hr)), (ours.shape[1], ours.shape[0])
    for name in KERNELS:
        yield name, np.asarray(picture.resize(size, getattr(Pillow.Resampling, name)))


def _shifted(hr: Image, scale: int) -> Iterator[tuple[str, Image]]:
    """The LR pictures of HR moved by one of its pixels, its edge repeated."""
    padded = np.pad(hr, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = hr.shape[:2]
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        if (down, right) != (0, 0):
            moved = padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]
            yield f"by {right} px across and {down} px down", low_resolution(moved, scale)
