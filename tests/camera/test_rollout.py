"""Staged rollout: the right share of cameras, growing, independent of the release before."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import pytest

from camera.models import Model
from toolkit.release import Rollout

IDS = [f"camera-{number:05}" for number in range(10_000)]
MACS = [f"00:1b:44:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}" for n in range(10_000)]


def salt(number):
    return Model(number).id[:16]


def taking(basis_points, number=2, ids=IDS):
    rollout = Rollout(basis_points=basis_points, salt=salt(number))
    return {one for one in ids if rollout.admits(one)}


@pytest.mark.parametrize("ids", [IDS, MACS], ids=["counted", "macs"])
@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_the_share_is_what_was_asked_for(percent, ids):
    """Within one percent of all cameras; ids and salts are fixed, so chance does not decide."""
    share = len(taking(percent * 100, ids=ids)) / len(ids)
    assert abs(share - percent / 100) < 0.01


def test_nobody_at_0_and_everybody_at_100():
    assert taking(0) == set()
    assert taking(10_000) == set(IDS)


def test_who_is_in_stays_in():
    shares = [taking(points) for points in (0, 1, 100, 1000, 5000, 9999, 10_000)]
    for fewer, more in itertools.pairwise(shares):
        assert fewer < more


def test_the_first_cameras_of_one_release_are_not_those_of_the_next():
    """Of 10 % and again 10 %, 1 % are in both, as chance has it."""
    for earlier, later in ((2, 3), (3, 4), (2, 9)):
        both = taking(1000, earlier) & taking(1000, later)
        assert abs(len(both) / len(IDS) - 0.01) < 0.005


def test_the_place_of_a_camera_is_the_stated_formula():
    """From the text of the format alone, not from the code."""
    for device_id in (*IDS[:50], "", "ü", "a" * 5000):
        digest = hashlib.sha256(f"{salt(2)}:{device_id}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") % 10_000
        assert Rollout(basis_points=place + 1, salt=salt(2)).admits(device_id)
        assert not Rollout(basis_points=place, salt=salt(2)).admits(device_id)


def test_both_clients_take_part_as_the_formula_says(camera, forge):
    """Those beyond the share wait, with exit code 0; those in it would take it.

    The model is on the block list, so that each poll asks the question and changes nothing.
    """
    ids = IDS[: 120 if camera.client.name == "c" else 12]
    forge.publish(Model(2, basis_points=5000))
    (camera.store.folder / "blocked").write_text(f"{Model(2).content} golden\n")
    quick = replace(camera, client=unsanitized(camera.client))
    outcomes = {one: quick.pull(device_id=one) for one in ids}
    taken = {one for one in ids if outcomes[one].kind == "golden"}
    waiting = {one for one in ids if (outcomes[one].code, outcomes[one].outcome) == (0, "waiting")}
    assert taken == taking(5000, ids=ids)
    assert waiting == set(ids) - taken
    assert camera.store.release == 1


def unsanitized(client):
    """The same program, quicker by far; the other tests run it with sanitizers."""
    if client.name == "python":
        return client
    from c_client import binary

    return replace(client, words=(str(binary("hooks")),))


def test_a_share_that_grows_reaches_a_waiting_camera(camera, forge):
    place = next(p for p in range(10_001) if camera.device_id in taking(p, ids=[camera.device_id]))
    forge.publish(Model(2, basis_points=place - 1))
    waiting = camera.pull()
    assert (waiting.code, waiting.outcome) == (0, "waiting"), waiting
    assert waiting.result["held_back"][0]["kind"] == "rollout"
    assert camera.store.release == 1
    forge.publish(Model(2, basis_points=place))
    assert camera.heals() and camera.store.release == 2


def test_a_damaged_model_comes_back_whatever_its_share_is(camera, forge):
    """It was served here before: that it was taken back meanwhile is no reason to stay behind."""
    forge.publish(Model(2))
    assert camera.heals() and camera.store.release == 2
    forge.publish(Model(2, basis_points=0))
    (camera.store.place / "model.xml").write_bytes(b"damaged")
    assert camera.heals() and camera.store.release == 2


def test_a_release_that_is_taken_back_leaves_those_who_have_it_and_reaches_nobody_else(
    camera, forge
):
    forge.publish(Model(2))
    assert camera.heals() and camera.store.release == 2
    forge.publish(Model(2, basis_points=0), Model(3, files=Model(1).blobs))
    assert camera.heals() and camera.store.release == 3
    assert (camera.store.place / "model.xml").read_bytes() == Model(1).blobs[0].data
