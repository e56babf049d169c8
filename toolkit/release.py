"""What a channel publishes and a camera takes: the index of a family, and one release.

Both are JSON files that TUF signs by digest: compact, sorted, ASCII, integers instead of floats, so
that a small C program reads them as well. `clients/README.md` describes the same for its readers.

    <family>/index.json               which releases live, for whom, and for which share of cameras
    <family>/<release>/release.json   one release: its files, what it needs, how it tests itself
    <family>/<release>/<name>         each of its files

Only the standard library is imported, and the syntax is Python 3.10's: this runs on cameras.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from toolkit.errors import EnvironmentFailure, SecurityError

SCHEMA = 1  # raised when an older client could misread what a newer toolkit publishes
INDEX = "index.json"
MANIFEST = "release.json"
INDEX_MAX_BYTES = 64 << 10
MANIFEST_MAX_BYTES = 64 << 10
FILE_MAX_BYTES = 512 << 20  # of one file of a release: more is refused before it is fetched
FILES_MOST = 64
ALL_BASIS_POINTS = 10_000

FAMILY = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
RESERVED = frozenset({"root", "targets", "snapshot", "timestamp"})  # roles of TUF itself
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # of a file, as a camera stores it
DIGEST = re.compile(r"[0-9a-f]{64}")
SALT = re.compile(r"[0-9a-f]{16}")
WORD = re.compile(r"[\x21-\x7e]{1,100}")  # a compatibility string, a version: printable, no space

Role = Literal[
    "model", "part", "golden", "contract",  # a camera fetches these
    "report", "lock", "provenance", "sbom", "licence", "extra",  # these are for people
]  # fmt: skip
FETCHED: tuple[Role, ...] = ("model", "part", "golden", "contract")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Which share of cameras takes a release: 0 to 10,000 basis points (1/100 of a percent)."""

    basis_points: int
    salt: str  # 16 hexadecimal digits, another one for each release: shares are independent

    def admits(self, device_id: str) -> bool:
        """Whether this camera is in the share; one that is in stays in as the share grows.

        The first 8 bytes of SHA-256("<salt>:<device id>"), big-endian, modulo 10,000.
        """
        seed = f"{self.salt}:{device_id}".encode()
        place = int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") % ALL_BASIS_POINTS
        return place < self.basis_points


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One living release in the index of its family."""

    release: int  # counts up from 1 within the family and is never used twice
    compatible: str  # a camera takes only what states its own word, e.g. "raspberry-pi-5"
    min_firmware: int  # of the camera; 0: any
    rollout: Rollout
    manifest: str  # TUF target path of its release.json


@dataclass(frozen=True, kw_only=True)
class Index:
    """The living releases of one family, newest first."""

    family: str
    releases: tuple[Entry, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON value of `index.json`."""
        entries = [
            {
                "release": one.release,
                "compatible": one.compatible,
                "min_firmware": one.min_firmware,
                "manifest": one.manifest,
                "rollout": {
                    "basis_points": one.rollout.basis_points,
                    "salt": one.rollout.salt,
                },
            }
            for one in self.releases
        ]
        return {"schema": SCHEMA, "family": self.family, "releases": entries}


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a release."""

    name: str  # as the camera stores it; no folders
    role: Role
    length: int  # bytes
    sha256: str


@dataclass(frozen=True, kw_only=True)
class GoldenPair:
    """What the model must give for one input, names of two `.npy` files of the release.

    Of the output values `least_share_ppm` millionths must lie within `tolerance_micro` millionths
    (levels for integers, real values for floats) of the stored ones.
    """

    input: str
    output: str
    tolerance_micro: int
    least_share_ppm: int


@dataclass(frozen=True, kw_only=True)
class Release:
    """One model for one kind of camera, with what proves it."""

    family: str
    release: int
    compatible: str
    min_firmware: int
    created: str  # "2026-11-21T18:00:00Z"
    content: (
        str  # digest of the fetched files' names and digests: equal for a model published again
    )
    recipe: str
    backend: str  # that wrote the model's file
    precision: str
    scale: int
    licence: str
    toolkit: str  # version that packed the bundle
    runtime: str  # "onnxruntime", "openvino" or "litert": what runs the self-test
    runtime_least: str  # oldest version of the runtime that it was proved with
    golden: tuple[GoldenPair, ...]
    latency_limit_us: int | None  # the budget of the recipe, for the self-test; None: none
    figures: Mapping[str, int]  # of the report, units in the names: `psnr_drop_mean_udb`
    files: tuple[File, ...]

    @property
    def fetched(self) -> tuple[File, ...]:
        """The files that a camera stores, in the manifest's order."""
        return tuple(file for file in self.files if file.role in FETCHED)

    @property
    def model(self) -> File:
        """The model's own file."""
        return next(file for file in self.files if file.role == "model")

    def as_json(self) -> dict[str, Any]:
        """The JSON value of `release.json`."""
        plain = {
            key: value
            for key, value in vars(self).items()
            if key not in ("golden", "figures", "files")
        }
        return {
            "schema": SCHEMA,
            **plain,
            "golden": [dict(vars(one)) for one in self.golden],
            "figures": dict(self.figures),
            "files": [dict(vars(one)) for one in self.files],
        }


