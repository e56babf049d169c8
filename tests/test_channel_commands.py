"""`edgesr keys`, `publish` and `channel`, as somebody at a terminal meets them."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from channel_parts import Camera, tree
from release_bundle import LITERT, OPENVINO, bundle

from toolkit.cli import _parser, main
from toolkit.keys import files as keys_file

ROOT = Path(__file__).parent.parent
NEVER = ("torch", "numpy", "tuf", "cryptography", "onnxruntime")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder, without a passphrase in the environment, at quick key stretching."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keys_file, "KDF_ROUNDS", 1)
    monkeypatch.delenv("EDGESR_KEY_PASSPHRASE", raising=False)
    return tmp_path


@pytest.fixture
def edgesr(capsys):
    """Run a command; (exit code, stdout, stderr)."""

    def run(*words):
        code = main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def made(edgesr, place):
    """Keys without a passphrase for the bundle's own family; the bundle."""
    folder = bundle(place / "built", OPENVINO)
    target = json.loads((folder / "manifest.json").read_text())["target"]
    edgesr("keys", "init", "--family", target, "--no-passphrase")
    return folder


def family_of(folder):
    return json.loads((folder / "manifest.json").read_text())["target"]


def publish(edgesr, folder, *words):
    return edgesr("publish", folder, "--channel", "channel", *words)


def test_from_keys_to_cameras_and_back(edgesr, made, place):
    family = family_of(made)
    code, out, talk = publish(edgesr, made, "--rollout", "10%")
    assert (code, out) == (
        0, f"release 1 of `{family}` is for 10 % of the `{family}` cameras\n")  # fmt: skip
    assert talk == f"  next: edgesr channel rollout 100% --channel channel --family {family}\n"
    assert publish(edgesr, made)[1].endswith("cameras; nothing changed\n")
    code, out, _ = edgesr("channel", "rollout", "100%", "--channel", "channel")
    assert (code, out) == (
        0, f"release 1 of `{family}` is for 100 % of the `{family}` cameras\n")  # fmt: skip
    code, out, _ = publish(edgesr, made, "--min-firmware", "7", "--json")
    assert json.loads(out) | {"id": ""} == {
        "schema": 1, "family": family, "release": 2, "id": "", "compatible": family,
        "basis_points": 10_000, "changed": True,
    }  # fmt: skip
    code, out, _ = edgesr("channel", "status", "--channel", "channel", "--json")
    assert [one["release"] for one in json.loads(out)["families"][family]] == [2, 1]
    code, out, _ = edgesr("channel", "expire-soon", "--channel", "channel")
    assert (code, out) == (0, "nothing expires soon\n")
    code, out, _ = edgesr(
        "channel", "expire-soon", "--channel", "channel", "--days", "100", "--json"
    )
    roles = [one["role"] for one in json.loads(out)["roles"]]
    assert (code, roles) == (4, ["targets", family])
    code, out, _ = edgesr("channel", "refresh", "--channel", "channel")
    assert (code, out) == (0, "signed again: timestamp\n")
    code, out, talk = edgesr(
        "keys", "rotate", "timestamp", "--channel", "channel", "--no-passphrase"
    )
    assert code == 0 and "timestamp-2.key" in out and "signed root 2" in talk
    camera = Camera(place / "channel", place / "keys/1.root.json")
    assert camera.newest(family, now=datetime.now(UTC)).release == 2


def test_keys_are_told_with_what_to_do_next(edgesr):
    code, out, talk = edgesr("keys", "init", "--family", "street", "--no-passphrase")
    assert code == 0 and talk.splitlines()[0] == "  made root-1, root-2, root-3"
    root = json.loads(edgesr("keys", "init", "--json")[1])
    assert root["root"] == "keys/root.json" and root["root_version"] == 1
    assert list(root["roles"]["root"]["keys"]) == ["root-1", "root-2", "root-3"]
    assert out.startswith(
        "root       2 of 3  root-1.key, root-2.key, root-3.key\n"
        "targets    1 of 1  targets-1.key\n"
        "snapshot   1 of 1  snapshot-1.key\n"
        "timestamp  1 of 1  timestamp-1.key\n"
        "street     1 of 1  street-1.key\n\n"
        "root for the firmware: keys/root.json (version 1, until "
    )
    assert "edgesr publish BUNDLE --channel DIR" in out


