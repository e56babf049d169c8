"""A locked device: files are pushed by digest, jobs run, answers read strictly."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.contracts import Artefact, Finished, Link, LinkOptions, Tensor
from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.measure.answer import answer_of
from toolkit.measure.batches import batches, read_arrays, write_arrays
from toolkit.measure.folder import job_folder
from toolkit.measure.lock import Say, release, take
from toolkit.measure.probe import Probe, probe
from toolkit.measure.shelf import Shelf

RUNTIMES: Mapping[str, tuple[str, ...]] = {  # runtime -> distributions, any of which has it
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "litert": ("ai-edge-litert", "tflite-runtime"),
}
STAND_IN = {"tensorrt": "onnxruntime"}  # which runtime opens a backend's file, where not its own
OLDEST_PYTHON = (3, 9)
BATCH_S = 300.0  # to start a runtime and load the largest file on a slow device
BATCH_S_PER_TENSOR = 60.0
JOB_FILE = "job.json"
INPUTS, OUTPUTS = "inputs.npy", "outputs.npy"
MOST_FETCHED_BYTES = (1 << 31) - 1  # mksh, Android's shell, counts in 32 bits


def runtime_of(artefact: Artefact) -> str:
    """The runner's runtime for a file: its backend, or what stands in for it."""
    return STAND_IN.get(artefact.backend, artefact.backend)


def files_of(artefact: Artefact) -> dict[str, Path]:
    """`parts_of` an artefact."""
    return parts_of(artefact.path)


def parts_of(file: Path) -> dict[str, Path]:
    """A file by name, with the weights that lie beside an OpenVINO IR."""
    parts = [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]
    return {part.name: part for part in parts}


def job_of(artefact: Artefact, *, threads: int, expires_s: float) -> dict[str, Any]:
    """The job that loads a file and does nothing with it; the caller adds what to do."""
    digests = {name: sha256_file(path) for name, path in files_of(artefact).items()}
    name = artefact.path.name
    return {
        "schema": 1,
        "runtime": runtime_of(artefact),
        "file": name,
        "sha256": digests.pop(name),
        "parts": digests,
        "precision": artefact.precision,
        "threads": threads,
        "contract": artefact.contract.as_json(),
        "golden": [],
        "time": None,
        "batch": None,
        "operators": False,
        "tune": False,
        "expires_s": expires_s,
    }


class Board:
    """A device that nobody else measures on until it is given back."""

    def __init__(self, shelf: Shelf, runner: Path) -> None:
        self._shelf = shelf
        self._runner = runner
        self.probe: Probe = shelf.probe
        self.device = shelf.probe.device
        self.is_emulated = shelf.link.is_emulated
        self.url = shelf.link.url

    def put(self, path: Path) -> str:
        """Have a file's bytes on the device; returns their SHA-256, its name there."""
        return self._shelf.put([path])[0]

    def execute(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        *,
        timeout_s: float,
        fetch: Mapping[str, Path] | None = None,
        passing: Mapping[str, Path] | None = None,
    ) -> dict[str, Any]:
        """Run one job with `files` by name beside it; returns the runner's answer.

        `passing` are further files, which do not stay on the device; `fetch` names results and
        where they go on this host. Raises EnvironmentFailure, LinkLost or SecurityError where
        there is no answer, or the answer says that the job could not be done; golden vectors that
        differ are no error, the answer says so.
        """
        self.require(str(job["runtime"]))
        text = json.dumps({"expires_s": timeout_s, **job}, allow_nan=False).encode("ascii")
        placed = {self._runner.name: self._runner, **files}
        words = [self.probe.python, self._runner.name, JOB_FILE]
        with job_folder(self._shelf, placed, job=text, passing=passing) as folder:
            answer = answer_of(folder.run(words, timeout_s=timeout_s), self.url)
            for name, local in (fetch or {}).items():
                folder.fetch(name, local, most_bytes=MOST_FETCHED_BYTES)
        return answer

    def command(
        self,
        words: Sequence[str],
        files: Mapping[str, Path],
        *,
        timeout_s: float,
        fetch: Mapping[str, Path] | None = None,
    ) -> Finished:
        """Run a program of the device with `files` by name in its working folder.

        `fetch` names results and where they go, fetched only where the exit code is 0.
        """
        with job_folder(self._shelf, files) as folder:
            done = folder.run(words, timeout_s=timeout_s)
            if done.code == 0:
                for name, local in (fetch or {}).items():
                    folder.fetch(name, local, most_bytes=MOST_FETCHED_BYTES)
        return done

    def run_batch(
        self, artefact: Artefact, tensors: Sequence[Tensor], *, threads: int
    ) -> list[Tensor]:
        """One output for each input tensor, exactly as the file's contract says, in order."""
        made: list[Tensor] = []
        for batch in batches(tensors):
            made += self._run_batch(artefact, batch, threads)
        return made

    def _run_batch(
        self, artefact: Artefact, tensors: Sequence[Tensor], threads: int
    ) -> list[Tensor]:
        timeout_s = BATCH_S + BATCH_S_PER_TENSOR * len(tensors)
        job = job_of(artefact, threads=threads, expires_s=timeout_s)
        job["batch"] = {"inputs": INPUTS, "outputs": OUTPUTS}
        with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
            given, made = Path(name) / INPUTS, Path(name) / OUTPUTS
            write_arrays(given, tensors)
            self.execute(
                job,
                files_of(artefact),
                timeout_s=timeout_s,
                fetch={OUTPUTS: made},
                passing={INPUTS: given},
            )
            return read_arrays(made, artefact.contract, tensors, self.url)

    def require(self, *runtimes: str) -> None:
        """Raises EnvironmentFailure where the runner cannot run there with all these runtimes:
        one, with everything that is missing and one line that installs it."""
        missing = missing_for(self.probe, *runtimes)
        if missing:
            raise EnvironmentFailure(
                f"the device lacks {' and '.join(missing)}",
                where=self.url,
                hint=install_hint(self.probe, *runtimes),
            )


