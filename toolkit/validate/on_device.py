"""The same files on a device: their tiles are recorded here, run there, and put together here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolkit.contracts import Artefact, Image, Progress, Tensor
from toolkit.measure.board import Board
from toolkit.validate.asked import Show
from toolkit.validate.comparing import Rendered, compared
from toolkit.validate.files import OpenFile, scored, upscaled
from toolkit.validate.measuring import border_px, stage_of
from toolkit.validate.pictures import Pictures
from toolkit.validate.subject import Pairing
from toolkit.validation import Budget, Comparison, Stage

THIS_HOST = "this host"
CHUNK_BYTES = 64 << 20  # of tiles that are recorded before they go to the device


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """One picture as this host computed it, and the tiles that it went through."""

    name: str
    lr: Image
    hr: Image
    host: Rendered
    tiles: tuple[Tensor, ...]


def device_stage(
    board: Board,
    artefact: Artefact,
    file: OpenFile,
    pictures: Pictures,
    *,
    budget: Budget,
    threads: int,
    show: Show,
) -> Stage:
    """One file's pictures on the device beside the same file's on this host."""
    found: list[Comparison] = []
    for chunk in chunks(pictures, file):
        tiles = [tile for one in chunk for tile in one.tiles]
        outputs = iter(board.run_batch(artefact, tiles, threads=threads) if tiles else [])
        found += [_replayed(one, file, outputs) for one in chunk]
        total = len(pictures.images.files)
        show(Progress(done=len(found), total=total, note=f"{file.name} on {board.url}"))
    pair = Pairing(stage="device", file=file.name, against=THIS_HOST, budget=budget)
    return stage_of(pair, found)


def chunks(pictures: Pictures, file: OpenFile) -> Iterator[Sequence[Recorded]]:
    """Recorded pictures in order, in groups that fit into memory, at least one each."""
    group: list[Recorded] = []
    size = 0
    for one in pictures.images.files:
        recorded = _recorded(one.name, *pictures.pair(one), file)
        group.append(recorded)
        size += sum(tile.nbytes for tile in recorded.tiles)
        if size >= CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _recorded(name: str, lr: Image, hr: Image, file: OpenFile) -> Recorded:
    tiles: list[Tensor] = []

    def run(tensor: Tensor) -> Tensor:
        tiles.append(tensor.copy())
        return file.session.run(tensor)

    planes = upscaled(lr, file.contract, run)
    host = scored(planes, hr, file.contract)
    # a picture that is not finite here stopped at its first such tile; there is nothing to compare
    kept = () if planes is None else tuple(tiles)
    return Recorded(name=name, lr=lr, hr=hr, host=host, tiles=kept)


def _replayed(one: Recorded, file: OpenFile, outputs: Iterator[Tensor]) -> Comparison:
    """Put the device's tiles together as this host did its own."""
    own = [next(outputs) for _ in one.tiles]
    turn = iter(own)
    planes = upscaled(one.lr, file.contract, lambda _tile: next(turn)) if own else None
    device = scored(planes, one.hr, file.contract)
    return compared(one.name, device, one.host, border_px(file))


def device_stages(
    board: Board,
    artefacts: Sequence[Artefact],
    files: Mapping[str, OpenFile],
    pictures: Pictures,
    *,
    budget: Budget,
    threads: int,
    show: Show,
) -> tuple[Stage, ...]:
    """Every file on the device, one after another."""
    return tuple(
        device_stage(
            board,
            artefact,
            files[artefact.path.name],
            pictures,
            budget=budget,
            threads=threads,
            show=show,
        )
        for artefact in artefacts
    )
