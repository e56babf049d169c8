"""Kinds of single values, such as a number in a range: each reads YAML and writes its schema."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from toolkit import plugins
from toolkit.errors import UserError
from toolkit.spec.numerals import number_hint, parse_number, text_hint
from toolkit.spec.yaml_source import ScalarAt, Value, described, shown

SAFE_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}"  # a folder's name and never a path

URL = r"[a-z][a-z0-9]*:[!-~]*"  # a kind of link, a colon, an address without spaces


class Kind(Protocol):
    """What one value may be."""

    def read(self, value: Value, name: str, folder: Path) -> Any:
        """The value; `name` is for messages, relative paths start at `folder`.

        Raises UserError, or Problems with all that is wrong inside.
        """

    def schema(self) -> dict[str, Any]:
        """The same in JSON Schema 2020-12."""


def refusal(name: str, wanted: str, value: Value, hint: str = "") -> UserError:
    """The one sentence for a value of the wrong kind or out of range."""
    return UserError(
        f"`{name}` must be {wanted}, got {described(value)}", where=str(value.place), hint=hint
    )


def _figure(number: float) -> str:
    """A limit in a message, without an exponent where it is whole."""
    return str(int(number)) if number == int(number) else f"{number:g}"


@dataclass(frozen=True, kw_only=True)
class Exactly:
    """One whole number and no other, such as a format version."""

    value: int

    def read(self, value: Value, name: str, folder: Path) -> int:
        """The number."""
        if isinstance(value, ScalarAt) and parse_number(value) == self.value:
            return self.value
        hint = f"this toolkit reads {name} {self.value}; write `{name}: {self.value}`"
        raise refusal(name, f"`{self.value}`", value, hint)

    def schema(self) -> dict[str, Any]:
        """A constant."""
        return {"const": self.value}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number in a range; `above` and `below` leave the end itself out."""

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    whole: bool = False
    choices: tuple[float, ...] = ()

    @property
    def wanted(self) -> str:
        """The range in words."""
        if self.choices:
            return "one of " + ", ".join(f"`{choice}`" for choice in self.choices)
        kind = "a whole number" if self.whole else "a number"
        if self.low is not None and self.high is not None:
            return f"{kind} from {_figure(self.low)} to {_figure(self.high)}"
        ends = {
            "at least": self.low,
            "above": self.above,
            "at most": self.high,
            "below": self.below,
        }
        stated = [f"{word} {_figure(end)}" for word, end in ends.items() if end is not None]
        return f"{kind} {' and '.join(stated)}".rstrip()

    def read(self, value: Value, name: str, folder: Path) -> float | int:
        """int where whole, else float."""
        number = parse_number(value) if isinstance(value, ScalarAt) else None
        if number is None:
            hint = number_hint(value, whole=self.whole) if isinstance(value, ScalarAt) else ""
            raise refusal(name, self.wanted, value, hint)
        if not self._holds(number):
            raise refusal(name, self.wanted, value, self._range_hint(number))
        return int(number) if self.whole else float(number)

    def _holds(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (not self.whole or number == int(number))
            and (not self.choices or number in self.choices)
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.high is None or number <= self.high)
            and (self.below is None or number < self.below)
        )

    def _range_hint(self, number: float) -> str:
        top = self.high if self.high is not None else self.below
        is_fraction = top is not None and top <= 1 and not self.whole
        if is_fraction and 1 < number <= 100 and self._holds(number / 100):
            return f"{number / 100:g} is {number:g} %"
        return ""

    def schema(self) -> dict[str, Any]:
        """Type and limits."""
        if self.choices:
            return {"enum": list(self.choices)}
        limits = {
            "minimum": self.low,
            "exclusiveMinimum": self.above,
            "maximum": self.high,
            "exclusiveMaximum": self.below,
        }
        kind = {"type": "integer" if self.whole else "number"}
        return kind | {key: limit for key, limit in limits.items() if limit is not None}


