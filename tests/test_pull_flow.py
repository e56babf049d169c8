"""A poll as a whole, without a server: its states, its costs, and what it drags in."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from camera.models import Model, blobs
from camera.repository import Forge
from pull_parts import settings, stored

from toolkit.cli import main
from toolkit.errors import UserError
from toolkit.pull import program
from toolkit.pull.flow import pull
from toolkit.pull.needed import PIP
from toolkit.pull.settings import Testing as Trial
from toolkit.pull.status import status_json, status_text
from toolkit.pull.zipped import client_bytes

STATES = ["lock", "clock", "root", "timestamp", "snapshot", "targets", "family", "index",
          "manifest", "space", "fetch", "verify", "test", "activate", "collect"]  # fmt: skip
PACKAGE = Path(program.__file__).parent
ON_CAMERAS = [*PACKAGE.glob("*.py"), PACKAGE.parent / "release.py", PACKAGE.parent / "errors.py",
              PACKAGE.parent / "child.py", PACKAGE.parent / "digest.py"]  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return Forge(tmp_path_factory.mktemp("channel") / "channel")


@pytest.fixture
def forge(first, tmp_path):
    return first.copy(tmp_path / "channel")


def test_the_states_come_in_their_order_each_with_three_phases(forge, tmp_path):
    seen = []
    result = pull(settings(forge, tmp_path), on_state=lambda *place: seen.append(place))
    assert result.outcome == "updated" and result.exit_code == 0
    assert list(dict.fromkeys(state for state, _ in seen)) == STATES
    for state in STATES:
        phases = [phase for name, phase in seen if name == state]
        assert list(dict.fromkeys(phases)) == ["before", "in", "after"], state


def test_a_poll_without_news_costs_two_requests_and_writes_nothing(forge, tmp_path, monkeypatch):
    asked = settings(forge, tmp_path)
    pull(asked)
    monkeypatch.setattr("os.fsync", None)
    before = {p: p.stat().st_mtime_ns for p in asked.store.rglob("*") if p.name != "lock"}
    result = pull(asked)
    assert (result.outcome, result.traffic.requests) == ("current", 2)
    after = {p: p.stat().st_mtime_ns for p in asked.store.rglob("*") if p.name != "lock"}
    files = {path for path in after if path.is_file()}
    assert {p: after[p] for p in files} == {p: before[p] for p in files}


def test_the_result_says_what_firmware_opens(forge, tmp_path):
    asked = settings(forge, tmp_path)
    pull(asked)
    forge.publish(Model(2))
    value = pull(asked).as_json()
    assert json.loads(json.dumps(value)) == value
    assert (value["outcome"], value["release"], value["previous"]) == ("updated", 2, 1)
    assert Path(value["path"]).read_bytes() == Model(2).blobs[0].data
    assert value["error"] is None and value["held_back"] == [] and value["clock"]["now"]


def test_a_bad_model_is_told_and_the_present_one_stays(forge, tmp_path):
    pull(settings(forge, tmp_path))
    forge.publish(Model(2))
    bad = settings(forge, tmp_path, "exit 1")
    value = pull(bad).as_json()
    assert (value["outcome"], value["release"]) == ("kept", 1)
    assert value["error"]["kind"] == "golden" and value["error"]["exit_code"] == 3
    assert [one["kind"] for one in value["held_back"]] == ["golden"]
    again = pull(settings(forge, tmp_path)).as_json()  # blocked, whatever the test says now
    assert (again["outcome"], again["error"]["kind"]) == ("kept", "golden")
    assert again["requests"] == 2  # its manifest was kept, its files were not
    assert {p.name for p in (bad.store / "releases" / Model(2).id).iterdir()} == {"release.json"}


def test_the_only_model_survives_a_lost_pointer_and_a_channel_that_holds_it_back(forge, tmp_path):
    asked = settings(forge, tmp_path)
    pull(asked)
    (asked.store / "current").unlink()
    forge.publish(Model(2, basis_points=0), Model(1, basis_points=0))
    result = pull(asked)
    assert result.standing.current is not None and result.standing.current.release.release == 1


def test_a_stored_release_that_cannot_be_tried_does_not_end_the_poll(forge, tmp_path):
    forge.publish(Model(2))
    asked = settings(forge, tmp_path, runtimes={"onnxruntime": "99"})
    files = (replace(one, data=b"{}") if one.role == "contract" else one for one in blobs(3))
    stored(asked.store, Model(3, files=tuple(files)))
    (asked.store / "current").write_bytes(b"damaged")
    result = pull(replace(asked, testing=Trial()))
    assert result.traffic.requests > 0


def test_a_root_that_cannot_be_read_is_the_users_mistake(forge, tmp_path):
    with pytest.raises(UserError, match="root metadata"):
        pull(settings(forge, tmp_path, root=tmp_path / "nothing"))


def words(forge, tmp_path):
    made = settings(forge, tmp_path)
    return ["--channel", str(forge.folder), "--device-id", "camera-1", "--root", str(made.root),
            "--store", str(made.store), "--compatible", "test-camera",
            "--self-test", str(made.testing.program), "--retry-s", "0"]  # fmt: skip


def test_the_command_prints_the_path_alone_and_talks_on_stderr(forge, tmp_path, capsys):
    assert main(["pull", *words(forge, tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).name == "model.xml" and out.count("\n") == 1
    assert "updated: release 1 is served" in err
    assert main(["pull", "--status", "--store", str(tmp_path / "store")]) == 0
    assert "release 1 of street: tiny, int8, x2, for test-camera" in capsys.readouterr().out


def test_status_asks_nobody_and_survives_damage(forge, tmp_path, capsys):
    pull(settings(forge, tmp_path))
    store = tmp_path / "store"
    (store / "metadata/snapshot.json").write_bytes(b"\0" * 100)
    (store / "metadata/targets.json").write_bytes(b"[" * 5000)
    assert main(["pull", "--status", "--json", "--store", str(store)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["release"] == 1 and set(value["metadata"]) == {"root", "timestamp", "street"}
    assert main(["pull", "--status", "--json", "--store", str(tmp_path / "nothing")]) == 0
    assert json.loads(capsys.readouterr().out)["release"] is None
    assert not (tmp_path / "nothing").exists()


def test_status_says_what_is_damaged(forge, tmp_path, capsys):
    pull(settings(forge, tmp_path))
    store = tmp_path / "store"
    assert status_json(store)["damaged"] == []
    (id,) = (one.name for one in (store / "releases").iterdir())
    (store / "releases" / id / "model.bin").write_bytes(b"flipped")
    (store / "releases" / id / "contract.json").unlink()
    (store / "previous").write_bytes(b"\0\0")
    assert main(["pull", "--status", "--json", "--store", str(store)]) == 0
    value = json.loads(capsys.readouterr().out)
    files = {"model.bin": "damaged", "contract.json": "missing"}
    assert value["release"] is None and value["damaged"] == [
        {"pointer": "current", "release": 1, "id": id, "files": files},
        {"pointer": "previous", "release": None, "id": None, "files": {"previous": "damaged"}},
    ]
    shown = status_text(value)
    assert "`current` names release 1: " in shown and "`model.bin` is damaged" in shown
    assert "`contract.json` is missing" in shown and "`previous` names no release" in shown
    (store / "releases" / id / "release.json").write_text("{}")
    assert status_json(store)["damaged"][0]["files"] == {"release.json": "damaged"}


def test_status_shows_no_escape_codes_of_a_store(tmp_path):
    (tmp_path / "metadata").mkdir()
    said = {"signed": {"version": "\x1b[2J", "expires": "\x9b2J"}}
    (tmp_path / "metadata/\x1b[1m.json").write_text(json.dumps(said))
    shown = status_text(status_json(tmp_path))
    assert "trusted " in shown and shown.replace("\n", "").isprintable()


def test_mistakes_are_json_too(capsys):
    assert main(["pull", "--json", "--channel", "x"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert "`--channel x` is neither" in error["text"] and "`--store` is missing" in error["text"]
    assert err.count("error[usage]: ") == 4
    assert "hint: `edgesr pull --help` shows an example" in err


def test_a_root_that_is_none_has_the_kind_root(forge, tmp_path, capsys):
    (tmp_path / "none.json").write_text("{}")
    for named in (tmp_path / "none.json", tmp_path / "nothing.json"):
        assert main(["pull", "--json", *words(forge, tmp_path), "--root", str(named)]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("error[root]: ") or "\nerror[root]: " in err
        assert json.loads(out)["error"]["kind"] == "root"


def test_a_camera_without_a_model_is_not_told_that_one_stays(forge, tmp_path):
    nowhere = (tmp_path / "nowhere").as_uri()
    hint = pull(settings(forge, tmp_path, channel=nowhere)).error.hint
    assert hint.endswith("; no model is served yet") and "--channel" in hint
    assert pull(settings(forge, tmp_path)).error is None
    assert "the present model stays" in pull(settings(forge, tmp_path, channel=nowhere)).error.hint


def test_the_one_file_speaks_of_itself(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/edgesr/edgesr-pull.pyz"])
    assert program.main(["--store", "x"]) == 2
    err = capsys.readouterr().err
    assert "error[usage]: `--root` is missing" in err
    assert "hint: `python3 edgesr-pull.pyz --help` shows an example" in err


def test_failures_make_polls_rarer_up_to_four_intervals(monkeypatch):
    codes, pauses = [0, 3, 3, 5, 3, 3, 0, 3], []
    monkeypatch.setattr(program, "_poll", lambda settings, as_json: codes.pop(0))
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)

    def sleep(pause_s):
        pauses.append(pause_s)
        if not codes:
            raise SystemExit

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(SystemExit):
        program._for_ever(None, 60.0, as_json=False)
    assert pauses == [60.0 * times for times in (1, 2, 3, 4, 4, 4, 1, 2)]


def test_a_service_outlives_what_ends_a_single_poll(monkeypatch, capsys):
    polls = []

    def poll(settings, as_json):
        polls.append(as_json)
        if len(polls) == 4:
            raise SystemExit
        if len(polls) > 1:
            raise (UserError("two families"), ZeroDivisionError("a bug"))[len(polls) - 2]
        return 0

    monkeypatch.setattr(program, "_poll", poll)
    monkeypatch.setattr("time.sleep", lambda pause_s: None)
    with pytest.raises(SystemExit):
        program._for_ever(None, 60.0, as_json=True)
    out, err = capsys.readouterr()
    found = [json.loads(line)["error"]["text"] for line in out.splitlines()]
    assert found == ["two families", "ZeroDivisionError: a bug"] and "two families" in err


def test_a_service_ends_cleanly(forge, tmp_path):
    line = [sys.executable, "-m", "toolkit", "pull", *words(forge, tmp_path), "--every", "1h"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as service:
        assert service.stdout.readline().endswith(b"model.xml\n")
        while b"next poll" not in service.stderr.readline():
            pass
        service.terminate()
        assert service.wait(30) == 0


FOOTPRINT = """\
import sys
from toolkit.pull.program import main
code = main(sys.argv[1:])
print(code, *{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def test_a_poll_imports_neither_numpy_nor_torch_nor_a_runtime(forge, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FOOTPRINT, *words(forge, tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, *modules = done.stderr.splitlines()[-1].split()
    heavy = {"numpy", "torch", "onnx", "onnxruntime", "openvino", "ai_edge_litert", "PIL", "yaml"}
    assert code == "0" and "tuf" in modules and not heavy & set(modules)


@pytest.mark.parametrize("file", ON_CAMERAS, ids=lambda file: file.name)
def test_cameras_may_have_python_3_10(file):
    ast.parse(file.read_text(), feature_version=(3, 10))


def test_the_client_is_one_file(forge, tmp_path):
    archive = tmp_path / "edgesr-pull.pyz"
    assert main(["pull", "--write-client", str(archive)]) == 0
    assert archive.read_bytes() == client_bytes()
    done = subprocess.run(
        [sys.executable, str(archive), "--json", *words(forge, tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "updated"


def test_a_python_without_what_the_client_needs_is_told(forge, tmp_path):
    archive = tmp_path / "edgesr-pull.pyz"
    archive.write_bytes(client_bytes())
    bare = [sys.executable, "-I", "-S"]  # without installed packages
    done = subprocess.run(
        [*bare, str(archive), "--json", *words(forge, tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error[runtime]: this Python has no `")
    assert json.loads(done.stdout)["error"]["kind"] == "runtime"


@pytest.mark.parametrize(
    ("name", "version"), [("tuf", "5.1.0"), ("tuf", "2.1.0"), ("urllib3", "1.26.12")]
)
def test_an_older_package_is_told_before_any_work(forge, tmp_path, name, version):
    there = tmp_path / f"older/{name}-{version}.dist-info/METADATA"
    there.parent.mkdir(parents=True)
    there.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "pull", "--json", *words(forge, tmp_path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path / "older")},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert f"error[runtime]: this Python has `{name}` {version}, " in done.stderr
    assert PIP in done.stderr and json.loads(done.stdout)["error"]["kind"] == "runtime"
    assert not (tmp_path / "store").exists()


def test_a_tuf_that_cannot_be_used_is_no_attack(forge, tmp_path, monkeypatch):
    def older(*words, fetcher, config):
        """What takes no `bootstrap`."""

    monkeypatch.setattr("toolkit.pull.workflow._Updater", older)
    error = pull(settings(forge, tmp_path)).error
    assert (error.kind, error.exit_code) == ("runtime", 3) and "bootstrap" in error.problem


def test_the_one_file_holds_every_module_that_its_modules_name():
    with zipfile.ZipFile(io.BytesIO(client_bytes())) as archive:
        sources = {name: archive.read(name) for name in archive.namelist()}
    found = {
        node.module
        for source in sources.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("toolkit.")
    }
    files = [(f"{name}.py", f"{name}/__init__.py") for name in (m.replace(".", "/") for m in found)]
    missing = [names for names in files if not set(names) & set(sources)]
    assert len(found) > 30 and missing == []
    assert {name.split("/")[1] for name in sources if name.count("/") > 1} == {"pull", "runner"}


def test_sigterm_in_a_poll_is_an_end_like_any_other(forge, tmp_path):
    """The self-test is under way when the service is stopped; the same command takes up again."""
    asked = words(forge, tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "self-test").write_text(f"#!/bin/sh\necho started > {fifo}\nexec sleep 60\n")
    line = [sys.executable, "-m", "toolkit", "pull", *asked]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert fifo.read_text() == "started\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 128 + signal.SIGTERM
    (tmp_path / "self-test").write_text("#!/bin/sh\nexit 0\n")
    assert main(["pull", *asked]) == 0
