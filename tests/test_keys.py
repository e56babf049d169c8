"""Keys are made once, kept from others, and missed only by what needs them."""

from __future__ import annotations

import json
import shutil

import pytest
from channel_parts import NOW, Camera, draft, tree

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.channel.roots import newest_root
from toolkit.channel.rotate import rotate
from toolkit.errors import EnvironmentFailure, Problems, SecurityError, UserError
from toolkit.keys import files as keys_file
from toolkit.keys.files import signer_of
from toolkit.keys.ring import open_keys

WORDS = "correct horse"


@pytest.fixture
def quick(monkeypatch):
    """One round of key stretching instead of the many that a thief must pay."""
    monkeypatch.setattr(keys_file, "KDF_ROUNDS", 1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


def modes(folder):
    return {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.glob("*.key"))}


def test_private_keys_are_their_owners_alone(folder):
    init_keys(folder, families=["street"], now=NOW)
    assert modes(folder) == {"keys": 0o700} | {
        f"{name}-1.key": 0o600 for name in ("root", "targets", "snapshot", "timestamp", "street")
    } | {"root-2.key": 0o600, "root-3.key": 0o600}  # fmt: skip
    public = (folder / "keys.json").read_text()
    for file in folder.glob("*.key"):
        secret = "".join(file.read_text().splitlines()[1:-1])
        assert not any(secret[at : at + 20] in public for at in range(0, len(secret), 20))


def test_the_first_root_is_signed_at_once_by_all_of_its_keys(folder):
    ring = init_keys(folder, now=NOW)
    root = newest_root(folder)
    assert root.signed.version == 1 and root.signed.consistent_snapshot
    assert {key.keyid for name, key in ring.keys.items() if name[:4] == "root"} == set(
        root.signatures
    )
    assert {name: role.threshold for name, role in root.signed.roles.items()} == {
        "root": 2, "targets": 1, "snapshot": 1, "timestamp": 1}  # fmt: skip
    assert (folder / "root.json").read_bytes() == (folder / "1.root.json").read_bytes()


def test_made_again_nothing_changes(folder):
    init_keys(folder, families=["street"], now=NOW)
    before = tree(folder)
    init_keys(folder, families=["street"], algorithm="ecdsa-p256")
    assert tree(folder) == before


def test_a_family_is_added_to_what_is_there(folder):
    first = init_keys(folder, families=["street"], now=NOW)
    before = tree(folder)
    ring = init_keys(folder, families=["yard"], now=NOW)
    after = tree(folder)
    assert {name for name in after if after[name] != before.get(name)} == {
        "keys.json",
        "yard-1.key",
    }
    assert ring.families == ("street", "yard") and first.keys.items() <= ring.keys.items()


def test_a_folder_of_other_things_is_left_alone(folder):
    folder.mkdir(mode=0o755)
    (folder / "letters").write_text("dear")
    with pytest.raises(UserError, match="holds other things"):
        init_keys(folder, now=NOW)
    assert tree(folder) == {"letters": b"dear"} and folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(folder, mode):
    init_keys(folder, now=NOW)
    folder.chmod(mode)
    with pytest.raises(SecurityError) as caught:
        open_keys(folder)
    assert (caught.value.exit_code, caught.value.kind) == (5, "key-mode")


