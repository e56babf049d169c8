"""docs/camera.md says what the program does."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from toolkit.pull.needed import PIP
from toolkit.pull.words import add_options
from toolkit.pull.zipped import NEEDS

PAGE = (Path(__file__).parents[1] / "docs/camera.md").read_text()
UNITS = dict(re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", PAGE, re.DOTALL))


def test_every_option_is_on_the_page_and_there_are_no_others():
    parser = argparse.ArgumentParser()
    add_options(parser)
    there = {flag for action in parser._actions for flag in action.option_strings}
    there = {flag for flag in there if flag.startswith("--")} | {"--json"}
    table = PAGE.split("## Options")[1].split("## What firmware reads")[0]
    named = set(re.findall(r"^\| `(--[a-z-]+)", table, re.MULTILINE)) | {"--retry-s"}
    assert named == there - {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= there | {
        "--write-client", "--help", "--system", "--no-create-home", "--now",
    }  # fmt: skip


def test_the_page_and_the_client_name_the_same_packages():
    assert PIP in PAGE and f"/opt/edgesr/venv/bin/{PIP}" in PAGE
    assert PAGE.count("/opt/edgesr/venv/bin/python3 ") == 3
    assert PIP in NEEDS


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_valid(tmp_path):
    program = tmp_path / "python3"
    program.symlink_to(shutil.which("true"))
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace("/opt/edgesr/venv/bin/python3", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
    )
    assert len(UNITS) == 2
    ours = [line for line in done.stderr.splitlines() if "edgesr-pull" in line]
    assert ours == [], done.stderr


def test_every_kind_that_this_side_raises_is_on_the_page():
    sources = (Path(__file__).parents[1] / "toolkit/pull").glob("*.py")
    kinds = {
        kind
        for source in (*sources, Path(__file__).parents[1] / "toolkit/release.py")
        for kind in re.findall(r'kind="([a-z-]+)"', source.read_text())
    }
    assert "| 2 | `usage`, `root` |" in PAGE
    assert len(kinds) > 15
    assert {kind for kind in kinds if f"`{kind}`" not in PAGE} == set()
