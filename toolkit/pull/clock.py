"""What time it is on a camera that may have no clock: never earlier than what is known for sure.

The time only moves forward: it is the latest of the system's clock, the floor that was built into
the client and `signed_at` of the timestamps that the channel's keys signed. A clock at 1970 would
otherwise accept metadata of any age.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

SIGNED_AT = "signed_at"  # of the `signed` part of timestamp.json
STAMP = "%Y-%m-%dT%H:%M:%SZ"
CLOCK_AHEAD = timedelta(days=365)  # a fetched timestamp this old: rather our clock is wrong


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The time to judge expiries by, and where it comes from. All moments are UTC."""

    system: datetime
    floor: datetime
    now: datetime

    @property
    def is_corrected(self) -> bool:
        """Whether the system's clock lies behind what is known."""
        return self.now > self.system

    def at_least(self, moment: datetime | None) -> Clock:
        """The same clock after it was learnt that `moment` has passed."""
        return self if moment is None or moment <= self.now else replace(self, now=moment)

    def as_json(self) -> dict[str, Any]:
        """The JSON value that results and messages carry."""
        moments = {key: stamp(moment) for key, moment in vars(self).items()}
        return {**moments, "corrected": self.is_corrected}


def stamp(moment: datetime) -> str:
    """A moment as TUF writes it: "2026-11-21T18:00:00Z"."""
    return moment.astimezone(timezone.utc).strftime(STAMP)


def moment_of(text: str) -> datetime:
    """A moment from "2026-11-21T18:00:00Z". Raises ValueError for anything else."""
    return datetime.strptime(text, STAMP).replace(tzinfo=timezone.utc)


def system_now() -> datetime:
    """The system's clock; a year outside 1 to 9999 cannot come from the kernel."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def read(floor: datetime) -> Clock:
    """The clock before any metadata was read; `floor` is UTC, e.g. the client's build time."""
    system = system_now()
    return Clock(system=system, floor=floor, now=max(system, floor))


def signed_at(fields: Mapping[str, Any]) -> datetime | None:
    """When a timestamp was signed, from its extra fields; None where it does not say.

    Raises ValueError for something that is no moment.
    """
    if SIGNED_AT not in fields:
        return None
    text = fields[SIGNED_AT]
    if not isinstance(text, str):
        raise ValueError(f"`{SIGNED_AT}` is {text!a:.40}, no time")
    return moment_of(text)
