"""Kinds of values that hold others: lists, free mappings, a choice of tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import plugins
from toolkit.errors import Problems, ToolkitError, UserError, raise_all
from toolkit.spec.kinds import Kind, refusal
from toolkit.spec.numerals import number_hint
from toolkit.spec.yaml_source import ListAt, MappingAt, Place, ScalarAt, Value, described, shown

if TYPE_CHECKING:
    from toolkit.spec.fields import Table

PLACE = re.compile(r"(.*):([0-9]+):([0-9]+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ListOf:
    """A list of one kind of values."""

    item: Kind
    at_least: int = 0
    at_most: int | None = None
    unique: bool = False

    @property
    def wanted(self) -> str:
        """How many of them."""
        if self.at_most == self.at_least:
            return f"a list of {self.at_least}"
        return f"a list of at least {self.at_least}" if self.at_least else "a list"

    def read(self, value: Value, name: str, folder: Path) -> tuple[Any, ...]:
        """The values, in order."""
        if not isinstance(value, ListAt):
            single = isinstance(value, ScalarAt) and not value.is_null and self.at_least <= 1
            hint = f"write `[{value.text}]`" if single and isinstance(value, ScalarAt) else ""
            raise refusal(name, self.wanted, value, hint)
        count = len(value.items)
        if count < self.at_least or (self.at_most is not None and count > self.at_most):
            raise UserError(f"`{name}` must be {self.wanted}, got {count}", where=str(value.place))
        values, problems = [], []
        for index, item in enumerate(value.items):
            try:
                values.append(self.item.read(item, f"{name}[{index}]", folder))
            except UserError as problem:
                problems.append(problem)
        raise_flat(problems)
        self._check_unique(values, value, name)
        return tuple(values)

    def _check_unique(self, values: Sequence[Any], value: ListAt, name: str) -> None:
        for index, item in enumerate(values):
            if self.unique and item in values[:index]:
                raise UserError(
                    f"`{name}` has {described(value.items[index])} twice",
                    where=str(value.items[index].place),
                )

    def schema(self) -> dict[str, Any]:
        """An array."""
        limits = {"minItems": self.at_least or None, "maxItems": self.at_most}
        found = {key: limit for key, limit in limits.items() if limit is not None}
        unique = {"uniqueItems": True} if self.unique else {}
        return {"type": "array", "items": self.item.schema()} | found | unique


@dataclass(frozen=True, kw_only=True)
class Nullable:
    """A value, or `null` for none of it."""

    kind: Kind

    def read(self, value: Value, name: str, folder: Path) -> Any:
        """The value or None."""
        if isinstance(value, ScalarAt) and value.is_null:
            return None
        return self.kind.read(value, name, folder)

    def schema(self) -> dict[str, Any]:
        """Either."""
        return {"anyOf": [self.kind.schema(), {"type": "null"}]}


@dataclass(frozen=True, kw_only=True)
class Words:
    """A mapping of free names to values of one kind."""

    item: Kind
    pattern: str
    wanted: str  # what a name is

    def read(self, value: Value, name: str, folder: Path) -> dict[str, Any]:
        """The values by name, in the file's order."""
        if not isinstance(value, MappingAt):
            raise refusal(name, "a mapping", value)
        values, problems = {}, []
        for key, inner in value.entries:
            try:
                if not re.fullmatch(self.pattern, key.text):
                    raise refusal(f"a key of {name}", self.wanted, key)
                values[key.text] = self.item.read(inner, f"{name}.{key.text}", folder)
            except UserError as problem:
                problems.append(problem)
        raise_flat(problems)
        return values

    def schema(self) -> dict[str, Any]:
        """An object with a pattern for its names."""
        named = {f"^(?:{self.pattern})$": self.item.schema()}
        return {"type": "object", "patternProperties": named, "additionalProperties": False}


@dataclass(frozen=True, kw_only=True)
class FirstOf:
    """A number, a truth value or text: the first that fits. For hyper-parameters of networks."""

    kinds: tuple[Kind, ...]
    wanted: str

    def read(self, value: Value, name: str, folder: Path) -> Any:
        """The value of the first kind that takes it."""
        for kind in self.kinds:
            try:
                return kind.read(value, name, folder)
            except UserError:
                continue
        hint = number_hint(value) if isinstance(value, ScalarAt) else ""
        raise refusal(name, self.wanted, value, hint)

    def schema(self) -> dict[str, Any]:
        """Any of them."""
        return {"anyOf": [kind.schema() for kind in self.kinds]}


@dataclass(frozen=True, kw_only=True)
class OneKeyOf:
    """A mapping with one key that says which table its value is, such as `prune: {ratio: 0.3}`."""

    tables: Mapping[str, Table]
    noun: str
    build: Callable[[str, dict[str, Any], Place], Any]
    hints: Mapping[str, str] = field(default_factory=dict)  # for words that are no key on purpose

    def read(self, value: Value, name: str, folder: Path) -> Any:
        """What `build` makes of the key, the table's values and the key's place."""
        if not isinstance(value, MappingAt) or len(value.entries) != 1:
            hint = "write `- name: {...}`, each with its own `-`"
            if isinstance(value, ScalarAt) and value.text in self.tables:
                hint = f"write `{value.text}: {{}}`"
            raise refusal(name, f"one {self.noun}", value, hint)
        key, inner = value.entries[0]
        if key.text not in self.tables:
            hint = self.hints.get(key.text) or plugins.did_you_mean(key.text, self.tables)
            raise UserError(
                f"unknown {self.noun} `{shown(key.text)}`", where=str(key.place), hint=hint
            )
        table = self.tables[key.text]
        if isinstance(inner, ScalarAt) and inner.is_null and table.may_be_empty:
            inner = MappingAt(place=key.place, entries=())
        return self.build(key.text, table.read(inner, key.text, folder), key.place)

    def schema(self) -> dict[str, Any]:
        """An object with one of the keys."""
        tables = {
            key: Nullable(kind=table).schema() if table.may_be_empty else table.schema()
            for key, table in self.tables.items()
        }
        return {
            "type": "object",
            "properties": tables,
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
        }


def raise_flat(problems: Sequence[UserError]) -> None:
    """Raise every problem at once, from the top of the file down, none inside of another."""
    flat: list[ToolkitError] = []
    for problem in problems:
        flat.extend(problem.problems if isinstance(problem, Problems) else [problem])
    raise_all(sorted(flat, key=_position))


def _position(problem: ToolkitError) -> tuple[str, int, int]:
    """What `Place` wrote, as file, line and column."""
    found = PLACE.fullmatch(problem.where)
    return (found[1], int(found[2]), int(found[3])) if found else (problem.where, 0, 0)
