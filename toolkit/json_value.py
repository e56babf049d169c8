"""A frozen dataclass from its JSON value, every field's type checked by its annotation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def typed(kind: type[T], value: Any, where: str) -> T:
    """Read what `dataclasses.asdict` and JSON made of a `kind`; `where` names it in errors.

    Lists become tuples, whole numbers are floats where floats are meant; NaN, infinity, unknown
    keys and missing keys without a default are refused. Annotations may be str, bool, int, float,
    Any, dataclasses, `X | None`, tuples and Mappings of these.
    Raises TypeError, ValueError or KeyError.
    """
    made: T = _typed(kind, value, where)
    return made


def _typed(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        others = [part for part in parts if part is not type(None)]
        return None if value is None else _typed(others[0], value, where)
    if origin is tuple:
        return _tuple(parts, value, where)
    if origin is Mapping:
        items = _of(dict, value, where).items()
        return {_of(str, key, where): _typed(parts[1], one, where) for key, one in items}
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    given, hints = _of(dict, value, where), get_type_hints(kind)
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise TypeError(f"`{where}` has an unknown key {unknown[0]!a}")
    made = {}
    for one in fields(kind):
        if one.name in given:
            made[one.name] = _typed(hints[one.name], given[one.name], f"{where}.{one.name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            raise KeyError(f"{where}.{one.name}")
    return kind(**made)


def _tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    items = _of(list, value, where)
    if parts[-1] is not Ellipsis:
        if len(items) != len(parts):
            raise ValueError(f"`{where}` must have {len(parts)} values, found {len(items)}")
        return tuple(_typed(part, one, where) for part, one in zip(parts, items, strict=True))
    if parts[0] is int and set(map(type, items)) <= {int}:
        return tuple(items)  # raw samples come by the hundred thousand
    return tuple(_typed(parts[0], one, where) for one in items)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is not float:
        return _of(kind, value, where)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"`{where}` must be a number, found `{ascii(value)[:60]}`")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf  # a whole number of hundreds of digits
    if not math.isfinite(number):
        raise ValueError(f"`{where}` is {number}")
    return number


def _of(kind: Any, value: Any, where: str) -> Any:
    """The value itself, of exactly this type: a bool is no int."""
    if type(value) is not kind:
        raise TypeError(f"`{where}` must be {kind.__name__}, found `{ascii(value)[:60]}`")
    return value
