"""Walk a recipe's steps: keep what is kept, run the rest, or only say which would run and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from toolkit.contracts import Progress
from toolkit.report import StepRecord
from toolkit.run.key import Ingredients
from toolkit.run.store import Entry, Store

Work = Callable[[Path, Path], dict[str, Any]]  # (empty output folder, checkpoint folder) -> facts


class Listener(Protocol):
    """Who is told while a run goes on."""

    def started(self, title: str, reason: str) -> None:
        """A step starts because of `reason`."""

    def progress(self, progress: Progress) -> None:
        """The step that runs has come this far."""

    def finished(self, title: str, record: StepRecord) -> None:
        """A step ran or was kept."""

    def say(self, line: str) -> None:
        """One line of talk."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One line of `edgesr plan`."""

    title: str
    state: str  # "run", "kept", or "may": only where rungs before it fail
    reason: str


class Walk:
    """One pass over the steps. With `execute` false nothing runs and nothing is written."""

    def __init__(self, store: Store, listener: Listener, *, execute: bool) -> None:
        self.store = store
        self.listener = listener
        self.execute = execute
        self.planned: list[Planned] = []
        self.records: list[StepRecord] = []

    def step(
        self, slot: str, title: str, ingredients: Ingredients | None, work: Work
    ) -> Entry | None:
        """The step's result, kept or freshly made; None where only planning and it would run.

        `ingredients` is None where an earlier step would run, so that this one's key is unknown.
        """
        if ingredients is None:
            self.planned.append(Planned(title=title, state="run", reason="a step before it runs"))
            return None
        entry = self.store.find(ingredients.key)
        if entry is not None:
            self.planned.append(Planned(title=title, state="kept", reason=""))
            self._record(title, ingredients, "kept", entry.seconds, entry.facts)
            return entry
        reason = self.store.why(slot, ingredients)
        self.planned.append(Planned(title=title, state="run", reason=reason))
        return self._run(slot, title, ingredients, work, reason) if self.execute else None

    def _run(
        self, slot: str, title: str, ingredients: Ingredients, work: Work, reason: str
    ) -> Entry:
        self.listener.started(title, reason)
        started = time.monotonic()
        checkpoints = self.store.work(ingredients.key)
        with self.store.scratch() as out:
            facts = work(out, checkpoints)
            seconds = round(time.monotonic() - started, 2)
            entry = self.store.put(slot, ingredients, out, facts, seconds)
        self._record(title, ingredients, "ran", seconds, facts)
        return entry

    def _record(
        self,
        title: str,
        ingredients: Ingredients,
        state: str,
        seconds: float,
        facts: Mapping[str, Any],
    ) -> None:
        record = StepRecord(
            name=ingredients.step, state=state, seconds=seconds, key=ingredients.key, facts=facts
        )
        self.records.append(record)
        if self.execute:
            self.listener.finished(title, record)
