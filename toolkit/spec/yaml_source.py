"""YAML whose values know their file, line and column; hostile and ambiguous files are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yaml.reader import Reader

from toolkit.errors import EnvironmentFailure, UserError

MAX_BYTES = 1_000_000
MAX_NODES = 20_000  # aliases count as often as they are used: an alias bomb is stopped here
MAX_DEPTH = 50
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, about eight times faster

SYNTAX_HINTS = {
    "mapping values are not allowed in this context": (
        "text that holds `: ` needs quotes, and keys of one mapping start in one column"
    ),
    "could not find expected ':'": "a key is followed by `: ` and its value",
    "did not find expected key": "keys of one mapping start in one column",
    "did not find expected ',' or ']'": "a list opened with `[` ends with `]`",
    "did not find expected ',' or '}'": "a mapping opened with `{` ends with `}`",
    "found character that cannot start any token": "text that begins with this needs quotes",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something is written; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, kw_only=True)
class ScalarAt:
    """One word, number or text, as it is written. `plain` is false inside quotes."""

    place: Place
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        """Nothing is written, or a word that YAML reads as null."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, kw_only=True)
class ListAt:
    """A list and where it begins."""

    place: Place
    items: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class MappingAt:
    """A mapping in the file's order; no key is there twice."""

    place: Place
    entries: tuple[tuple[ScalarAt, Value], ...]


Value = ScalarAt | ListAt | MappingAt


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file's one mapping, and problems that did not keep it from being read further."""

    mapping: MappingAt
    problems: tuple[UserError, ...]


def shown(text: str) -> str:
    """`text` for a message: one line, at most 60 characters, control characters escaped."""
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return visible if len(visible) <= 60 else visible[:57] + "..."


