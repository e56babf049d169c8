"""A fleet on a bad link: kills, cuts, corruption and damaged flash, and no camera without a model.

    python benchmarks/soak.py --cameras 200 --minutes 30 --seed 1 [--out benchmarks/RESULTS.md]

Half of the cameras run the C client, half the Python client, each with a store of its own. A
loopback server breaks a share of its answers and is killed now and then, clients are killed at
random states and moments, their metadata, partial files and pointers are damaged, and releases are
rolled out meanwhile, one of them bad. An observer reads every store all the time. At the end the
link is well, one more release is published, and all cameras must come to it. Exit code 1 where one
rule was broken. Linux; needs what clients/c is built with.
"""

from __future__ import annotations

import argparse
import heapq
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from int8_table import replace_section
from soak_cameras import BUG_CODES, Camera, Pulled, cameras, damage, pulled
from soak_link import Link
from soak_observer import Published, Watch, digest_of
from soak_releases import Publisher, schedule
from soak_table import Tally, Told, section

from toolkit.release import ALL_BASIS_POINTS

PROJECT = Path(__file__).parent.parent
RESULTS = PROJECT / "benchmarks" / "RESULTS.md"
PROGRAM = PROJECT / "clients" / "c" / "build-hooks" / "edgesr-pull"
PROCESSES = 8  # pulls at once: most of them wait for a server that stalls
INTERVAL_S = {"c": 10.0, "python": 20.0}  # between two polls of a camera
FAULT_SHARE = 0.08  # of answers
KILL_SHARES = {"state": 0.08, "time": 0.08}  # of pulls
DAMAGE_SHARE = 0.05  # of pulls, before they start
EMPTY_SHARE = 0.1  # of cameras that begin without a model
RESTART_S = (8.0, 25.0)  # between two deaths of the server
DEAD_S = (0.1, 1.5)  # and for so long
LOOK_ROUND_S = 1.0  # pause between two rounds over all stores
SETTLE_POLLS = 12  # of each camera on a healthy link, at most
REAL_EACH = 5  # of the Python cameras, one in so many runs the golden vectors


@dataclass(kw_only=True)
class Campaign:
    """One soak under way."""

    fleet: Sequence[Camera]
    watch: Watch
    chance: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    tally: Tally = field(default_factory=Tally)
    due: list[tuple[float, int]] = field(default_factory=list)  # a heap: when, which camera
    is_over: threading.Event = field(default_factory=threading.Event)

    def poll_all_the_time(self) -> None:
        """One worker: takes the camera that waits longest, until it is over."""
        while not self.is_over.is_set():
            number = self._next()
            if number is None:
                time.sleep(0.02)
                continue
            camera = self.fleet[number]
            try:
                self.poll(camera)
            finally:
                with self.lock:
                    pause_s = INTERVAL_S[camera.client] * self.chance.uniform(0.5, 1.5)
                    heapq.heappush(self.due, (time.monotonic() + pause_s, number))

    def _next(self) -> int | None:
        with self.lock:
            if not self.due or self.due[0][0] > time.monotonic():
                return None
            return heapq.heappop(self.due)[1]

    def poll(self, camera: Camera) -> None:
        """Perhaps damage its flash, then pull, perhaps killed; judge what is there."""
        with self.lock:
            chance = random.Random(self.chance.getrandbits(64))
        if chance.random() < DAMAGE_SHARE:
            self._damage(camera, chance)
        kinds, shares = zip(*KILL_SHARES.items(), strict=True)
        kill = chance.choices(["", *kinds], [1 - sum(shares), *shares])[0]
        self.judge(camera, pulled(camera, chance, kill), kill)

    def _damage(self, camera: Camera, chance: random.Random) -> None:
        with self.watch.lock:
            done = damage(camera.store, chance)
            if done is not None and done.hits_served:
                self.watch.damaged.add(camera.name)
            if done is not None and done.file is not None:
                self.watch.spoiled[done.file] = digest_of(done.file)
        if done is not None:
            with self.lock:
                self.tally.damages[camera.client, done.place] += 1

    def judge(self, camera: Camera, done: Pulled, kill: str) -> None:
        """Count a pull and look at what it left."""
        with self.lock:
            tally = self.tally
            tally.pulls[camera.client] += 1
            tally.outcomes[camera.client, done.how] += 1
            if done.kind:
                tally.kinds[camera.client, done.kind, done.exit_code] += 1
            if done.how == "killed":
                tally.kills[camera.client, f"at a random {kill}"] += 1
        if done.exit_code in BUG_CODES or done.how.startswith(("no answer", "ended by")):
            self.watch.note(f"{camera.name}: {done.how}, exit code {done.exit_code}: {done.said}")
        if done.how != "killed":
            self.watch.repaired(camera.name)
        self.watch.look(camera.name, moment=f"after a pull that ended as `{done.how}`")
        self.watch.look_at_halves(camera.name)

    def observe(self) -> None:
        """Read every store, round after round."""
        while not self.is_over.wait(LOOK_ROUND_S):
            for camera in self.fleet:
                self.watch.look(camera.name, moment="between")

    def settle(self, camera: Camera, goal: int) -> bool:
        """Poll on a healthy link until the newest release is served."""
        began = time.monotonic()
        for polls in range(SETTLE_POLLS + 1):
            found = self.watch.look(camera.name, moment="settling")
            if found is not None and found.release == goal:
                with self.lock:
                    self.tally.polls_to_converge.setdefault(camera.client, []).append(polls)
                    took_s = time.monotonic() - began
                    self.tally.seconds_to_converge.setdefault(camera.client, []).append(took_s)
                return True
            self.judge(camera, pulled(camera, self.chance, ""), "")
        return False