def test_thresholds_by_words(edgesr):
    words = ["--root-keys", 5, "--root-threshold", 3, "--targets-threshold", 2, "--no-passphrase"]
    roles = json.loads(edgesr("keys", "init", "elsewhere", *words, "--json")[1])["roles"]
    assert (roles["root"]["threshold"], len(roles["root"]["keys"])) == (3, 5)
    assert (roles["targets"]["threshold"], len(roles["targets"]["keys"])) == (2, 2)


def test_other_numbers_for_keys_that_are_there_are_not_taken_in_silence(edgesr, place):
    words = ("keys", "init", "keys", "--no-passphrase", "--root-keys", 5, "--root-threshold", 3)
    assert edgesr(*words)[0] == 0
    before = tree(place / "keys")
    assert edgesr(*words)[0] == edgesr(*words[:4])[0] == 0
    code, out, problem = edgesr(*words[:4], "--targets-threshold", 2)
    assert (code, out) == (2, "") and "`targets` has 1 keys already, of which 1 must" in problem
    assert edgesr(*words[:4], "--root-keys", 4)[0] == 2
    assert tree(place / "keys") == before


def test_a_passphrase_by_file_and_environment(edgesr, place, monkeypatch):
    (place / "words").write_text("correct horse\n")
    (place / "words").chmod(0o600)
    folder = bundle(place / "built", OPENVINO)
    words = ["--passphrase-file", "words"]
    assert edgesr("keys", "init", "--family", family_of(folder), *words)[0] == 0
    before = tree(place / "keys")
    assert edgesr("keys", "init", "--family", family_of(folder))[0] == 0  # asks for none
    assert tree(place / "keys") == before
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123
    code, out, problem = publish(edgesr, folder)
    assert (code, out) == (3, "") and "and nobody is there to type it" in problem
    monkeypatch.setenv("EDGESR_KEY_PASSPHRASE", "wrong")
    code, out, problem = publish(edgesr, folder)
    assert (code, out) == (2, "") and problem.startswith(
        "error[passphrase]: the passphrase does not"
    )
    assert publish(edgesr, folder, *words)[0] == 0
    monkeypatch.setenv("EDGESR_KEY_PASSPHRASE", "correct horse")
    assert edgesr("channel", "refresh", "--channel", "channel")[0] == 0


def test_a_passphrase_at_a_terminal(place):
    """Typed twice, unseen, on a real terminal."""
    child, terminal = pty.fork()
    if child == 0:
        words = ["keys", "init", "--root-keys", "1", "--root-threshold", "1"]
        os.execv(sys.executable, [sys.executable, "-m", "toolkit", *words])
    limit = threading.Timer(60, os.kill, (child, signal.SIGKILL))  # of a further question
    limit.start()
    shown = b""
    for prompt in (b"a passphrase for the new keys: ", b"the same again: "):
        while not shown.endswith(prompt):
            shown += os.read(terminal, 1000)
        os.write(terminal, b"correct horse\n")
    try:
        while more := os.read(terminal, 1000):
            shown += more
    except OSError:
        pass  # the terminal ends with the child
    limit.cancel()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"correct" not in shown and b"root for the firmware" in shown
    code = subprocess.run(
        ["ssh-keygen", "-y", "-P", "correct horse", "-f", "keys/root-1.key"],
        cwd=place, capture_output=True, check=False,
    ).returncode  # fmt: skip
    assert code == 0  # OpenSSH itself opens it


