"""Each way to forge a role: its kind, its message, and what stays on disk."""

from __future__ import annotations

import pytest
from camera.models import FAMILY
from trusting import (
    MALLORY,
    ORDER,
    PARENTS,
    STAYS,
    Camera,
    attacked,
    camera_before,
    file_name,
    ids,
    refused_at,
)

from toolkit.release import file_bytes


@pytest.fixture
def camera(tmp_path) -> Camera:
    camera = camera_before(tmp_path)
    camera.refresh()
    return camera


@pytest.mark.parametrize("role", ORDER)
def test_unsigned(camera, role):
    envelope = attacked(camera, role)
    envelope["signatures"] = []
    error = refused_at(camera, role, envelope, "unsigned")
    keys = camera.forge.keys[role]
    file, count = file_name(camera, role), len(keys)
    by = {"root": "the trusted root 1", FAMILY: "`targets` version 1"}.get(role, "`root` version 1")
    assert str(error) == (
        f"refused[unsigned]: `{file}` carries no signature\n"
        f"  --> CHANNEL/metadata/{file}\n\n"
        f"hint: {count} of the {count} keys that {by} names must sign; {STAYS}"
    )


@pytest.mark.parametrize("role", ORDER)
def test_empty_signatures_are_none(camera, role):
    envelope = attacked(camera, role)
    for one in envelope["signatures"]:
        one["sig"] = ""
    refused_at(camera, role, envelope, "unsigned")


@pytest.mark.parametrize("role", ORDER)
def test_wrong_key(camera, role):
    attacked(camera, role)
    error = refused_at(camera, role, camera.forge.envelope(role, keys=[MALLORY]), "wrong-key")
    file = file_name(camera, role)
    assert error.problem == f"`{file}` is signed by {ids(MALLORY)}, no key of `{role}`"
    assert ids(*camera.forge.keys[role]) in error.hint


@pytest.mark.parametrize("role", ORDER)
def test_tampered(camera, role):
    envelope = attacked(camera, role)
    envelope["signed"]["expires"] = "2099-01-01T00:00:00Z"
    error = refused_at(camera, role, envelope, "tampered")
    keys = ids(*camera.forge.keys[role])
    assert error.problem == f"`{file_name(camera, role)}` was changed after it was signed by {keys}"


@pytest.mark.parametrize("broken", [False, True], ids=["missing", "broken"])
@pytest.mark.parametrize("role", ["root", FAMILY])
def test_threshold(camera, role, broken):
    envelope = attacked(camera, role)
    first, second = camera.forge.keys[role]
    if broken:
        envelope["signatures"][1]["sig"] = "00" * 64
    else:
        del envelope["signatures"][1]
    error = refused_at(camera, role, envelope, "threshold")
    assert error.problem == f"`{file_name(camera, role)}` is signed by 1 of 2: {ids(first)}"
    assert f"missing: {ids(second)}" in error.hint


def test_a_tampered_role_is_no_mix_up_though_its_digest_is_signed(camera):
    """Two things are wrong then; the signature is the one that says what happened."""
    camera.forge.renew("snapshot", "timestamp")
    envelope = camera.forge.envelope("snapshot")
    envelope["signed"]["version"] = 7
    refused_at(camera, "snapshot", envelope, "tampered")


# Too much, and nonsense


@pytest.mark.parametrize("role", ORDER)
def test_endless_data(camera, role):
    envelope = file_bytes(attacked(camera, role))
    refused_at(camera, role, envelope + b" " * 6_000_000, "endless-data")


@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
def test_one_byte_more_than_signed_is_endless_data(camera, role):
    camera.forge.renew(role, *PARENTS[role])
    body = file_bytes(camera.forge.envelope(role))
    error = refused_at(camera, role, body + b" ", "endless-data")
    file = file_name(camera, role)
    assert error.problem == (f"`{file}` has {len(body) + 1} bytes, at most {len(body)} are signed")


