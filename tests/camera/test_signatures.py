"""Whose word counts: tampered, unsigned, wrong keys, too few, and the chain of roots."""

from __future__ import annotations

import shutil

import pytest

from camera.attack import AFTER, ORDER, Attack, assert_kept, assert_refused, suffered
from camera.models import FAMILY, Model
from camera.repository import Forge, Key, read
from toolkit.release import file_bytes

MALLORY = Key("mallory")
ROLES = [role for role in ORDER if role != "root"]


def published(forge, role):
    """Release 2, with `role` renewed as well where a release alone does not."""
    forge.publish(Model(2))
    if role in ("targets", "root"):
        forge.renew(role, "snapshot", "timestamp")


def changed(role):
    """The role says something else than what was signed."""

    def forged(forge):
        published(forge, role)
        envelope = forge.envelope(role)
        envelope["signed"]["expires"] = "2099-01-01T00:00:00Z"
        forge.put_raw(role, file_bytes(envelope))

    return forged


def signed_by(role, *keys):
    def forged(forge):
        published(forge, role)
        forge.write(role, keys=keys)

    return forged


def in_the_name_of_its_keys(role):
    """Mallory's signatures under the ids of the role's own keys."""

    def forged(forge):
        published(forge, role)
        envelope = forge.envelope(role)
        data = file_bytes(envelope["signed"])
        for signature in envelope["signatures"]:
            signature["sig"] = MALLORY.signature(data)["sig"]
        forge.put_raw(role, file_bytes(envelope))

    return forged


def each(name, kind, forged, *says):
    return [
        Attack(name=f"{name}-{role}", kind=kind, at=role, says=(role, *says), forge=forged(role))
        for role in ORDER
    ]


def one_of_two(role):
    def forged(forge):
        published(forge, role)
        forge.write(role, keys=forge.keys[role][:1])

    return forged


def second_broken(forge):
    published(forge, FAMILY)
    envelope = forge.envelope(FAMILY)
    envelope["signatures"][1]["sig"] = "00" * 64
    forge.put_raw(FAMILY, file_bytes(envelope))