def test_only_a_bundle_that_passed_is_published(edgesr, made, place):
    later = made.with_name(f"{made.name}.failed")
    later.mkdir()
    shutil.copy(made / "report.json", later)
    code, out, problem = publish(edgesr, made)
    assert (code, out) == (4, "") and problem.startswith("gate failed: a later run of this recipe")
    assert not (place / "channel").exists()


@pytest.mark.parametrize("name", ["report.json", "{model}"])
def test_a_bundle_that_was_changed_is_refused(edgesr, made, place, name):
    file = made / name.format(model=OPENVINO.file)
    file.write_bytes(file.read_bytes() + b" ")
    code, out, problem = publish(edgesr, made)
    assert (code, out) == (5, "") and problem.startswith("refused: `")
    assert not (place / "channel").exists()


@pytest.mark.parametrize("share", ["10", "101%", "0.001%", "-5%"])
def test_a_share_that_is_none(edgesr, made, share):
    code, _, problem = publish(edgesr, made, f"--rollout={share}")
    assert code == 2 and problem.startswith("error: a share is a percentage from 0% to 100%")


def test_another_word_for_cameras_in_the_same_family(edgesr, made):
    family = family_of(made)
    code, out, _ = publish(edgesr, made, "--compatible", "rev-b")
    assert (code, out) == (
        0, f"release 1 of `{family}` is for 100 % of the `rev-b` cameras\n")  # fmt: skip
    code, _, problem = publish(edgesr, made, "--compatible", "rev b")
    assert code == 2 and "'rev b' is no word that cameras can state" in problem


def test_one_file_of_several_in_a_family_of_its_own(edgesr, place):
    folder = bundle(place / "built", OPENVINO, LITERT)
    edgesr("keys", "init", "--family", "street", "--no-passphrase")
    code, _, problem = publish(edgesr, folder, "--file", LITERT.file)
    assert code == 2 and f"there is no key for `{family_of(folder)}`" in problem
    assert publish(edgesr, folder, "--family", "street", "--file", LITERT.file)[0] == 0
    release = Camera(place / "channel", place / "keys/root.json").newest(
        "street", datetime.now(UTC)
    )
    assert (release.model.name, release.compatible) == (LITERT.file, family_of(folder))


def test_keys_that_others_may_read_stop_everything(edgesr, made, place):
    (place / "keys/targets-1.key").chmod(0o644)
    code, out, problem = publish(edgesr, made)
    assert (code, out) == (5, "")
    assert problem == (
        "refused[key-mode]: others may use this private key: its mode is 0644\n"
        "  --> keys/targets-1.key\n\n"
        "hint: chmod 600 keys/targets-1.key (of a FAT stick: mount it with umask=077); "
        "if others had access, replace the key: edgesr keys rotate\n"
    )


def test_a_stick_with_the_root_keys(edgesr, made, place):
    publish(edgesr, made)
    (place / "stick").mkdir()
    for file in (place / "keys").glob("root-*.key"):
        shutil.move(file, place / "stick")
    words = ["keys", "rotate", "snapshot", "--channel", "channel", "--no-passphrase"]
    code, _, problem = edgesr(*words)
    assert code == 3 and problem.startswith(
        "error[key-missing]: `root` must be signed by 2 of its 3"
    )
    assert edgesr(*words, "--keys", "keys", "--keys", "stick")[0] == 0


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom toolkit.cli import main\n"
        "try:\n    main(['keys', 'init', '--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit(any(m.split('.')[0] in {NEVER!r} for m in sys.modules))\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode
        == 0
    )


def commands_of(page):
    lines = (ROOT / page).read_text().splitlines()
    found = [line.split("#")[0].strip() for line in lines if line.startswith("    edgesr ")]
    return [shlex.split(line)[1:] for line in found]


def test_the_page_on_publishing_names_commands_that_exist():
    commands = commands_of("docs/publishing.md")
    assert len(commands) > 7
    for words in commands:
        _parser().parse_args(words)  # exits where a word is unknown