@dataclass(frozen=True, kw_only=True)
class Boolean:
    """True or false, in these words: `yes`, `on` and their like mean text to newer YAML."""

    def read(self, value: Value, name: str, folder: Path) -> bool:
        """The truth value."""
        if isinstance(value, ScalarAt) and value.plain and value.text in ("true", "false"):
            return value.text == "true"
        words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        word = words.get(value.text.lower()) if isinstance(value, ScalarAt) else None
        raise refusal(name, "`true` or `false`", value, f"write `{word}`" if word else "")

    def schema(self) -> dict[str, Any]:
        """Type boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Text:
    """Some text, not empty; a pattern is held against all of it."""

    pattern: str = ""
    wanted: str = "text"
    choices: tuple[str, ...] = ()

    def read(self, value: Value, name: str, folder: Path) -> str:
        """The text."""
        wanted = self.wanted
        if self.choices:
            wanted = "one of " + ", ".join(f"`{choice}`" for choice in self.choices)
        if not isinstance(value, ScalarAt) or value.is_null:
            raise refusal(name, wanted, value)
        if value.plain and (hint := text_hint(value.text)):
            raise refusal(name, wanted, value, hint)
        if self.choices and value.text not in self.choices:
            hint = plugins.did_you_mean(value.text, self.choices)
            raise refusal(name, wanted, value, hint if hint.startswith("did") else "")
        if not value.text or (self.pattern and not re.fullmatch(self.pattern, value.text)):
            raise refusal(name, wanted, value)
        return value.text

    def schema(self) -> dict[str, Any]:
        """An enumeration or a pattern."""
        if self.choices:
            return {"enum": list(self.choices)}
        held = {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {"minLength": 1}
        return {"type": "string", **held}


NAME = Text(
    pattern=SAFE_NAME,
    wanted="a name of 1 to 64 letters, digits, `-`, `_` and single dots, without a folder",
)
PLUG_NAME = Text(pattern="[a-z][a-z0-9_]*", wanted="a word of small letters")


@dataclass(frozen=True, kw_only=True)
class Plug:
    """The name of a plug: any file that lies in its room, so the schema cannot list them."""

    room: str

    def read(self, value: Value, name: str, folder: Path) -> str:
        """The name; no plug is imported."""
        text = PLUG_NAME.read(value, name, folder)
        known = plugins.names(self.room)
        if text not in known:
            raise UserError(
                f"no `{text}` in {self.room}",
                where=str(value.place),
                hint=plugins.did_you_mean(text, known),
            )
        return text

    def schema(self) -> dict[str, Any]:
        """A word."""
        return PLUG_NAME.schema()


@dataclass(frozen=True, kw_only=True)
class PathTo:
    """A file or folder that is there; relative ones start at the folder of the YAML file."""

    what: str  # "file" or "folder"
    suffixes: tuple[str, ...] = ()

    def read(self, value: Value, name: str, folder: Path) -> Path:
        """The path, absolute or relative to where the program runs."""
        text = Text(wanted=f"a path of a {self.what}").read(value, name, folder)
        path = folder / Path(text)
        if self.suffixes and path.suffix not in self.suffixes:
            wanted = f"a file that ends in {', '.join(f'`{s}`' for s in self.suffixes)}"
            raise refusal(name, wanted, value)
        if not self._is_there(path):
            raise UserError(
                f"`{name}`: there is no {self.what} `{shown(text)}`",
                where=str(value.place),
                hint=f"relative paths start at the folder of this file, `{folder}`",
            )
        return path

    def _is_there(self, path: Path) -> bool:
        try:
            return path.is_file() if self.what == "file" else path.is_dir()
        except OSError:  # such as a name that is too long for the system
            return False

    def schema(self) -> dict[str, Any]:
        """Text, with its endings."""
        endings = "|".join(re.escape(suffix) for suffix in self.suffixes)
        return {"type": "string", "minLength": 1} | (
            {"pattern": f"(?:{endings})$"} if endings else {}
        )


@dataclass(frozen=True, kw_only=True)
class DeviceUrl:
    """A device: the name of a link, a colon, and where it is."""

    def read(self, value: Value, name: str, folder: Path) -> str:
        """The URL; its link exists, the device is not asked."""
        wanted = "a device, such as `ssh://user@host` or `adb:SERIAL`"
        if not isinstance(value, ScalarAt) or not re.fullmatch(URL, value.text):
            raise refusal(name, wanted, value)
        links = plugins.names("links")
        link = value.text.split(":", 1)[0]
        if link not in links:
            raise refusal(name, wanted, value, plugins.did_you_mean(link, links))
        return value.text

    def schema(self) -> dict[str, Any]:
        """Text of that form."""
        return {"type": "string", "pattern": f"^(?:{URL})$"}
