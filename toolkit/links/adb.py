"""`adb:SERIAL`, an Android device, by the system's own `adb`.

Whether a script ran to its end is told by a line of our own, not by adb's exit code: devices older
than Android 7 have none, and a lost link looks like any failure. States and messages as in the
Android Open Source Project, system/core/adb: SERVICES.TXT, client/commandline.cpp,
client/file_sync_client.cpp, adb_auth, transport.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.child import Ended, TooMuchOutput, ended
from toolkit.contracts import Finished, LinkOptions
from toolkit.errors import EnvironmentFailure, LinkLost, UserError

FOLDER = "/data/local/tmp/edgesr"  # below what the shell user may write and execute in
PROGRAM = "EDGESR_ADB"  # names the program where it is not `adb` on the PATH
ASK_S = 30.0  # for adb's own questions: its server may have to be started
SHELL_V2 = "shell_v2"  # separate streams, stdin with an end, commands above 4 kB: since Android 7
SERIAL = re.compile(r"[A-Za-z0-9_.:\[\]()%@#+=/~-]{1,256}", re.ASCII)
ADDRESS = re.compile(r".+:[0-9]{1,5}", re.ASCII)
SHOWN = 300

# What `adb devices` calls a device that cannot be used -> what it is, what to do.
STATES: Mapping[str, tuple[str, str]] = {
    "unauthorized": (
        "the device has not authorised this computer",
        "unlock it and accept the question about USB debugging; where none appears, revoke the "
        "authorisations in its developer options and plug it in again",
    ),
    "authorizing": (
        "the device is still being authorised",
        "unlock it, accept the question about USB debugging, and run again",
    ),
    "offline": (
        "the device is offline: connected, but its adb does not answer",
        "unplug it and plug it in again, or `adb reconnect offline`; wait until it has started",
    ),
    "connecting": ("the device is still connecting", "run again in a moment"),
    "no permissions": (
        "this user may not open the USB device",
        "add a udev rule (Debian and Ubuntu: sudo apt install android-sdk-platform-tools-common) "
        "or join the group plugdev, then plug it in again",
    ),
    "bootloader": ("the device is in its bootloader", "start Android: `fastboot reboot`"),
    "recovery": ("the device is in its recovery system", "start Android: `adb reboot`"),
    "sideload": ("the device is in its recovery system", "start Android: `adb reboot`"),
    "rescue": ("the device is in its recovery system", "start Android: `adb reboot`"),
}
# What adb says of a link, in the words of its source -> the state above.
SAID = (
    ("device unauthorized", "unauthorized"),
    ("still authorizing", "authorizing"),
    ("device offline", "offline"),
    ("still connecting", "connecting"),
    ("usb permission failure", "no permissions"),
    ("insufficient permissions", "no permissions"),
)
REFUSED = ("no space left", "permission denied", "read-only file system", "is a directory")


class AdbLink:
    """Scripts by `adb shell`, files by `adb push`."""

    is_emulated = False

    def __init__(self, program: str, serial: str, *, has_streams: bool, connected: bool) -> None:
        self.url = f"adb:{serial}"
        self._program = program
        self._serial = serial
        self._has_streams = has_streams
        self._connected = connected  # by us, over the network

    def run(self, script: str, *, timeout_s: float, stdin: Path | bytes = b"") -> Finished:
        """Run a POSIX sh script on the device.

        Raises LinkLost where the device went away or does not answer within `timeout_s` seconds.
        """
        token = f"edgesr-end-{secrets.token_hex(8)}"
        if self._has_streams:
            return self._run_streams(script, token, timeout_s, stdin)
        return self._run_files(script, token, timeout_s, stdin)

    def push(self, local: Path, remote: str, *, timeout_s: float) -> None:
        """Copy a file by `adb push`. Raises EnvironmentFailure where the device refuses it."""
        done = self._adb("push", str(local.absolute()), remote, timeout_s=timeout_s)
        if done.code == 0:
            return
        said = _talk(done)
        if any(words in said.lower() for words in REFUSED):
            raise EnvironmentFailure(
                f"the device did not take `{local.name}`: {said}",
                where=self.url,
                hint=f"look at the free space and the rights of `{remote}`",
            )
        raise self._lost(said, f"the link was lost while `{local.name}` was sent")

    def close(self) -> None:
        """Disconnect where this link connected; adb's server stays."""
        if self._connected:
            _ask(self._program, ["disconnect", self._serial])

    def _run_streams(
        self, script: str, token: str, timeout_s: float, stdin: Path | bytes
    ) -> Finished:
        command = f"sh -c {shlex.quote(script)}; printf '\\n{token} %d\\n' $? >&2"
        done = self._adb("shell", command, timeout_s=timeout_s, stdin=stdin)
        stderr, code, _ = self._parted(done, done.stderr.encode(), token)
        return Finished(code=code, stdout=done.stdout, stderr=stderr.decode("utf-8", "replace"))

    def _run_files(
        self, script: str, token: str, timeout_s: float, stdin: Path | bytes
    ) -> Finished:
        """As devices older than Android 7 need it: one stream back, short commands, no stdin."""
        base = f"{FOLDER}/files/{token}"
        with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
            for name, given in (("script", script.encode()), ("stdin", stdin)):
                local = given if isinstance(given, Path) else Path(folder) / name
                if isinstance(given, bytes):
                    local.write_bytes(given)
                self.push(local, f"{base}.{name}.part", timeout_s=timeout_s)
        script_part, stdin_part, stderr_part = (
            f"{base}.{name}.part" for name in ("script", "stdin", "stderr")
        )
        command = (
            f"sh {script_part} < {stdin_part} 2> {stderr_part}; printf '\\n{token} %d\\n' $?; "
            f"cat {stderr_part}; rm -f {script_part} {stdin_part} {stderr_part}; "
            f"rmdir {FOLDER}/files {FOLDER} 2> /dev/null"
        )
        done = self._adb("exec-out", command, timeout_s=timeout_s)
        stdout, code, stderr = self._parted(done, done.stdout, token)
        return Finished(code=code, stdout=stdout, stderr=stderr.decode("utf-8", "replace"))

    def _parted(self, done: Ended, stream: bytes, token: str) -> tuple[bytes, int, bytes]:
        """What came before our line, the exit code in it, what came after it."""
        found = re.search(rb"\n%s ([0-9]{1,3})\r?\n" % token.encode(), stream)
        if found is None:
            raise self._lost(_talk(done), "the link was lost while a script ran")
        return stream[: found.start()], int(found[1]), stream[found.end() :]

    def _adb(self, *words: str, timeout_s: float, stdin: Path | bytes = b"") -> Ended:
        command = [self._program, "-s", self._serial, *words]
        try:
            return ended(command, timeout_s=timeout_s, stdin=stdin)
        except subprocess.TimeoutExpired:
            raise LinkLost(
                f"no answer within {timeout_s:.0f} s",
                where=self.url,
                hint="look at the device: locked, asleep, or out of power?",
            ) from None
        except TooMuchOutput as found:
            raise EnvironmentFailure(f"the answer is too large: {found}", where=self.url) from None

    def _lost(self, said: str, otherwise: str) -> LinkLost:
        state = next((state for words, state in SAID if words in said.lower()), "")
        problem, hint = STATES.get(state, (otherwise, "look at the cable and `adb devices`"))
        return LinkLost(f"{problem} (adb: {said})", where=self.url, hint=hint)


