"""The runner as one file: the same bytes each time, old Pythons, nothing of ours but itself."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from runner_jobs import executed, int8_file, prepared

from toolkit.runner.zipped import FILE, SHEBANG, zipapp_bytes

PACKAGE = Path(__file__).parent.parent / "toolkit/runner"
MODULES = sorted(PACKAGE.rglob("*.py"))
ON_HOST = {"zipped.py"}  # makes the archive, is not in it
RUNTIMES = {"onnxruntime", "openvino"}  # LiteRT's packages are imported by name
OLDEST = (3, 9)


def name_of(module):
    return module.relative_to(PACKAGE.parent.parent).as_posix()


def test_the_same_bytes_each_time_whatever_the_files_times(tmp_path):
    first = zipapp_bytes()
    program = "import sys; from toolkit.runner.zipped import zipapp_bytes as z; "
    program += "sys.stdout.buffer.write(z())"
    second = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    )
    assert second.stdout == first
    assert first.startswith(SHEBANG)
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_archive_holds_every_module_of_the_runner_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(zipapp_bytes())) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert archive.read("toolkit/__init__.py") == b""
        assert archive.read("toolkit/runner/golden.py") == (PACKAGE / "golden.py").read_bytes()
    modules = [name_of(module) for module in MODULES if module.name not in ON_HOST]
    assert names == sorted([*modules, "__main__.py", "toolkit/__init__.py"])


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_python_3_9_reads_every_module(module):
    if module.name not in ON_HOST:
        ast.parse(module.read_text(), feature_version=OLDEST)


def imported(tree):
    """Modules that a file imports, those for type checking alone included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "."
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_only_the_standard_library_numpy_and_a_runtime(module):
    for name in imported(ast.parse(module.read_text())):
        known = sys.stdlib_module_names | RUNTIMES | {"numpy"}
        is_ours = name == "toolkit.runner" or name.startswith("toolkit.runner.")
        assert is_ours or name.partition(".")[0] in known, f"{module}: {name}"


NEWER = {"kw_only", "slots", "strict"}  # keywords of dataclass and zip since 3.10


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_call_that_python_3_9_does_not_know(module):
    tree = ast.parse(module.read_text())
    assert module.name == "__init__.py" or "__future__" in imported(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls for keyword in c.keywords if keyword.arg in NEWER]
    # `int | None` outside annotations is an operator that 3.9 lacks
    checks = [c for c in calls if getattr(c.func, "id", "") in ("isinstance", "cast")]
    assert not [c.lineno for c in checks for a in c.args if isinstance(a, ast.BinOp)]


def test_a_device_needs_no_toolkit(tmp_path):
    (tmp_path / FILE).write_bytes(zipapp_bytes())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from toolkit.runner import program, work\n"
        "import toolkit\n"
        "ours = [m for m in sys.modules if m.split('.')[0] == 'toolkit']\n"
        "print(work.__file__.startswith(sys.argv[1]), toolkit.__file__.startswith(sys.argv[1]))\n"
        "print(*sorted(m for m in ours if not m.startswith('toolkit.runner')))\n"
        "print('torch' in sys.modules, 'onnxruntime' in sys.modules)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / FILE)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert child.stdout == "True True\ntoolkit\nFalse False\n"


def test_the_guard_is_forked_before_any_library_starts_a_thread():
    program = "import sys, toolkit.runner.program; print('numpy' in sys.modules)"
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert child.stdout == "False\n"


def test_a_job_through_the_archive_from_another_folder(tmp_path, monkeypatch):
    artefact = int8_file("onnxruntime", tmp_path / "made")
    monkeypatch.chdir("/")
    code, found = executed(tmp_path / "job", prepared(artefact, tmp_path / "job"))
    assert (code, found["golden"]["passed"], len(found["samples_ns"])) == (0, True, 5)
