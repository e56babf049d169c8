"""The files of a validation, opened, and their pictures in one colour order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolkit import plugins
from toolkit.contracts import Artefact, Image, Session, Tensor
from toolkit.errors import UserError
from toolkit.images.tiles import NotFinite, upscale_planes
from toolkit.metrics.protocol import network_planes, score_planes
from toolkit.model.contract import IoContract
from toolkit.run.score import tileable
from toolkit.validate.comparing import NO_SCORE, Rendered


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenFile:
    """A file in its runtime on this host."""

    name: str  # in the bundle, or "float network"
    artefact: Artefact
    contract: IoContract  # as its artefact's, with a stated halo where no halo is exact
    session: Session

    def planes(self, rgb: Image) -> Image | None:
        """RGB uint8 (h, w, 3) through the file, as `upscaled` gives it; None for NaN.

        Raises UserError where the file does not give what its contract promises.
        """
        try:
            return upscaled(rgb, self.contract, self.session.run)
        except UserError as problem:
            where = problem.where or str(self.artefact.path)
            raise UserError(problem.problem, where=where, hint=problem.hint) from problem

    def rendered(self, lr: Image, hr: Image) -> Rendered:
        """The file's picture of an LR picture with its scores against HR."""
        return scored(self.planes(lr), hr, self.contract)


def opened(name: str, artefact: Artefact, *, threads: int) -> OpenFile:
    """Load a file. Raises UserError where the runtime refuses it."""
    session = plugins.load("backends", artefact.backend).open(artefact, threads=threads)
    return OpenFile(
        name=name, artefact=artefact, contract=tileable(artefact.contract), session=session
    )


def upscaled(rgb: Image, contract: IoContract, run: Callable[[Tensor], Tensor]) -> Image | None:
    """RGB uint8 (h, w, 3) through `run`; uint8 (H, W, C) in RGB order, or luma; None for NaN."""
    try:
        planes = upscale_planes(network_planes(rgb, contract), contract, run)
    except NotFinite:
        return None
    return in_rgb_order(planes, contract)


def in_rgb_order(planes: Image, contract: IoContract) -> Image:
    """A file's planes as R, G, B (luma stays), so that files compare; or RGB as the file's own."""
    return np.ascontiguousarray(planes[:, :, ::-1]) if contract.image.color == "bgr" else planes


def scored(planes: Image | None, hr: Image, contract: IoContract) -> Rendered:
    """A picture in RGB order, or luma, with its scores against HR uint8 (H, W, 3)."""
    if planes is None:
        return Rendered(planes=None, score=NO_SCORE)
    score = score_planes(in_rgb_order(planes, contract), hr, contract)
    return Rendered(planes=planes, score=score)
