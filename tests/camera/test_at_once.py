"""Six processes with fifteen pulls each on one store, while releases are published."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from needs import needs

from camera.cameras import PYTHON, Camera, Client, Outcome, c_client
from camera.models import FAMILY
from camera.running import wait_until
from camera.server import Act, Server
from camera.test_published import draft
from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft

PROCESSES, PULLS = 6, 15
LAST = 5  # releases published meanwhile
MIXES = {"python": "python", "c": "c", "mixed": "python c"}


def _clients(mix: str) -> Sequence[Client]:
    names = MIXES[mix].split()
    made = [PYTHON if name == "python" else c_client() for name in names]
    return [made[k % len(made)] for k in range(PROCESSES)]


@pytest.mark.parametrize(
    "mix",
    [
        "python",
        pytest.param("c", marks=needs("c-client")),
        pytest.param("mixed", marks=needs("c-client")),
    ],
)
def test_six_processes_share_a_store(mix: str, tmp_path: Path) -> None:
    keys = init_keys(tmp_path / "keys", families=[FAMILY])
    channel = tmp_path / "channel"
    publish_draft(channel, draft(1), keys=keys, family=FAMILY)
    root = (tmp_path / "keys/root.json").read_bytes()
    ended = threading.Event()
    with Server(channel) as server, ThreadPoolExecutor(PROCESSES + 1) as pool:
        clients = _clients(mix)
        camera = Camera.made(clients[0], tmp_path / "camera", server.url, root)
        assert camera.pull().code == 0
        watch = pool.submit(_watch, camera, ended)
        pulls = [pool.submit(_pulls, replace(camera, client=client)) for client in clients]
        for number in range(2, LAST + 1):
            publish_draft(channel, draft(number), keys=keys, family=FAMILY)
            ended.wait(0.2)
        outcomes = [outcome for one in pulls for outcome in one.result()]
        ended.set()
        looks, lost = watch.result()

        assert camera.heals()
    assert len(outcomes) == PROCESSES * PULLS
    assert [one for one in outcomes if one.code != 0] == []
    assert looks > 10 and lost == []
    assert camera.store.release == LAST
    assert camera.store.false_finals() == []
    assert not list(camera.store.folder.rglob("*.part"))
    asked = Counter(one.path for one in server.asked("/targets/*"))
    assert {path: n for path, n in asked.items() if n > 1} == {}, "fetched twice"


def _pulls(camera: Camera) -> list[Outcome]:
    return [camera.pull() for _ in range(PULLS)]


def _watch(camera: Camera, ended: threading.Event) -> tuple[int, list[str]]:
    """How often the store was read, and each time that it served nothing or an older release."""
    looks, lost, highest = 0, [], 0
    while not ended.wait(0.01):
        looks += 1
        pointer = camera.store.pointer()
        if pointer is None:
            lost.append("no pointer")
            continue
        if not camera.store.is_complete(pointer[1]) and camera.store.pointer() == pointer:
            lost.append(f"release {pointer[0]} is not complete")
        if pointer[0] < highest:
            lost.append(f"release {highest} became {pointer[0]}")
        highest = pointer[0]
    return looks, lost


def test_a_pull_that_may_not_wait_says_who_is_busy(
    camera: Camera, server: Server, tmp_path: Path
) -> None:
    server.on("*/timestamp.json", Act(stall_after=0))
    first = camera.start(stall_s="20")
    wait_until(lambda: server.asked("*/timestamp.json"), "a first pull with the lock")
    second = camera.pull(wait="0")
    assert (second.code, second.kind) == (3, "busy"), second
    first.kill()
    first.wait()
    assert camera.pull(wait="0").code == 0, "a lock outlived its process"
