"""Both clients behind one interface: a camera is a store, a channel, and one of two programs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from camera.models import COMPATIBLE, FAMILY
from camera.running import PYTHON_WORDS, Running, start

FETCHED = ("model", "part", "golden", "contract")
QUICK = {"stall_s": "1", "tries": "3", "retry_s": "0.01"}
TIMEOUT_S = 60.0
GOOD_MODEL = "#!/bin/sh\nexit 0\n"  # a self-test program that likes every model


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one pull said and how it ended."""

    code: int
    kind: str  # of its error; "" where there was none
    stderr: str
    result: Mapping[str, Any]  # the JSON document on stdout; empty where there was none

    @property
    def outcome(self) -> str:
        return str(self.result.get("outcome", ""))


@dataclass(frozen=True)
class Store:
    """What a camera has on disk."""

    folder: Path

    def state(self) -> dict[str, str]:
        """Every file with the SHA-256 of its bytes; without the lock."""
        files = (file for file in sorted(self.folder.rglob("*")) if file.is_file())
        return {
            str(file.relative_to(self.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.name != "lock"
        }

    def trusted(self) -> dict[str, str]:
        """The trusted metadata alone, by file name."""
        return {n: d for n, d in self.state().items() if n.startswith("metadata/")}

    def pointer(self, name: str = "current") -> tuple[int, str] | None:
        """Release and id of `current` or `previous`; None where there is no such pointer."""
        try:
            release, identity = (self.folder / name).read_text().split()
        except (OSError, ValueError):
            return None
        return int(release), identity

    @property
    def release(self) -> int | None:
        """The number of the present release."""
        return None if (pointer := self.pointer()) is None else pointer[0]

    @property
    def place(self) -> Path:
        """The folder of the present release."""
        pointer = self.pointer()
        assert pointer is not None, "no current release"
        return self.folder / "releases" / pointer[1]

    def is_served(self) -> bool:
        """Whether `current` names a complete release, each byte as its signed manifest says."""
        return (pointer := self.pointer()) is not None and self.is_complete(pointer[1])

    def is_complete(self, identity: str) -> bool:
        """Whether the folder of a release holds all that a camera stores of it, intact."""
        folder = self.folder / "releases" / identity
        try:
            manifest = (folder / "release.json").read_bytes()
            if hashlib.sha256(manifest).hexdigest() != identity:
                return False
            files = [one for one in json.loads(manifest)["files"] if one["role"] in FETCHED]
            return all(_digest(folder / one["name"]) == one["sha256"] for one in files)
        except (OSError, ValueError):
            return False

    def blocked(self) -> dict[str, str]:
        """Content digest to the kind that it was blocked for."""
        file = self.folder / "blocked"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split() for line in lines)

    def false_finals(self) -> list[str]:
        """Files of releases under their final name whose bytes are not what was signed."""
        wrong = []
        for folder in (self.folder / "releases").glob("*"):
            for file in folder.iterdir():
                if file.name != "release.json" and not file.name.endswith(".part"):
                    wrong += [] if _is_signed(file) else [str(file.relative_to(self.folder))]
        return wrong


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _is_signed(file: Path) -> bool:
    """Whether the manifest beside a file states its digest."""
    try:
        manifest = (file.parent / "release.json").read_bytes()
    except OSError:
        return False
    signed = {one["name"]: one["sha256"] for one in json.loads(manifest)["files"]}
    is_manifest = hashlib.sha256(manifest).hexdigest() == file.parent.name
    return is_manifest and signed.get(file.name) == _digest(file)


@dataclass(frozen=True, kw_only=True)
class Client:
    """One of the two programs."""

    name: str  # "python" or "c"
    words: tuple[str, ...]


PYTHON = Client(name="python", words=(*PYTHON_WORDS, "pull"))


def c_client() -> Client:
    """The C client, built once. Raises ImportError where its builder is not there."""
    from c_client import edgesr_pull

    return Client(name="c", words=(str(edgesr_pull()),))


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One device: a folder that holds its root, its self-test program and its store."""

    client: Client
    folder: Path
    channel: str
    device_id: str = "camera-1"
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def made(
        cls, client: Client, folder: Path, channel: str, root: bytes, **options: Any
    ) -> Camera:
        """A new camera, fresh from the factory: no release yet."""
        folder.mkdir(parents=True)
        (folder / "root.json").write_bytes(root)
        camera = cls(client=client, folder=folder, channel=channel, options=options)
        camera.judge(GOOD_MODEL)
        return camera

    def judge(self, program: str) -> None:
        """Let this script be the self-test from now on; it is given the release's folder."""
        file = self.folder / "self-test"
        file.write_text(program)
        file.chmod(0o755)

    def copy(self, folder: Path, channel: str) -> Camera:
        """The same camera with the same store elsewhere, on another channel."""
        shutil.copytree(self.folder, folder)
        return Camera(
            client=self.client,
            folder=folder,
            channel=channel,
            device_id=self.device_id,
            options=self.options,
        )

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def words(self, **options: Any) -> list[str]:
        """The command line of one pull; an option of None is left out, of True has no value."""
        stated: dict[str, Any] = {
            "channel": self.channel,
            "device_id": self.device_id,
            "root": self.folder / "root.json",
            "store": self.store.folder,
            "family": FAMILY,
            "compatible": COMPATIBLE,
            "self_test": self.folder / "self-test",
            **QUICK,
            **self.options,
            **options,
        }
        words = [*self.client.words, "--json"]
        for name, value in stated.items():
            flag = f"--{name.replace('_', '-')}"
            words += [] if value is None else [flag] if value is True else [flag, str(value)]
        return words

    def start(
        self,
        *,
        at: datetime | None = None,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[int, int] | None = None,
        **options: Any,
    ) -> Running:
        """One poll under way; `at` is what its system clock says, `limits` are of `resource`."""
        words, stated = self.words(**options), dict(environment or {})
        if at is not None and self.client.name == "python":
            words = ["faketime", "-f", f"@{at:%Y-%m-%d %H:%M:%S}", *words]
            stated["TZ"] = "UTC"
        elif at is not None:  # its sanitizers and faketime exclude each other
            stated["EDGESR_NOW"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        return start(words, stated, limits)

    def pull(self, **options: Any) -> Outcome:
        """One poll to its end; options as of `start`."""
        done = self.start(**options).wait(TIMEOUT_S)
        return outcome_of(done.code, done.stdout, done.stderr)

    def killed(self, **options: Any) -> int:
        """One poll that does not get to its end: the number of the signal that ended it."""
        code = self.start(**options).wait(TIMEOUT_S).code
        assert code < 0, f"it ended by itself with code {code}"
        return -code

    def heals(self) -> bool:
        """Whether one more poll ends well, a complete release served and nothing half there."""
        again = self.pull()
        assert again.code == 0, again
        return self.store.is_served() and not self.store.false_finals()


def outcome_of(code: int, stdout: bytes, stderr: bytes) -> Outcome:
    """An ended pull. A traceback, a sanitizer's report or a control code is never an outcome."""
    said = stderr.decode("utf-8", "replace")
    assert "Traceback" not in said and "Sanitizer" not in said, said
    assert all(one == "\n" or one.isprintable() for one in said), "escape codes of somebody else"
    result: dict[str, Any] = json.loads(stdout) if stdout.strip() else {}
    error = result.get("error") or {}
    return Outcome(code=code, kind=str(error.get("kind", "")), stderr=said, result=result)
