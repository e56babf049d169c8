"""Tables of known keys: one declaration drives the reader and the JSON Schema.

The two accept the same files, apart from what a schema cannot see: the disk, the installed plugs,
the order of steps and two numbers held against each other. There only the reader refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import plugins
from toolkit.errors import UserError
from toolkit.spec.containers import raise_flat
from toolkit.spec.kinds import Exactly, Kind, refusal
from toolkit.spec.rules import Rule
from toolkit.spec.yaml_source import MappingAt, Place, ScalarAt, Value, shown

REQUIRED: Any = object()


@dataclass(frozen=True, kw_only=True)
class Field:
    """One key of a table. A default of None means that the help says where the value is from."""

    name: str
    kind: Kind
    help: str
    default: Any = REQUIRED

    def schema(self) -> dict[str, Any]:
        """The kind's schema with the help and the default beside it."""
        stated = {} if self.default in (REQUIRED, None) else {"default": _as_json(self.default)}
        return {"description": self.help} | self.kind.schema() | stated


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping with known keys. `build` gets every field by name, defaults filled in."""

    fields: tuple[Field, ...]
    rules: tuple[Rule, ...] = ()
    build: Callable[..., Any] = dict

    def read(self, value: Value, name: str, folder: Path) -> Any:
        """What `build` makes of the values; every problem inside is raised at once."""
        if not isinstance(value, MappingAt):
            raise refusal(name, "a mapping", value, "write `{}` or leave the key out")
        given, problems = self._given(value, name, folder)
        present = {
            key.text: key.place
            for key, inner in value.entries
            if not (isinstance(inner, ScalarAt) and inner.is_null)
        }
        problems += self._missing({key.text for key, _ in value.entries}, name, value.place)
        for rule in self.rules:
            problem = rule.problem(present, given, name, value.place)
            problems += [problem] if problem else []
        raise_flat(problems)
        return self.build(**{f.name: given.get(f.name, f.default) for f in self.fields})

    def _given(
        self, value: MappingAt, name: str, folder: Path
    ) -> tuple[dict[str, Any], list[UserError]]:
        fields = {field.name: field for field in self.fields}
        given: dict[str, Any] = {}
        problems: list[UserError] = []
        for key, inner in value.entries:
            dotted = f"{name}.{key.text}" if name else key.text
            try:
                if key.text not in fields:
                    raise _unknown(key, name, fields)
                given[key.text] = fields[key.text].kind.read(inner, dotted, folder)
            except UserError as problem:
                problems.append(problem)
        return given, problems

    def _missing(self, keys: set[str], name: str, place: Place) -> list[UserError]:
        return [
            UserError(
                f"`{name}.{field.name}` is missing" if name else f"`{field.name}` is missing",
                where=str(place),
                hint=f"add `{field.name}`: {field.help[0].lower()}{field.help[1:].rstrip('.')}",
            )
            for field in self.fields
            if field.default is REQUIRED and field.name not in keys
        ]

    @property
    def may_be_empty(self) -> bool:
        """Whether `{}` is a valid table."""
        needs = any(field.default is REQUIRED for field in self.fields)
        return not needs and not any(rule.needs_a_key for rule in self.rules)

    def schema(self) -> dict[str, Any]:
        """An object that takes no other keys."""
        required = [field.name for field in self.fields if field.default is REQUIRED]
        rules = [part for rule in self.rules if (part := rule.schema())]
        return {
            "type": "object",
            "properties": {field.name: field.schema() for field in self.fields},
            **({"required": required} if required else {}),
            **({"allOf": rules} if rules else {}),
            "additionalProperties": False,
        }


def check_version(mapping: MappingAt, version: int) -> None:
    """Refuse another format alone: its other keys mean nothing to this reader."""
    for key, value in mapping.entries:
        if key.text == "version":
            Exactly(value=version).read(value, "version", Path())


def _unknown(key: ScalarAt, name: str, known: Mapping[str, Field]) -> UserError:
    inside = f" in `{name}`" if name else ""
    if key.text == "<<":
        return UserError(
            "merge keys (`<<`) are not read here", where=str(key.place), hint="write the keys out"
        )
    return UserError(
        f"unknown key `{shown(key.text)}`{inside}",
        where=str(key.place),
        hint=plugins.did_you_mean(key.text, known),
    )


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
