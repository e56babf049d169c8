"""One file on its way to a device: its bytes, its golden vectors, and the jobs made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.benchmark import TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import Artefact
from toolkit.digest import sha256_file, sha256_json
from toolkit.measure.board import files_of, job_of, parts_of
from toolkit.model.contract import input_size

LOAD_S = 180.0  # a runtime starts, opens a file, runs golden vectors, profiles: on slow boards too
EMULATED_TIMES = 10  # how much longer that takes in an emulator
LONGEST_ROUND_S = 120.0  # a network of seconds per frame ends its round before `min_runs`


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One file with everything that goes to the device for it."""

    artefact: Artefact
    files: Mapping[str, Path]  # name in the job's folder -> bytes on this host
    digests: Mapping[str, str]  # SHA-256 of the file, then of its parts
    vectors: tuple[Golden, ...]
    height_px: int
    width_px: int

    @property
    def name(self) -> str:
        """The file's name."""
        return self.artefact.path.name


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest for a file and its parts: the file's own where it has none, as in a report."""
    return next(iter(digests.values())) if len(digests) == 1 else sha256_json(dict(digests))


def file_digest(file: Path) -> str:
    """`digest_of` a file on this host."""
    return digest_of({name: sha256_file(part) for name, part in parts_of(file).items()})


def subject_of(
    artefact: Artefact, golden: Sequence[Golden], protocol: TimingProtocol, folder: Path
) -> Subject:
    """Hash a file and its parts, and write its golden vectors into `folder` as .npy files."""
    own = files_of(artefact)
    vectors = tuple(vector for vector in golden if vector.file == artefact.path.name)
    files = dict(own)
    for at, vector in enumerate(vectors):
        for name, tensor in zip(_names(at), (vector.input, vector.output), strict=True):
            files[name] = folder / f"{artefact.path.name}.{name}"
            np.save(files[name], np.ascontiguousarray(tensor), allow_pickle=False)
    multiple = artefact.contract.image.multiple_of
    height, width = input_size(artefact.contract.input, protocol.input_px, multiple)
    return Subject(
        artefact=artefact,
        files=files,
        digests={name: sha256_file(path) for name, path in own.items()},
        vectors=vectors,
        height_px=height,
        width_px=width,
    )


def _names(at: int) -> tuple[str, str]:
    return f"golden.{at}.input.npy", f"golden.{at}.output.npy"


def numbers_job(subject: Subject, protocol: TimingProtocol, *, is_emulated: bool) -> dict[str, Any]:
    """Golden vectors alone; nothing is timed."""
    golden = [
        {
            "input": _names(at)[0],
            "output": _names(at)[1],
            "tolerance": vector.tolerance,
            "least_share": vector.least_share,
        }
        for at, vector in enumerate(subject.vectors)
    ]
    expires_s = LOAD_S * (EMULATED_TIMES if is_emulated else 1)
    job = job_of(subject.artefact, threads=protocol.threads, expires_s=expires_s)
    return {**job, "golden": golden}


def time_job(
    subject: Subject, protocol: TimingProtocol, *, sustained_s: float, operators: bool
) -> dict[str, Any]:
    """One round: load time, first inference, warm-up, samples; which unit ran what, on demand.

    The runner profiles operators after the samples, in a session of its own.
    """
    image, spec = subject.artefact.contract.image, subject.artefact.contract.input
    size = (subject.height_px, subject.width_px)
    shape = (image.channels, *size) if spec.layout == "nchw" else (*size, image.channels)
    min_s = protocol.min_s / protocol.rounds
    max_s = max(min_s, LONGEST_ROUND_S)
    expires_s = LOAD_S + sustained_s + protocol.warm_up_s + max_s
    timing = {
        "shape": [1, *shape],
        "dtype": spec.dtype,
        "white": image.white,
        "warm_up_s": protocol.warm_up_s,
        "min_runs": -(-protocol.min_runs // protocol.rounds),
        "min_s": min_s,
        "max_s": max_s,
        "sustained_s": sustained_s,
    }
    job = job_of(subject.artefact, threads=protocol.threads, expires_s=expires_s)
    return {**job, "time": timing, "tune": protocol.tuned, "operators": operators}
