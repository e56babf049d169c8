"""What a poll costs on a camera: size, memory and time of both clients, side by side.

    python benchmarks/camera.py [--polls 200] [--updates 20] [--out benchmarks/RESULTS.md]

A channel on Debian's nginx on loopback, two releases, a model of random bytes. Polls of both
clients take turns, so that a busy machine slows both. Needs Debian's nginx-light, time, curl and
binutils, and what clients/c is built with.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from camera_measure import Asked, Camera, Channel, Nginx, Took, nginx, peak_kb, segments, timed
from int8_table import replace_section, table

from toolkit.latency import percentile_ms

HEADING = "## Camera clients: size, memory, time"
PROJECT = Path(__file__).parent.parent
C_FOLDER = PROJECT / "clients" / "c"
EDGESR = str(Path(sys.executable).with_name("edgesr"))
MEMORY_RUNS = 5
WARM_UP = 3  # polls that are not counted


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What was measured of one client."""

    name: str
    polls: Sequence[Took]
    updates: Sequence[Took]
    poll_peak_kb: int
    update_peak_kb: int
    polled: Sequence[Asked]  # requests of a poll without news
    updated: Sequence[Asked]  # requests of an update


def measure(cameras: Sequence[Camera], channel: Channel, server: Nginx, runs: Runs) -> list[Costs]:
    """First release, second release, then polls without news; clients in turn."""
    channel.publish(1)
    for camera in cameras:
        camera.poll()
    kept = {c.name: Path(shutil.copytree(c.store, f"{c.store}.first")) for c in cameras}
    channel.publish(2)
    server.asked()
    updates, updated = _updates(cameras, kept, server, runs.updates)
    update_peak = {c.name: _peak(c, lambda c=c: c.restored(kept[c.name])) for c in cameras}
    polled = {c.name: _requests_of(c, server) for c in cameras}
    polls = in_turn({c.name: c.words for c in cameras}, runs.polls)
    poll_peak = {c.name: _peak(c, lambda: None) for c in cameras}
    return [
        Costs(
            name=c.name,
            polls=polls[c.name],
            updates=updates[c.name],
            poll_peak_kb=poll_peak[c.name],
            update_peak_kb=update_peak[c.name],
            polled=polled[c.name],
            updated=updated[c.name],
        )
        for c in cameras
    ]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """How often."""

    polls: int
    updates: int
    starts: int


def _updates(
    cameras: Sequence[Camera], kept: Mapping[str, Path], server: Nginx, n: int
) -> tuple[dict[str, list[Took]], dict[str, list[Asked]]]:
    took: dict[str, list[Took]] = {c.name: [] for c in cameras}
    asked: dict[str, list[Asked]] = {}
    for _ in range(n):
        for camera in cameras:
            camera.restored(kept[camera.name])
            took[camera.name].append(timed(camera.words))
            asked[camera.name] = server.asked()
    return took, asked


def _requests_of(camera: Camera, server: Nginx) -> list[Asked]:
    server.asked()
    camera.poll()
    return server.asked()


def _peak(camera: Camera, prepare: Callable[[], None]) -> int:
    """Median of the peaks, kB."""
    peaks = []
    for _ in range(MEMORY_RUNS):
        prepare()
        peaks.append(peak_kb(camera.words))
    return int(statistics.median(peaks))


def in_turn(commands: Mapping[str, Sequence[str]], n: int) -> dict[str, list[Took]]:
    """Times of each command, run in turn n times after a warm-up."""
    took: dict[str, list[Took]] = {name: [] for name in commands}
    for at in range(WARM_UP + n):
        for name, words in commands.items():
            one = timed(words)
            if at >= WARM_UP:
                took[name].append(one)
    return took


def walls(samples: Sequence[Took]) -> str:
    """`median / p90 ms (n)` of wall time."""
    median, p90 = (percentile_ms([one.wall_ns for one in samples], q) for q in (50, 90))
    return f"{median:.1f} / {p90:.1f} ({len(samples)})"


def cpus(samples: Sequence[Took]) -> str:
    """Median of processor time, ms."""
    return f"{percentile_ms([one.cpu_ns for one in samples], 50):.1f}"