def present() -> list[str]:
    """Every device that adb lists, usable or not; nothing where there is no adb."""
    try:
        return [f"adb:{serial}" for serial in _devices(_program())]
    except EnvironmentFailure:
        return []


def open(address: str, options: LinkOptions) -> AdbLink:
    """The device with this serial number, or the only one for an empty address.

    An address `host:port` is connected where adb does not know it. Raises UserError for a serial
    that can be none or is ambiguous; EnvironmentFailure where adb is not installed, or the device
    is not there, not authorised, offline, not permitted or not running Android.
    """
    program = _program()
    serial = _checked(address) if address else _only(_devices(program))
    connected = False
    state = _devices(program).get(serial)
    if state is None and ADDRESS.fullmatch(serial):
        _connect(program, serial, options.connect_s)
        connected = True
        state = _devices(program).get(serial)
    if state != "device":
        raise _unusable(serial, state, _devices(program))
    features = _ask(program, ["-s", serial, "features"]).stdout.decode("utf-8", "replace").split()
    return AdbLink(program, serial, has_streams=SHELL_V2 in features, connected=connected)


def _program() -> str:
    named = os.environ.get(PROGRAM, "")
    found = shutil.which(named or "adb")
    if found is None:
        raise EnvironmentFailure(
            f"`{named}`, named by {PROGRAM}, cannot be run" if named else "`adb` is not installed",
            hint=f"on Debian and Ubuntu: sudo apt install adb; or set {PROGRAM} to its path",
        )
    return found


