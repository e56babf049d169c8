"""A recipe written for a network of one's own can be read at once, whatever its name."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from toolkit.model.contract import ImageContract
from toolkit.spec.init import recipe_text
from toolkit.spec.read_recipe import read_recipe
from toolkit.spec.schema import recipe_schema

GOLDEN = Path(__file__).parent / "golden"


def test_the_whole_text_for_a_network():
    contract = ImageContract(scale=2, white=255.0, minimum_px=15, multiple_of=2)
    text = recipe_text(Path("my.onnx"), contract=contract, targets=["jetson-orin-nano"])
    assert text == (GOLDEN / "init.yaml").read_text()


@pytest.mark.parametrize(
    "name",
    ["my net.onnx", "no.onnx", "a: b #c.onnx", "1e-3.onnx", "ä'\"ß.onnx", "- x.onnx", "😀.onnx"],
)
def test_any_file_name_is_read_back(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"")
    contract = ImageContract(scale=3, color="luma", halo_px=None)
    text = recipe_text(Path(name), contract=contract, targets=["generic-cpu", "intel-n100"])
    Path("r.yaml").write_text(text)
    recipe = read_recipe(Path("r.yaml"))
    assert (recipe.network.file, recipe.network.scale) == (Path(name), 3)
    assert (recipe.network.color, recipe.network.white) == ("luma", 1.0)
    assert [step.name for step in recipe.steps] == ["quantize"]
    jsonschema.Draft202012Validator(recipe_schema()).validate(yaml.safe_load(text))


def test_a_name_that_yaml_takes_for_something_else_is_quoted():
    text = recipe_text(Path("no"), contract=ImageContract(scale=2), targets=["010"])
    assert yaml.safe_load(text)["network"]["file"] == "no"
    assert yaml.safe_load(text)["targets"] == ["010"]


def test_the_architecture_of_a_weight_file_is_kept(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    contract = ImageContract(scale=2)
    text = recipe_text(Path("w.pth"), contract=contract, targets=["generic-cpu"], arch="sesr")
    (tmp_path / "r.yaml").write_text(text)
    assert read_recipe(tmp_path / "r.yaml").network.arch == "sesr"


def test_the_examples_in_comments_are_valid_steps(tmp_path):
    (tmp_path / "my.onnx").write_bytes(b"")
    (tmp_path / "big.onnx").write_bytes(b"")
    (tmp_path / "photographs" / "train").mkdir(parents=True)
    text = recipe_text(Path("my.onnx"), contract=ImageContract(scale=2), targets=["generic-cpu"])
    examples = text.replace("  # - ", "  - ").replace("  # latency", "  latency")
    (tmp_path / "r.yaml").write_text(examples.replace("  # size_kb", "  size_kb"))
    recipe = read_recipe(tmp_path / "r.yaml")
    assert [step.name for step in recipe.steps] == ["distill", "prune", "quantize"]
    assert recipe.gates.latency_p90_ms == 400.0