def section(
    costs: Sequence[Costs],
    starts: Mapping[str, tuple[Sequence[Took], int]],
    binary: Path,
    model: int,
) -> str:
    """The text for RESULTS.md."""
    text, data, bss = segments(binary)
    stripped = _stripped_bytes(binary)
    head = ["", "", *(one.name for one in costs)]
    rows = [
        ["poll without news", "ms, median / p90 (n)", *(walls(c.polls) for c in costs)],
        ["", "processor time, ms", *(cpus(c.polls) for c in costs)],
        ["", "requests, body bytes", *(_traffic(c.polled) for c in costs)],
        ["", "peak memory, MB", *(_mb(c.poll_peak_kb) for c in costs)],
        ["update to another model", "ms, median / p90 (n)", *(walls(c.updates) for c in costs)],
        ["", "processor time, ms", *(cpus(c.updates) for c in costs)],
        ["", "requests, body bytes", *(_traffic(c.updated) for c in costs)],
        ["", "peak memory, MB", *(_mb(c.update_peak_kb) for c in costs)],
    ]
    start_rows = [
        [f"`{name}`", walls(took), cpus(took), _mb(kb)] for name, (took, kb) in starts.items()
    ]
    lines = [
        HEADING,
        "",
        f"`python benchmarks/camera.py` on {os.cpu_count()} cores ({platform.machine()}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}), "
        f"{datetime.now(UTC):%Y-%m-%d}: nginx on loopback, one model of {model >> 10:,} kB of "
        "random bytes, self-test `/bin/true`, both clients in turn. A process's whole life is "
        f"timed; the machine's load average was {os.getloadavg()[0]:.0f}. Memory is the resident "
        "peak of the process, shared libraries included, median of "
        f"{MEMORY_RUNS}. MB of 1,048,576 bytes.",
        "",
        f"The C client's code and constants (`size`: text) are {text:,} bytes, data {data:,}, "
        f"zeroed data (bss, the arena among it) {bss:,}; the stripped file is {stripped:,} bytes. "
        "libcurl, libcrypto and jansson are shared and not counted.",
        "",
        table(head, rows),
        "",
        "Requests of a poll without news: "
        + ", ".join(f"`{one.path}` ({one.status})" for one in costs[0].polled)
        + ".",
        "",
        table(
            ["for comparison", "ms, median / p90 (n)", "processor time, ms", "peak memory, MB"],
            start_rows,
        ),
    ]
    return "\n".join(lines) + "\n"


def _traffic(asked: Sequence[Asked]) -> str:
    return f"{len(asked)}, {sum(one.body_bytes for one in asked):,}"


def _mb(kb: int) -> str:
    return f"{kb / 1024:.1f}"


def _stripped_bytes(binary: Path) -> int:
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["strip", "-o", file.name, str(binary)], check=True)
        return Path(file.name).stat().st_size


def _starts(store: Path, url: str, n: int) -> dict[str, tuple[Sequence[Took], int]]:
    """Wall times and peak memory of what does less than a poll; `curl` shows libcurl's own part."""
    commands = {
        "curl .../timestamp.json": ["curl", "--silent", f"{url}/metadata/timestamp.json"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "edgesr --help": [EDGESR, "--help"],
        "edgesr pull --status": [EDGESR, "pull", "--status", "--store", str(store)],
    }
    took = in_turn(commands, n)
    return {name: (took[name], peak_kb(words)) for name, words in commands.items()}


def main() -> int:
    """Measure, print, renew the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--polls", type=int, default=200)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--model-kb", type=int, default=1024)
    parser.add_argument("--out", type=Path, help="renew the section of this file")
    words = parser.parse_args()
    runs = Runs(polls=words.polls, updates=words.updates, starts=words.starts)
    subprocess.run(["make", "--quiet", "-C", str(C_FOLDER)], check=True)
    binary = C_FOLDER / "edgesr-pull"
    programs = {"C": (str(binary),), "Python": (EDGESR, "pull")}
    with tempfile.TemporaryDirectory(prefix="edgesr-bench-") as name:
        place = Path(name)
        channel = Channel.made(place, words.model_kb << 10)
        with nginx(channel.folder) as server:
            cameras = [
                Camera(
                    name=client,
                    program=program,
                    store=place / f"store-{client}",
                    channel=server.url,
                    root=channel.root,
                )
                for client, program in programs.items()
            ]
            costs = measure(cameras, channel, server, runs)
            starts = _starts(cameras[-1].store, server.url, runs.starts)
    text = section(costs, starts, binary, channel.model_bytes)
    print(text)
    if words.out:
        words.out.write_text(replace_section(words.out.read_text(), text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
