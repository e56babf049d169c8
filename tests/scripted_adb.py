"""An `adb` that behaves as the real one's documentation and source say, on a folder as the device.

The texts are those of the Android Open Source Project, system/core/adb (client/adb_client.cpp,
client/file_sync_client.cpp, transport.cpp, adb_auth). What it does is told by `adb.json` in the
folder named by SCRIPTED_ADB:

    devices    {serial: state}; `device` answers
    features   of every device: what `adb features` lists
    network    {host:port: what `adb connect` says}; those that connect become devices
    push       {"after_bytes": n, "says": text, "times": n}: what befalls the next pushes
    shell      {"match": text, "skip": n, "after_s": s, "says": text}: the one command that is cut

Every call is appended to `calls.jsonl`. The device's /data/local/tmp is `tmp` in the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

DEVICE_TMP = "/data/local/tmp"
UNAUTHORIZED = (
    "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\n"
    "Otherwise check for a confirmation dialog on your device."
)
SAID = {
    "unauthorized": UNAUTHORIZED,
    "authorizing": "device still authorizing",
    "offline": "device offline",
    "connecting": "device still connecting",
}


# What the scripts of a link may use; Android's toybox has all of them.
TOOLS = """sh cat chmod cp cut date dd df dirname env expr grep head id kill ln ls mkdir mv rm rmdir
sed sha256sum sleep sort stat tail timeout touch tr true uname wc"""


class Phone:
    """The scripted program and its device, for a test."""

    def __init__(self, folder: Path, *, python: str = sys.executable) -> None:
        self.folder = folder
        self.tmp = folder / "tmp"
        self.tmp.mkdir(parents=True)
        self.bin = folder / "bin"  # the device's programs
        self.tools = self.tmp  # where vendors' programs are looked for on Android
        self.bin.mkdir()
        for name in TOOLS.split():
            (self.bin / name).symlink_to(str(shutil.which(name)))
        self.program = folder / "adb"
        shell = f'#!/bin/sh\nSCRIPTED_ADB="{folder}" exec "{sys.executable}" "{__file__}" "$@"\n'
        self.program.write_text(shell)
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.set(devices={"R58M123ABC": "device"}, features=["shell_v2", "cmd"], python=python)

    def set(self, **changes) -> None:
        path = self.folder / "adb.json"
        settings = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**settings, **changes}))

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def left(self) -> list[str]:
        """Every path on the device, sorted."""
        return sorted(str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*"))


def fail(text: str, code: int = 1) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


def main(words: list[str]) -> None:
    folder = Path(os.environ["SCRIPTED_ADB"])
    with (folder / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    settings = json.loads((folder / "adb.json").read_text())
    if words == ["devices"]:
        print("* daemon not running; starting now at tcp:5037", file=sys.stderr)
        print("List of devices attached")
        for serial, state in settings["devices"].items():
            print(f"{serial}\t{state}")
        print()
    elif words[:1] == ["connect"]:
        connect(folder, settings, words[1])
    elif words[:1] == ["disconnect"]:
        print(f"disconnected {words[1]}")
    elif words[:1] == ["-s"]:
        state = settings["devices"].get(words[1])
        if state is None:
            fail(f"adb: device '{words[1]}' not found")
        if state != "device":
            fail(f"adb: {SAID.get(state, state)}")
        device(folder, settings, words[2:])
    else:
        fail(f"adb: unknown command {words[0]}")


def connect(folder: Path, settings: dict, address: str) -> None:
    said = settings.get("network", {}).get(address, f"failed to connect to '{address}'")
    if said.startswith("connected"):
        settings["devices"][address] = "device"
        (folder / "adb.json").write_text(json.dumps(settings))
    print(said)  # and exit code 0 whatever it says, as adb before 1.0.41


def device(folder: Path, settings: dict, words: list[str]) -> None:
    if words == ["features"]:
        print("\n".join(settings["features"]))
    elif words[:1] == ["push"] and len(words) == 3:
        push(folder, settings, Path(words[1]), words[2])
    elif words[:1] == ["shell"] and "shell_v2" in settings["features"]:
        sys.exit(shell(folder, settings, words[1], sys.stdin.buffer, sys.stderr.buffer))
    elif words[:1] == ["exec-out"]:
        # one stream for both, no stdin, no exit code
        shell(folder, settings, words[1], subprocess.DEVNULL, subprocess.STDOUT)
    else:
        fail(f"adb: this device does not know {words}")


def fault(folder: Path, settings: dict, name: str) -> dict:
    """What befalls this call; counted down."""
    found = settings.get(name) or {}
    if found.get("times", 0) < 1:
        return {}
    found["times"] -= 1
    (folder / "adb.json").write_text(json.dumps(settings))
    return found


def on_device(folder: Path, text: str) -> str:
    return text.replace(DEVICE_TMP, str(folder / "tmp"))


def push(folder: Path, settings: dict, local: Path, remote: str) -> None:
    goal = Path(on_device(folder, remote))
    befalls = fault(folder, settings, "push")
    if befalls:
        if befalls["after_bytes"]:
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.write_bytes(local.read_bytes()[: befalls["after_bytes"]])
        if befalls.get("state"):
            settings["devices"] = dict.fromkeys(settings["devices"], befalls["state"])
            (folder / "adb.json").write_text(json.dumps(settings))
        fail(f"adb: error: failed to copy '{local}' to '{remote}': {befalls['says']}")
    goal.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(local, goal)
    if remote.endswith(".script.part"):
        goal.write_text(on_device(folder, goal.read_text()))
    size = local.stat().st_size
    print(f"{local}: 1 file pushed, 0 skipped. 30.1 MB/s ({size} bytes in 0.001s)")


def shell(folder: Path, settings: dict, command: str, stdin, stderr) -> int:
    if "shell_v2" not in settings["features"] and len(command) > 4000:
        fail("error: command too long")
    befalls = settings.get("shell") or {}
    cut = befalls != {} and befalls["match"] in command
    if cut:
        cut = befalls["skip"] == 0
        settings["shell"] = {} if cut else {**befalls, "skip": befalls["skip"] - 1}
        (folder / "adb.json").write_text(json.dumps(settings))
    environment = {
        "PATH": str(folder / "bin"),
        "HOME": "/",
        "EDGESR_PYTHON": settings["python"],
    }
    child = subprocess.Popen(
        ["sh", "-c", on_device(folder, command)], stdin=stdin, stdout=sys.stdout.buffer,
        stderr=stderr, env=environment, start_new_session=True,
    )  # fmt: skip
    if cut:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(befalls["after_s"])
        os.killpg(child.pid, signal.SIGKILL)
        fail(befalls["says"], 255)
    return child.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
