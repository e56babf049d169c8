"""Recipes: what is read from a good one, and the whole text of what is said about a bad one."""

import subprocess
import sys
from pathlib import Path

import pytest
import spec_files

from toolkit.errors import Problems, UserError
from toolkit.spec.gate_table import gates_for
from toolkit.spec.read_recipe import read_recipe
from toolkit.spec.read_target import read_target
from toolkit.spec.recipe import Gates, Measuring, NetworkSource

GOLDEN = Path(__file__).parent / "golden"

BAD = """\
version: 1
netwrk: {reference: student}
network: {file: nett.onnx, scale: 1}
targets: [intel-n10, generic-cpu]
seed: 010
seed: 4
data: {calibration: photo/, validation: no}
steps:
  - distil: {}
  - quantize: {patches: 1e2}
  - convert: {}
  - prune: {ratio: 30, macs_share: 0.5, batch: 8}
  - distill: {weight_teacher: 0.5, learning_rate: 1e-3, loss: l1l, steps: 1.5}
gates: {psnr_drop_db: {mean: 0.4, worst: 0.3}, latency_p90_ms: 1:30, size_kb: "200", \
int8_macs_share: 90%}
measure: {threads: two, min_runs: 1_000, min_s: 1,5, input_px: 640}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Go to a folder with the files that the recipes name; returns what writes a recipe there."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "others"):
        (tmp_path / name).mkdir()
    for name in ("net.onnx", "net.pth"):
        (tmp_path / name).write_bytes(b"")

    def write(text, name="recipe.yaml"):
        Path(name).write_text(text)
        return Path(name)

    return write


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_recipe(path)
    return str(caught.value)


def test_every_problem_of_a_recipe_is_told_at_once_from_the_top_down(place):
    with pytest.raises(Problems) as caught:
        read_recipe(place(BAD))
    assert str(caught.value) + "\n" == (GOLDEN / "recipe_problems.txt").read_text()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "other version",
            "error: `version` must be `1`, got `2`\n  --> recipe.yaml:1:10\n\n"
            "hint: this toolkit reads version 1; write `version: 1`",
        ),
        (
            "no network",
            "error: `network` is missing\n  --> recipe.yaml:1:1\n\n"
            "hint: add `network`: such as `{reference: student}`, or "
            "`{file: my.onnx, scale: 2}`",
        ),
        (
            "name that is a number",
            "error: `name` must be a name of 1 to 64 letters, digits, `-`, `_` and single dots, "
            "without a folder, got `3.10`\n  --> recipe.yaml:5:7\n\n"
            'hint: YAML reads `3.10` as 3.1; write "3.10" with the quotes',
        ),
        (
            "name with NUL",
            "error: `name` must be a name of 1 to 64 letters, digits, `-`, `_` and single dots, "
            "without a folder, got the text `a\\x00b`\n  --> recipe.yaml:5:7",
        ),
        (
            "file without a scale",
            "error: `network.file` needs `scale`\n  --> recipe.yaml:2:11\n\n"
            "hint: add the scale the network was trained for",
        ),
        (
            "reference with a scale",
            "error: `scale` cannot stand beside `reference` in `network`\n"
            "  --> recipe.yaml:2:31\n\n"
            "hint: everything about a reference network is known",
        ),
        (
            "targets as a word",
            "error: `targets` must be a list of at least 1, got `generic-cpu`\n"
            "  --> recipe.yaml:3:10\n\nhint: write `[generic-cpu]`",
        ),
        (
            "step as a word",
            "error: `steps[0]` must be one step, got `quantize`\n  --> recipe.yaml:4:9\n\n"
            "hint: write `quantize: {}`",
        ),
        (
            "fine-tune without images",
            "error: `prune.finetune_steps` above 0 needs `images`\n  --> recipe.yaml:4:30\n\n"
            "hint: add `images:`, a folder of high-resolution images to fine-tune on",
        ),
    ],
)
def test_each_message_says_what_where_and_what_to_do(case, message, place):
    assert refusal(place(spec_files.BAD_RECIPES[case])) == message


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "quantize before prune",
            "error: `quantize` must be the last step\n  --> recipe.yaml:4:10\n\n"
            "hint: what trains or prunes comes before it",
        ),
        (
            "one folder for both",
            "error: `data.calibration` and `data.validation` are the same folder\n"
            "  --> recipe.yaml:5:1\n\n"
            "hint: a network judged on what it was calibrated on looks better than it is",
        ),
        (
            "unknown arch",
            "error: no `espnc` in archs\n  --> recipe.yaml:2:42\n\nhint: did you mean `espcn`?",
        ),
    ],
)
def test_what_only_the_reader_sees_is_told_in_the_same_way(case, message, place):
    assert refusal(place(spec_files.ONLY_READER[case])) == message


def test_another_version_is_told_alone(place):
    with pytest.raises(UserError) as caught:
        read_recipe(place("version: 7\nbuild: {}\n"))
    assert not isinstance(caught.value, Problems)


def test_a_recipe_in_another_folder_finds_files_beside_itself(place):
    Path("below").mkdir()
    Path("below/mine.onnx").write_bytes(b"")
    text = spec_files.recipe(network="network: {file: mine.onnx, scale: 2}")
    assert read_recipe(place(text, "below/r.yaml")).network.file == Path("below/mine.onnx")


def test_a_recipe_without_a_name_is_called_like_its_file(place):
    assert read_recipe(place(spec_files.recipe(), "night-cam.yaml")).name == "night-cam"
    assert "cannot name a folder of results" in refusal(place(spec_files.recipe(), "my cam.yaml"))


def test_what_is_not_written_has_the_defaults_of_the_table(place):
    recipe = read_recipe(place(spec_files.recipe()))
    assert recipe.network == NetworkSource(scale=2, reference="student")
    assert (recipe.gates, recipe.measuring) == (Gates(), Measuring())
    assert dict(recipe.steps[0].params) == {
        "patches": 64,
        "patch_px": 96,
        "charts": True,
        "rung": "auto",
        "float_nodes": (),
        "train_minutes": 20.0,
        "mixed_macs_share": 0.3,
        "seed": 0,
    }


def test_steps_take_the_seed_and_the_channel_multiple_from_the_rest_of_the_recipe(place):
    fast = "{value: 8, instead: use eights, source: bench}"
    place(spec_files.target(more=f"limits: {{channel_multiple: {fast}}}"), "board.yaml")
    recipe = read_recipe(
        place(
            spec_files.recipe(
                targets="targets: [generic-cpu, board.yaml]",
                steps="steps: [{prune: {ratio: 0.5}}, {quantize: {seed: 3}}]",
                more="seed: 7",
            )
        )
    )
    prune, quantize = recipe.steps
    assert (prune.params["seed"], prune.params["channel_multiple"]) == (7, 8)
    assert quantize.params["seed"] == 3


def test_networks_and_folders_of_a_step_are_kept_apart_from_its_parameters(place):
    recipe = read_recipe(place(spec_files.GOOD_RECIPES["everything"]))
    distill = recipe.steps[0]
    assert distill.networks == {"teacher": NetworkSource(scale=2, file=Path("net.onnx"))}
    assert distill.folders == {"images": Path("photos")}
    assert not {"teacher", "images"} & set(distill.params)
    assert distill.params["weight_teacher"] == 0.5
    assert recipe.network.hyper == {"features": 16, "rate": 0.5, "deep": True}
    assert distill.where == "recipe.yaml:5:5"


def test_plain_training_has_no_weight_for_a_teacher(place):
    text = spec_files.recipe(steps="steps: [{distill: {images: photos}}]")
    assert read_recipe(place(text)).steps[0].params["weight_teacher"] == 0.0


def test_problems_inside_a_target_of_ones_own_point_into_that_file(place):
    place(spec_files.target(title=None), "board.yaml")
    text = spec_files.recipe(targets="targets: [board.yaml]", more="seed: -1")
    assert refusal(place(text)) == (
        "error: `title` is missing\n  --> board.yaml:1:1\n\n"
        "hint: add `title`: device and runtime in words\n\n"
        "error: `seed` must be a whole number from 0 to 4294967295, got `-1`\n"
        "  --> recipe.yaml:5:7"
    )


def test_two_targets_of_one_name_would_write_into_one_folder(place):
    Path("mine").mkdir()
    text = spec_files.target(name="name: generic-cpu")
    place(text, "mine/generic-cpu.yaml")
    message = refusal(
        place(spec_files.recipe(targets="targets: [generic-cpu, mine/generic-cpu.yaml]"))
    )
    assert message == (
        "error: two of `targets` are named `generic-cpu`\n  --> recipe.yaml:3:1\n\n"
        "hint: each target has a folder of that name for its results"
    )


def test_a_recipes_gate_comes_before_the_targets(place):
    text = spec_files.target(more="gates: {psnr_drop_db: {mean: 0.2, worst: 0.5}, size_kb: 10}")
    target = read_target(place(text, "board.yaml"))
    assert gates_for(Gates(psnr_drop_db_mean=0.1), target) == Gates(
        psnr_drop_db_mean=0.1, psnr_drop_db_worst=0.5, size_kb=10.0
    )


def test_reading_imports_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; import toolkit.spec.read_recipe as r;"
        "r.read_recipe(Path('recipes/intel.yaml'));"
        "print(sorted({'onnx', 'numpy', 'torch', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    project = Path(__file__).parent.parent
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
