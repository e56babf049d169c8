"""The words of `edgesr pull`, checked all at once before anything is done."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from toolkit.errors import ToolkitError, UserError, raise_all
from toolkit.pull.clock import moment_of
from toolkit.pull.disk import read_small
from toolkit.pull.settings import Settings, Testing
from toolkit.release import FAMILY, RESERVED, WORD

SCHEMES = ("http", "https", "file")
DEVICE_ID_MAX_BYTES = 4096  # of the file that holds it
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, named as those of clients/c."""
    add = parser.add_argument
    parser.set_defaults(program=parser.prog)
    add("--channel", metavar="URL", help="https://HOST/FOLDER, or a folder, e.g. of a USB stick")
    add("--device-id", metavar="ID|@FILE", help="decides about staged rollouts; never sent")
    add("--root", type=Path, metavar="FILE", help="the root.json that came with the firmware")
    add("--store", type=Path, metavar="DIR", help="where models are kept")
    add("--family", help="of the channel (its only one)")
    add("--compatible", metavar="WORD", help="what this camera is (the family's name)")
    add("--firmware", type=int, default=0, metavar="N", help="version of this firmware (0)")
    add("--runtime", action="append", metavar="NAME=VERSION", help="instead of the installed one")
    add("--self-test", type=Path, metavar="PROGRAM", help="run as PROGRAM RELEASE_FOLDER; 0: good")
    add("--no-self-test", action="store_true", help="activate what was not tried here")
    add("--self-test-s", type=float, default=60.0, metavar="S", help="its limit (60)")
    add("--self-test-mb", type=int, default=2048, metavar="MB", help="its address space (2048)")
    add("--max-latency-ms", type=float, metavar="MS", help="p90 (what the release states)")
    add("--threads", type=int, metavar="N", help="of the self-test (as it was proved)")
    add("--time-floor", metavar="TIME", help="no earlier than 2026-11-21T18:00:00Z, whatever the "
        "clock says")  # fmt: skip
    add("--ca", type=Path, metavar="FILE", help="certificate of a server of your own")
    add("--wait", type=float, default=60.0, metavar="S", help="for another process (60)")
    add("--stall-s", type=float, default=30.0, metavar="S", help="a silent server is left (30)")
    add("--tries", type=int, default=5, metavar="N", help="of each file (5)")
    add("--retry-s", type=float, default=1.0, metavar="S", help="first pause, then doubled (1)")
    add("--jitter-s", type=float, default=0.0, metavar="S", help="start up to S later, for cron")
    add("--every", metavar="TIME", help="poll for ever, e.g. 1h; 30m; 90s")
    add("--status", action="store_true", help="what the store holds; asks nobody")
    add("--return-to-previous", action="store_true", help="the present model misbehaves")


def store_of(given: argparse.Namespace) -> Path:
    """The store's folder. Raises UserError where none is named."""
    return Path(_required(given, "store"))


def settings_of(given: argparse.Namespace) -> Settings:
    """What a poll needs. Raises UserError for every problem at once."""
    problems: list[ToolkitError] = []

    def checked(read: Callable[[], object]) -> object:
        try:
            return read()
        except ToolkitError as problem:
            problems.append(problem)
            return None

    channel = checked(lambda: channel_url(_required(given, "channel")))
    device_id = checked(lambda: device_id_of(_required(given, "device_id")))
    root = checked(lambda: _required(given, "root"))
    store = checked(lambda: store_of(given))
    floor = checked(lambda: _floor(given.time_floor))
    runtimes = checked(lambda: _runtimes(given.runtime or []))
    program = checked(lambda: _program(given.self_test))
    ca = checked(lambda: _ca(given.ca))
    checked(lambda: None if given.every is None else seconds_of(given.every))
    problems += _out_of_range(given)
    raise_all(problems)
    return Settings(
        channel=str(channel),
        device_id=str(device_id),
        root=Path(str(root)),
        store=Path(str(store)),
        family=given.family,
        compatible=given.compatible,
        firmware=given.firmware,
        runtimes=runtimes if isinstance(runtimes, dict) else {},
        testing=_testing(given, program if isinstance(program, Path) else None),
        time_floor=floor if isinstance(floor, datetime) else None,
        ca=ca if isinstance(ca, Path) else None,
        wait_s=given.wait,
        stall_s=given.stall_s,
        tries=given.tries,
        retry_s=given.retry_s,
    )


