"""JSON from a network or a store: everything that two readers could read differently is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from toolkit.errors import SecurityError

DEEPEST = 32  # brackets within brackets; TUF metadata needs 7
INTEGER_DIGITS = 16  # 2**53, what a reader that knows only doubles still reads exactly
LARGEST = 1 << 53

# One after the other, as one pattern for strings with escapes takes quadratic time on hostile text.
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"?')
_NO_BRACKET = re.compile(rb"[^][{}]+")


def parse(data: bytes, what: str, *, ascii_only: bool = True, where: str = "") -> Any:
    """The value of a JSON file that a channel publishes; `what` names the file in the refusal.

    Refused are: no JSON, nesting deeper than 32, duplicate keys, floats, integers from 2**53 on,
    NUL characters, lone surrogates and, with `ascii_only`, anything but ASCII, also where it is
    escaped. The nesting is counted before the text is parsed. The size is the caller's to limit.
    Raises SecurityError `malformed`.
    """
    try:
        text = data.decode("ascii" if ascii_only else "utf-8")
        if _is_deep(data):
            raise ValueError(f"its brackets are nested more than {DEEPEST} deep")
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_float=_no_float,
            parse_int=_integer,
            parse_constant=_no_float,
        )
        _characters(value, ascii_only)
    except json.JSONDecodeError as error:
        raise _malformed(what, f"{error.msg} at byte {error.pos} of {len(data)}", where) from error
    except UnicodeDecodeError as error:
        found = f"byte 0x{data[error.start]:02x} at {error.start} is not {error.encoding.upper()}"
        raise _malformed(what, found, where) from error
    except (ValueError, RecursionError) as error:
        raise _malformed(what, str(error), where) from error
    return value


def parse_metadata(data: bytes, what: str, *, ascii_only: bool = True, where: str = "") -> None:
    """`parse`, and the outer form that all TUF metadata has. Raises SecurityError `malformed`.

    python-tuf checks the same; here it has words that tell what was found.
    """
    found = _form(parse(data, what, ascii_only=ascii_only, where=where))
    if found:
        raise _malformed(what, found, where)


def _form(value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("signatures"), list):
        return "it is no object with a list of `signatures`"
    signed = value.get("signed")
    if not isinstance(signed, dict):
        return "it has no object `signed`"
    for key, kind in {"_type": str, "spec_version": str, "version": int, "expires": str}.items():
        if key not in signed:
            return f"`{key}` is missing"
        if type(signed[key]) is not kind:
            named = {str: "text", int: "whole number"}[kind]
            return f"`{key}` is no {named}: {signed[key]!a:.60}"
    return ""


def _is_deep(data: bytes) -> bool:
    """Whether brackets outside strings nest deeper than 32; anything for text that is no JSON."""
    depth = 0
    for bracket in _NO_BRACKET.sub(b"", _STRING.sub(b"", _ESCAPED.sub(b"", data))):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            return True
    return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice[:60]!a} is there twice")
    return made


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"it holds the number {text[:30]}, only whole numbers are read")


def _integer(text: str) -> int:
    # The length first: turning ten thousand digits into a number takes long.
    if len(text.lstrip("-")) > INTEGER_DIGITS or abs(int(text)) >= LARGEST:
        raise ValueError(f"the number {text[:30]} is too large")
    return int(text)


def _characters(value: Any, ascii_only: bool) -> None:
    """Refuse characters that the readers of a channel differ about."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"{value[:60]!a} holds a NUL character")
        if ascii_only and not value.isascii():
            raise ValueError(f"{value[:60]!a} is not ASCII")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{value[:60]!a} holds half a character")
    elif isinstance(value, dict):
        for key, one in value.items():
            _characters(key, ascii_only)
            _characters(one, ascii_only)
    elif isinstance(value, list):
        for one in value:
            _characters(one, ascii_only)


def _malformed(what: str, found: str, where: str) -> SecurityError:
    return SecurityError(
        f"`{what}` cannot be read: {found}",
        where=where,
        hint="the present model stays; tell whoever runs the channel",
        kind="malformed",
    )
