"""`edgesr pull`, and the same alone on a camera: `python3 edgesr-pull.pyz`."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from toolkit import __version__
from toolkit.errors import EnvironmentFailure, InternalFailure, ToolkitError
from toolkit.pull.needed import PIP, require_packages
from toolkit.pull.result import SCHEMA, error_json, name_usage
from toolkit.pull.words import add_options, seconds_of, settings_of, store_of

if TYPE_CHECKING:
    from toolkit.pull.result import Result
    from toolkit.pull.settings import Settings

FAILURES_MOST = 3  # intervals that failures add: at most four between two polls
JITTER_SHARE = 0.1  # of an interval, so that cameras that were switched on together come apart
EXIT_BUG, EXIT_INTERRUPTED = 1, 130
EXAMPLE = """\
example:  python3 edgesr-pull.pyz --channel https://cdn.example/models
              --device-id @/etc/machine-id --root root.json --store /data/models

exit codes: 0 updated, or nothing new   2 options   3 this camera or the link   5 tampering
"""


def main(words: Sequence[str] | None = None) -> int:
    """The program of a camera; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog=_own_name(sys.argv[0]),
        description="Looks for a better model, and serves it once it proved itself here.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgesr-pull {__version__}")
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")
    add_options(parser)
    arguments = parser.parse_args(words)
    try:
        return run(arguments)
    except ToolkitError as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return problem.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED
    except Exception:  # the one place: anything else is a bug of ours
        traceback.print_exc()
        return EXIT_BUG


def _own_name(started: str) -> str:
    """What somebody types to start this."""
    name = Path(started).name
    return f"python3 {name}" if name.endswith(".pyz") else "edgesr-pull"


def run(arguments: argparse.Namespace) -> int:
    """One poll, or one after another; 0, or the exit code of what went wrong."""
    try:
        with _all_there():
            return _run(arguments)
    except ToolkitError as problem:
        name_usage(problem)
        if arguments.json:
            _print_failure(problem)
        raise


@contextlib.contextmanager
def _all_there() -> Iterator[None]:
    """A package that this camera lacks, as a sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            f"this Python has no `{error.name}`",
            where=sys.executable,
            hint=PIP,
            kind="runtime",
        ) from error


def _run(arguments: argparse.Namespace) -> int:
    if arguments.status:
        return _status(arguments)
    if arguments.return_to_previous:
        return _return_to_previous(arguments)
    settings = settings_of(arguments)
    interval_s = None if arguments.every is None else seconds_of(arguments.every)
    require_packages()
    signal.signal(signal.SIGTERM, _end)
    time.sleep(random.uniform(0, arguments.jitter_s))
    if interval_s is None:
        return _poll(settings, as_json=arguments.json)
    try:
        _for_ever(settings, interval_s, as_json=arguments.json)
    except SystemExit:
        _say("stopped")
        return 0


def _end(_number: int, _frame: object) -> NoReturn:
    """SIGTERM: whatever is half done is resumed by the next poll."""
    raise SystemExit(128 + signal.SIGTERM)


def _for_ever(settings: Settings, interval_s: float, *, as_json: bool) -> NoReturn:
    """Each failure adds an interval, up to four in all; a success starts over.

    A mistake in the options ends the first poll. Later ones end nothing: somebody else may have
    published a second family, or be writing root.json.
    """
    poll, failures = _poll, 0
    while True:
        failures = 0 if poll(settings, as_json=as_json) == 0 else failures + 1
        poll = _survived
        pause_s = interval_s * (1 + min(failures, FAILURES_MOST))
        pause_s *= random.uniform(1 - JITTER_SHARE, 1 + JITTER_SHARE)
        _say(f"next poll in {pause_s:.0f} s")
        time.sleep(pause_s)


def _survived(settings: Settings, *, as_json: bool) -> int:
    try:
        return _poll(settings, as_json=as_json)
    except BrokenPipeError:
        raise
    except Exception as error:
        problem = error if isinstance(error, ToolkitError) else InternalFailure.of(error)
        name_usage(problem)
        print(problem, file=sys.stderr)  # noqa: T201
        if as_json:
            _print_failure(problem)
        return problem.exit_code


def _poll(settings: Settings, *, as_json: bool) -> int:
    from toolkit.pull.flow import pull
    from toolkit.pull.progress import Progress

    progress = Progress(sys.stderr)
    result = pull(settings, say=progress.say, on_bytes=progress.bytes)
    progress.close()
    if result.error is not None:
        print(result.error, file=sys.stderr)  # noqa: T201
    if as_json:
        _print(result.as_json())
        return result.exit_code
    _say(_line(result))
    if result.standing.current is not None:
        _print(str(result.standing.current.model.absolute()))
    return result.exit_code


def _line(result: Result) -> str:
    current = result.standing.current
    served = "no model" if current is None else f"release {current.release.release}"
    cost = result.traffic
    told = f"{result.outcome}: {served} is served, {cost.requests} requests"
    told += f", {cost.bytes_fetched} bytes fetched"
    told += f", {cost.bytes_resumed} kept from before" if cost.bytes_resumed else ""
    return told


def _status(arguments: argparse.Namespace) -> int:
    from toolkit.pull.status import status_json, status_text

    value = status_json(store_of(arguments))
    _print(value if arguments.json else status_text(value))
    return 0


def _return_to_previous(arguments: argparse.Namespace) -> int:
    from toolkit.pull.activate import return_to_previous
    from toolkit.pull.locking import locked
    from toolkit.pull.result import served

    store: Path = store_of(arguments)
    with locked(store, arguments.wait, _say):
        found = return_to_previous(store, _say)
    value = served(found)
    _print(value if arguments.json else f"release {value['release']} is served again")
    return 0


def _print_failure(problem: ToolkitError) -> None:
    _print({"schema": SCHEMA, "outcome": "failed", "error": error_json(problem)})


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)  # noqa: T201


def _print(value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    print(text, flush=True)  # noqa: T201