def read_yaml(path: Path) -> Source:
    """Read a file of at most 1 MB that holds one mapping.

    Raises UserError, with the place, for what is not such a file, and EnvironmentFailure where the
    system does not let it be read.
    """
    try:
        if not path.exists():
            raise UserError(f"there is no file `{shown(str(path))}`")
        if not path.is_file():
            raise UserError(f"`{shown(str(path))}` is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as failure:
        raise EnvironmentFailure(f"cannot read `{path}`: {failure.strerror}") from failure
    if len(data) > MAX_BYTES:
        raise UserError(
            f"`{path}` is larger than 1 MB", hint="recipes and targets are a few kilobytes of text"
        )
    return parse_yaml(_decoded(data, str(path)), str(path))


def parse_yaml(text: str, file: str) -> Source:
    """Read YAML text; `file` is the name that places carry. Raises UserError."""
    forbidden = Reader.NON_PRINTABLE.search(text)
    if forbidden:
        raise UserError(
            f"YAML cannot hold the character U+{ord(forbidden.group()):04X}",
            where=str(_place_of(text, forbidden.start(), file)),
        )
    composer = _Composer(file=file, events=yaml.parse(text, Loader=LOADER))
    try:
        return composer.document()
    except yaml.MarkedYAMLError as failure:
        raise _syntax_error(failure, text, file) from failure


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = data.count(b"\n", 0, failure.start) + 1
        raise UserError(
            f"this is not UTF-8 text: byte {failure.start} is `{data[failure.start]:#04x}`",
            where=f"{file}:{line}:1",
            hint="save the file as UTF-8",
        ) from failure


def _place_of(text: str, index: int, file: str) -> Place:
    before = text[:index]
    column = index - (before.rfind("\n") + 1) + 1
    return Place(file=file, line=before.count("\n") + 1, column=column)


def _syntax_error(failure: yaml.MarkedYAMLError, text: str, file: str) -> UserError:
    mark = failure.problem_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    where = str(Place(file=file, line=line + 1, column=column + 1))
    lines = text.splitlines()
    if line < len(lines) and lines[line][column : column + 1] == "\t":
        return UserError("YAML cannot be indented with a tab", where=where, hint="use spaces")
    problem = str(failure.problem)
    context = f" ({failure.context})" if failure.context else ""
    return UserError(
        f"this is not YAML: {problem}{context}", where=where, hint=SYNTAX_HINTS.get(problem, "")
    )


@dataclass
class _Composer:
    """Turns parser events into values; nothing is ever constructed from a tag."""

    file: str
    events: Iterator[yaml.Event]
    nodes: int = 0
    anchors: dict[str, Value] = field(default_factory=dict)
    problems: list[UserError] = field(default_factory=list)

    def document(self) -> Source:
        """The one mapping of the stream."""
        next(self.events)  # the start of the stream
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            raise UserError(f"`{self.file}` is empty", hint="it says at least `version: 1`")
        value = self._value(next(self.events), depth=1)
        next(self.events)  # the end of the document
        rest = next(self.events)
        if not isinstance(rest, yaml.StreamEndEvent):
            raise UserError(
                "a second document begins here",
                where=str(self._place(rest)),
                hint="write one file for each, without `---` between",
            )
        if not isinstance(value, MappingAt):
            raise UserError(
                f"the file must hold keys with values, got {described(value)}",
                where=str(value.place),
                hint="it begins with `version: 1`",
            )
        return Source(mapping=value, problems=tuple(self.problems))

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return Place(file=self.file, line=mark.line + 1, column=mark.column + 1)

    def _value(self, event: yaml.Event, depth: int) -> Value:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event.anchor, place, depth)
        self._charge(1, depth, place)
        if event.tag is not None:
            raise UserError(
                f"the tag `{shown(event.tag)}` is not read here, and nothing was run",
                where=str(place),
                hint="write plain text, numbers, lists and mappings",
            )
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            value = ScalarAt(place=place, text=event.value, plain=event.implicit[0])
        elif isinstance(event, yaml.SequenceStartEvent):
            value = ListAt(place=place, items=tuple(self._items(depth + 1)))
        else:
            value = MappingAt(place=place, entries=tuple(self._entries(depth + 1)))
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _charge(self, nodes: int, depth: int, place: Place) -> None:
        self.nodes += nodes
        if depth > MAX_DEPTH:
            raise UserError(f"nested deeper than {MAX_DEPTH} levels", where=str(place))
        if self.nodes > MAX_NODES:
            raise UserError(
                f"more than {MAX_NODES} values, aliases counted as often as used",
                where=str(place),
                hint="recipes and targets have some dozens",
            )

    def _repeated(self, anchor: str, place: Place, depth: int) -> Value:
        value = self.anchors.get(anchor)
        if value is None:
            raise UserError(f"`*{anchor}` has no `&{anchor}` that ends before it", where=str(place))
        nodes, levels = _extent(value)
        self._charge(nodes, depth + levels - 1, place)
        return value

    def _items(self, depth: int) -> Iterator[Value]:
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            yield self._value(event, depth)

    def _entries(self, depth: int) -> Iterator[tuple[ScalarAt, Value]]:
        first: dict[str, Place] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._value(event, depth)
            value = self._value(next(self.events), depth)
            if not isinstance(key, ScalarAt):
                raise UserError(f"a key must be a word, got {described(key)}", where=str(key.place))
            if key.text in first:
                self.problems.append(_given_twice(key, first[key.text]))
                continue
            first[key.text] = key.place
            yield key, value


def _given_twice(key: ScalarAt, first: Place) -> UserError:
    return UserError(
        f"`{shown(key.text)}` is given twice",
        where=str(key.place),
        hint=f"the first is on line {first.line}; keep one",
    )


def _extent(value: Value) -> tuple[int, int]:
    """Number of nodes in a value, and of levels, itself included."""
    inner: list[Value] = []
    if isinstance(value, ListAt):
        inner.extend(value.items)
    elif isinstance(value, MappingAt):
        inner.extend(part for entry in value.entries for part in entry)
    extents = [_extent(part) for part in inner]
    return 1 + sum(n for n, _ in extents), 1 + max((d for _, d in extents), default=0)


def described(value: Value) -> str:
    """What was found, for a message: in backticks as written, or its kind."""
    if isinstance(value, ListAt):
        return "a list"
    if isinstance(value, MappingAt):
        return "a mapping"
    if value.is_null:
        return "nothing"
    return f"`{shown(value.text)}`" if value.plain else f"the text `{shown(value.text)}`"
