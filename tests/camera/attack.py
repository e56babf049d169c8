"""What every refusal must leave behind, and that a good channel afterwards heals without help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from camera.cameras import Camera, Outcome
from camera.models import FAMILY, Model
from camera.repository import Forge
from camera.server import Server
from toolkit.digest import sha256_file

ORDER = ("root", "timestamp", "snapshot", "targets", FAMILY)
AFTER = "after the metadata"
POINTERS = ("current", "previous", "blocked", "trial")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A channel that release 1 was taken from, changed by an attacker."""

    name: str
    kind: str
    at: str  # the role that it is found in: this one and those after it are not taken over
    says: tuple[str, ...]  # words of the message: what was found
    forge: Callable[[Forge], object]
    code: int = 5


def suffered(attack: Attack, camera: Camera, forge: Forge, server: Server) -> None:
    """Carry out an attack; judge what the camera says, what it has then, and whether it heals."""
    good = forge.copy(forge.folder.parent / "good")
    attack.forge(forge)
    before = camera.store.state()
    outcome = camera.pull()
    assert_refused(outcome, attack.kind, *attack.says, code=attack.code)
    assert_kept(camera, before, forge, at=attack.at)
    good.publish(Model(2))
    for _ in range(2):  # numbers that the attack did not use
        good.renew(*ORDER)
    server.folder = good.folder
    server.well()
    assert camera.heals()
    assert camera.store.release == 2


def assert_refused(outcome: Outcome, kind: str, *says: str, code: int = 5) -> None:
    """Exit code, stable word and text, the same on stderr and in the JSON document."""
    label = "refused" if code == 5 else "error"
    assert (outcome.code, outcome.kind) == (code, kind), outcome
    assert f"{label}[{kind}]: " in outcome.stderr, outcome.stderr
    assert outcome.result["error"]["exit_code"] == code
    assert outcome.result["error"]["text"] in outcome.stderr
    for word in says:
        assert word in outcome.stderr, (word, outcome.stderr)


def assert_kept(
    camera: Camera, before: dict[str, str], forge: Forge | None = None, *, at: str = "root"
) -> None:
    """The present release is served, and nothing on disk is worse than before.

    Trusted metadata of roles before `at` may be what the channel has now: it was verified.
    """
    store, now = camera.store, camera.store.state()
    kept = [name for name in (*before, *now) if name in POINTERS or is_stored(name, before)]
    assert {n: now.get(n) for n in kept} == {n: before.get(n) for n in kept}
    assert store.is_served() and store.false_finals() == []
    roles = ORDER if at == AFTER else ORDER[: ORDER.index(at)]
    for role in ORDER:
        name = f"metadata/{role}.json"
        allowed = {before[name]}
        if forge is not None and role in roles:
            allowed |= digests(forge, role)
        assert now[name] in allowed, f"{role} was taken over"


def is_stored(name: str, before: dict[str, str]) -> bool:
    """Whether a file belongs to a release that was there before."""
    return name.startswith("releases/") and name in before


def digests(forge: Forge, role: str) -> set[str]:
    """The digests of all files of a role in a channel."""
    return {sha256_file(file) for file in (forge.folder / "metadata").glob(f"*{role}.json")}