ATTACKS = [
    *each("tampered", "tampered", changed),
    *each("unsigned", "unsigned", lambda role: signed_by(role)),
    *each("wrong-key", "wrong-key", lambda role: signed_by(role, MALLORY)),
    *each("forged-keyid", "tampered", in_the_name_of_its_keys),
    *(
        Attack(
            name=f"one-of-two-{role}",
            kind="threshold",
            at=role,
            says=(role, "1", "2"),
            forge=one_of_two(role),
        )
        for role in ("root", FAMILY)
    ),
    Attack(
        name="one-good-one-broken",
        kind="threshold",
        at=FAMILY,
        says=(FAMILY, "1", "2"),
        forge=second_broken,
    ),
    Attack(
        name="keys-of-another-role",
        kind="wrong-key",
        at=FAMILY,
        says=(FAMILY,),
        forge=signed_by(FAMILY, Key("online"), Key("targets")),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_only_the_keys_of_a_role_speak_for_it(attack, camera, forge, server):
    suffered(attack, camera, forge, server)


def test_one_key_twice_is_one_key(camera, forge):
    forge.publish(Model(2))
    key = forge.keys[FAMILY][0]
    forge.write(FAMILY, keys=(key, key))
    before = camera.store.state()
    outcome = camera.pull()
    assert outcome.code == 5 and outcome.kind in ("threshold", "malformed"), outcome
    assert_kept(camera, before, forge, at=FAMILY)


def rotated(forge: Forge, *names: str) -> tuple[Key, ...]:
    """Root gets new keys, named so; returns the old ones. Not yet written."""
    old = forge.keys["root"]
    forge.keys["root"] = tuple(map(Key, names))
    forge.authorise()
    return old


def next_root(forge: Forge, *signers: Key) -> None:
    forge.signed["root"]["version"] += 1
    forge.write("root", keys=signers)


def test_a_chain_of_roots_is_followed_to_its_end(camera, forge):
    for names in (("root 3",), ("root 4", "root 5")):
        old = rotated(forge, *names)
        next_root(forge, *old, *forge.keys["root"])
    forge.publish(Model(2))
    assert camera.heals()
    assert camera.store.release == 2
    assert read(camera.store.folder / "metadata/root.json")["signed"]["version"] == 3


@pytest.mark.parametrize("signers", ["old", "new"])
def test_a_root_needs_the_old_keys_and_the_new(camera, forge, server, signers):
    def forged(forge):
        forge.publish(Model(2))
        old = rotated(forge, "root 3", "root 4")
        next_root(forge, *(old if signers == "old" else forge.keys["root"]))

    attack = Attack(name="", kind="wrong-key", at="root", says=("root", "2"), forge=forged)
    suffered(attack, camera, forge, server)


@pytest.mark.parametrize(
    ("stated", "kind"), [(1, "rollback"), (3, "mix-and-match")], ids=["again", "skipping"]
)
def test_a_root_is_the_very_next_one(camera, forge, server, stated, kind):
    def forged(forge):
        forge.publish(Model(2))
        forge.signed["root"]["version"] = stated
        forge.file("root", 2).write_bytes(file_bytes(forge.envelope("root")))

    says = ("root", str(stated), "2")
    suffered(Attack(name="", kind=kind, at="root", says=says, forge=forged), camera, forge, server)


def test_a_root_behind_a_gap_is_not_found(camera, forge):
    """Root 3 without root 2: the camera stays with root 1, whose keys still sign."""
    forge.signed["root"]["version"] = 2
    next_root(forge, MALLORY)
    forge.publish(Model(2))
    assert camera.heals()
    assert read(camera.store.folder / "metadata/root.json")["signed"]["version"] == 1


def test_a_key_that_root_dropped_speaks_no_more(camera, forge, server):
    def forged(forge):
        stolen = forge.keys["timestamp"]
        forge.keys["timestamp"] = (Key("online 2"),)
        forge.authorise()
        next_root(forge, *forge.keys["root"])
        forge.publish(Model(2))
        forge.signed["timestamp"]["version"] += 1
        forge.write("timestamp", keys=stolen)

    attack = Attack(name="", kind="wrong-key", at="timestamp", says=("timestamp",), forge=forged)
    before = camera.store.state()
    attack.forge(forge)
    assert_refused(camera.pull(), attack.kind, *attack.says)
    assert_kept(camera, before, forge, at="timestamp")
    forge.renew("timestamp")
    assert camera.heals() and camera.store.release == 2


@pytest.mark.parametrize("lost", ["nothing", "history", "metadata"])
def test_a_root_that_was_seen_is_not_forgotten(camera, forge, server, lost):
    """Stolen keys that root replaced sign a channel in which that root never was."""
    fork = forge.copy(forge.folder.parent / "fork")
    forge.keys["timestamp"] = forge.keys["snapshot"] = (Key("online 2"),)
    forge.authorise()
    forge.renew("root", "snapshot", "timestamp")
    assert camera.heals()
    fork.publish(Model(9))
    for _ in range(5):
        fork.renew("snapshot", "timestamp")
    server.folder = fork.folder
    metadata = camera.store.folder / "metadata"
    if lost == "history":
        shutil.rmtree(metadata / "root_history", ignore_errors=True)
    if lost == "metadata":  # all but the root
        for role in ("timestamp", "snapshot", "targets", FAMILY):
            (metadata / f"{role}.json").unlink()
    before = camera.store.state()
    outcome = camera.pull()
    assert outcome.code == 5 and outcome.kind in ("wrong-key", "rollback"), outcome
    assert camera.store.state() == before
    assert camera.store.release == 1


def blob_of(name, data_of):
    """Another file's bytes under the name of a file of release 2."""

    def forged(forge):
        forge.publish(Model(2))
        file = forge.blob(f"{FAMILY}/{name}")
        file.write_bytes(data_of(forge, file.read_bytes()))

    return forged


def flipped(_, data):
    return bytes([data[0] ^ 1]) + data[1:]


def of_release_1(name):
    return lambda forge, data: forge.blob(f"{FAMILY}/1/{name}").read_bytes()


@pytest.mark.parametrize(
    ("name", "data_of"),
    [
        ("index.json", flipped),
        ("2/release.json", flipped),
        ("2/model.xml", flipped),
        ("2/golden-output.npy", flipped),
        ("2/model.xml", of_release_1("model.xml")),
        ("2/model.bin", of_release_1("model.bin")),  # the two halves of different releases
        ("2/release.json", of_release_1("release.json")),
    ],
    ids=["index", "manifest", "model", "golden", "old-model", "old-half", "old-manifest"],
)
def test_no_other_bytes_than_the_signed_ones(camera, forge, server, name, data_of):
    says = (name.rpartition("/")[2],)
    attack = Attack(
        name="", kind="arbitrary-file", at=AFTER, says=says, forge=blob_of(name, data_of)
    )
    suffered(attack, camera, forge, server)
