"""What a network expects of pixels, and what a file expects of tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Color = Literal["rgb", "bgr", "luma"]
DType = Literal["float32", "float16", "uint8", "int8"]
Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True, kw_only=True)
class ImageContract:
    """What the network was trained on; it stays the same in every file made from it.

    `luma` networks take and give BT.601 limited-range Y; chroma is then upscaled by bicubic.
    """

    scale: int
    color: Color = "rgb"
    white: float = 1.0  # the tensor value of a pixel of 255: 1.0 or 255.0
    minimum_px: int = 1  # smallest height and width the network runs on
    multiple_of: int = 1  # height and width must be multiples of it
    halo_px: int | None = 0  # LR pixels around a tile that change it; None: the whole picture does

    @property
    def channels(self) -> int:
        """1 for luma, else 3."""
        return 1 if self.color == "luma" else 3


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a file. `shape` has None where the size is free.

    Real value = (stored - zero_point) * step for integer types, where a real value of
    `ImageContract.white` is a white pixel; `step` is None for float types.
    """

    name: str
    dtype: DType
    layout: Layout
    shape: tuple[int | None, ...]
    step: float | None = None
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True)
class IoContract:
    """Everything a program needs to feed a file images and to read images from it."""

    image: ImageContract
    input: TensorSpec
    output: TensorSpec

    @property
    def tile(self) -> tuple[int, int] | None:
        """Height and width of the input where the file fixes them, else None."""
        rows, columns = (2, 3) if self.input.layout == "nchw" else (1, 2)
        height, width = self.input.shape[rows], self.input.shape[columns]
        return None if height is None or width is None else (height, width)

    def as_json(self) -> dict[str, Any]:
        """A JSON value that `io_contract` reads back."""
        return asdict(self)


def input_size(spec: TensorSpec, free_px: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Height and width to run a file at: its own where fixed, else `free_px` rounded down."""
    rows, columns = (2, 3) if spec.layout == "nchw" else (1, 2)
    height = spec.shape[rows] or free_px[0] // multiple * multiple
    width = spec.shape[columns] or free_px[1] // multiple * multiple
    return height, width


def image_contract(value: dict[str, Any]) -> ImageContract:
    """Read what `dataclasses.asdict` wrote of an `ImageContract`."""
    return ImageContract(**value)


def io_contract(value: dict[str, Any]) -> IoContract:
    """Read what `IoContract.as_json` wrote, lists of a JSON file included."""

    def tensor(spec: dict[str, Any]) -> TensorSpec:
        return TensorSpec(**{**spec, "shape": tuple(spec["shape"])})

    return IoContract(
        image=image_contract(value["image"]),
        input=tensor(value["input"]),
        output=tensor(value["output"]),
    )
