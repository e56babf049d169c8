"""A tiny file to run on devices, and a device whose misbehaviour a test chooses."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ssh_server import SshServer
from tiny_project import tiny_network

from toolkit.contracts import Artefact
from toolkit.measure.board import Board, files_of, job_of
from toolkit.model.contract import ImageContract, IoContract, TensorSpec

FORCE = '. "{folder}/fault.sh"\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'
IS_PUSH = '*"cat > "*".part"*'
IS_FETCH = '*"; most="*'
IS_RUN = '*"edgesr-runner.pyz job.json"*'


def tiny_artefact(folder: Path) -> Artefact:
    """Two convolutions, x2, float32 ONNX of free size."""
    path = folder / "tiny.float32.onnx"
    tiny_network(path)
    sides = {
        name: TensorSpec(name=word, dtype="float32", layout="nchw", shape=(1, 3, None, None))
        for name, word in (("input", "lr"), ("output", "sr"))
    }
    contract = IoContract(image=ImageContract(scale=2), **sides)
    return Artefact(path=path, backend="onnxruntime", precision="float32", contract=contract)


def picture(seed: int = 0, height: int = 12, width: int = 16) -> np.ndarray:
    """A float32 input (1, 3, height, width), 0 to 1."""
    return np.random.default_rng(seed).random((1, 3, height, width)).astype(np.float32)


def execute_tiny(board: Board, artefact: Artefact, *, timeout_s: float = 60.0) -> dict:
    """Load the file on the device, and nothing else."""
    job = job_of(artefact, threads=1, expires_s=timeout_s)
    return board.execute(job, files_of(artefact), timeout_s=timeout_s)


@dataclass(frozen=True, kw_only=True)
class FaultyDevice:
    """A real server; every command first goes through what `fault` was given."""

    server: SshServer

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def home(self) -> Path:
        return self.server.home

    def fault(self, script: str) -> None:
        """POSIX sh; $SSH_ORIGINAL_COMMAND is what was asked, $PPID the connection's server."""
        (self.server.folder / "fault.sh").write_text(script)

    def fault_when(self, pattern: str, script: str) -> None:
        """The same for commands of a pattern."""
        self.fault(f'case "$SSH_ORIGINAL_COMMAND" in\n{pattern})\n{script}\n;;\nesac\n')

    def python(self, script: str) -> None:
        """Another Python: `script` runs in its place where it is given the runner."""
        program = self.server.folder / "python"
        program.write_text(
            f'#!/bin/sh\ncase "$1" in *.pyz)\n{script}\n;;\nesac\nexec {sys.executable} "$@"\n'
        )
        program.chmod(0o755)
        self.fault(f"EDGESR_PYTHON={program}; export EDGESR_PYTHON\n")

    def reset(self) -> None:
        """No fault, nothing on it but the files by digest: sending them again takes its time."""
        self.fault("")
        for entry in self.home.glob("*"):
            if entry.name != "files":
                shutil.rmtree(entry)
        self._no_flags()

    def forget(self) -> None:
        """Nothing on it at all."""
        shutil.rmtree(self.home, ignore_errors=True)

    def _no_flags(self) -> None:
        for flag in self.server.folder.glob("flag-*"):
            flag.rmdir()

    def at_work(self) -> list[str]:
        """Command lines of the processes whose working folder is on the device."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if str((entry / "cwd").readlink()).startswith(f"{self.home}/"):
                        found.append((entry / "cmdline").read_text().replace("\0", " "))
        return found
