"""Another instruction set for real: the runner and the aarch64 wheels in a Debian arm64 root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from needs import needs
from quant_networks import anchored, quantized, target

from toolkit import plugins
from toolkit.benchmark import TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.links import emulated
from toolkit.measure import emulated_root
from toolkit.measure.board import open_board
from toolkit.measure.rounds import bench

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small network for ONNX Runtime and LiteRT, each in float and INT8, with golden vectors."""
    folder = tmp_path_factory.mktemp("files")
    network, plan, _ = quantized(anchored(), folder)
    artefacts, golden = [], []
    builds = {
        "onnxruntime": target("onnxruntime"),
        "litert": target("litert", layout="nhwc", io_dtype="uint8", tile=(24, 32)),
    }
    for name, built in builds.items():
        backend = plugins.load("backends", name)
        lowered = backend.lower(network, plan, built, folder, "tiny")
        for artefact in lowered if name == "onnxruntime" else lowered[::-1]:
            artefacts.append(artefact)
            golden += vectors_of(backend, artefact)
    return artefacts, golden


def vectors_of(backend, artefact):
    session = backend.open(artefact, threads=1)
    is_int8 = artefact.precision == "int8"
    level = 1.0 if artefact.contract.output.dtype == "uint8" else LEVEL
    found = []
    for seed in (1, 2):
        given = tensor_for(artefact, seed)
        found.append(
            Golden(
                file=artefact.path.name,
                input=given,
                output=session.run(given),
                tolerance=level if is_int8 else 1e-4,
                least_share=0.995 if is_int8 else 1.0,
            )
        )
    session.close()
    return found


def tensor_for(artefact, seed):
    contract = artefact.contract
    size = contract.tile or (24, 32)
    picture = np.random.default_rng(seed).random((1, 3, *size), dtype=np.float32)
    if contract.input.layout == "nhwc":
        picture = picture.transpose(0, 2, 3, 1)
    if contract.input.dtype == "uint8":
        return (picture * 255).round().astype(np.uint8)
    return np.ascontiguousarray(picture)


@pytest.fixture(scope="module")
def checked(made):
    """Every file's golden vectors on the emulated device; the last vector of all is spoilt."""
    artefacts, golden = made
    shifted = replace(golden[-1], output=np.flip(golden[-1].output, axis=1).copy())
    mounts = Path("/proc/self/mounts").read_text()
    with open_board("emulated:aarch64", wait_s=600) as board:
        found = bench(
            board, artefacts, [*golden[:-1], shifted], TimingProtocol(threads=1),
            bundle="b", target="t", say=lambda _: None,
        )  # fmt: skip
    return found, mounts


@needs("emulated")
def test_golden_vectors_hold_on_aarch64_in_both_runtimes(checked):
    benchmark, _ = checked
    assert benchmark.device.machine == "aarch64"
    names = [(file.backend, file.precision, file.runtime.split()[0]) for file in benchmark.files]
    assert names == [
        ("onnxruntime", "float32", "onnxruntime"),
        ("onnxruntime", "int8", "onnxruntime"),
        ("litert", "int8", "ai-edge-litert"),
        ("litert", "float32", "ai-edge-litert"),
    ]
    for file in benchmark.files[:3]:
        assert file.golden.vectors == 2 and file.golden.passed, file
        assert file.golden.within_share >= (0.995 if file.precision == "int8" else 1.0)


@needs("emulated")
def test_wrong_numbers_are_found_there_too(checked):
    file = checked[0].files[3]
    assert not file.golden.passed and file.golden.within_share < 0.995


@needs("emulated")
def test_emulation_never_reports_a_time(checked):
    benchmark, _ = checked
    assert benchmark.device.is_emulated
    for file in benchmark.files:
        assert not any((file.samples_ns, file.load_ms, file.first_ms, file.energy_j_per_frame))
        assert all(unit.time_ms is None for unit in file.units)


@needs("emulated")
def test_nothing_stays_mounted_or_registered(checked):
    assert Path("/proc/self/mounts").read_text() == checked[1]
    registered = Path("/proc/sys/fs/binfmt_misc/edgesr")
    assert not registered.exists()


@needs("emulated")
def test_scripts_have_their_exit_codes_streams_and_stdin(tmp_path):
    link = emulated.open("aarch64", LinkOptions())
    script = 'cat; echo "$(uname -m) $PWD" ; echo talk >&2; (exit 3)'
    done = link.run(script, timeout_s=60, stdin=b"given ")
    assert (done.code, done.stdout) == (3, b"given aarch64 /root\n")
    assert done.stderr.strip() == "talk"
    with pytest.raises(EnvironmentFailure, match="not done within 1 s"):
        link.run("sleep 30", timeout_s=1)


@pytest.mark.parametrize("address", ["", "riscv64", "../aarch64"])
def test_an_instruction_set_that_is_not_emulated(address):
    with pytest.raises(UserError, match="no instruction set") as told:
        emulated.open(address, LinkOptions())
    assert "aarch64" in told.value.hint


