"""`edgesr devices`: one look at everything there is, and words that fit a screen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tiny_project import make_project

from toolkit import cli
from toolkit.cli import main
from toolkit.commands.devices import devices_text
from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure
from toolkit.measure.board import open_board
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
        (["prepare"], "edgesr devices prepare emulated:aarch64"),
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
    assert all(len(line) <= 80 for line in text.splitlines() if "pip install" not in line)
    assert "busy: ann@desk (process 7) for 66 min" in " ".join(text.split())
    assert "unreachable: the device did not answer within 10 s" in " ".join(text.split())
    words = " ".join(text.split())
    assert (
        "no runtime; free space unknown lacks numpy and packages for onnxruntime, openvino" in words
    )


def test_what_is_missing_comes_with_the_line_that_installs_it(seen):
    lacking = {k: v for k, v in seen.found.packages.items() if "litert" not in k and "tfl" not in k}
    one = replace(seen, found=replace(seen.found, packages=lacking))
    line = "pip install numpy onnxruntime openvino ai-edge-litert` (edgesr looks there first)"
    (told,) = [row for row in devices_text([one], width=80).splitlines() if "pip install" in row]
    assert line in told and "/venv/bin/" in told
    assert "lacks a package for litert" in devices_text([one], width=80)
    value = one.as_json()
    assert value["missing"] == ["a package for litert"] and line in value["hint"]
    whole = dict.fromkeys((*seen.found.packages, "onnxruntime", "openvino", "tflite-runtime"), "1")
    fine = replace(seen, found=replace(seen.found, packages={"numpy": "2", **whole}))
    assert fine.as_json()["hint"] is None and "lacks" not in devices_text([fine], width=80)


def test_a_processor_that_names_the_device_is_named_once(seen):
    device = replace(seen.found.device, name="AMD EPYC", cpu="AMD EPYC", cores=2)
    text = devices_text([replace(seen, found=replace(seen.found, device=device))], width=100)
    assert text.count("AMD EPYC") == 1 and "2 cores" in text


def test_cleaning_a_busy_device_says_that_it_is_busy(capsys):
    with open_board("local:"):
        assert main(["devices", "local:", "--clean"]) == 3
    out, err = capsys.readouterr()
    assert out.startswith("local:  busy: ") and "has held it for" in err


def test_clean_of_this_machine(place, capsys):
    for name in ("files", "jobs", "emulated", "venv"):
        (place / "device" / name).mkdir(parents=True)
    (place / "device" / "files" / "ab").write_text("kept")
    assert main(["devices", "local:", "--clean"]) == 0
    assert sorted(p.name for p in (place / "device").iterdir()) == ["emulated", "venv"]


@pytest.mark.parametrize(("command", "resumes"), [("run", True), ("devices", False)])
def test_only_a_command_that_keeps_its_steps_says_that_it_resumes(
    command, resumes, monkeypatch, capsys
):
    for error, words in ((KeyboardInterrupt(), "resume"), (OSError(28, "full"), "steps are kept")):

        def stopped(arguments, error=error):
            raise error

        monkeypatch.setattr(cli, "_handler", lambda name, stopped=stopped: stopped)
        assert main([command, "x.yaml"]) in (3, 130)
        assert (words in capsys.readouterr().err) == resumes
