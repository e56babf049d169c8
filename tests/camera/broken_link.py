"""A blob that a link breaks, and what must hold whatever became of it."""

from __future__ import annotations

from camera.cameras import Camera, Outcome
from camera.server import Server

BYTES = 70_001  # of the blob that is disturbed; no multiple of any buffer
HALF = BYTES // 2
BLOB = "*.model.bin"
TRIES = 3  # of `camera.cameras.QUICK`
ENVIRONMENT, ATTACK = 3, 5


def fetched(server: Server, pattern: str = BLOB) -> list[tuple[int, int]]:
    """(first byte, bytes sent) of each answer that carried bytes of a file."""
    return [(one.start, one.sent_bytes) for one in server.asked(pattern)]


def assert_stays(camera: Camera, outcome: Outcome, code: int, kind: str) -> None:
    """The present model is served, the reason told, and nothing is half there."""
    assert (outcome.code, outcome.kind) == (code, kind), outcome
    said = {ENVIRONMENT: "error", ATTACK: "refused"}[code]
    assert f"{said}[{kind}]" in outcome.stderr
    assert camera.store.release == 1 and camera.store.is_served()
    assert camera.store.false_finals() == []


def assert_next_run_heals(camera: Camera, server: Server) -> None:
    server.well()
    assert camera.heals()
    assert camera.store.release == 2