def missing_for(found: Probe, *runtimes: str) -> list[str]:
    """What a device lacks to run files of all these runtimes, in words; empty: nothing."""
    if not found.python:
        return ["Python 3.9 or later"]
    if found.python_version < OLDEST_PYTHON:
        version = ".".join(map(str, found.python_version))
        return [f"Python 3.9 or later (`{found.python}` is {version})"]
    missing = [] if "numpy" in found.packages else ["numpy"]
    absent = _absent(found, runtimes)
    if absent:
        missing.append(f"{'packages' if absent[1:] else 'a package'} for {', '.join(absent)}")
    return missing


def _absent(found: Probe, runtimes: Sequence[str]) -> list[str]:
    """Those of the runtimes of which the device has no package, each once."""
    return [
        name
        for name in dict.fromkeys(runtimes)
        if not any(package in found.packages for package in RUNTIMES[name])
    ]


def install_hint(found: Probe, *runtimes: str) -> str:
    """The line that installs what these runtimes need, for the device's own shell.

    It names all of them, also what another Python has already: the environment it makes is the
    one that is looked at first from then on.
    """
    venv = f"{found.root}/venv"
    packages = " ".join(["numpy", *(_package(found, name) for name in dict.fromkeys(runtimes))])
    return (
        f"on the device: `python3 -m venv {venv} && {venv}/bin/pip install {packages}` "
        "(edgesr looks there first), or set EDGESR_PYTHON"
    )


def _package(found: Probe, runtime: str) -> str:
    """The distribution that is there, else the one to be installed."""
    choices = RUNTIMES[runtime]
    return next((choice for choice in choices if choice in found.packages), choices[0])


@contextlib.contextmanager
def open_board(
    url: str,
    *,
    options: LinkOptions | None = None,
    wait_s: float = 0.0,
    say: Say = lambda _line: None,
) -> Iterator[Board]:
    """Reach a device, lock it, and give it back however the work ends.

    Raises UserError for a URL that is none, EnvironmentFailure where the device cannot be reached
    or is busy for longer than `wait_s` seconds, SecurityError where its host key changed.
    """
    from toolkit.runner.zipped import FILE, zipapp_bytes

    with _ended_politely(), linked(url, options or LinkOptions()) as link:
        found = probe(link)
        lock = take(link, wait_s=wait_s, say=say)
        try:
            with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
                runner = Path(folder) / FILE
                runner.write_bytes(zipapp_bytes())
                yield Board(Shelf(link=link, probe=found, lock=lock, say=say), runner)
        finally:
            release(link, lock, say)


@contextlib.contextmanager
def _ended_politely() -> Iterator[None]:
    """A build server's SIGTERM is a Ctrl-C: the device is given back first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


@contextlib.contextmanager
def linked(url: str, options: LinkOptions) -> Iterator[Link]:
    """A link to a device, closed on the way out. Raises UserError for a URL that is none."""
    name, colon, address = url.partition(":")
    if not colon or not url.isprintable():
        raise UserError(
            f"`{url}` is no device",
            hint="`local:`, `ssh://user@host[:port]`, `adb:SERIAL` or `emulated:aarch64`",
        )
    link: Link = plugins.load("links", name).open(address.removeprefix("//"), options)
    try:
        yield link
    finally:
        link.close()
