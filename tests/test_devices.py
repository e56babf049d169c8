"""`edgesr devices`: one look at everything there is, and words that fit a screen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tiny_project import make_project

from toolkit.cli import main
from toolkit.commands.devices import devices_text
from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure
from toolkit.measure.lock import Holder
from toolkit.measure.survey import Seen, survey, unnamed


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working folder without recipes, a home without devices."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "device"))
    monkeypatch.setenv("EDGESR_ADB", str(tmp_path / "no-adb"))
    return tmp_path


@pytest.fixture(scope="module")
def seen():
    return survey(["local:"], LinkOptions())[0]


@pytest.mark.parametrize("wait", ["nan", "-1", "inf"])
def test_a_wait_that_no_clock_reaches_is_refused(capsys, wait):
    assert main(["devices", "local:", "--clean", f"--wait={wait}"]) == 2
    assert "`--wait` must be 0 or more" in capsys.readouterr().err


def test_without_a_url_this_machine_and_those_of_recipes(place):
    assert unnamed() == ["local:"]
    recipe = make_project(place / "recipes")
    recipe.write_text(recipe.read_text() + "devices: {generic-cpu: 'ssh://pi@camera'}\n")
    (place / "recipes" / "broken.yaml").write_text("version: [\n")
    assert unnamed() == ["local:", "ssh://pi@camera"]


def test_an_unreachable_device_nobody_named_is_no_failure(place, capsys):
    recipe = make_project(place / "recipes")
    recipe.write_text(recipe.read_text() + "devices: {generic-cpu: 'adb:ABC'}\n")
    assert main(["devices"]) == 0
    said = capsys.readouterr()
    assert "local:   free\n" in said.out and "adb:ABC  unreachable:" in said.out
    assert said.err == ""
    assert main(["devices", "adb:ABC", "local:"]) == 3
    assert "EDGESR_ADB" in capsys.readouterr().err


def test_json(capsys):
    assert main(["devices", "local:", "--json"]) == 0
    (value,) = json.loads(capsys.readouterr().out)
    assert value["state"] == "free" and value["problem"] is None
    assert value["device"]["url"] == "local:" and "onnxruntime" in value["packages"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--clean"], "`--clean` needs the device's URL"),
        (["lokal:"], "no `lokal` in links"),
        (["camera"], "`camera` is no device"),
        (["local:there"], "`local:` takes no address"),
        (["prepare"], "needs no preparation"),
        (["prepare", "ssh://pi@camera"], "needs no preparation"),
    ],
)
def test_what_is_no_device(words, said, capsys):
    assert main(["devices", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_text_fits_eighty_columns(seen):
    holder = Holder(token="a", owner="ann@desk (process 7)", age_s=4000, is_over=False, reason="")
    gone = EnvironmentFailure("the device did not answer within 10 s", where="ssh://pi@camera")
    bare = replace(seen.found, packages={}, tools={}, free_mb=None)
    all_of_them = [
        seen,
        replace(seen, url="ssh://pi@camera-7.studio.example:2222", holder=holder),
        Seen(url="ssh://pi@camera", found=None, holder=None, problem=gone),
        replace(seen, url="adb:39281FDJG0043X", found=bare),
    ]
    text = devices_text(all_of_them, width=80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "busy: ann@desk (process 7) for 66 min" in " ".join(text.split())
    assert "unreachable: the device did not answer within 10 s" in " ".join(text.split())
    assert (
        "no runtime: the device lacks numpy and any of onnxruntime, openvino, litert"
        in " ".join(text.split())
    )


def test_clean_of_this_machine(place, capsys):
    for name in ("files", "jobs", "emulated", "venv"):
        (place / "device" / name).mkdir(parents=True)
    (place / "device" / "files" / "ab").write_text("kept")
    assert main(["devices", "local:", "--clean"]) == 0
    assert sorted(p.name for p in (place / "device").iterdir()) == ["emulated", "venv"]
