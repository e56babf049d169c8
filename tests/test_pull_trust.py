"""Trusted metadata: what a good channel costs, what is kept, and every refusal with its message."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from camera.models import FAMILY, Model
from camera.repository import Key, moment, read, text
from trusting import MALLORY, Camera, camera_before

from toolkit.digest import sha256_bytes
from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.release import file_bytes

ORDER = ("root", "timestamp", "snapshot", "targets", FAMILY)
STATES = ("root", "timestamp", "snapshot", "targets", "family")
PARENTS = {"targets": ("snapshot", "timestamp"), FAMILY: ("snapshot", "timestamp"),
           "snapshot": ("timestamp",), "timestamp": (), "root": ()}  # fmt: skip
STAYS = "the present model stays"


@pytest.fixture
def new(tmp_path) -> Camera:
    return camera_before(tmp_path)


@pytest.fixture
def camera(new) -> Camera:
    new.refresh()
    return new


def ids(*keys: Key) -> str:
    return ", ".join(sorted(f"`{key.keyid[:12]}`" for key in keys))


# A good channel


def test_a_new_camera_asks_for_each_role_once_and_keeps_it(new):
    trusted = new.refresh()
    assert new.asked == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json",
                         "1.street.json"]  # fmt: skip
    channel = new.forge.folder / "metadata"
    assert new.kept() == {
        "root.json": (channel / "1.root.json").read_bytes(),
        "timestamp.json": (channel / "timestamp.json").read_bytes(),
        "snapshot.json": (channel / "1.snapshot.json").read_bytes(),
        "targets.json": (channel / "1.targets.json").read_bytes(),
        "street.json": (channel / "1.street.json").read_bytes(),
    }
    assert trusted.family == FAMILY
    assert {role: state.version for role, state in trusted.roles.items()} == dict.fromkeys(ORDER, 1)
    assert text(trusted.roles["timestamp"].expires) == new.forge.signed["timestamp"]["expires"]


def test_no_news_cost_two_requests_and_no_write(camera):
    files = {one: one.stat() for one in camera.metadata.rglob("*")}
    camera.refresh()
    assert camera.asked == ["2.root.json", "timestamp.json"]
    again = {one: one.stat() for one in camera.metadata.rglob("*")}
    assert {k: (v.st_ino, v.st_mtime_ns) for k, v in again.items()} == {
        k: (v.st_ino, v.st_mtime_ns) for k, v in files.items()
    }


def test_a_release_costs_what_it_changed(camera):
    camera.forge.publish(Model(2))
    trusted = camera.refresh()
    assert camera.asked == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.street.json"]
    assert trusted.target("street/2/model.xml") is not None


def test_a_target_is_where_its_digest_says(camera):
    index = camera.refresh().target("street/index.json")
    data = camera.forge.blob("street/index.json").read_bytes()
    assert (index.length, index.sha256) == (len(data), sha256_bytes(data))
    folder = camera.forge.folder.as_uri()
    assert index.url == f"{folder}/targets/street/{index.sha256}.index.json"
    assert camera.refresh().target("street/9/model.xml") is None


def test_a_family_speaks_for_its_own_folder_only(camera):
    camera.forge.target("lobby/index.json", b"{}")
    camera.forge.target("street/1/deep/model.xml", b"{}")
    camera.forge.renew(FAMILY, "snapshot", "timestamp")
    trusted = camera.refresh()
    assert trusted.target("lobby/index.json") is None
    assert trusted.target("street/1/deep/model.xml") is None
    assert trusted.target("street/1/model.xml") is not None


@pytest.mark.parametrize("news", [False, True])
def test_every_state_is_told_in_order(camera, news):
    if news:
        camera.forge.renew(*ORDER)
    camera.refresh()
    assert camera.states == [(one, when) for one in STATES for when in ("before", "in", "after")]


def test_in_the_middle_the_old_file_is_still_there(camera):
    """A kill in the middle of any role leaves its old or its new file, whole."""
    old, seen = camera.kept(), {}
    camera.forge.renew(*ORDER)

    def look(state, phase):
        role = FAMILY if state == "family" else state
        if phase == "in":
            now = camera.kept()
            seen[role] = now[f"{role}.json"] == old[f"{role}.json"], f"{role}.json.part" in now

    camera.refresh(on_state=look)
    assert seen == dict.fromkeys(ORDER, (True, True))
    assert not [name for name in camera.kept() if name.endswith(".part")]


def test_the_only_family_needs_no_name(camera):
    assert camera.refresh(family=None).family == FAMILY
    assert camera.asked == ["2.root.json", "timestamp.json"]


def families(forge, *names):
    role = forge.signed["targets"]["delegations"]["roles"][0]
    forge.signed["targets"]["delegations"]["roles"] = [
        {**role, "name": name, "paths": [f"{name}/*", f"{name}/*/*"]} for name in names
    ]
    forge.renew("targets", "snapshot", "timestamp")


def test_one_family_of_many_is_named(camera):
    families(camera.forge, "lobby", FAMILY)
    assert camera.refresh().family == FAMILY
    error = camera.refused(family=None)
    assert isinstance(error, UserError)
    assert str(error) == (
        "error: the channel has 2 families\n"
        f"  --> {camera.forge.folder.as_uri()}\n\n"
        "hint: name one with --family: lobby, street"
    ).replace(camera.forge.folder.as_uri(), "CHANNEL")


@pytest.mark.parametrize(
    ("family", "found"), [("lobby", "family `lobby`"), ("snapshot", "family `snapshot`")]
)
def test_a_family_that_is_not_there(camera, family, found):
    error = camera.refused(family=family)
    assert isinstance(error, EnvironmentFailure) and error.kind == "missing"
    assert str(error) == (
        f"error[missing]: the channel has no {found}\n  --> CHANNEL\n\nhint: it has: street"
    )


def test_a_channel_without_families(camera):
    families(camera.forge)
    error = camera.refused(family=None)
    assert (error.kind, error.hint) == ("missing", "it has: none")


def test_a_family_whose_role_may_not_speak_for_its_index(camera):
    """What is stored of the family is of another time then, and no part of the verdict."""
    role = camera.forge.signed["targets"]["delegations"]["roles"][0]
    role["paths"] = ["street/*/*"]
    camera.forge.renew("targets", FAMILY, "snapshot", "timestamp")
    for _ in range(2):
        error = camera.refused()
        assert str(error) == (
            "error[missing]: `targets` of the channel does not lead to the index of `street`\n"
            "  --> CHANNEL/metadata\n\n"
            "hint: the present model stays; tell whoever runs the channel"
        )
        shutil.rmtree(camera.metadata)


def test_a_url_that_is_no_channel(new):
    new.forge.file("timestamp").unlink()
    assert str(new.refused()) == (
        "error[missing]: there is no channel: `timestamp.json` is not there (404)\n"
        "  --> CHANNEL/metadata/timestamp.json\n\n"
        "hint: --channel is the folder that holds metadata/ and targets/; " + STAYS
    )


# The chain of roots


def rotate(forge, *names):
    """Root by new keys, signed by the old and the new."""
    old = forge.keys["root"]
    forge.keys["root"] = tuple(map(Key, names))
    forge.authorise()
    forge.signed["root"]["version"] += 1
    forge.write("root", keys=(*old, *forge.keys["root"]))


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

    def get(self, url, most_bytes):
        raise HttpStatus(status, url)

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


# Whose word it is


def renew_parents(forge, role):
    """The roles above name this version, without a digest: only the signature speaks."""
    for parent in PARENTS[role]:
        fact = {"version": forge.signed[role]["version"]}
        forge.signed[parent]["meta"][f"{role}.json"] = fact
        forge.signed[parent]["version"] += 1
        forge.write(parent)
        role = parent


def attacked(camera, role, **change):
    """A next version of a role, changed, with its parents made to fit; returns the envelope."""
    forge = camera.forge
    forge.signed[role]["version"] += 1
    forge.signed[role].update(change)
    renew_parents(forge, role)
    return forge.envelope(role)


def refused_at(camera, role, envelope, kind):
    """The refusal, with proof that this role and those after it stayed as they were."""
    before = camera.kept()
    camera.forge.put_raw(role, envelope if isinstance(envelope, bytes) else file_bytes(envelope))
    error = camera.refused()
    assert isinstance(error, SecurityError) and error.kind == kind, str(error)
    now = camera.kept()
    after = [f"{one}.json" for one in ORDER[ORDER.index(role) :]]
    assert {name: now[name] for name in after} == {name: before[name] for name in after}
    assert not [name for name in now if name.endswith(".part")]
    return error


def file_name(camera, role):
    return camera.forge.file(role).name


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


# Old words, and words of different times


@pytest.fixture
def twice(camera):
    """A camera that has seen version 2 of every role but root."""
    camera.forge.renew(*ORDER[1:])
    camera.refresh()
    return camera


def test_rollback_of_timestamp(twice):
    twice.forge.signed["timestamp"]["version"] = 1
    error = refused_at(twice, "timestamp", twice.forge.envelope("timestamp"), "rollback")
    assert str(error) == (
        "refused[rollback]: the channel offers `timestamp` version 1, version 2 was trusted "
        "before\n  --> CHANNEL/metadata/timestamp.json\n\n"
        "hint: an old copy of the channel is served, by mistake or by an attacker; " + STAYS
    )


def test_rollback_of_snapshot(twice):
    forge = twice.forge
    forge.signed["timestamp"]["version"] = 3
    forge.signed["timestamp"]["meta"]["snapshot.json"]["version"] = 1
    error = refused_at(twice, "timestamp", forge.envelope("timestamp"), "rollback")
    assert error.problem == (
        "the channel offers `snapshot` version 1, version 2 was trusted before"
    )


@pytest.mark.parametrize("role", ["targets", FAMILY])
@pytest.mark.parametrize("gone", [False, True], ids=["older", "gone"])
def test_rollback_inside_snapshot(twice, role, gone):
    forge = twice.forge
    meta = forge.signed["snapshot"]["meta"]
    forge.signed["snapshot"]["version"] = 3
    if gone:
        del meta[f"{role}.json"]
    else:
        meta[f"{role}.json"] = {"version": 1}
    forge.write("snapshot")
    forge.renew("timestamp")
    error = refused_at(twice, "snapshot", forge.envelope("snapshot"), "rollback")
    offers = f"no `{role}`" if gone else f"`{role}` version 1"
    assert error.problem == f"the channel offers {offers}, version 2 was trusted before"


@pytest.mark.parametrize(("stated", "kind"), [(1, "rollback"), (3, "mix-and-match")])
def test_a_root_of_another_version(camera, stated, kind):
    camera.forge.signed["root"]["version"] = stated
    (camera.forge.folder / "metadata/2.root.json").write_bytes(
        file_bytes(camera.forge.envelope("root"))
    )
    error = camera.refused()
    assert error.kind == kind and f"version {stated}" in error.problem
    assert error.where == "CHANNEL/metadata/2.root.json"


def test_what_a_failed_run_verified_is_remembered(camera):
    """The timestamp of a run that failed later stays: an older one is a rollback from then on."""
    old = camera.forge.file("timestamp").read_bytes()
    camera.forge.renew("snapshot", "timestamp")
    camera.forge.file("snapshot").write_bytes(b"{}")
    assert camera.refused().kind == "malformed"
    assert read(camera.metadata / "timestamp.json")["signed"]["version"] == 2
    camera.forge.file("timestamp").write_bytes(old)
    assert camera.refused().kind == "rollback"


@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
@pytest.mark.parametrize("which", ["version", "length", "digest"])
def test_mix_and_match(twice, role, which):
    """A role that its own keys signed, at another time than its parent says."""
    forge = twice.forge
    parent = PARENTS[role][0]
    forge.renew(role, *PARENTS[role])
    signed = forge.envelope(role)
    if which == "version":
        signed["signed"]["version"] = 2
    if which == "digest":
        signed["signed"]["expires"] = text(moment(77.0))
    if which == "length":
        signed["signed"]["x"] = "1"
    data = file_bytes(signed["signed"])
    signed["signatures"] = [key.signature(data) for key in forge.keys[role]]
    body = file_bytes(signed)
    meta = forge.signed[parent]["meta"][f"{role}.json"]
    if which == "length":  # shorter than signed; longer is endless data
        meta["length"] = len(body) + 1
        forge.signed[parent]["version"] += 1
        forge.write(parent)
        for above in PARENTS[parent]:
            forge.renew(above)
    error = refused_at(twice, role, body, "mix-and-match")
    told = {
        "version": "version 3 is signed, found version 2",
        "length": f"{len(body) + 1} bytes are signed, found {len(body)}",
        "digest": f"sha256 {meta.get('hashes', {}).get('sha256')} is signed, "
        f"found {sha256_bytes(body)}",
    }[which]
    file = f"{forge.signed[role]['version']}.{role}.json"
    assert error.problem == f"`{file}` is not the one that `{parent}.json` names: {told}"


@pytest.mark.parametrize("role", ["targets", FAMILY])
def test_a_role_that_no_snapshot_lists(new, role):
    del new.forge.signed["snapshot"]["meta"][f"{role}.json"]
    new.forge.signed["snapshot"]["version"] = 2
    new.forge.write("snapshot")
    new.forge.renew("timestamp")
    error = new.refused()
    assert error.kind == "mix-and-match" and role in error.problem


# Time


@pytest.mark.parametrize("role", ORDER)
def test_freeze(camera, role):
    expires = text(moment(-0.5))
    envelope = attacked(camera, role, expires=expires)
    if role == "root":
        before = camera.kept()
        camera.forge.write("root")
        camera.forge.renew("timestamp")
        error = camera.refused()
        assert error.kind == "freeze"
        assert camera.kept() == {  # the root is valid, for a next one
            **before,
            "root.json": (camera.forge.folder / "metadata/2.root.json").read_bytes(),
            "root_history/2.root.json": (camera.forge.folder / "metadata/2.root.json").read_bytes(),
        }
    else:
        error = refused_at(camera, role, envelope, "freeze")
    assert error.problem.startswith(f"`{role}` expired at {expires}, it is 20")
    assert error.hint == (
        "the channel must be signed anew, or newer files are kept from this camera; " + STAYS
    )


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


def test_status_does_not_pay_for_tuf():
    program = "import sys; import toolkit.pull.trust; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert not loaded & {"tuf", "securesystemslib", "cryptography", "urllib3", "numpy", "torch"}


def test_no_heavy_library_comes_with_a_refresh():
    program = "import sys; import toolkit.pull.workflow; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.decode().split()}
    assert not loaded & {"numpy", "torch", "yaml", "requests"}


def test_json_of_the_clock(camera):
    clock = camera.refresh().clock
    assert json.loads(json.dumps(clock.as_json())) == clock.as_json()
