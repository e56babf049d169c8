"""What a bundle shows besides numbers: the worst crops, and golden vectors for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolkit import plugins
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Artefact, Image
from toolkit.images.resize import low_resolution
from toolkit.images.sets import ImageSet, read_picture
from toolkit.images.tiles import to_tensor, upscale_rgb
from toolkit.metrics.protocol import network_planes, protocol_pair
from toolkit.model.contract import input_size
from toolkit.report import ImageScore
from toolkit.run.score import Scored, tileable
from toolkit.show.crops import Crop, worst_crops

WORST_IMAGES = 4
CROP_PX = 96
GOLDEN_PX = 96  # edge of the golden input where the file leaves the size free
# A device may round the last step the other way; a float device also adds in another order.
LEVEL = 1 / 255  # of white
INT8_LEAST_SHARE = 0.995  # of an INT8 file's pixels within one level, on any instruction set
FLOAT_TOLERANCE = 2e-3  # of white: half a grey level


def crops_of(
    reference: Scored, measured: Scored, validation: ImageSet, *, threads: int
) -> list[Crop]:
    """Windows where a file's picture leaves the float network's the most, worst images first."""
    worst = _worst_images(reference.images, measured.images)
    pictures = {file.name: read_picture(file) for file in validation.files if file.name in worst}
    scale = reference.artefact.contract.image.scale
    hr = {name: protocol_pair(picture, scale)[1] for name, picture in pictures.items()}
    return worst_crops(
        hr,
        _upscaled(reference.artefact, pictures, threads),
        _upscaled(measured.artefact, pictures, threads),
        WORST_IMAGES,
        CROP_PX,
        file=measured.artefact.path.name,
    )


def _worst_images(reference: Sequence[ImageScore], measured: Sequence[ImageScore]) -> set[str]:
    drops = [(a.psnr_db - b.psnr_db, a.name) for a, b in zip(reference, measured, strict=True)]
    return {name for _, name in sorted(drops, reverse=True)[:WORST_IMAGES]}


def _upscaled(artefact: Artefact, pictures: Mapping[str, Image], threads: int) -> dict[str, Image]:
    session = plugins.load("backends", artefact.backend).open(artefact, threads=threads)
    contract = tileable(artefact.contract)
    try:
        found = {}
        for name, picture in pictures.items():
            lr, _ = protocol_pair(picture, contract.image.scale)
            found[name] = upscale_rgb(lr, contract, session.run)
        return found
    finally:
        session.close()


def golden_of(artefact: Artefact, validation: ImageSet, *, threads: int) -> Golden:
    """One input tensor cut from the first validation picture, and what this host makes of it."""
    spec, image = artefact.contract.input, artefact.contract.image
    height, width = input_size(spec, (GOLDEN_PX, GOLDEN_PX), image.multiple_of)
    picture = read_picture(validation.files[0])
    sides = [side - side % image.scale for side in picture.shape[:2]]
    lr = low_resolution(picture[: sides[0], : sides[1]], image.scale)
    repeats = (-(-height // lr.shape[0]), -(-width // lr.shape[1]), 1)
    rows = _tiled(lr, repeats)[:height, :width]
    tensor = to_tensor(network_planes(rows, artefact.contract), spec, image.white)
    session = plugins.load("backends", artefact.backend).open(artefact, threads=threads)
    try:
        output = session.run(tensor)
    finally:
        session.close()
    tolerance, least_share = golden_tolerance(artefact)
    return Golden(
        file=artefact.path.name,
        input=tensor,
        output=output,
        tolerance=tolerance,
        least_share=least_share,
    )


def golden_tolerance(artefact: Artefact) -> tuple[float, float]:
    """The largest difference of stored output values, and the share of them that must keep it."""
    output, white = artefact.contract.output, artefact.contract.image.white
    if artefact.precision == "float16":  # in half precision there, in float32 on this host
        return white * LEVEL, 1.0
    if artefact.precision != "int8":
        return FLOAT_TOLERANCE * white, 1.0
    if output.step is None:  # float32 that lies on grey levels, but for its last bits
        return white * LEVEL * 1.01, INT8_LEAST_SHARE
    return max(1.0, white * LEVEL / output.step), INT8_LEAST_SHARE


def _tiled(picture: Image, repeats: tuple[int, int, int]) -> Image:
    import numpy as np

    return np.tile(picture, repeats)