def test_a_newer_snapshot_in_place_of_a_shorter_one_is_mix_and_match(camera):
    forge = camera.forge
    forge.renew("snapshot", "timestamp")
    forge.signed["snapshot"].update(version=1000, note="longer")
    envelope = forge.envelope("snapshot")
    forge.signed["snapshot"]["version"] = 2
    error = refused_at(camera, "snapshot", envelope, "mix-and-match")
    assert "version 2 is signed, found version 1000" in error.problem


NONSENSE = {
    "empty": (b"", "Expecting value at byte 0 of 0"),
    "nul": (b"\0" * 700, "Expecting value at byte 0 of 700"),
    "cut": (b'{"signed":{', "Expecting property name enclosed in double quotes at byte 11 of 11"),
    "list": (b"[]", "it is no object with a list of `signatures`"),
    "deep": (b"[" * 8_000 + b"]" * 8_000, "its brackets are nested more than 32 deep"),
    "twice": (b'{"signed":1,"signed":2}', "the key 'signed' is there twice"),
    "float": (b'{"signed":1.5}', "it holds the number 1.5, only whole numbers are read"),
    "text": ('{"a":"é"}'.encode(), "byte 0xc3 at 6 is not ASCII"),
    "type": (b'{"signatures":[],"signed":{"_type":"mirrors"}}', "`spec_version` is missing"),
}  # fmt: skip


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", FAMILY])
@pytest.mark.parametrize("name", NONSENSE)
def test_malformed(camera, role, name):
    body, found = NONSENSE[name]
    attacked(camera, role)
    error = refused_at(camera, role, body, "malformed")
    assert found in error.problem and file_name(camera, role) in error.problem


@pytest.mark.parametrize("role", ORDER)
def test_another_role_s_file(camera, role):
    attacked(camera, role)
    other = "snapshot" if role != "snapshot" else "timestamp"
    body = file_bytes(camera.forge.envelope(other))
    error = refused_at(camera, role, body, "malformed")
    assert f"it is metadata of type `{other}`" in error.problem


def test_true_is_no_version(camera):
    """Python takes it for 1."""
    envelope = attacked(camera, "timestamp", version=True)
    error = refused_at(camera, "timestamp", envelope, "malformed")
    assert "`version` is no whole number: True" in error.problem


@pytest.mark.parametrize("value", ["yesterday", "2026-11-21", 7, None, {"a": 1}])
def test_a_time_of_signing_that_is_none(camera, value):
    envelope = attacked(camera, "timestamp", signed_at=value)
    refused_at(camera, "timestamp", envelope, "malformed")


def test_no_message_carries_control_characters(camera):
    evil = "\x1b[2J\n\nhint: all is well"
    envelope = attacked(camera, "timestamp")
    envelope["signatures"] = [{"keyid": evil, "sig": "00"}]
    error = refused_at(camera, "timestamp", envelope, "wrong-key")
    assert "\x1b" not in str(error) and "\n\nhint: all" not in str(error)
    envelope = attacked(camera, "timestamp", spec_version=evil)
    error = refused_at(camera, "timestamp", envelope, "malformed")
    assert "\x1b" not in str(error) and "\n\nhint: all" not in str(error)


@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
def test_a_signed_file_that_is_not_there(camera, role):
    camera.forge.renew(role, *PARENTS[role])
    camera.forge.file(role).unlink()
    before = camera.kept()
    error = camera.refused()
    assert str(error) == (
        f"error[missing]: the channel lacks `2.{role}.json`, which it has signed (404)\n"
        f"  --> CHANNEL/metadata/2.{role}.json\n\n"
        "hint: perhaps it is being copied there, file by file; the next poll tries again; " + STAYS
    )
    assert camera.kept()[f"{role}.json"] == before[f"{role}.json"]
    camera.forge.write(role)
    camera.refresh()