def _checked(address: str) -> str:
    if not SERIAL.fullmatch(address) or address.startswith("-"):
        raise UserError(
            f"`{address}` is no serial number of adb",
            hint="`adb devices` lists them; `edgesr devices` too",
        )
    return address


def _devices(program: str) -> dict[str, str]:
    """Serial numbers and states, as `adb devices` lists them."""
    done = _ask(program, ["devices"])
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if done.code != 0 or "List of devices attached" not in lines:
        raise EnvironmentFailure(
            f"adb does not list its devices (exit {done.code}): {_talk(done)}",
            hint="`adb kill-server`, then run again",
        )
    rows = (line.partition("\t") for line in lines[lines.index("List of devices attached") + 1 :])
    return {serial.strip(): _state(state) for serial, tab, state in rows if tab}


def _state(words: str) -> str:
    """`no permissions (user in plugdev group; ...)` has its reasons behind it."""
    return "no permissions" if words.startswith("no permissions") else words.strip()


def _only(devices: Mapping[str, str]) -> str:
    if len(devices) == 1:
        return next(iter(devices))
    if not devices:
        raise _unusable("", None, devices)
    raise UserError(
        f"{len(devices)} devices are connected: {_listed(devices)}",
        hint=f"name one: adb:{next(iter(devices))}",
    )


def _connect(program: str, serial: str, connect_s: float) -> None:
    """`adb connect` ends well even where it fails; what it says counts."""
    done = _ask(program, ["connect", serial], timeout_s=connect_s + ASK_S)
    said = _talk(done)
    if done.code != 0 or not said.lower().startswith(("connected to", "already connected")):
        raise EnvironmentFailure(
            f"adb could not connect: {said}",
            where=f"adb:{serial}",
            hint="switch on wireless debugging on the device, or `adb tcpip 5555` over USB",
        )


def _unusable(serial: str, state: str | None, devices: Mapping[str, str]) -> EnvironmentFailure:
    where = f"adb:{serial}"
    if state is None:
        return EnvironmentFailure(
            f"no such device; adb sees {_listed(devices)}" if devices else "adb sees no device",
            where=where,
            hint="plug it in, switch on USB debugging in its developer options, look at the cable",
        )
    problem, hint = STATES.get(state, (f"adb calls the device `{state[:60]}`", "`adb devices`"))
    return EnvironmentFailure(problem, where=where, hint=hint)


def _listed(devices: Mapping[str, str]) -> str:
    return ", ".join(f"`{serial}` ({state[:40]})" for serial, state in sorted(devices.items()))


def _ask(program: str, words: Sequence[str], *, timeout_s: float = ASK_S) -> Ended:
    try:
        return ended([program, *words], timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        raise EnvironmentFailure(
            f"`adb {words[0]}` did not answer within {timeout_s:.0f} s",
            hint="`adb kill-server`, then run again",
        ) from None
    except TooMuchOutput as found:
        raise EnvironmentFailure(f"`adb {words[0]}` printed too much: {found}") from None


def _talk(done: Ended) -> str:
    """What adb said, on one line, printable; its own talk is on either stream."""
    words = " ".join((done.stderr + " " + done.stdout[-4096:].decode("utf-8", "replace")).split())
    said = "".join(c if c.isprintable() else "?" for c in words)
    return said[-SHOWN:].removeprefix("error: ") or f"exit {done.code}, no words"
