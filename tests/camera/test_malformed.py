"""What no honest publisher writes: too much, too deep, not JSON, names that leave the folder."""

from __future__ import annotations

import json
import re

import pytest

from camera.attack import AFTER, ORDER, Attack, assert_kept, assert_refused, suffered
from camera.cameras import Store
from camera.models import FAMILY, Model
from camera.server import Act
from toolkit.release import File, content_digest, file_bytes, target_path

DEEP = 15_000
METADATA = {
    "root": "*/2.root.json",
    "timestamp": "*/timestamp.json",
    "snapshot": "*/2.snapshot.json",
    "targets": "*/2.targets.json",
    FAMILY: f"*/2.{FAMILY}.json",
}
FILES = {"index": "*.index.json", "manifest": "*.release.json", "model": "*.model.xml"}


def renewed(forge):
    """Release 2, and a new version of every role."""
    forge.publish(Model(2))
    forge.renew("root", "targets", "snapshot", "timestamp")


def test_endless_metadata_is_cut_off(camera, forge, server):
    """One camera, one role after the other: each time it takes no more than the limit."""
    forge.renew("root", "targets", FAMILY, "snapshot", "timestamp")
    for role in ORDER:
        server.well()
        server.on(METADATA[role], Act(endless=True), forever=True)
        before = camera.store.state()
        assert_refused(camera.pull(), "endless-data", role)
        assert_kept(camera, before, forge, at=role)
        assert sum(one.sent_bytes for one in server.asked(METADATA[role])) < 64 << 20
    server.well()
    assert camera.heals()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "act", [Act(endless=True), Act(extra=b"x")], ids=["endless", "one-byte-more"]
)
def test_more_bytes_than_signed_are_not_taken(camera, forge, server, name, act):
    def forged(forge):
        forge.publish(Model(2))
        server.on(FILES[name], act, forever=True)

    says = (FILES[name].removeprefix("*."),)
    attack = Attack(name="", kind="endless-data", at=AFTER, says=says, forge=forged)
    suffered(attack, camera, forge, server)


@pytest.mark.parametrize("role", ORDER)
def test_oversized_metadata_is_refused_though_signed(camera, forge, server, role):
    def forged(forge):
        forge.renew("root", "targets", FAMILY, "snapshot", "timestamp")
        forge.signed[role]["padding"] = "x" * (9 << 20)
        forge.write(role)

    attack = Attack(name="", kind="endless-data", at=role, says=(role,), forge=forged)
    suffered(attack, camera, forge, server)


def nested(data):
    """Never closed: 15,000 brackets fit into the limit of every file."""
    return b"[" * DEEP


def nested_inside(data):
    """Closed, inside a signed file: whoever signs must not be able to break a camera either."""
    return data.replace(b'"signed":{', b'"signed":{"deep":' + b"[" * 7000 + b"]" * 7000 + b",")


def doubled(data):
    """The second of two equal keys would win in many a parser."""
    return data.replace(b'"signed":{', b'"signed":{"version":999,', 1)


def doubled_at_the_top(data):
    return data[:-1] + b',"signed":{}}'


def with_umlaut(data):
    return data.replace(b'"signed":{', '"signed":{"ä":1,'.encode(), 1)


def with_float(data):
    return data.replace(b'"signed":{', b'"signed":{"a":1.0,', 1)


def with_nan(data):
    return data.replace(b'"signed":{', b'"signed":{"a":NaN,', 1)


def retyped(data):
    value = json.loads(data)
    value["signed"]["version"] = "2"
    return file_bytes(value)


def negative(data):
    value = json.loads(data)
    value["signed"]["version"] = -2
    return file_bytes(value)


