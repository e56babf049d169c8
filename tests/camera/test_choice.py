"""Which release is for whom: kind of camera, firmware, number, family; and sending one back."""

from __future__ import annotations

import pytest

from camera.attack import AFTER, assert_kept, assert_refused
from camera.models import FAMILY, Model
from camera.running import start


def test_a_release_for_another_kind_of_camera_is_not_seen(camera, forge):
    forge.publish(Model(2, compatible="other-camera"))
    outcome = camera.pull()
    assert (outcome.code, outcome.outcome) == (0, "current"), outcome
    assert camera.store.release == 1


def test_a_channel_without_a_release_for_this_camera_says_so(camera, forge):
    before = camera.store.state()
    outcome = camera.pull(compatible="other-camera")
    assert_refused(outcome, "compatible", "other-camera", code=3)
    assert_kept(camera, before, forge, at=AFTER)


def test_a_model_for_another_camera_gives_way_to_a_lower_number_for_this_one(camera, forge):
    """Who named the wrong kind of camera first is not held to the numbers of that kind."""
    forge.publish(Model(2, compatible="other-camera"), Model(3))
    assert camera.pull().code == 0 and camera.store.release == 3
    outcome = camera.pull(compatible="other-camera")
    assert outcome.code == 0 and camera.store.release == 2 and camera.store.is_served(), outcome


def test_firmware_that_is_too_old_keeps_what_it_has(camera, forge):
    forge.publish(Model(2, min_firmware=7))
    before = camera.store.state()
    assert_refused(camera.pull(firmware=6), "firmware", "2", "7", "6", code=3)
    assert_kept(camera, before, forge, at=AFTER)
    assert camera.pull(firmware=7).code == 0
    assert camera.store.release == 2


def test_the_newest_that_firmware_can_take_is_taken(camera, forge):
    forge.publish(Model(2), Model(3, min_firmware=7))
    outcome = camera.pull(firmware=6)
    assert camera.store.release == 2 and camera.store.is_served(), outcome
    assert [one["release"] for one in outcome.result["held_back"]] == [3]


def test_a_runtime_that_is_too_old_keeps_what_it_has(camera, forge):
    forge.publish(Model(2, changes={"runtime_least": "1.20.0"}))
    before = camera.store.state()
    outcome = camera.pull(runtime="onnxruntime=1.9.9")
    assert_refused(outcome, "runtime", "1.20.0", "1.9.9", code=3)
    assert_kept(camera, before, forge, at=AFTER)
    assert camera.pull(runtime="onnxruntime=1.20").code == 0
    assert camera.store.release == 2


def test_a_family_speaks_only_for_its_own_paths(camera, forge):
    """The family's keys sign an index; what delegates to them names other paths."""
    forge.put(Model(2))
    forge.signed["targets"]["delegations"]["roles"][0]["paths"] = ["night/*", "night/*/*"]
    forge.renew("targets", FAMILY, "snapshot", "timestamp")
    before = camera.store.state()
    outcome = camera.pull()
    assert outcome.code in (3, 5) and outcome.kind in ("missing", "malformed"), outcome
    assert_kept(camera, before, forge, at=AFTER)
    forge.authorise()
    forge.renew("targets")
    forge.publish(Model(2))
    assert camera.heals() and camera.store.release == 2


def returned(camera):
    """Firmware says that the present model misbehaves."""
    words = [*camera.client.words, "--json", "--store", str(camera.store.folder)]
    return start([*words, "--return-to-previous"]).wait()


def test_a_model_that_misbehaves_later_is_sent_back(camera, forge):
    forge.publish(Model(2))
    assert camera.heals() and camera.store.release == 2
    assert returned(camera).code == 0
    assert camera.store.release == 1 and camera.store.is_served()
    assert list(camera.store.blocked()) == [Model(2).content]
    assert camera.pull().code == 3
    assert camera.store.release == 1
    forge.publish(Model(3))
    assert camera.heals() and camera.store.release == 3


def test_there_is_no_way_back_from_the_first_model(camera):
    before = camera.store.state()
    assert returned(camera).code == 3
    assert camera.store.state() == before


@pytest.mark.parametrize(
    "options",
    [
        {"channel": None},
        {"device_id": None},
        {"root": None},
        {"store": None},
        {"root": "/nowhere/root.json"},
        {"self_test": "/nowhere/program"},
        {"time_floor": "yesterday"},
        {"channel": "gopher://example"},
        {"tries": "many"},
        {"family": "../etc"},
    ],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()),
)
def test_a_mistake_on_the_command_line_changes_nothing(camera, options):
    before = camera.store.state()
    outcome = camera.pull(**options)
    assert outcome.code == 2, outcome
    assert camera.store.state() == before
