"""Numbers and words as people write them, and what YAML would silently make of them instead."""

from __future__ import annotations

import re

import yaml

from toolkit.spec.yaml_source import ScalarAt, shown

MAX_DIGITS = 40  # longer numbers are no quantity of this project, and slow to convert
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
# what YAML 1.1 and 1.2 both read as a float: a point, and a sign in the exponent
FLOAT = re.compile(r"(?:[-+]?[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?")
# what only one of the two reads as a number, such as 1e-3
OTHER_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
TAGS = {"bool": "a truth value", "timestamp": "a date", "null": "nothing", "merge": "a merge key"}


def parse_number(scalar: ScalarAt) -> float | int | None:
    """The number that every YAML reader sees in a scalar, or None."""
    if not scalar.plain or len(scalar.text) > MAX_DIGITS:
        return None
    if INTEGER.fullmatch(scalar.text):
        return int(scalar.text)
    return float(scalar.text) if FLOAT.fullmatch(scalar.text) else None


def number_hint(scalar: ScalarAt, *, whole: bool = False) -> str:
    """What to write instead of something that was meant as a number; "" where nobody can tell."""
    text = scalar.text.strip()
    if len(text) > MAX_DIGITS:
        return ""
    if not scalar.plain:
        inner = ScalarAt(place=scalar.place, text=text, plain=True)
        return f"write `{text}` without the quotes" if parse_number(inner) is not None else ""
    if OTHER_FLOAT.fullmatch(text) and "e" in text.lower():
        return f"YAML reads `{text}` as text; write `{_spelled(text, whole=whole)}`"
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)? ?%", text):
        return f"write `{float(text.rstrip('% ')) / 100:g}`"
    if re.fullmatch(r"[0-9]+,[0-9]+", text):
        return f"write `{text.replace(',', '.')}`"
    if _tag(text) in ("int", "float"):  # octal, sexagesimal, underscores, hexadecimal, infinity
        return f"YAML reads `{text}` as {yaml.safe_load(text)}; write the number in full"
    return ""


def text_hint(text: str) -> str:
    """How to write plain `text` that YAML would not read as text; "" where it would."""
    tag = _tag(text)
    if tag == "str" and not OTHER_FLOAT.fullmatch(text):
        return ""
    if tag in ("bool", "int", "float") and len(text) <= MAX_DIGITS:
        value = yaml.safe_load(text)
        what = str(value).lower() if tag == "bool" else str(value)
    else:
        what = TAGS.get(tag, "a number")
    return f'YAML reads `{shown(text)}` as {what}; write "{shown(text)}" with the quotes'


def _tag(text: str) -> str:
    """The kind that YAML 1.1 gives to a plain scalar: str, int, float, bool, null, timestamp."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in [*resolvers.get(text[:1], []), *resolvers.get(None, [])]:
        if pattern.match(text):
            return str(tag).rpartition(":")[2]
    return "str"


def _spelled(text: str, *, whole: bool) -> str:
    """`1e-3` as 1.0e-3, which every reader takes for a number; whole numbers in full."""
    value = float(text)
    if whole and abs(value) < 1e15 and value == int(value):
        return str(int(value))
    mantissa, _, exponent = text.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    signed = exponent if exponent[0] in "+-" else f"+{exponent}"
    return f"{mantissa}e{signed}"
