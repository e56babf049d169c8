"""Strict JSON: what is read is what everybody reads, and hostile text costs little."""

from __future__ import annotations

import json
import random
import string

import pytest

from toolkit.errors import SecurityError
from toolkit.pull import strict_json
from toolkit.pull.strict_json import DEEPEST, parse

SEEDS = range(200)
LETTERS = string.ascii_letters + string.digits + ' \\"/{}[]:,\n\t'


def some(rng: random.Random, deep: int = 0):
    """A value as channels publish them: no floats, ASCII."""
    kind = rng.choice("nbits" if deep > 4 else "nbitsloLO")
    if kind in "lL":
        return [some(rng, deep + 1) for _ in range(rng.randrange(4))]
    if kind in "oO":
        return {text(rng): some(rng, deep + 1) for _ in range(rng.randrange(4))}
    plain = {
        "n": None,
        "b": rng.random() < 0.5,
        "i": rng.randrange(-(1 << 53) + 1, 1 << 53),
        "t": rng.randrange(-9, 10),
        "s": text(rng),
    }
    return plain[kind]


def text(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randrange(8)))


def depth(value) -> int:
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inside), default=0) if isinstance(value, dict | list) else 0


@pytest.mark.parametrize("indent", [None, 1])
def test_what_was_written_is_read(indent):
    for seed in SEEDS:
        value = some(random.Random(seed))
        assert parse(json.dumps(value, indent=indent).encode(), "x") == value


def test_a_changed_text_is_refused_or_read_as_everybody_reads_it():
    """One byte changed, cut out or put in: no third way out."""
    read = refused = 0
    for seed in range(3000):
        rng = random.Random(seed)
        data = bytearray(json.dumps({"k": some(rng), "list": [some(rng)]}).encode())
        at, to = rng.randrange(len(data)), rng.choice(b'{}[]",:0123456789.eE-+tfn\\u \x00\x80')
        data[at : at + rng.randrange(2)] = [to] * rng.randrange(2)
        try:
            value = parse(bytes(data), "x")
        except SecurityError as error:
            assert error.kind == "malformed"
            refused += 1
            continue
        read += 1
        assert value == json.loads(bytes(data))
        assert depth(value) <= DEEPEST
        again = json.dumps(value, sort_keys=True)
        assert again.isascii() and "\\u0000" not in again and parse(again.encode(), "x") == value
    assert read > 300 < refused


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_thirty_two_deep_are_read_and_not_one_more(opening):
    closing = {"[": "]"}.get(opening, "}")

    def nested(count):
        return (opening * count + closing * count).replace(":}", ":1}").encode()

    assert depth(parse(nested(DEEPEST), "x")) == DEEPEST
    with pytest.raises(SecurityError, match="more than 32 deep"):
        parse(nested(DEEPEST + 1), "x")


def test_brackets_in_strings_do_not_nest():
    value = {"a": "[" * 99, 'b"': ["{" * 99 + '\\"' + "[" * 99], "\\": "[" * 99}
    assert parse(json.dumps(value).encode(), "x") == value


@pytest.mark.parametrize(
    "data",
    [b"[" * 2_000_000, b'{"a":' * 500_000, b'"' + b'\\"' * 1_000_000, b'["' * 1_000_000,
     b"[" + b"9" * 3_000_000 + b"]", b'["' + b"\\" * 2_000_000],
    ids=["arrays", "objects", "escapes", "strings", "digits", "backslashes"],
)  # fmt: skip
def test_hostile_text_takes_neither_the_stack_nor_ages(data):
    with pytest.raises(SecurityError) as caught:
        parse(data, "x")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "Expecting value at byte 0 of 0"),
        (b"nul", "Expecting value at byte 0 of 3"),
        (b"{}{}", "Extra data at byte 2 of 4"),
        (b"{}\0", "Extra data at byte 2 of 3"),
        (b'{"a":1,"b":2,"a":1}', "the key 'a' is there twice"),
        (b'[{"x":{"a":{},"a":{}}}]', "the key 'a' is there twice"),
        (b'{"a":1,"\\u0061":2}', "the key 'a' is there twice"),
        (b"1.0", "it holds the number 1.0, only whole numbers are read"),
        (b"[1e3]", "it holds the number 1e3, only whole numbers are read"),
        (b"[NaN]", "it holds the number NaN, only whole numbers are read"),
        (b"[-Infinity]", "it holds the number -Infinity, only whole numbers are read"),
        (b"[9007199254740992]", "the number 9007199254740992 is too large"),
        (b"[-9007199254740992]", "the number -9007199254740992 is too large"),
        (b"9" * 5000, f"the number {'9' * 30} is too large"),
        (b'["\\u0000"]', "'\\x00' holds a NUL character"),
        (b'{"\\u0000":1}', "'\\x00' holds a NUL character"),
        (b'["\\u00e9"]', "'\\xe9' is not ASCII"),
        (b'["\\ud800"]', "'\\ud800' is not ASCII"),
        ('["é"]'.encode(), "byte 0xc3 at 2 is not ASCII"),
        (b"\xef\xbb\xbf{}", "byte 0xef at 0 is not ASCII"),
        ("{}".encode("utf-16"), "byte 0xff at 0 is not ASCII"),
        (b'["a\nb"]', "Invalid control character at at byte 3 of 7"),
    ],
)
def test_each_refusal_says_what_was_found(data, found):
    with pytest.raises(SecurityError) as caught:
        parse(data, "7.targets.json")
    assert str(caught.value) == (
        f"refused[malformed]: `7.targets.json` cannot be read: {found}\n\n"
        "hint: the present model stays; tell whoever runs the channel"
    )


def test_channels_of_others_may_write_beyond_ascii():
    assert parse('{"ü":"\\u00e9é"}'.encode(), "x", ascii_only=False) == {"ü": "éé"}
    for data in (b'["\\ud800"]', b'["\xff"]', b'["\\u0000"]'):
        with pytest.raises(SecurityError):
            parse(data, "x", ascii_only=False)


def test_the_largest_numbers_are_exact():
    assert parse(b"[9007199254740991,-9007199254740991]", "x") == [(1 << 53) - 1, 1 - (1 << 53)]


def test_a_key_that_is_there_twice_is_found_in_one_pass():
    """Unsigned text of the largest size that is read took half a minute of a fast processor."""
    compared = 0

    class Key(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    pairs = [(Key(number), 0) for number in (*range(300), 299)]
    with pytest.raises(ValueError, match="'299' is there twice"):
        strict_json._once(pairs)
    assert compared < 10 * len(pairs)