def _testing(given: argparse.Namespace, program: Path | None) -> Testing:
    limit_ms = given.max_latency_ms
    return Testing(
        wanted=not given.no_self_test,
        program=program,
        limit_s=given.self_test_s,
        memory_mb=given.self_test_mb,
        max_latency_us=None if limit_ms is None else max(1, round(limit_ms * 1000)),
        threads=given.threads,
    )


def _required(given: argparse.Namespace, name: str) -> str:
    value = getattr(given, name)
    if value is None:
        option = f"--{name.replace('_', '-')}"
        hint = f"`{given.program} --help` shows an example"
        raise UserError(f"`{option}` is missing", hint=hint)
    return str(value)


def channel_url(text: str) -> str:
    """The channel's URL without a slash at its end; a folder's name becomes a `file:` URL."""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise UserError(
            "`--channel` holds a user name or a password",  # it would be in every log
            hint="a channel is public: what it holds is signed, not secret",
        )
    plain = not parts.query and not parts.fragment and text.isprintable()
    if parts.scheme in SCHEMES and (parts.netloc or parts.scheme == "file") and plain:
        return text.rstrip("/")
    if text and Path(text).is_dir():
        return Path(text).absolute().as_uri()
    raise UserError(
        f"`--channel {text}` is neither an http, https or file URL nor a folder",
        hint="name the folder that holds metadata/ and targets/",
    )


def device_id_of(text: str) -> str:
    """The id itself, or the first line of a file: `@/etc/machine-id`. Raises UserError."""
    if text.startswith("@"):
        data = read_small(Path(text[1:]).resolve(), DEVICE_ID_MAX_BYTES)
        if data is None:
            raise UserError("the device id cannot be read", where=text[1:])
        lines = data.decode("utf-8", "replace").strip("\0 \t\r\n").splitlines()
        text = lines[0].strip("\0 \t") if lines else ""
    if not WORD.fullmatch(text):
        hint = "1 to 100 printable ASCII characters without a space, such as a serial number"
        raise UserError(f"{text!a:.120} is no device id", hint=hint)
    return text


def _floor(text: str | None) -> datetime | None:
    try:
        return None if text is None else moment_of(text)
    except ValueError as error:
        raise UserError(
            f"`--time-floor {text}` is no time", hint="write it as 2026-11-21T18:00:00Z"
        ) from error


def _runtimes(stated: list[str]) -> dict[str, str]:
    found = {}
    for one in stated:
        name, equals, version = one.partition("=")
        if not (name and equals and WORD.fullmatch(version)):
            hint = "write it as onnxruntime=1.22.0"
            raise UserError(f"`--runtime {one}` is no name and version", hint=hint)
        found[name] = version
    return found


def _program(path: Path | None) -> Path | None:
    if path is None:
        return None
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise UserError("the self-test program cannot be run", where=str(path),
                        hint="it must be there and executable")  # fmt: skip
    return path.absolute()


def _ca(path: Path | None) -> Path | None:
    if path is None:
        return None
    import ssl  # late: most cameras state none

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # no such file, or nothing in it that is a certificate
        hint = "--ca names a file of certificates in PEM"
        raise UserError(f"`--ca` cannot be used: {error}", where=str(path), hint=hint) from error
    return path


def _out_of_range(given: argparse.Namespace) -> list[ToolkitError]:
    problems: list[ToolkitError] = []
    least = {
        "self_test_s": 0.1,
        "self_test_mb": 64,
        "stall_s": 0.1,
        "tries": 1,
        "retry_s": 0,
        "wait": 0,
        "jitter_s": 0,
        "firmware": 0,
        "threads": 1,
        "max_latency_ms": 0.001,
    }
    for name, most in least.items():
        value = getattr(given, name)
        if value is not None and not (math.isfinite(value) and value >= most):
            option = f"--{name.replace('_', '-')}"
            problems.append(UserError(f"`{option}` must be {most} or more, got {value:g}"))
    for name, pattern in (("family", FAMILY), ("compatible", WORD)):
        text = getattr(given, name)
        if text is not None and (not pattern.fullmatch(text) or text in RESERVED):
            problems.append(UserError(f"`--{name} {text}` is no name that a channel uses"))
    if given.self_test is not None and given.no_self_test:
        problems.append(UserError("`--self-test` and `--no-self-test` exclude each other"))
    return problems


def seconds_of(text: str) -> float:
    """An interval such as `1h`, `30m`, `90s`, `1d`; at least a second. Raises UserError."""
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * UNITS_S[unit]
    except (ValueError, KeyError):
        seconds = math.nan
    if not 1 <= seconds <= 366 * 86400:
        raise UserError(f"`--every {text}` is no interval", hint="write it as 1h, 30m or 90s")
    return seconds
