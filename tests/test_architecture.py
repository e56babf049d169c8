"""Laws of the tree: imports point down, heavy libraries come late, functions fit on a screen."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "toolkit"
FILES = sorted(PACKAGE.rglob("*.py"))
RANK = {
    "__init__": 0, "errors": 0, "digest": 0,
    "plugins": 1, "child": 1, "json_value": 1, "runner": 1, "release": 1,
    "writing": 1,  # whole files, one writer at a time
    "pull": 1.5,  # runs on cameras: nothing but the rows above, and `tuf`
    "model": 2, "spec": 2, "images": 2, "contracts": 2,
    "metrics": 3, "report": 3,
    "opening": 3,  # files through the runner's sessions
    "shell": 3, "benchmark": 3.3, "links": 3.3,
    "validation": 3.6,
    "latency": 3.8,
    "archs": 4, "train": 4, "quant": 4, "lowering": 4,
    "qat": 4.5,  # training on the grids of quant
    "steps": 5, "backends": 5,
    "show": 6,
    "bundle": 7,
    "keys": 7.1,
    "drafts": 7.1,  # of releases, out of bundles
    "channel": 7.2,  # releases, signed and published
    "exporting": 7.3, "exports": 7.4,  # releases in the formats of others
    "measure": 7.5,  # files on devices
    "run": 8,
    "validate": 8.5,  # files on pictures; reads what a run packed
    "words": 8.9,  # of commands
    "commands": 9,
    "cli": 10,
    "__main__": 11,
}  # fmt: skip
PEERS = {"model", "spec", "images", "contracts"}  # types that speak of each other
HEAVY = {"torch", "onnxruntime", "openvino", "litert_torch", "ai_edge_litert", "ai_edge_quantizer",
         "torch_pruning", "jax", "av"}  # fmt: skip
QUICK_COMMANDS = [["--help"], ["check", "recipes/jetson.yaml"], ["plan", "recipes/jetson.yaml"]]
LONGEST_FUNCTION = 60


def room_of(file):
    relative = file.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def rooms_imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "toolkit":
                names = [f"toolkit.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "toolkit" and len(parts) > 1 and parts[1] in RANK:
                yield node.lineno, parts[1]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    here = room_of(file)
    for line, there in rooms_imported(file):
        down = here == there or RANK[there] < RANK[here] or {here, there} <= PEERS
        assert down, f"{file}:{line}: {here} may not import {there}"


@pytest.mark.parametrize("room", ["archs", "steps", "backends", "links", "exports"])
def test_plugs_do_not_import_each_other(room):
    for file in (PACKAGE / room).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not node.module.startswith(f"toolkit.{room}"), f"{file}:{node.lineno}"


@pytest.mark.parametrize("words", QUICK_COMMANDS, ids=lambda w: w[0])
def test_quick_commands_import_no_runtime(words):
    program = (
        "import sys\n"
        "from toolkit.cli import main\n"
        f"try:\n    code = main({words!r})\n"
        "except SystemExit as done:\n    code = done.code\n"
        "print(code, *{m.split('.')[0] for m in sys.modules}, file=sys.stderr)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=True,
    )
    code, *modules = child.stderr.splitlines()[-1].split()
    assert code in ("0", "None")
    assert not HEAVY & set(modules)


def functions():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                documented = ast.get_docstring(node) is not None
                text = node.body[0].end_lineno - node.body[0].lineno + 1 if documented else 0
                yield (
                    f"{file.name}:{node.lineno} {node.name}",
                    node.end_lineno - node.lineno + 1 - text,
                )


def test_no_function_needs_scrolling():
    assert [(name, lines) for name, lines in functions() if lines > LONGEST_FUNCTION] == []


def test_the_median_function_is_short():
    lengths = sorted(lines for _, lines in functions())
    assert lengths[len(lengths) // 2] <= 12
