"""The cache: whole or absent, checked on reading, explained when it does not serve."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from toolkit.errors import EnvironmentFailure
from toolkit.run.key import Ingredients, declared, first_difference, tool_versions
from toolkit.run.store import Store, write_atomic


def ingredients(**changes):
    base = {
        "step": "prune",
        "version": 1,
        "params": {"ratio": 0.5},
        "inputs": {"network": "a" * 64},
        "tools": {"torch": "2.13.0"},
    }
    return Ingredients(**{**base, **changes})


@pytest.fixture
def filled(tmp_path):
    store = Store(tmp_path / "cache")
    with store.scratch() as out:
        (out / "network.onnx").write_bytes(b"bytes of a network")
        store.put("r.0.prune", ingredients(), out, {"macs": 12}, 1.5)
    return store


def test_what_was_put_is_found(filled):
    entry = filled.find(ingredients().key)
    assert entry.paths["network.onnx"].read_bytes() == b"bytes of a network"
    assert entry.facts == {"macs": 12}


@pytest.mark.parametrize(
    "change",
    [
        {"step": "quantize"},
        {"version": 2},
        {"params": {"ratio": 0.25}},
        {"inputs": {"network": "b" * 64}},
        {"tools": {"torch": "2.13.1"}},
        {"target": {"channel_multiple": 8}},
    ],
)
def test_every_ingredient_changes_the_key(filled, change):
    assert filled.find(ingredients(**change).key) is None


def test_a_flipped_byte_is_noticed_and_the_entry_built_again(filled):
    said = []
    store = Store(filled.root, said.append)
    path = store.find(ingredients().key).paths["network.onnx"]
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(bytes(data))
    assert store.find(ingredients().key) is None
    assert said == ["cache: the bytes of `network.onnx` changed on disk; it is built again"]
    with store.scratch() as out:
        (out / "network.onnx").write_bytes(b"bytes of a network")
        store.put("r.0.prune", ingredients(), out, {"macs": 12}, 1.5)
    assert store.find(ingredients().key) is not None


def test_a_truncated_record_is_as_good_as_none(filled):
    record = next((filled.root / "keys").rglob("*.json"))
    record.write_text(record.read_text()[:20])
    assert filled.find(ingredients().key) is None


def test_the_first_reason_is_named(filled):
    assert (
        filled.why("r.0.prune", ingredients(params={"ratio": 0.25})) == "params.ratio: 0.5 -> 0.25"
    )
    assert filled.why("r.1.other", ingredients()) == "never run"
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}) == "a.c: absent -> 2"


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(filled):
    """The kernel refuses to grow files past a limit, as a full disk does."""
    program = f"""
        import resource, signal
        from pathlib import Path
        from toolkit.run.key import Ingredients
        from toolkit.run.store import Store
        from toolkit.errors import EnvironmentFailure
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store(Path({str(filled.root)!r}))
        with store.scratch() as out:
            (out / "network.onnx").write_bytes(b"x" * 200_000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            made = Ingredients(step="s", version=1, params={{}}, inputs={{}}, tools={{}})
            try:
                store.put("slot", made, out, {{}}, 1.0)
            except EnvironmentFailure as failure:
                print(failure.exit_code, failure.problem)
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert child.stdout.startswith("3 could not write: File too large")
    assert filled.find(ingredients().key) is not None
    assert not list(filled.root.rglob("*.part"))


def test_two_runs_take_turns(tmp_path):
    """Six processes add one to a number fifteen times each, under the lock: none is lost."""
    number = tmp_path / "number"
    number.write_text("0")
    program = f"""
        from pathlib import Path
        from toolkit.run.store import Store
        number = Path({str(number)!r})
        for _ in range(15):
            with Store(Path({str(tmp_path / "cache")!r})).locked():
                number.write_text(str(int(number.read_text()) + 1))
    """
    children = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)]) for _ in range(6)
    ]
    assert [child.wait(60) for child in children] == [0] * 6
    assert number.read_text() == "90"


def test_a_missing_tool_is_named_with_the_pip_line():
    with pytest.raises(EnvironmentFailure) as caught:
        tool_versions(("numpy", "no-such-runtime"))
    assert caught.value.exit_code == 3
    assert "`no-such-runtime`" in str(caught.value)
    assert "pip install no-such-runtime" in str(caught.value)


def test_plugs_declare_their_version_without_being_imported():
    version, tools = declared("steps", "distill")
    assert version >= 1
    assert "torch" in tools