BROKEN = {
    "deep": nested,
    "deep-inside": nested_inside,
    "duplicate-key": doubled,
    "duplicate-key-at-the-top": doubled_at_the_top,
    "non-ascii": with_umlaut,
    "float": with_float,
    "nan": with_nan,
    "version-is-text": retyped,
    "version-is-negative": negative,
    "no-json": lambda data: b"<html>your network needs a login</html>",
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "list": lambda data: b"[]",
    "nul": lambda data: bytes(len(data)),
    "signatures-are-text": lambda data: data.replace(b'"signatures":[', b'"signatures":["x",', 1),
    "huge-number": lambda data: re.sub(rb'"version":\d+', b'"version":' + b"9" * 4000, data),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_timestamp_is_refused(camera, forge, server, how):
    def forged(forge):
        renewed(forge)
        good = forge.file("timestamp").read_bytes()
        forge.put_raw("timestamp", BROKEN[how](good))
        assert forge.file("timestamp").read_bytes() != good

    attack = Attack(name="", kind="malformed", at="timestamp", says=("timestamp",), forge=forged)
    suffered(attack, camera, forge, server)


@pytest.mark.parametrize("role", ["snapshot", "targets", FAMILY])
def test_broken_json_is_refused_in_every_role_though_its_parent_names_it(camera, forge, role):
    """Somebody with the online keys: digest and length of the broken file are signed."""
    for how in ("deep", "deep-inside", "duplicate-key", "half"):
        forge.renew(role)
        forge.put_raw(role, BROKEN[how](forge.file(role).read_bytes()))
        forge.renew(*([] if role == "snapshot" else ["snapshot"]), "timestamp")
        before = camera.store.state()
        assert_refused(camera.pull(), "malformed", role)
        assert_kept(camera, before, forge, at=role)
    forge.renew(role, "snapshot", "timestamp")
    assert camera.heals()


def test_broken_json_is_refused_as_a_root(camera, forge):
    forge.renew("root")
    good = forge.file("root").read_bytes()
    for how in ("deep", "deep-inside", "duplicate-key", "half"):
        forge.put_raw("root", BROKEN[how](good))
        before = camera.store.state()
        assert_refused(camera.pull(), "malformed", "root")
        assert_kept(camera, before, forge)
    forge.put_raw("root", good)
    assert camera.heals()


def signed_file(forge, name, data):
    """Any bytes as the index or as the manifest of release 2, rightly signed by the family."""
    forge.put(Model(2))
    forge.models[2] = Model(2)
    forge.index()
    path = "index.json" if name == "index" else "2/release.json"
    forge.target(target_path(FAMILY, path), data)
    forge.renew(FAMILY, "snapshot", "timestamp")


def index_value(forge):
    file = forge.blob(target_path(FAMILY, "index.json"))
    return json.loads(file.read_bytes())


BROKEN_FILE = {
    "deep": lambda value: nested(b""),
    "duplicate-key": lambda value: file_bytes(value).replace(b"{", b'{"schema":1,', 1),
    "float": lambda value: json.dumps({**value, "schema": 1.0}).encode(),
    "nan": lambda value: json.dumps({**value, "extra": float("nan")}).encode(),
    "non-ascii": lambda value: json.dumps({**value, "x": "ä"}, ensure_ascii=False).encode(),
    "list": lambda value: b"[]",
    "no-json": lambda value: b"hello",
    "another-family": lambda value: file_bytes({**value, "family": "night"}),
    "schema-is-text": lambda value: file_bytes({**value, "schema": "1"}),
    "schema-0": lambda value: file_bytes({**value, "schema": 0}),
}


@pytest.mark.parametrize("how", BROKEN_FILE)
@pytest.mark.parametrize("name", ["index", "manifest"])
def test_a_broken_index_or_manifest_is_refused_though_signed(camera, forge, server, name, how):
    def forged(forge):
        value = index_value(forge) if name == "index" else Model(2).value
        signed_file(forge, name, BROKEN_FILE[how](value))

    says = ("index.json" if name == "index" else "release.json",)
    attack = Attack(name="", kind="malformed", at=AFTER, says=says, forge=forged)
    suffered(attack, camera, forge, server)


def with_entry(forge, **changes):
    value = index_value(forge)
    value["releases"][0].update(changes)
    return value


BAD_ENTRY = {
    "another-manifest": {"manifest": f"{FAMILY}/1/model.xml"},
    "manifest-above": {"manifest": "../../metadata/root.json"},
    "release-0": {"release": 0},
    "release-is-text": {"release": "1"},
    "release-is-true": {"release": True},
    "share-above-all": {"rollout": {"basis_points": 10_001, "salt": "0" * 16}},
    "negative-share": {"rollout": {"basis_points": -1, "salt": "0" * 16}},
    "salt-is-short": {"rollout": {"basis_points": 1, "salt": "0"}},
    "no-rollout": {"rollout": None},
    "empty-word": {"compatible": ""},
    "negative-firmware": {"min_firmware": -1},
}


@pytest.mark.parametrize("how", BAD_ENTRY)
def test_a_hostile_index_is_refused_though_signed(camera, forge, server, how):
    def forged(forge):
        signed_file(forge, "index", file_bytes(with_entry(forge, **BAD_ENTRY[how])))

    attack = Attack(name="", kind="malformed", at=AFTER, says=("index.json",), forge=forged)
    suffered(attack, camera, forge, server)


def with_file(value, **changes):
    files = [dict(one) for one in value["files"]]
    files[0].update(changes)
    return {**value, "files": files}


HOSTILE = {
    "above": {"name": "../x"},
    "absolute": {"name": "/tmp/edgesr-hostile"},
    "nul": {"name": "model\0.xml"},
    "long": {"name": "m" * 5000},
    "dot": {"name": "."},
    "dots": {"name": ".."},
    "empty": {"name": ""},
    "backslash": {"name": "..\\x"},
    "hidden": {"name": ".profile"},
    "folder": {"name": "a/b"},
    "ours": {"name": "release.json"},
    "half": {"name": "model.bin.part"},
    "same-name": {"name": "model.bin"},
    "same-name-on-fat": {"name": "MODEL.BIN"},
    "newline": {"name": "a\nb"},
    "no-text": {"name": 7},
    "null": {"name": None},
    "role": {"role": "program"},
    "length-is-text": {"length": "600"},
    "length-is-true": {"length": True},
    "negative-length": {"length": -1},
    "huge-length": {"length": 1 << 62},
    "short-digest": {"sha256": "00"},
    "upper-digest": {"sha256": "A" * 64},
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_manifest_is_refused_though_signed(camera, forge, server, how):
    """A stolen family key must not become a way out of the camera's folder."""
    around = Store(camera.folder.parent)

    def forged(forge):
        signed_file(forge, "manifest", file_bytes(with_file(Model(2).value, **HOSTILE[how])))

    outside = {n for n in around.state() if "/store/" not in n and n.startswith("camera")}
    attack = Attack(name="", kind="malformed", at=AFTER, says=("release.json",), forge=forged)
    suffered(attack, camera, forge, server)
    now = {n for n in around.state() if "/store/" not in n and n.startswith("camera")}
    assert now == outside


def swapped(value):
    """The digests of model and part exchanged: each is some signed file's, none is its own."""
    files = [dict(one) for one in value["files"]]
    files[0]["sha256"], files[1]["sha256"] = files[1]["sha256"], files[0]["sha256"]
    return {**value, "files": files}


def test_a_manifest_of_another_release_is_refused_though_signed(camera, forge, server):
    def forged(forge):
        signed_file(forge, "manifest", Model(1).manifest)

    attack = Attack(name="", kind="malformed", at=AFTER, says=("release.json",), forge=forged)
    suffered(attack, camera, forge, server)


def test_a_manifest_that_states_other_files_than_the_family_lists_is_refused(camera, forge, server):
    def forged(forge):
        value = swapped(Model(2).value)
        value["content"] = content_digest(tuple(File(**one) for one in value["files"]))
        signed_file(forge, "manifest", file_bytes(value))

    attack = Attack(name="", kind="mix-and-match", at=AFTER, says=("model.xml",), forge=forged)
    suffered(attack, camera, forge, server)


@pytest.mark.parametrize("name", ["index", "manifest"])
def test_a_newer_schema_keeps_the_present_model(camera, forge, server, name):
    def forged(forge):
        value = index_value(forge) if name == "index" else Model(2).value
        signed_file(forge, name, file_bytes({**value, "schema": 2, "releases": "all new"}))

    says = ("2", "1", "index.json" if name == "index" else "release.json")
    attack = Attack(name="", kind="schema", code=3, at=AFTER, says=says, forge=forged)
    suffered(attack, camera, forge, server)
