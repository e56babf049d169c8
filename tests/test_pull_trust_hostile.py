"""Signed nonsense: whatever the keys of a role sign, a camera answers in its own words."""

from __future__ import annotations

import copy
import random
import shutil

import pytest
from camera.models import FAMILY
from trusting import Camera, camera_before

from toolkit.errors import SecurityError, ToolkitError
from toolkit.release import file_bytes

ORDER = ("root", "timestamp", "snapshot", "targets", FAMILY)
KINDS = {"unsigned", "wrong-key", "threshold", "tampered", "rollback", "freeze", "mix-and-match",
         "endless-data", "malformed"}  # fmt: skip
OTHERS = {"clock", "missing"}
ODD = [None, True, False, 0, 1, -1, 2, 1 << 52, "", "1", "x", "../..", "\n", "a" * 5000]
ODD += [[], {}, [1], {"a": 1}, ["x"], [[]], {"keyids": [], "threshold": 0}, "2026-13-45T00:00:00Z"]


@pytest.fixture
def camera(tmp_path) -> Camera:
    camera = camera_before(tmp_path)
    camera.refresh()
    return camera


def places(value, way=()):
    """Every way to a part of a JSON value."""
    yield way
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*way, key))


def changed(value, rng: random.Random):
    """The value with one part replaced, dropped, doubled or renamed."""
    new = copy.deepcopy(value)
    way = rng.choice([one for one in places(new) if one])
    parent = new
    for key in way[:-1]:
        parent = parent[key]
    key, deed = way[-1], rng.randrange(6)
    if deed == 0:
        del parent[key]
    elif deed == 1 and isinstance(parent, dict):
        parent[rng.choice(["", "x", "root", "a/b", "targets.json", "\n"])] = parent.pop(key)
    elif deed == 2 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = copy.deepcopy(rng.choice(ODD))
    return new


def publish(forge, role, signed):
    """`signed` as version 2 of a role, whatever it states itself, signed by the role's keys."""
    data = file_bytes(signed)
    signatures = [key.signature(data) for key in forge.keys[role]]
    forge.signed[role]["version"] = 2
    forge.put_raw(role, file_bytes({"signatures": signatures, "signed": signed}))
    above = {"snapshot": ("timestamp",), "targets": ("snapshot", "timestamp")}
    for parent in above.get(role, above["targets"] if role == FAMILY else ()):
        forge.renew(parent)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("role", ORDER)
def test_signed_nonsense_is_taken_or_refused_in_our_words(camera, role, seed):
    rng = random.Random(f"{role} {seed}")
    honest, before = camera.forge, camera.kept()
    for number in range(8):
        forge = camera.forge = honest.copy(honest.folder.parent / f"forged-{number}")
        publish(forge, role, changed({**forge.signed[role], "version": 2}, rng))
        try:
            camera.refresh()
        except ToolkitError as error:
            assert error.kind in (KINDS if isinstance(error, SecurityError) else OTHERS), error
            assert error.hint and error.where
            assert all(line.isprintable() for line in str(error).split("\n")), error
        now = camera.kept()
        whole = {one.read_bytes() for one in (forge.folder / "metadata").iterdir()}
        assert set(now.values()) <= whole | set(before.values())
        shutil.rmtree(camera.metadata)
        camera.metadata.mkdir()
        for name, data in before.items():  # the next forgery begins where this one did
            (camera.metadata / name).write_bytes(data)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("role", ORDER)
def test_flipped_and_cut_bytes_are_refused_in_our_words(camera, role, seed):
    rng = random.Random(f"{role} {seed}")
    forge = camera.forge
    forge.renew(*ORDER)
    body = bytearray(forge.file(role).read_bytes())
    before = camera.kept()
    for _ in range(6):
        forged = bytearray(body)
        forged[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.3:
            del forged[rng.randrange(len(body)) :]
        forge.put_raw(role, bytes(forged))
        error = camera.refused()
        assert error.kind in KINDS, error
        now = camera.kept()
        assert now[f"{role}.json"] == before[f"{role}.json"]
