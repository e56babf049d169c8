"""Mistakes of ours during a climb: they cost a rung or a target, never the run."""

from __future__ import annotations

import json

from tiny_project import make_project

from toolkit.backends import openvino
from toolkit.cli import main
from toolkit.run import ladder


def run(recipe):
    out, cache = recipe.parent / "out", recipe.parent / "cache"
    return main(["run", str(recipe), "--out", str(out), "--cache", str(cache)])


def test_a_rung_that_breaks_is_skipped_and_named(tmp_path, monkeypatch):
    real = ladder.attempt

    def broken(scoring, target, step, made, folder):
        if step.params["rung"] == "ranges":
            raise KeyError("lost tensor")
        return real(scoring, target, step, made, folder)

    monkeypatch.setattr(ladder, "attempt", broken)
    recipe = make_project(tmp_path / "broken")
    assert run(recipe) == 0
    report = json.loads((tmp_path / "broken/out/tiny/generic-cpu/report.json").read_text())
    first, second = report["ladder"]
    assert (first["name"], first["state"]) == ("ranges", "refused")
    assert first["why"] == "KeyError: 'lost tensor'"
    assert (second["name"], second["state"]) == ("equalise", "passed")


def test_a_target_that_breaks_leaves_the_others(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no such node\nin the middle")

    monkeypatch.setattr(openvino, "lower", broken)
    recipe = make_project(tmp_path / "broken", targets="intel-n100, generic-cpu")
    assert run(recipe) == 1
    assert (tmp_path / "broken/out/tiny/generic-cpu/manifest.json").exists()
    said = capsys.readouterr().err
    assert "target intel-n100:\nbug: RuntimeError: no such node\n" in said
    assert "Traceback" in said and "please report" in said
