"""What one key of a table demands of the others; each rule both checks and writes its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from toolkit.errors import UserError
from toolkit.spec.yaml_source import Place


class Rule(Protocol):
    """One demand. `present` are keys with a value, `given` those whose value could be read."""

    @property
    def needs_a_key(self) -> bool:
        """Whether an empty table breaks it."""

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """What is wrong, or None."""

    def schema(self) -> dict[str, Any]:
        """The same in JSON Schema; empty where that cannot say it."""


def _listed(names: tuple[str, ...], word: str) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """At least one of these keys; exactly one where `exclusive`."""

    names: tuple[str, ...]
    exclusive: bool = False
    needs_a_key: bool = True

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """None of them, or more than one."""
        found = tuple(key for key in present if key in self.names)
        if not found:
            problem = f"`{name}` needs {_listed(self.names, 'or')}"
            return UserError(problem, where=str(place), hint="add one of them")
        if self.exclusive and len(found) > 1:
            problem = f"`{name}` takes one of {_listed(found, 'and')}, not both"
            return UserError(problem, where=str(present[found[1]]), hint="remove one of them")
        return None

    def schema(self) -> dict[str, Any]:
        """anyOf or oneOf."""
        return {
            "oneOf" if self.exclusive else "anyOf": [{"required": [name]} for name in self.names]
        }


@dataclass(frozen=True, kw_only=True)
class Excludes:
    """Keys that have no meaning beside `key`."""

    key: str
    others: tuple[str, ...]
    why: str
    needs_a_key: bool = False

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """Which ones were given all the same."""
        found = tuple(other for other in present if other in self.others)
        if self.key not in present or not found:
            return None
        return UserError(
            f"{_listed(found, 'and')} cannot stand beside `{self.key}` in `{name}`",
            where=str(present[found[0]]),
            hint=self.why,
        )

    def schema(self) -> dict[str, Any]:
        """if this, then none of those."""
        those = [{"required": [other]} for other in self.others]
        return {"if": {"required": [self.key]}, "then": {"not": {"anyOf": those}}}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """`key` needs another key: always, or only where its number is above 0, or exactly 0."""

    key: str
    other: str
    why: str
    when: str = "given"  # "given", "above 0", "0"
    needs_a_key: bool = False

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """The other one is missing."""
        if self.key not in present or self.other in present or not self._asks(given):
            return None
        state = {"given": "", "above 0": " above 0", "0": " of 0"}[self.when]
        return UserError(
            f"`{name}.{self.key}`{state} needs `{self.other}`",
            where=str(present[self.key]),
            hint=self.why,
        )

    def _asks(self, given: Mapping[str, Any]) -> bool:
        if self.when == "given":
            return True
        value = given.get(self.key)
        return value is not None and (value > 0 if self.when == "above 0" else value == 0)

    def schema(self) -> dict[str, Any]:
        """if this has such a value, then that is there and not null."""
        limits = {"given": {}, "above 0": {"exclusiveMinimum": 0}, "0": {"const": 0}}
        asks = {"properties": {self.key: limits[self.when]}} if limits[self.when] else {}
        there = {"required": [self.other], "properties": {self.other: {"not": {"type": "null"}}}}
        return {"if": {"required": [self.key], **asks}, "then": there}


@dataclass(frozen=True, kw_only=True)
class AtMost:
    """One number may not be larger than another; each default stands in where one is not given."""

    low: str
    high: str
    low_default: float | None = None
    high_default: float | None = None
    needs_a_key: bool = False

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """The numbers stand the wrong way round."""
        low, high = given.get(self.low, self.low_default), given.get(self.high, self.high_default)
        if low is None or high is None or low <= high:
            return None
        return UserError(
            f"`{name}.{self.low}` is `{low:g}`, above `{name}.{self.high}` of `{high:g}`",
            where=str(present.get(self.low) or present.get(self.high) or place),
            hint=f"`{self.low}` must be at most `{self.high}`",
        )

    def schema(self) -> dict[str, Any]:
        """Nothing: JSON Schema cannot hold one number against another."""
        return {}


@dataclass(frozen=True, kw_only=True)
class NotAllZero:
    """Numbers of which at least one must be above 0."""

    names: tuple[str, ...]
    why: str
    needs_a_key: bool = False

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """All were given as 0."""
        if any(given.get(key) != 0 for key in self.names):
            return None
        return UserError(
            f"{_listed(self.names, 'and')} of `{name}` are all 0",
            where=str(present[self.names[0]]),
            hint=self.why,
        )

    def schema(self) -> dict[str, Any]:
        """not all of them zero."""
        zeros = {name: {"const": 0} for name in self.names}
        return {"not": {"required": list(self.names), "properties": zeros}}


@dataclass(frozen=True, kw_only=True)
class NotBoth:
    """Two values that contradict each other; a key that is not written has another value."""

    key: str
    value: Any
    other: str
    other_value: Any
    why: str
    needs_a_key: bool = False

    def problem(
        self, present: Mapping[str, Place], given: Mapping[str, Any], name: str, place: Place
    ) -> UserError | None:
        """Both were written."""
        if given.get(self.key) != self.value or given.get(self.other) != self.other_value:
            return None
        return UserError(
            f"`{name}.{self.key}` of `{self.value}` contradicts `{self.other}` of "
            f"`{self.other_value}`",
            where=str(present[self.other]),
            hint=self.why,
        )

    def schema(self) -> dict[str, Any]:
        """not the one with the other."""
        values = {self.key: {"const": self.value}, self.other: {"const": self.other_value}}
        return {"not": {"required": [self.key, self.other], "properties": values}}