def provision(campaign: Campaign, place: Path) -> None:
    """Release 1 for all but a few cameras, as if from the factory: pulled once per client."""
    factory: dict[str, Camera] = {}
    for camera in campaign.fleet:
        made = factory.setdefault(camera.client, camera)
        if made is camera:
            done = pulled(camera, campaign.chance, "")
            if done.how != "updated":
                raise RuntimeError(f"the first pull ended as {done}")
        elif campaign.chance.random() >= EMPTY_SHARE:
            shutil.copytree(made.store, camera.store)


def publish_all(publisher: Publisher, campaign: Campaign, seconds: float) -> None:
    """Each step of the schedule at its time."""
    began = time.monotonic()
    for step in schedule():
        campaign.is_over.wait(max(0.0, began + step.at * seconds - time.monotonic()))
        what = step.do(publisher)
        minute = (time.monotonic() - began) / 60
        campaign.tally.events.append((minute, what))
        print(f"{minute:6.1f} min  {what}", file=sys.stderr, flush=True)


def disturb(link: Link, campaign: Campaign, chance: random.Random) -> None:
    """Kill the server now and then."""
    while not campaign.is_over.wait(chance.uniform(*RESTART_S)):
        link.kill()
        campaign.tally.restarts += 1
        campaign.is_over.wait(chance.uniform(*DEAD_S))
        link.start(FAULT_SHARE)


def report(campaign: Campaign) -> Callable[[], None]:
    """Say every minute how it goes."""

    def told() -> None:
        while not campaign.is_over.wait(60):
            watch, pulls = campaign.watch, campaign.tally.pulls
            print(
                f"           {sum(pulls.values())} pulls {dict(pulls)}, {watch.observations} "
                f"observations, {len(watch.violations)} violations {watch.violations[-3:]}",
                file=sys.stderr,
                flush=True,
            )

    return told


def soak(place: Path, asked: argparse.Namespace) -> tuple[Tally, Told]:
    """The whole run."""
    chance = random.Random(asked.seed)
    watch = Watch(published=Published(), stores={})
    publisher = Publisher.made(place, watch)
    link = Link(publisher.channel, place, asked.seed)
    fleet = cameras(place, asked.cameras, link.url, publisher.root, PROGRAM, REAL_EACH)
    watch.stores = {camera.name: camera.store for camera in fleet}
    campaign = Campaign(fleet=fleet, watch=watch, chance=chance)
    link.start(0)
    link.wait()
    provision(campaign, place)
    link.kill()
    link.start(FAULT_SHARE)
    now = time.monotonic()
    campaign.due = [(now + chance.uniform(0, INTERVAL_S["c"]), n) for n in range(len(fleet))]
    heapq.heapify(campaign.due)
    with ThreadPoolExecutor(PROCESSES + 3) as pool:
        try:
            tasks = [pool.submit(campaign.poll_all_the_time) for _ in range(PROCESSES)]
            tasks.append(pool.submit(campaign.observe))
            tasks.append(pool.submit(report(campaign)))
            tasks.append(pool.submit(disturb, link, campaign, random.Random(asked.seed + 1)))
            publish_all(publisher, campaign, asked.minutes * 60)
            campaign.is_over.wait(max(0.0, now + asked.minutes * 60 - time.monotonic()))
        finally:
            campaign.is_over.set()
        for task in tasks:
            task.result()
        broken = link.answers()
        link.kill()
        link.start(0)
        link.wait()
        campaign.tally.events.append((asked.minutes, publisher.publish(99, ALL_BASIS_POINTS)))
        late = _settled(campaign, pool, publisher.newest)
    link.kill()
    return campaign.tally, _told(asked, campaign, broken, late)


def _settled(campaign: Campaign, pool: ThreadPoolExecutor, goal: int) -> list[str]:
    """Cameras that did not come to the newest release."""
    results = pool.map(lambda camera: campaign.settle(camera, goal), campaign.fleet)
    return [c.name for c, done in zip(campaign.fleet, results, strict=True) if not done]


def _told(
    asked: argparse.Namespace, campaign: Campaign, answers: Counter[str], late: Sequence[str]
) -> Told:
    clients: Mapping[str, int] = Counter(camera.client for camera in campaign.fleet)
    return Told(
        command=f"python benchmarks/soak.py --cameras {asked.cameras} --minutes "
        f"{asked.minutes:g} --seed {asked.seed}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        cameras=clients,
        minutes=asked.minutes,
        fault_share=FAULT_SHARE,
        answers=answers,
        observations=campaign.watch.observations,
        violations=campaign.watch.violations,
        not_converged=late,
        processes=PROCESSES,
        real_tests=sum(
            camera.client == "python" and "--self-test" not in camera.words
            for camera in campaign.fleet
        ),
    )


def main() -> int:
    """Run, print, renew the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="renew the section of this file")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stores are removed then too
    subprocess.run(["make", "--quiet", "-C", str(PROGRAM.parents[1]), "hooks"], check=True)
    with tempfile.TemporaryDirectory(prefix="edgesr-soak-") as name:
        tally, told = soak(Path(name), asked)
    text = section(tally, told)
    print(text)
    if asked.out:
        asked.out.write_text(replace_section(asked.out.read_text(), text))
    return 1 if told.violations or told.not_converged else 0


if __name__ == "__main__":
    sys.exit(main())