def test_killed_between_two_keys_it_goes_on(folder, monkeypatch, quick):
    real = keys_file._generate

    def dies_at_the_fourth(algorithm):
        if (folder / "root-3.key").exists():
            raise KeyboardInterrupt
        return real(algorithm)

    with monkeypatch.context() as patch:
        patch.setattr(keys_file, "_generate", dies_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            init_keys(folder, passphrase=WORDS, now=NOW)
    before = tree(folder)
    with pytest.raises(UserError, match="is another one"):
        init_keys(folder, passphrase="another", now=NOW)
    init_keys(folder, passphrase=WORDS, now=NOW)
    assert before.items() <= tree(folder).items()


def test_an_open_key_that_a_killed_run_left_is_not_taken_for_an_encrypted_one(folder, quick):
    init_keys(folder, now=NOW)
    (folder / "keys.json").unlink()
    (folder / "root.json").unlink()
    (folder / "1.root.json").unlink()
    with pytest.raises(UserError, match=r"it is not encrypted: `root-1\.key`"):
        init_keys(folder, passphrase=WORDS, now=NOW)


@pytest.mark.parametrize(
    "numbers, found",
    [
        ({"counts": {"root": 1}}, "`root` cannot have 1 keys of which 2"),
        ({"counts": {"root": 0}, "thresholds": {"root": 0}}, "0 keys of which 0"),
        ({"thresholds": {"targets": 2}}, "`targets` cannot have 1 keys of which 2"),
        ({"counts": {"root": 17}}, "17 keys of which 2"),
        ({"families": ["Street"]}, "`Street` cannot be the name"),
        ({"families": ["timestamp"]}, "`timestamp` cannot be the name"),
    ],
)
def test_impossible_wishes_make_no_key(folder, numbers, found):
    with pytest.raises(UserError, match=found):
        init_keys(folder, now=NOW, **numbers)
    assert not folder.exists()


def test_all_impossible_wishes_at_once(folder):
    with pytest.raises(Problems) as caught:
        init_keys(folder, families=["a b"], counts={"root": 1}, now=NOW)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_may_use_is_refused(folder, mode):
    init_keys(folder, families=["street"], now=NOW)
    (folder / "snapshot-1.key").chmod(mode)
    channel = folder.parent / "channel"
    with pytest.raises(SecurityError) as caught:
        publish_draft(channel, draft(), keys=open_keys(folder), now=NOW)
    assert (caught.value.exit_code, caught.value.kind) == (5, "key-mode")
    assert f"its mode is {mode:04o}" in str(caught.value)
    assert tree(channel) == {}


def test_a_key_behind_a_link_is_refused(folder):
    init_keys(folder, now=NOW)
    shutil.move(folder / "targets-1.key", folder.parent / "elsewhere.key")
    (folder / "targets-1.key").symlink_to(folder.parent / "elsewhere.key")
    with pytest.raises(UserError, match="cannot read a key"):
        signer_of(open_keys(folder), "targets-1")


def test_another_key_under_the_name(folder):
    init_keys(folder, now=NOW)
    shutil.copy(folder / "snapshot-1.key", folder / "targets-1.key")
    with pytest.raises(UserError, match="not the private key of `targets-1`"):
        signer_of(open_keys(folder), "targets-1")


def test_a_damaged_key_file(folder):
    init_keys(folder, now=NOW)
    (folder / "targets-1.key").write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    with pytest.raises(UserError, match="the key file cannot be read"):
        signer_of(open_keys(folder), "targets-1")


def test_publishing_needs_no_root_key(folder):
    init_keys(folder, families=["street"], now=NOW)
    for file in folder.glob("root-*.key"):
        file.unlink()
    channel = folder.parent / "channel"
    publish_draft(channel, draft(), keys=open_keys(folder), now=NOW)
    assert Camera(channel, folder / "root.json").newest().release == 1


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", "street"])
def test_a_missing_key_is_named(folder, role):
    init_keys(folder, families=["street"], now=NOW)
    (folder / f"{role}-1.key").unlink()
    channel = folder.parent / "channel"
    with pytest.raises(EnvironmentFailure) as caught:
        publish_draft(channel, draft(), keys=open_keys(folder), now=NOW)
    assert caught.value.kind == "key-missing"
    assert f"not here: {role}-1.key" in str(caught.value)
    assert tree(channel) == {}


def test_two_of_three_must_sign(folder):
    init_keys(
        folder,
        families=["street"],
        counts={"targets": 3, "street": 2},
        thresholds={"targets": 2, "street": 2},
        now=NOW,
    )
    channel = folder.parent / "channel"
    (folder / "targets-3.key").unlink()
    publish_draft(channel, draft(), keys=open_keys(folder), now=NOW)
    assert Camera(channel, folder / "root.json").newest().release == 1
    signed = json.loads((channel / "metadata/1.targets.json").read_bytes())
    assert len(signed["signatures"]) == 2
    (folder / "street-2.key").unlink()
    with pytest.raises(
        EnvironmentFailure, match="`street` must be signed by 2 of its 2 keys, 1 of"
    ):
        publish_draft(channel, draft(2), keys=open_keys(folder), now=NOW)


def test_ecdsa_for_chips_without_ed25519(folder):
    init_keys(folder, families=["street"], algorithm="ecdsa-p256", now=NOW)
    channel = folder.parent / "channel"
    publish_draft(channel, draft(), keys=open_keys(folder), now=NOW)
    assert Camera(channel, folder / "root.json").newest().release == 1
    data = (channel / "metadata/1.snapshot.json").read_bytes()
    assert b'"expires"' in data.partition(b'],"signed":')[2]
    schemes = {
        key["public"]["scheme"]
        for key in json.loads((folder / "keys.json").read_text())["keys"].values()
    }
    assert schemes == {"ecdsa-sha2-nistp256"}


def test_no_keys_folder(folder):
    with pytest.raises(UserError) as caught:
        open_keys(folder)
    assert caught.value.hint == f"edgesr keys init {folder}"


BROKEN = {
    "no json": (lambda v: None, "it is no JSON"),
    "newer": (lambda v: v | {"schema": 2}, "its schema is 2"),
    "no timestamp": (lambda v: v["roles"].pop("timestamp") and v, "`timestamp` is missing"),
    "threshold": (lambda v: v["roles"]["root"].update(threshold=4) or v, "threshold 4"),
    "unknown key": (lambda v: v["roles"]["root"]["keys"].append("x") or v, "names the key `x`"),
    "extra": (lambda v: v["roles"]["root"].update(x=1) or v, "an unknown key 'x'"),
    "family": (lambda v: v["roles"].update({"../x": v["roles"]["root"]}) or v, "name of a family"),
    "key name": (lambda v: v["keys"].update({"../x": v["keys"]["root-1"]}) or v, "name of a key"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_keys_file(folder, name):
    init_keys(folder, now=NOW)
    breaks, found = BROKEN[name]
    value = breaks(json.loads((folder / "keys.json").read_text()))
    (folder / "keys.json").write_text("{" if value is None else json.dumps(value))
    with pytest.raises(UserError) as caught:
        open_keys(folder)
    assert "`keys.json` cannot be understood" in str(caught.value) and found in str(caught.value)


def test_a_key_file_that_leaves_the_folder(folder):
    init_keys(folder, now=NOW)
    text = (folder / "keys.json").read_text().replace("file:targets-1.key", "file:../x.key")
    (folder / "keys.json").write_text(text)
    with pytest.raises(SecurityError, match="leaves the folder"):
        signer_of(open_keys(folder), "targets-1")


def test_a_root_that_does_not_follow(folder):
    """A second root that its own keys signed, and none of the first one's."""
    init_keys(folder, now=NOW)
    others = init_keys(folder.parent / "others", now=NOW)
    rotate(others, ["timestamp"], now=NOW)
    shutil.copy(others.folder / "2.root.json", folder / "2.root.json")
    with pytest.raises(SecurityError, match="root 2 does not follow"):
        newest_root(folder)


def test_a_root_under_a_number_of_another(folder):
    init_keys(folder, now=NOW)
    shutil.copy(folder / "1.root.json", folder / "2.root.json")
    with pytest.raises(SecurityError, match="its version is 1"):
        newest_root(folder)
