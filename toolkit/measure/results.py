"""Results of benches on disk: beside the bundle, never in it, and found again by what was run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.benchmark import Benchmark, Device, FileTiming, benchmark
from toolkit.bundle.manifest import MANIFEST, REPORT
from toolkit.errors import UserError
from toolkit.latency import all_samples
from toolkit.measure.lock import Say
from toolkit.measure.words import plain
from toolkit.show.written import write_text

MOST_BYTES = 256 << 20  # an hour of samples of a fast file is some MB
NAME_CHARACTERS = 60


def measured_in(subject: Path) -> Path:
    """The bundle's folder for a file that lies in one, else the file or folder itself."""
    folder = subject.absolute().parent
    is_inside = all((folder / name).is_file() for name in (MANIFEST, REPORT))
    return folder if is_inside else subject


def results_folder(subject: Path) -> Path:
    """Where results of a bundle's folder or of a bare file go: beside it, with `.bench`.

    Those of a file in a bundle are the bundle's: nothing is ever written into a bundle.
    """
    subject = measured_in(subject).absolute()
    return subject.with_name(f"{subject.name}.bench")


def store(result: Benchmark, subject: Path) -> Path:
    """Write a result as `<taken_at>-<device>.json`, whole or not at all; returns its path."""
    when = re.sub(r"[-:]", "", result.taken_at)
    device = f"{result.device.url[:NAME_CHARACTERS]}-{result.device.identity[:8]}"
    stem = f"{when}-{re.sub(r'[^A-Za-z0-9.]+', '-', device).strip('-')}"
    folder = results_folder(subject)
    path = folder / f"{stem}.json"
    again = 2
    while path.exists():  # two within one second
        path, again = folder / f"{stem}-{again}.json", again + 1
    write(result, path)
    return path


def write(result: Benchmark, path: Path) -> None:
    """Write a result to a path of the user's choice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result.as_json(), allow_nan=False) + "\n")


def read(path: Path) -> Benchmark:
    """Read one result. Raises UserError where the file is none."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        return benchmark(json.loads(data))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError("no result of a bench is there", where=str(path), hint=_HINT) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        lacks = f"it lacks `{error.args[0]}`" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"this is no result of `edgesr bench`: {plain(lacks)}",
            where=str(path),
            hint=_HINT,
        ) from error


_HINT = "`edgesr bench BUNDLE --out FILE` writes one"


def newest(
    bundle: Path,
    digests: Mapping[str, str],
    *,
    device: Device | None = None,
    say: Say = lambda _line: None,
) -> tuple[Benchmark, Path]:
    """The newest result with times of a bundle or a bare file whose every file is of `digests`.

    `digests` gives `file_digest` by file name; `device` is the one that it must be of. A file that
    is no result is told to `say`, and left out. Raises UserError where there is no result, and
    where all there are were taken of other bytes (they are the times of another network), on
    another device, or without times.
    """
    folder = results_folder(bundle)
    found = sorted(folder.glob("*.json"), reverse=True) if folder.is_dir() else []
    refused: list[str] = []
    for path in found:
        try:
            result = read(path)
        except UserError as problem:
            say(f"warning: {path} is left out: {problem.problem}")
            continue
        others = [*other_bytes(result, digests), *_unlike(result, device)]
        if not others:
            return result, path
        refused += [f"{path.name}: {'; '.join(others)}"] if not refused else []
    hint = f"`edgesr bench {bundle}` measures it"
    if not refused:
        raise UserError("there is no result of a bench yet", where=str(folder), hint=hint)
    raise UserError(
        f"no result can be taken; the newest: {refused[0]}",
        where=str(folder),
        hint=f"{hint} as it is now",
    )


def _unlike(result: Benchmark, device: Device | None) -> Sequence[str]:
    """Why these times cannot be compared with those of a device."""
    if not any(all_samples(timing) for timing in result.files):
        return [f"it has no times ({plain(result.device.url, 100)})"]
    if device is not None and device.identity != result.device.identity:
        name, other = (plain(one.name or one.url, 100) for one in (device, result.device))
        return [f"it is of another device, {other}, not {name}"]
    return []


def other_bytes(result: Benchmark, digests: Mapping[str, str]) -> Sequence[str]:
    """What of a result was measured on other bytes than these, in words; empty: nothing."""
    return [words for timing in result.files if (words := _other(timing, digests))]


def _other(timing: FileTiming, digests: Mapping[str, str]) -> str:
    name = plain(timing.file, 100)
    if timing.file not in digests:
        return f"`{name}` is not in the bundle"
    if digests[timing.file] != timing.digest:
        return f"`{name}` had SHA-256 {timing.digest[:12]}, it is {digests[timing.file][:12]} now"
    return ""
