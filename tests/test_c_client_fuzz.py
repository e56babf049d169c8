"""A short run of every fuzz target on real metadata, always the same inputs; findings once more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from c_client import SOURCE, binary
from camera.models import Model
from camera.repository import Forge
from needs import needs

pytestmark = needs("c-client")
TARGETS = {"json": 2000, "metadata": 2000, "workflow": 600, "release": 2000, "store": 5000}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds from a channel with two releases and two roots."""
    folder = tmp_path_factory.mktemp("fuzz")
    forge = Forge(folder / "channel")
    forge.publish(Model(2))
    forge.renew("root")
    words = [sys.executable, str(SOURCE / "fuzz" / "seeds.py"), str(forge.folder), "street"]
    subprocess.run([*words, str(folder / "seeds")], check=True)
    return folder / "seeds"


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_a_short_run_is_too_much(target, seeds, tmp_path):
    program = binary("fuzz") / f"fuzz_{target}"
    corpus = tmp_path / "corpus"
    shutil.copytree(seeds / target, corpus)
    words = [program, f"-dict={SOURCE / 'fuzz' / 'tokens.dict'}", "-seed=1", "-timeout=10"]
    words += [f"-runs={TARGETS[target]}", "-max_len=20000", "-close_fd_mask=2", corpus]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {TARGETS[target]} runs" in done.stderr


def test_the_seeds_reach_the_end_of_the_workflow(seeds):
    """A target that refuses its seeds at the first byte would find nothing for hours."""
    files = sorted((seeds / "workflow").iterdir())
    done = subprocess.run(
        [binary("fuzz") / "fuzz_workflow", *files],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EDGESR_FUZZ_SAY": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall("targets found: ([0-9])", done.stderr)
    # the family's index and the manifest of release 2; the first input runs twice
    assert found == ["2"] * (len(files) + 1) and len(files) == 3, done.stderr
