"""YAML with places: hostile, ambiguous and broken files are refused with file:line:column."""

import os
from pathlib import Path

import pytest

from toolkit.errors import UserError
from toolkit.spec.yaml_source import ListAt, MappingAt, ScalarAt, parse_yaml, read_yaml


def refusal(text):
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "a.yaml")
    return str(caught.value)


def test_values_know_their_line_and_column_also_after_other_letters():
    source = parse_yaml("é: {ö: [1,\n  'x']}\n", "a.yaml")
    ((key, outer),) = source.mapping.entries
    ((_, inner),) = outer.entries
    assert isinstance(outer, MappingAt)
    assert isinstance(inner, ListAt)
    assert (key.text, str(outer.place), str(inner.place)) == ("é", "a.yaml:1:4", "a.yaml:1:8")
    last = inner.items[1]
    assert isinstance(last, ScalarAt)
    assert (last.text, last.plain, str(last.place)) == ("x", False, "a.yaml:2:3")


def test_an_alias_stands_for_the_value_it_names():
    source = parse_yaml("a: &x [1, 2]\nb: *x\n", "a.yaml")
    assert source.mapping.entries[0][1] == source.mapping.entries[1][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a:\n\tb: 1\n",
            "error: YAML cannot be indented with a tab\n  --> a.yaml:2:1\n\nhint: use spaces",
        ),
        (
            "a: 1\nb: !!python/object/apply:os.system ['touch canary']\n",
            "error: the tag `tag:yaml.org,2002:python/object/apply:os.system` is not read here, "
            "and nothing was run\n  --> a.yaml:2:4\n\n"
            "hint: write plain text, numbers, lists and mappings",
        ),
        ("# only a comment\n", "error: `a.yaml` is empty\n\nhint: it says at least `version: 1`"),
        (
            "- a\n- b\n",
            "error: the file must hold keys with values, got a list\n  --> a.yaml:1:1\n\n"
            "hint: it begins with `version: 1`",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "error: a second document begins here\n  --> a.yaml:2:1\n\n"
            "hint: write one file for each, without `---` between",
        ),
        (
            "a: [1, 2\n",
            "error: this is not YAML: did not find expected ',' or ']' "
            "(while parsing a flow sequence)\n  --> a.yaml:2:1\n\n"
            "hint: a list opened with `[` ends with `]`",
        ),
        (
            "a: b: c\n",
            "error: this is not YAML: mapping values are not allowed in this context\n"
            "  --> a.yaml:1:5\n\n"
            "hint: text that holds `: ` needs quotes, and keys of one mapping start in one column",
        ),
        ("a: *x\n", "error: `*x` has no `&x` that ends before it\n  --> a.yaml:1:4"),
        ("a: &x [*x]\n", "error: `*x` has no `&x` that ends before it\n  --> a.yaml:1:8"),
        ("[a]: 1\n", "error: a key must be a word, got a list\n  --> a.yaml:1:1"),
        ("a: 1\nb: \x00\n", "error: YAML cannot hold the character U+0000\n  --> a.yaml:2:4"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_in_a_sentence(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(text) == message
    assert list(tmp_path.iterdir()) == []  # the canary of a tag that was run


def test_a_key_given_twice_is_told_and_the_first_is_kept():
    source = parse_yaml("a: 1\nb: 2\na: 3\n", "a.yaml")
    assert [value.text for _, value in source.mapping.entries] == ["1", "2"]
    assert [str(problem) for problem in source.problems] == [
        "error: `a` is given twice\n  --> a.yaml:3:1\n\nhint: the first is on line 1; keep one"
    ]


def test_an_alias_bomb_is_stopped_by_the_count_of_what_it_stands_for():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 10):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    assert "more than 20000 values, aliases counted as often as used" in refusal("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "a:\n" + "".join(f"{' ' * n}b:\n" for n in range(1, 200)),
        "a: &x {b: 1}\n"
        + "\n".join(f"c{n}: &y{n} [{'*x' if n == 0 else f'*y{n - 1}'}]" for n in range(60)),
    ],
)
def test_deep_nesting_is_refused_also_when_built_from_aliases(text):
    assert "nested deeper than 50 levels" in refusal(text)


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: 1\n#" + b"x" * 1_000_000)
    with pytest.raises(UserError, match="is larger than 1 MB"):
        read_yaml(path)


def test_missing_files_folders_pipes_and_other_encodings_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe4\n")
    messages = {}
    for name in ("none.yaml", ".", "pipe.yaml", "latin.yaml"):
        with pytest.raises(UserError) as caught:
            read_yaml(Path(name))
        messages[name] = str(caught.value)
    assert messages == {
        "none.yaml": "error: there is no file `none.yaml`",
        ".": "error: `.` is not a regular file",
        "pipe.yaml": "error: `pipe.yaml` is not a regular file",
        "latin.yaml": "error: this is not UTF-8 text: byte 8 is `0xe4`\n  --> latin.yaml:2:1\n\n"
        "hint: save the file as UTF-8",
    }


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\n")
    key, _ = read_yaml(path).mapping.entries[0]
    assert (key.text, key.place.column) == ("version", 1)
