"""An index or a manifest that a family's keys did sign, and that no publisher writes."""

from __future__ import annotations

import hashlib
import json

import pytest

from camera.attack import AFTER, Attack, suffered
from camera.cameras import Store
from camera.models import FAMILY, Model
from toolkit.release import FETCHED, File, content_digest, file_bytes, target_path


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
    "deep": lambda value: b"[" * 15_000,
    "33-deep": lambda value: file_bytes({**value, "x": json.loads("[" * 32 + "]" * 32)}),
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
    "escape-codes": {"compatible": "\x1b]0;owned\x07\x1b[2J"},
}


@pytest.mark.parametrize("how", BAD_ENTRY)
def test_a_hostile_index_is_refused_though_signed(camera, forge, server, how):
    def forged(forge):
        signed_file(forge, "index", file_bytes(with_entry(forge, **BAD_ENTRY[how])))

    attack = Attack(name="", kind="malformed", at=AFTER, says=("index.json",), forge=forged)
    suffered(attack, camera, forge, server)


def with_file(value, **changes):
    """One file is described otherwise, and `content` is right: only the change itself is wrong."""
    files = [dict(one) for one in value["files"]]
    files[0].update(changes)
    fetched = [(one["name"], one["sha256"]) for one in files if one["role"] in FETCHED]
    content = hashlib.sha256(file_bytes(sorted(fetched, key=str))).hexdigest()
    return {**value, "files": files, "content": content}


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
    "ours-on-fat": {"name": "Release.JSON"},
    "half-on-fat": {"name": "model.bin.PART"},
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
    "escape-codes": {"name": "\x1b]0;owned\x07\x1b[2J"},
    "role-of-escape-codes": {"role": "\x1b[2J"},
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


PAIR = {"tolerance_micro": 1, "least_share_ppm": 1}
BAD_MANIFEST = {
    "other-content": {"content": "0" * 64},
    "no-files": {"files": []},
    "files-are-text": {"files": "model.xml"},
    "golden-elsewhere": {"golden": [{"input": "/etc/passwd", "output": "model.xml", **PAIR}]},
    "golden-is-a-number": {"golden": 1},
    "scale-0": {"scale": 0},
    "latency-is-negative": {"latency_limit_us": -1},
    "another-family": {"family": "night"},
    "another-number": {"release": 3},
    "another-camera": {"compatible": "other-camera"},
    "runtime-is-a-list": {"runtime": []},
    "long-text": {"recipe": "x" * 5000},
    "no-backend": {"backend": None},
    "escape-codes": {"runtime": "\x1b]0;owned\x07\x1b[2J"},
}


@pytest.mark.parametrize("how", BAD_MANIFEST)
def test_a_manifest_that_contradicts_itself_is_refused_though_signed(camera, forge, server, how):
    def forged(forge):
        signed_file(forge, "manifest", file_bytes({**Model(2).value, **BAD_MANIFEST[how]}))

    attack = Attack(name="", kind="malformed", at=AFTER, says=("release.json",), forge=forged)
    suffered(attack, camera, forge, server)


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