def target_path(family: str, *parts: int | str) -> str:
    """A TUF target path: `street/index.json`, `street/8/release.json`."""
    return "/".join([family, *map(str, parts)])


def content_digest(files: tuple[File, ...]) -> str:
    """SHA-256 that names what a camera would store, whatever release it comes with."""
    kept = sorted((file.name, file.sha256) for file in files if file.role in FETCHED)
    return hashlib.sha256(file_bytes(kept)).hexdigest()


def file_bytes(value: Any) -> bytes:
    """The one byte string of a published JSON value. Raises ValueError for a float in it."""
    _no_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _no_floats(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError(f"a published file holds no floats, found {value}")
    if isinstance(value, Mapping):
        for part in value.values():
            _no_floats(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _no_floats(part)


def read_index(value: Any, family: str) -> Index:
    """An `Index` from the JSON value of a verified `index.json`.

    Raises EnvironmentFailure `schema` where a newer toolkit wrote it, SecurityError `malformed`
    where it is not what this family publishes.
    """

    def read() -> Index:
        releases = tuple(_entry(one, family) for one in value["releases"])
        numbers = [one.release for one in releases]
        _require(value["family"] == family, "it is of another family")
        _require(len(set(numbers)) == len(numbers), "a release is listed twice")
        newest_first = sorted(releases, key=lambda one: one.release, reverse=True)
        return Index(family=family, releases=tuple(newest_first))

    return _understood(value, INDEX, read)


def _entry(value: Mapping[str, Any], family: str) -> Entry:
    release = _count(value["release"], least=1)
    rollout = Rollout(
        basis_points=_count(value["rollout"]["basis_points"], most=ALL_BASIS_POINTS),
        salt=_matching(value["rollout"]["salt"], SALT),
    )
    _require(
        value["manifest"] == target_path(family, release, MANIFEST), "a manifest lies elsewhere"
    )
    return Entry(
        release=release,
        compatible=_matching(value["compatible"], WORD),
        min_firmware=_count(value["min_firmware"]),
        rollout=rollout,
        manifest=value["manifest"],
    )


def read_release(value: Any, entry: Entry, family: str) -> Release:
    """A `Release` from the JSON value of a verified `release.json` that `entry` names.

    Raises as `read_index` does.
    """

    def read() -> Release:
        files = tuple(_file(one) for one in value["files"])
        names = {file.name.casefold() for file in files}
        _require(0 < len(files) <= FILES_MOST, f"it has {len(files)} files")
        _require(len(names) == len(files), "two files have one name")
        _require(sum(file.role == "model" for file in files) == 1, "it has not one model")
        _require(
            (value["family"], value["release"], value["compatible"])
            == (family, entry.release, entry.compatible),
            "it is not the release that the index lists",
        )
        _require(value["content"] == content_digest(files), "`content` is not of its files")
        return _release(value, files)

    return _understood(value, MANIFEST, read)


def _release(value: Mapping[str, Any], files: tuple[File, ...]) -> Release:
    texts = ("family", "created", "content", "recipe", "backend", "precision", "licence",
             "toolkit", "compatible", "runtime", "runtime_least")  # fmt: skip
    limit = value["latency_limit_us"]
    return Release(
        **{key: _text(value[key]) for key in texts},
        release=_count(value["release"], least=1),
        min_firmware=_count(value["min_firmware"]),
        scale=_count(value["scale"], least=1, most=16),
        golden=tuple(_golden_pair(one, files) for one in value["golden"]),
        latency_limit_us=None if limit is None else _count(limit, least=1),
        figures={_text(key): _integer(figure) for key, figure in value["figures"].items()},
        files=files,
    )


def _file(value: Mapping[str, Any]) -> File:
    _require(value["role"] in get_args(Role), f"the role `{value['role']!a}` is not known")
    name = _matching(value["name"], NAME)
    folded = name.casefold()  # on FAT these are one
    _require(folded not in (MANIFEST, INDEX) and not folded.endswith(".part"), f"`{name}` is ours")
    return File(
        name=name,
        role=value["role"],
        length=_count(value["length"], most=FILE_MAX_BYTES),
        sha256=_matching(value["sha256"], DIGEST),
    )


def _golden_pair(value: Mapping[str, Any], files: tuple[File, ...]) -> GoldenPair:
    names = {file.name for file in files if file.role == "golden"}
    _require({value["input"], value["output"]} <= names, "a golden vector is not among its files")
    return GoldenPair(
        input=value["input"],
        output=value["output"],
        tolerance_micro=_count(value["tolerance_micro"]),
        least_share_ppm=_count(value["least_share_ppm"], least=1, most=1_000_000),
    )


def _understood(value: Any, name: str, read: Callable[[], T]) -> T:
    """Run a reader; whatever a file lacks or has too much of is one kind of refusal."""
    if isinstance(value, Mapping) and isinstance(value.get("schema"), int):
        schema = value["schema"]
        if schema > SCHEMA:
            raise EnvironmentFailure(
                f"`{name}` has schema {schema}, this client reads {SCHEMA}",
                hint="update the client; the present model stays",
                kind="schema",
            )
    try:
        _require(value["schema"] == SCHEMA, f"its schema is {value['schema']!a}")
        return read()
    except KeyError as error:
        raise _malformed(name, f"the key {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _malformed(name, str(error)) from error


def _malformed(name: str, found: str) -> SecurityError:
    return SecurityError(
        f"`{name}` is not what a channel publishes: {found[:200]}",
        hint="the present model stays; tell whoever runs the channel",
        kind="malformed",
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _integer(value: Any) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool), f"no integer: {value!a:.40}")
    _require(abs(value) < 1 << 53, f"too large: {value!a:.40}")
    return int(value)


def _count(value: Any, *, least: int = 0, most: int = 1 << 40) -> int:
    number = _integer(value)
    _require(least <= number <= most, f"{number} is not {least} to {most}")
    return number


def _text(value: Any) -> str:
    _require(
        isinstance(value, str) and len(value) <= 200 and value.isascii(), f"no text: {value!a:.40}"
    )
    _require(value.isprintable(), f"no text: {value!a:.40}")
    return str(value)


def _matching(value: Any, pattern: re.Pattern[str]) -> str:
    _require(
        isinstance(value, str) and pattern.fullmatch(value) is not None, f"found {value!a:.80}"
    )
    return str(value)
