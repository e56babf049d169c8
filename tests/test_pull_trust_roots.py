"""The chain from the root that a camera was built with to the present one."""

from __future__ import annotations

import pytest
from camera.repository import read
from trusting import (
    MALLORY,
    STAYS,
    Camera,
    camera_before,
    rotate,
)

from toolkit.errors import UserError
from toolkit.release import file_bytes


@pytest.fixture
def new(tmp_path) -> Camera:
    return camera_before(tmp_path)


@pytest.fixture
def camera(new) -> Camera:
    new.refresh()
    return new


def test_the_chain_is_walked_once_and_kept(camera):
    for name in ("root 3", "root 4", "root 5"):
        rotate(camera.forge, name)
    assert camera.versions()["root"] == 4
    assert camera.asked[:4] == ["2.root.json", "3.root.json", "4.root.json", "5.root.json"]
    chain = [name for name in camera.kept() if name.startswith("root_history/")]
    assert chain == [f"root_history/{n}.root.json" for n in (2, 3, 4)]
    camera.refresh()
    assert camera.asked == ["5.root.json", "timestamp.json"]


def test_a_chain_that_ends_early_keeps_what_was_verified(camera):
    rotate(camera.forge, "root 3")
    rotate(camera.forge, "root 4")
    camera.forge.write("root", keys=[MALLORY])
    assert camera.refused().kind == "wrong-key"
    assert read(camera.metadata / "root.json")["signed"]["version"] == 2
    assert "root_history/3.root.json" not in camera.kept()


def test_firmware_with_a_newer_root_begins_there(camera):
    rotate(camera.forge, "root 3")
    camera.refresh()
    camera.root = camera.forge.file("root").read_bytes()
    assert camera.versions()["root"] == 2
    assert camera.asked == ["3.root.json", "timestamp.json"]


def test_a_planted_root_is_no_anchor(camera):
    """Somebody had the memory card: the chain from the given root decides, not what is stored."""
    camera.forge.renew("timestamp")
    good = camera.forge.copy(camera.forge.folder.parent / "good")
    forged = camera.forge
    for role in ("root", "timestamp"):
        forged.keys[role] = (MALLORY,)
    forged.authorise()
    (camera.metadata / "root.json").write_bytes(file_bytes(forged.envelope("root")))
    forged.signed["timestamp"]["version"] += 1
    forged.write("timestamp")
    assert camera.refused().kind == "wrong-key"
    camera.forge = good
    assert camera.versions()["root"] == 1


def test_a_withheld_chain_is_a_rollback(camera):
    rotate(camera.forge, "root 3")
    camera.refresh()
    camera.forge.file("root").unlink()
    (camera.metadata / "root_history/2.root.json").unlink()
    before = camera.kept()
    error = camera.refused()
    assert str(error) == (
        "refused[rollback]: the channel offers `root` version 1, version 2 was trusted before\n"
        "  --> CHANNEL/metadata/2.root.json\n\n"
        "hint: an old copy of the channel is served, by mistake or by an attacker; " + STAYS
    )
    assert camera.kept() == before


@pytest.mark.parametrize("status", [403, 404])
def test_a_root_that_a_server_does_not_have_is_not_news(camera, monkeypatch, status):
    from toolkit.pull.fetch import Http
    from toolkit.pull.transport import HttpStatus

    real = Http.get

    def get(self, url, most_bytes):
        if url.endswith("2.root.json"):
            raise HttpStatus(status, url)
        return real(self, url, most_bytes)

    monkeypatch.setattr(Http, "get", get)
    assert camera.versions()["root"] == 1


@pytest.mark.parametrize("status", [401, 500, 503])
def test_a_server_in_trouble_hides_no_root(camera, monkeypatch, status):
    from toolkit.pull.fetch import Http
    from toolkit.pull.transport import HttpStatus

    real = Http.get

    def get(self, url, most_bytes):
        if url.endswith("2.root.json"):
            raise HttpStatus(status, url)
        return real(self, url, most_bytes)

    monkeypatch.setattr(Http, "get", get)
    assert camera.refused().kind == "http"


@pytest.mark.parametrize(
    "root",
    [b"", b"{}", b"\0" * 900, b'{"signed":{"_type":"root"}}'],
    ids=["empty", "object", "nul", "cut"],
)
def test_a_given_root_that_is_none_is_the_user_s(new, root):
    new.root = root or b" "
    error = new.refused()
    assert isinstance(error, UserError) and error.kind == "root"
    assert "the given root metadata cannot be used" in str(error)
    assert not new.metadata.exists() and new.asked == []


def test_a_given_root_that_does_not_sign_itself_is_the_user_s(new):
    new.root = file_bytes(new.forge.envelope("root", keys=[MALLORY]))
    assert new.refused().kind == "root"
    new.root = new.forge.file("timestamp").read_bytes()
    assert new.refused().kind == "root"


@pytest.mark.parametrize("signers", ["old", "new"])
def test_a_root_needs_the_old_keys_and_its_own(camera, signers):
    old = camera.forge.keys["root"]
    rotate(camera.forge, "root 3", "root 4")
    new = camera.forge.keys["root"]
    camera.forge.write("root", keys=old if signers == "old" else new)
    before = camera.kept()
    error = camera.refused()
    assert error.kind == "wrong-key"
    by = "this root itself" if signers == "old" else "the trusted root 1"
    assert f"keys that {by} names must sign" in error.hint
    assert camera.kept() == before
