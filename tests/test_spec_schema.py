"""Reader and JSON Schema come from one table: they take and refuse the same files."""

from pathlib import Path

import jsonschema
import pytest
import spec_files
import yaml

from toolkit import plugins
from toolkit.errors import UserError
from toolkit.spec.read_recipe import read_recipe
from toolkit.spec.read_target import read_target, target_names
from toolkit.spec.schema import recipe_schema, shipped_schemas, target_schema

PROJECT = Path(__file__).parent.parent
RECIPES = sorted((PROJECT / "recipes").glob("*.yaml"))
HINT = "# yaml-language-server: $schema=../toolkit/spec/{}.schema.json"


@pytest.fixture
def place(tmp_path):
    """A folder with the files that the recipes name; returns what writes a file there."""
    for name in ("photos", "others"):
        (tmp_path / name).mkdir()
    for name in ("net.onnx", "net.pth", "net.txt"):
        (tmp_path / name).write_bytes(b"")

    def write(text, name="recipe.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def takes(schema, text):
    return jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text))


def test_the_schemas_are_themselves_valid():
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    jsonschema.Draft202012Validator.check_schema(target_schema())


@pytest.mark.parametrize("path", shipped_schemas(), ids=lambda path: path.name)
def test_shipped_schema_files_are_what_the_tables_write(path):
    written_anew = "run `python -m toolkit.spec.schema` and commit the two files"
    assert path.read_text() == shipped_schemas()[path], written_anew


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_pass_both(path):
    assert takes(recipe_schema(), path.read_text())
    assert read_recipe(path).name == path.stem
    assert path.read_text().startswith(HINT.format("recipe"))


@pytest.mark.parametrize("name", target_names())
def test_shipped_targets_pass_both(name):
    path = read_target(name).path
    assert takes(target_schema(), path.read_text())
    assert path.read_text().startswith(HINT.format("target"))


@pytest.mark.parametrize("case", spec_files.GOOD_RECIPES)
def test_good_recipes_pass_both(case, place):
    text = spec_files.GOOD_RECIPES[case]
    assert takes(recipe_schema(), text)
    read_recipe(place(text))


@pytest.mark.parametrize("case", spec_files.BAD_RECIPES)
def test_bad_recipes_are_refused_by_both(case, place):
    text = spec_files.BAD_RECIPES[case]
    assert not takes(recipe_schema(), text)
    with pytest.raises(UserError) as caught:
        read_recipe(place(text))
    problems = getattr(caught.value, "problems", [caught.value])
    assert all("recipe.yaml:" in problem.where for problem in problems)


@pytest.mark.parametrize("case", spec_files.ONLY_READER)
def test_what_a_schema_cannot_see_is_refused_by_the_reader(case, place):
    with pytest.raises(UserError) as caught:
        read_recipe(place(spec_files.ONLY_READER[case]))
    assert "recipe.yaml:" in str(caught.value)


def test_a_good_target_passes_both(place):
    text = spec_files.target()
    assert takes(target_schema(), text)
    assert read_target(place(text, "board.yaml")).name == "board"


@pytest.mark.parametrize("case", spec_files.BAD_TARGETS)
def test_bad_targets_are_refused_by_both(case, place):
    text = spec_files.BAD_TARGETS[case]
    assert not takes(target_schema(), text)
    with pytest.raises(UserError, match=r"board\.yaml:"):
        read_target(place(text, "board.yaml"))


def test_every_step_has_a_table_of_its_parameters():
    tables = recipe_schema()["properties"]["steps"]["items"]["properties"]
    assert set(tables) == set(plugins.names("steps")) - {"convert"}


def keys_of(schema):
    """Every (key, its schema) in a schema, however deep."""
    for name, part in schema.get("properties", {}).items():
        yield name, part
        yield from keys_of(part)
    inner = [schema["items"]] if "items" in schema else []
    for part in (*inner, *schema.get("patternProperties", {}).values(), *schema.get("anyOf", ())):
        yield from keys_of(part)


def test_every_key_is_described_and_no_other_is_taken():
    for schema in (recipe_schema(), target_schema()):
        for name, part in keys_of(schema):
            is_step = name in ("distill", "prune", "quantize")
            assert is_step or part["description"].endswith("."), name
            assert part.get("type") != "object" or part["additionalProperties"] is False, name