def test_missing_emulator_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure) as told:
        emulated.open("aarch64", LinkOptions())
    assert "apt install qemu-user-static" in told.value.hint


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty EDGESR_HOME, and programs that only have to be there."""
    monkeypatch.setenv("EDGESR_HOME", str(tmp_path / "home"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("qemu-aarch64-static", "debootstrap"):
        (programs / name).write_text("#!/bin/sh\necho 'E: no network' >&2; exit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(emulated_root, "KEYS", programs)
    return tmp_path / "home"


def test_a_root_that_is_not_prepared_names_the_command(home):
    with pytest.raises(EnvironmentFailure) as told:
        emulated.open("aarch64", LinkOptions())
    assert "edgesr devices prepare emulated:aarch64" in told.value.hint


def test_a_root_with_other_runtimes_is_refused(home):
    root = emulated.root_folder("aarch64")
    root.mkdir(parents=True)
    wheels = {**emulated.wanted_wheels(), "numpy": "1.0"}
    (root / emulated.MARKER).write_text(json.dumps({"format": 1, "wheels": wheels}))
    with pytest.raises(EnvironmentFailure, match=r"the root holds .*numpy 1\.0"):
        emulated.open("aarch64", LinkOptions())


def test_the_root_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGESR_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert emulated.root_folder("aarch64") == tmp_path / "edgesr/emulated/aarch64"


def test_preparing_names_what_is_not_installed(home, monkeypatch):
    monkeypatch.setattr(emulated_root, "PROGRAMS", {"no-such-program": "some-package"})
    with pytest.raises(EnvironmentFailure) as told:
        emulated_root.prepare("aarch64", lambda _: None)
    assert "`no-such-program`" in told.value.problem
    assert "apt install some-package" in told.value.hint


@pytest.fixture
def fetched(home, monkeypatch, tmp_path):
    """Preparation without a network: one package and one wheel, made here."""
    content = tmp_path / "package"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN/control").write_text(
        "Package: one\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\n"
        "Description: one\n"
    )
    for folder in ("lib", "etc"):
        (content / folder).mkdir()
    (content / "lib/one.txt").write_text("one")
    package, wheel = tmp_path / "one.deb", tmp_path / "one.whl"
    subprocess.run(["dpkg-deb", "--build", content, package], check=True, capture_output=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("one/__init__.py", "")
    monkeypatch.setattr(emulated_root, "_fetch_wheels", lambda *_: [wheel])
    monkeypatch.setattr(emulated_root, "_fetch_packages", lambda *_: [package])
    return home / "emulated"


def prepared_but_not_entered():
    """The stub of an emulator runs nothing: all but the last look works."""
    with pytest.raises(EnvironmentFailure, match="no aarch64 program runs in the root"):
        emulated_root.prepare("aarch64", lambda _: None)


@needs("emulated")
def test_packages_and_wheels_are_unpacked(fetched):
    prepared_but_not_entered()
    root = fetched / "aarch64"
    assert (root / "usr/lib/one.txt").read_text() == "one"  # a merged /usr: `lib` stays a link
    assert (root / "lib").is_symlink()
    assert (root / "usr/local/lib/python3.11/dist-packages/one/__init__.py").exists()
    assert emulated.marker(root)["wheels"] == emulated.wanted_wheels()
    assert sorted(p.name for p in fetched.iterdir()) == ["aarch64", "aarch64.part.lock"]


@needs("emulated")
def test_a_preparation_that_dies_leaves_nothing_half_and_the_old_root(fetched, monkeypatch):
    root = fetched / "aarch64"
    root.mkdir(parents=True)
    (root / "old").write_text("old")

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(emulated_root, "_write_marker", die)
        emulated_root.prepare("aarch64", lambda _: None)
    assert (root / "old").exists() and emulated.marker(root) is None
    prepared_but_not_entered()
    assert not (root / "old").exists() and emulated.marker(root) is not None


@needs("emulated")
def test_a_damaged_package_is_fetched_anew(fetched, monkeypatch, tmp_path):
    damaged = tmp_path / "damaged.deb"
    damaged.write_bytes(b"no package")
    monkeypatch.setattr(emulated_root, "_fetch_packages", lambda *_: [damaged])
    with pytest.raises(EnvironmentFailure, match=r"`damaged\.deb` cannot be unpacked"):
        emulated_root.prepare("aarch64", lambda _: None)
    assert not damaged.exists() and not (fetched / "aarch64").exists()


def test_one_preparation_at_a_time(home, monkeypatch):
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print(flush=True); sys.stdin.read()"
    )
    place = home / "emulated"
    place.mkdir(parents=True)
    words = [sys.executable, "-c", holder, str(place / "aarch64.part.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(EnvironmentFailure, match="another preparation is at work"):
            emulated_root.prepare("aarch64", lambda _: None)
        other.stdin.close()


def test_a_program_that_fails_is_quoted(home):
    with pytest.raises(EnvironmentFailure) as told:
        emulated_root._fetch_packages("aarch64", home)
    assert "(exit 1): E: no network" in told.value.problem
    assert "run it again" in told.value.hint
