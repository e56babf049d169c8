"""Metadata that no honest publisher writes: too much, too deep, read in two ways, no JSON."""

from __future__ import annotations

import json
import re

import pytest

from camera.attack import AFTER, ORDER, Attack, assert_kept, assert_refused, suffered
from camera.models import FAMILY, Model
from camera.server import Act
from toolkit.release import file_bytes

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


ESCAPE = b"\x1b]0;owned\x07\x1b[2J"  # renames a terminal's window and clears it
ESCAPED = b"\\u001b]0;owned\\u0007\\u001b[2J"  # the same in JSON


def talking(key, value=rb'"[^"]*"'):
    """The value of a key is escape codes."""

    def broken(data):
        told = b'"' + key + b'":"' + ESCAPED + b'"'
        return re.sub(b'"' + key + b'":' + value, lambda _: told, data)

    return broken


TALKING = {
    "no-json": lambda data: ESCAPE,
    "in-a-key": lambda data: data.replace(b'"signed":{', b'"signed":{"' + ESCAPE + b'":1,'),
    "twice": lambda data: data.replace(b'"signed":{', b'"signed":{' + 2 * (b'"%s":1,' % ESCAPED)),
    "type": talking(b"_type"),
    "expiry": talking(b"expires"),
    "version": talking(b"version", rb"\d+"),
    "specification": talking(b"spec_version"),
    "keyid": talking(b"keyid"),
    "signature": talking(b"sig"),
    "time": talking(b"signed_at"),
}


@pytest.mark.parametrize("how", TALKING)
def test_words_of_a_channel_reach_no_terminal_as_escape_codes(camera, forge, how):
    """`Camera.pull` fails for any control code on stderr."""
    renewed(forge)
    good = forge.file("timestamp").read_bytes()
    forge.put_raw("timestamp", TALKING[how](good))
    assert forge.file("timestamp").read_bytes() != good
    before = camera.store.state()
    outcome = camera.pull()
    assert outcome.code == 5 and outcome.kind, outcome
    assert_kept(camera, before, forge, at="timestamp")


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
    "33-deep": lambda data: data.replace(b'{"', b'{"a":' + b"[" * 32 + b"]" * 32 + b',"', 1),
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
