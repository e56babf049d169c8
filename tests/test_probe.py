"""What a device is, of its own words: named as its maker does, and without ids that would leak."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from toolkit.contracts import Finished, LinkOptions
from toolkit.errors import EnvironmentFailure
from toolkit.links.local import LocalLink
from toolkit.measure.board import RUNTIMES, missing_for
from toolkit.measure.probe import FIRST_LINE, probe, read_probe
from toolkit.measure.survey import survey

PI = {
    "root": "/home/pi/.cache/edgesr",
    "machine": "aarch64",
    "system": "Linux 6.6.31",
    "host": "camera",
    "id": "0123456789abcdef0123456789abcdef",
    "serial": "10000000deadbeef",
    "model": "Raspberry Pi 5 Model B Rev 1.0",
    "cores": "4",
    "implementer": "0x41",
    "part": "0xd0b",
    "memory_kb": "8245248",
    "free_kb": "1048576",
    "writable": "yes",
    "python": "/usr/bin/python3",
    "python_version": "3.11.2",
    "package.numpy": "1.24.2",
    "package.tflite-runtime": "2.14.0",
    "hash": "sha256sum",
    "now": "3600",
    "boot": "b",
    "end": "yes",
}


def read(**changes):
    values = {key: value for key, value in {**PI, **changes}.items() if value is not None}
    text = "\n".join([FIRST_LINE, *(f"{key}={value}" for key, value in values.items())])
    done = Finished(code=0, stdout=text.encode(), stderr="sh: uname: not found")
    return read_probe(done, "ssh://pi@camera", is_emulated=False)


def test_a_raspberry_pi():
    found = read()
    device = found.device
    assert (device.name, device.cpu) == ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76")
    assert (device.cores, device.memory_mb, found.free_mb) == (4, 8052.0, 1024.0)
    assert missing_for(found, "litert") == []
    assert missing_for(found, "onnxruntime") == ["a package for onnxruntime"]


@pytest.mark.parametrize(
    ("words", "name", "cpu"),
    [
        ({"part": "0xd05 0xd0b"}, PI["model"], "Cortex-A55 + Cortex-A76"),
        ({"part": "0xfff"}, PI["model"], "Arm 0xfff"),
        ({"implementer": "0x51", "cpu": "Qualcomm SM8550"}, PI["model"], "Qualcomm SM8550"),
        ({"model": "", "product": "Google Pixel 8"}, "Google Pixel 8", "Cortex-A76"),
        ({"model": "", "board": "NVIDIA Orin Nano"}, "NVIDIA Orin Nano", "Cortex-A76"),
        ({"model": " ", "implementer": "", "cpu": "Intel N100"}, "Intel N100", "Intel N100"),
        ({"model": "", "implementer": None}, "aarch64", "aarch64"),
    ],
)
def test_names(words, name, cpu):
    device = read(**words).device
    assert (device.name, device.cpu) == (name, cpu)


def test_identity_is_the_machines_and_tells_nothing():
    device = read().device
    assert read(host="renamed", system="Linux 9", free_kb="1").device.identity == device.identity
    assert read(id="f" * 32).device.identity != device.identity
    assert read(serial="other").device.identity != device.identity
    assert (
        read(id="", serial="").device.identity != read(id="", serial="", host="b").device.identity
    )
    told = json.dumps(asdict(device))
    assert PI["id"] not in told and PI["serial"] not in told


def test_a_survey_tells_no_ids():
    own = Path("/etc/machine-id")
    (seen,) = survey(["local:"], LinkOptions())
    told = json.dumps(seen.as_json())
    assert not own.exists() or not own.read_text().strip() or own.read_text().strip() not in told


def test_this_machine():
    found = probe(LocalLink())
    assert found.device.machine == os.uname().machine
    assert found.device.cores == os.cpu_count()
    assert found.device.system == f"{os.uname().sysname} {os.uname().release}"
    pages_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    assert found.device.memory_mb == pytest.approx(pages_mb, rel=0.01)
    assert found.is_writable and found.hash and found.free_mb and found.lock is None
    assert all(missing_for(found, runtime) == [] for runtime in RUNTIMES)


def test_vendors_programs_are_found(tmp_path, monkeypatch):
    (tmp_path / "trtexec").write_text("#!/bin/sh\n")
    (tmp_path / "trtexec").chmod(0o755)
    (tmp_path / "benchmark_app").write_text("no program")
    # not the PATH of who runs the tests: an activated environment has a real benchmark_app
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert probe(LocalLink()).tools == {"trtexec": str(tmp_path / "trtexec")}


def test_a_python_of_its_own_is_looked_for_first(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path))
    monkeypatch.setenv("EDGESR_PYTHON", "")
    program = tmp_path / "venv" / "bin" / "python3"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf 'python_version=3.10.4\\npackage.numpy=1.26.0\\n'\n")
    program.chmod(0o755)
    found = probe(LocalLink())
    assert (found.python, found.python_version) == (str(program), (3, 10, 4))
    assert missing_for(found, "openvino") == ["a package for openvino"]


@pytest.mark.parametrize("words", [{"end": None}, {"root": None}, {"root": "relative"}])
def test_a_device_that_does_not_say_what_it_is(words):
    with pytest.raises(EnvironmentFailure, match="did not say what it is") as raised:
        read(**words)
    assert "uname: not found" in raised.value.problem


@pytest.mark.parametrize("word", ["", "-5", "1e9", "9" * 400, "٣", "nan", "0x10"])
def test_numbers_that_are_none(word):
    found = read(memory_kb=word, cores=word, now=word)
    assert (found.device.memory_mb, found.device.cores, found.now_s) == (0.0, 0, 0)


def test_a_devices_words_cannot_move_the_terminal():
    device = read(model="\033[2Jcamera\r\b").device
    assert device.name == "[2Jcamera"


def test_a_relative_home_is_refused(monkeypatch):
    monkeypatch.setenv("EDGESR_HOME", "relative/folder")
    with pytest.raises(EnvironmentFailure, match="EDGESR_HOME is no absolute path"):
        probe(LocalLink())
