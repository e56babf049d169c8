"""Energy from counters that are really there, else none: nothing is estimated.

A counter measures the whole chip or board: idle power and other processes are in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from toolkit.runner.reading import is_there, number_of, text_of

POWERCAP = "sys/class/powercap/intel-rapl:*"
HWMON = "sys/class/hwmon/hwmon*"
INA = ("ina3221", "ina2xx", "ina219", "ina220", "ina226", "ina230", "ina231", "ina260")
WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")  # Jetson's rails that all others hang on


class Counter(Protocol):
    """Adds up what was used between its first and its last sample."""

    name: str

    def sample(self, now_ns: int) -> None:
        """Read the sensor; called before, between and after the timed runs."""

    def joules(self) -> float | None:
        """Energy from the first to the last sample; None where a reading failed."""


def counter(system: Path) -> Counter | None:
    """The machine's energy counter: RAPL packages, else an INA sensor of the whole board."""
    packages = [
        folder
        for folder in sorted(system.glob(POWERCAP))
        if (text_of(folder / "name") or "").startswith("package")
        and number_of(folder / "energy_uj") is not None
    ]
    if packages:
        return Rapl(packages)
    rails = [rail for folder in sorted(system.glob(HWMON)) for rail in _rails(folder)]
    whole = [rail for rail in rails if rail.label in WHOLE_BOARD]
    # of several rails without such a name nobody knows which one hangs on which
    return whole[0] if whole else rails[0] if len(rails) == 1 else None


class Rapl:
    """Intel's and AMD's own counters: microjoules that start again at `max_energy_range_uj`."""

    def __init__(self, packages: list[Path]) -> None:
        self.name = "powercap intel-rapl"
        self._packages = packages
        self._ranges = [number_of(folder / "max_energy_range_uj") for folder in packages]
        self._last: list[float | None] = []
        self._used_uj: float | None = 0.0

    def sample(self, now_ns: int) -> None:
        """See Counter."""
        values = [number_of(folder / "energy_uj") for folder in self._packages]
        for before, now, span in zip(self._last, values, self._ranges):
            self._add(before, now, span)
        self._last = values

    def _add(self, before: float | None, now: float | None, span: float | None) -> None:
        if before is None or now is None or (now < before and span is None):
            self._used_uj = None
        elif self._used_uj is not None:
            self._used_uj += now - before if now >= before else now - before + (span or 0.0)

    def joules(self) -> float | None:
        """See Counter."""
        return None if self._used_uj is None else self._used_uj / 1e6


class Rail:
    """One supply rail of an INA sensor: power samples joined by straight lines.

    Samples fall between runs; the sensor averages over its own conversion time, which covers them.
    """

    def __init__(self, label: str, power: Path | None, volts: Path, amperes: Path) -> None:
        self.label = label
        self.name = f"hwmon {label}"
        self._files = power, volts, amperes
        self._last: tuple[int, float] | None = None
        self._used_j: float | None = 0.0

    def watts(self) -> float | None:
        """Power now. hwmon states microwatts, millivolts and milliamperes."""
        power, volts, amperes = self._files
        if power is not None:
            return number_of(power, 1e-6)
        u, i = number_of(volts, 1e-3), number_of(amperes, 1e-3)
        return None if u is None or i is None else u * i

    def sample(self, now_ns: int) -> None:
        """See Counter."""
        now_w = self.watts()
        if now_w is None:
            self._used_j = None
            return
        if self._last is not None and self._used_j is not None:
            then_ns, then_w = self._last
            self._used_j += (then_w + now_w) / 2 * (now_ns - then_ns) / 1e9
        self._last = now_ns, now_w

    def joules(self) -> float | None:
        """See Counter."""
        return self._used_j


def _rails(folder: Path) -> list[Rail]:
    chip = text_of(folder / "name") or ""
    if chip not in INA:
        return []
    rails = []
    for number in range(1, 4):
        power, volts, amperes = (
            folder / f"{kind}{number}_input" for kind in ("power", "in", "curr")
        )
        label = text_of(folder / f"in{number}_label") or f"{chip} {number}"
        rail = Rail(label, power if is_there(power) else None, volts, amperes)
        if rail.watts() is not None:
            rails.append(rail)
    return rails
