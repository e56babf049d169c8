"""The bundle: written whole or not at all, read back only where every byte is as it was packed."""

import json
import math
import os
import resource
import signal
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_report import FILES, REFERENCE, report

from toolkit import __version__
from toolkit.bundle import pack as packing
from toolkit.bundle.manifest import FORMAT, Golden, read_bundle
from toolkit.bundle.pack import bundle_folder, pack, write_failure
from toolkit.bundle.report_file import parse_report, report_bytes
from toolkit.contracts import Artefact
from toolkit.digest import sha256_bytes, sha256_json
from toolkit.errors import EnvironmentFailure, GateFailed, SecurityError, UserError
from toolkit.model.contract import ImageContract, IoContract, TensorSpec

GOLDEN = Path(__file__).parent / "golden"
CONTENT = {
    "net.float32.xml": b"<net float/>",
    "net.float32.bin": b"float weights",
    "net.int8.xml": b"<net int8/>",
    "net.int8.bin": b"int8 weights",
    "net.float32.onnx": b"onnx float",
    "net.int8.onnx": b"onnx int8",
}
CONTRACT = IoContract(
    image=ImageContract(scale=2, halo_px=7),
    input=TensorSpec(
        name="x", dtype="uint8", layout="nhwc", shape=(1, 4, 5, 3), step=1 / 255, zero_point=0
    ),
    output=TensorSpec(
        name="y", dtype="uint8", layout="nhwc", shape=(1, None, None, 3), step=1 / 255, zero_point=3
    ),
)
SCRIPT = b"#!/bin/sh\ntrtexec --onnx=net.int8.onnx\n"


def digest_of(name):
    parts = [name, name.replace(".xml", ".bin")] if name.endswith(".xml") else [name]
    return sha256_json({part: sha256_bytes(CONTENT[part]) for part in parts})


def measured_report(**changes):
    files = tuple(replace(file, digest=digest_of(file.file)) for file in FILES)
    return report(files=files, **changes)


@pytest.fixture
def made(tmp_path):
    """What a run hands to `pack`: its files, lying where the run made them."""
    work = tmp_path / "work"
    work.mkdir()
    for name, data in CONTENT.items():
        (work / name).write_bytes(data)
    artefacts = [
        Artefact(path=work / f.file, backend=f.backend, precision=f.precision, contract=CONTRACT)
        for f in FILES
        if f.precision != "bfloat16"
    ]
    golden = Golden(
        file="net.int8.xml",
        input=np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3),
        output=np.full((1, 8, 10, 3), 7, np.uint8),
        tolerance=1.0,
    )
    return artefacts, [golden]


def packed(made, out, *, licence="Apache-2.0", of=None):
    artefacts, golden = made
    extra = {"build_engine.sh": SCRIPT, "notes/README.md": b"read me\n"}
    return pack(of or measured_report(), artefacts, golden, extra, licence, [], out)


def everything(folder):
    """Every file below a folder with its bytes and its permissions."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rewrite_manifest(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


# what is written


def test_bundle_reads_back_as_it_was_packed(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    assert folder == tmp_path / "out" / "student-x2" / "intel-n100"
    bundle = read_bundle(folder)
    assert [a.path for a in bundle.artefacts] == [folder / a.path.name for a in made[0]]
    assert [a.precision for a in bundle.artefacts] == ["float32", "int8", "float32", "int8"]
    assert all(a.contract == CONTRACT for a in bundle.artefacts)
    (golden,) = bundle.golden
    assert (golden.file, golden.tolerance) == ("net.int8.xml", 1.0)
    assert np.array_equal(golden.input, made[1][0].input) and golden.input.dtype == np.uint8
    assert np.array_equal(golden.output, made[1][0].output)
    assert bundle.report == measured_report()
    assert (bundle.licence, bundle.network_digest) == ("Apache-2.0", REFERENCE.digest)
    assert bundle.later_failure is None


def test_a_report_of_version_0_1_is_read(tmp_path):
    value = json.loads(report_bytes(report()))
    for key in ("ladder", "recommendations", "explanation"):
        del value[key]
    old = parse_report(json.dumps(value).encode())
    assert (old.ladder, old.recommendations, old.explanation) == ((), (), None)
    assert parse_report(report_bytes(report())) == report()


def test_an_int8_file_that_is_left_out_is_named_with_the_reason(made, tmp_path):
    artefacts = [a for a in made[0] if a.path.name != "net.int8.onnx"]
    folder = packed((artefacts, made[1]), tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    (entry,) = manifest["not_packed"]
    assert (entry["name"], entry["instead"]) == ("net.int8.onnx", "net.float32.onnx")
    assert "only 0.94 times as fast" in entry["why"]
    assert "net.int8.onnx" not in {file["name"] for file in manifest["files"]}
    assert "net.int8.onnx" in {file.file for file in read_bundle(folder).report.files}


def test_manifest_says_this(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("toolkit") == __version__
    others = {entry["name"]: entry for entry in manifest["other"]}
    for name in ("report.html", "report.json"):  # what they hold is for other tests
        assert others[name].pop("sha256") == sha256_bytes((folder / name).read_bytes())
        assert others[name].pop("size_bytes") == (folder / name).stat().st_size
    assert manifest.pop("report_digest") == sha256_bytes((folder / "report.json").read_bytes())
    assert manifest == json.loads((GOLDEN / "manifest.json").read_text())


def test_modes_do_not_depend_on_the_umask(made, tmp_path):
    before = os.umask(0o077)
    try:
        folder = packed(made, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {name: mode for name, (_, mode) in everything(folder).items()}
    assert modes.pop("build_engine.sh") == 0o755
    assert set(modes.values()) == {0o644}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_same_report_same_bytes(made, tmp_path):
    first, second = packed(made, tmp_path / "a"), packed(made, tmp_path / "b")
    assert everything(first) == everything(second)


def test_a_new_bundle_leaves_nothing_of_the_old_one(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    (folder / "net.engine").write_bytes(b"built on the board")
    packed(made, tmp_path / "out", licence="MIT")
    assert not (folder / "net.engine").exists()
    assert read_bundle(folder).licence == "MIT"
    assert [p.name for p in folder.parent.iterdir()] == ["intel-n100"]


def test_numbers_that_json_lacks_survive():
    images = tuple(replace(i, psnr_db=math.inf) for i in REFERENCE.images)
    broken = replace(FILES[0], images=tuple(replace(i, psnr_db=math.nan) for i in images))
    odd = report(reference=replace(REFERENCE, images=images), files=(broken,))
    back = parse_report(report_bytes(odd))
    assert b'"NaN"' in report_bytes(odd)
    assert all(math.isnan(i.psnr_db) for i in back.files[0].images)
    assert back.reference == odd.reference


# what is refused on the way in


def test_a_failed_report_is_not_packed(made, tmp_path):
    with pytest.raises(GateFailed):
        packed(made, tmp_path / "out", of=measured_report(worst_limit_db=0.15))
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_not_measured_is_not_packed(made, tmp_path):
    made[0][1].path.with_suffix(".bin").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"`net.int8.xml` is not the file"):
        packed(made, tmp_path / "out")
    assert not list((tmp_path / "out" / "student-x2").iterdir())


def test_two_files_of_one_name_are_a_bug(made, tmp_path):
    for name in ("net.int8.onnx", "NET.INT8.ONNX", "manifest.json"):
        with pytest.raises(ValueError, match="two files"):
            pack(measured_report(), made[0], made[1], {name: b""}, "MIT", [], tmp_path / "out")


def test_a_golden_vector_without_a_file_is_a_bug(made, tmp_path):
    lost = [replace(made[1][0], file="gone.onnx")]
    with pytest.raises(ValueError, match=r"gone.onnx"):
        pack(measured_report(), made[0], lost, {}, "MIT", [], tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["..", "a/b", "/abs", ".hidden", "x.failed", "x.bench", "", "a\x00b"]
)
def test_recipe_and_target_names_cannot_leave_the_output(name, tmp_path):
    with pytest.raises(SecurityError):
        bundle_folder(tmp_path, name, "target")
    with pytest.raises(SecurityError):
        bundle_folder(tmp_path, "recipe", name)


@pytest.mark.parametrize("name", ["../evil.sh", "/tmp/evil.sh", "a/../../evil.sh"])
def test_extra_files_cannot_leave_the_bundle(made, tmp_path, name):
    with pytest.raises(SecurityError, match="evil"):
        pack(measured_report(), made[0], [], {name: b"x"}, "MIT", [], tmp_path / "out")
    assert not list(tmp_path.rglob("evil.sh"))


def test_a_folder_that_no_run_wrote_is_never_replaced(made, tmp_path):
    precious = tmp_path / "out" / "student-x2" / "intel-n100" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("three years")
    with pytest.raises(UserError, match="in the way"):
        packed(made, tmp_path / "out")
    assert precious.read_text() == "three years"


# a run that failed its gate


def test_a_failed_gate_writes_its_report_and_touches_nothing_else(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    before = everything(folder)
    failed = measured_report(worst_limit_db=0.15)
    place = write_failure(failed, [], tmp_path / "out")
    assert place == folder.parent / "intel-n100.failed"
    assert sorted(everything(place)) == ["report.html", "report.json"]
    assert parse_report((place / "report.json").read_bytes()) == failed
    assert everything(folder) == before
    assert read_bundle(folder).later_failure == place


def test_the_next_pass_clears_the_failure(made, tmp_path):
    place = write_failure(measured_report(worst_limit_db=0.15), [], tmp_path / "out")
    folder = packed(made, tmp_path / "out")
    assert not place.exists()
    assert read_bundle(folder).later_failure is None


# reading


LISTED = [
    *CONTENT,
    "build_engine.sh",
    "notes/README.md",
    "report.json",
    "report.html",
    "golden/net.int8.xml.0.input.npy",
    "golden/net.int8.xml.0.output.npy",
]


def test_every_file_is_listed(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    assert set(read_bundle(folder).names) == set(LISTED)
    assert set(everything(folder)) == {*LISTED, "manifest.json"}


@pytest.mark.parametrize("name", LISTED)
def test_a_flipped_byte_is_noticed_and_named(made, tmp_path, name):
    folder = packed(made, tmp_path / "out")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(SecurityError, match=f"`{name}` is not the file that was packed"):
        read_bundle(folder)


def test_a_lost_file_is_named(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    (folder / "net.int8.bin").unlink()
    with pytest.raises(UserError, match=r"`net.int8.bin` is listed"):
        read_bundle(folder)


def test_a_file_that_nobody_listed_is_ignored(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    (folder / "net.engine").write_bytes(b"built on the board")
    assert "net.engine" not in read_bundle(folder).names


@pytest.mark.parametrize("link", ["net.int8.onnx", "golden"])
def test_links_are_refused(made, tmp_path, link):
    folder = packed(made, tmp_path / "out")
    (folder / link).rename(tmp_path / "elsewhere")
    (folder / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SecurityError, match="is a link"):
        read_bundle(folder)


def test_a_pipe_is_refused_and_not_waited_for(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    (folder / "net.int8.onnx").unlink()
    os.mkfifo(folder / "net.int8.onnx")
    with pytest.raises(SecurityError, match="no regular file"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "a\\b", "", ".", "a//b", "c:x", "a\nb"]
)
def test_names_in_a_manifest_cannot_leave_the_folder(made, tmp_path, name):
    folder = packed(made, tmp_path / "out")
    rewrite_manifest(folder, lambda m: m["other"][0].update(name=name))
    with pytest.raises(SecurityError, match="leaves the bundle"):
        read_bundle(folder)


def test_another_format_names_the_toolkit_that_reads_it(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    rewrite_manifest(folder, lambda m: m.update(format=FORMAT + 1, toolkit="7.1.0"))
    with pytest.raises(UserError) as caught:
        read_bundle(folder)
    assert str(caught.value) == (
        f"error: the bundle has manifest format `2`, this toolkit ({__version__}) reads format 1\n"
        f"  --> {folder}/manifest.json\n\n"
        "hint: toolkit 7.1.0 wrote it; that version or a newer one reads it"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": 1}', '{"format": true}', "[" * 100_000, "\xff", '{"format": "1"}'],
)
def test_a_damaged_manifest_is_a_sentence(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(files=3),
        lambda m: m["files"][0].update(name=7),
        lambda m: m["files"][0].update(size_bytes="1"),
        lambda m: m["files"][0].pop("contract"),
        lambda m: m["files"][0]["contract"]["input"].update(extra=1),
        lambda m: m["files"][0].update(precision="int4"),
        lambda m: m["files"][1]["golden"][0].update(tolerance=float("nan")),
        lambda m: m.update(licence=None),
        lambda m: m["other"].append(m["other"][0]),
        lambda m: m.update(other=[e for e in m["other"] if e["name"] != "report.json"]),
    ],
)
def test_a_manifest_of_other_types_is_a_sentence(made, tmp_path, change):
    folder = packed(made, tmp_path / "out")
    rewrite_manifest(folder, change)
    with pytest.raises(UserError, match="cannot be understood"):
        read_bundle(folder)


def test_no_bundle_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no bundle"):
        read_bundle(tmp_path / "nothing")


# kills, full disks, other runs


def die_at(counted, count, call):
    """Run `call` in a child that kills itself (SIGKILL) at the count-th call of `counted`."""
    child = os.fork()
    if child == 0:
        owner, name = counted
        real, calls = getattr(owner, name), iter(range(1, 1000))

        def counting(*args, **options):
            if next(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        setattr(owner, name, counting)
        try:
            call()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def kill_everywhere(made, out, moments):
    """Kill a pack at each of the moments, look, and pack the old one again; what was found."""
    made = made[0][1:2], made[1]  # one artefact: fewer moments, the same kinds
    folder = packed(made, out, licence="old")
    seen = []
    for counted in moments:
        count = 1
        while die_at(counted, count, lambda: packed(made, out, licence="new")):
            whole = folder if folder.exists() else folder.with_name(".intel-n100.old")
            seen.append((whole.name, read_bundle(whole).licence))
            packed(made, out, licence="old")
            assert read_bundle(folder).licence == "old"
            assert [p.name for p in folder.parent.iterdir()] == ["intel-n100"]
            count += 1
    return set(seen)


def test_a_kill_at_any_moment_leaves_the_old_bundle_or_the_new_one(made, tmp_path):
    moments = ((os, "fsync"), (packing.shutil, "rmtree"), (packing, "_exchange"), (Path, "rename"))
    seen = kill_everywhere(made, tmp_path / "out", moments)
    assert seen == {("intel-n100", "old"), ("intel-n100", "new")}


def test_where_folders_cannot_be_swapped_the_old_one_is_put_back(made, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "RENAME_EXCHANGE", 1 << 30)  # EINVAL, as on such file systems
    moments = ((packing.shutil, "rmtree"), (Path, "rename"))
    seen = kill_everywhere(made, tmp_path / "out", moments)
    assert seen == {("intel-n100", "old"), (".intel-n100.old", "old"), ("intel-n100", "new")}


def test_the_old_one_is_put_back_even_by_a_run_that_fails(made, tmp_path):
    folder = packed(made, tmp_path / "out", licence="old")
    folder.rename(folder.with_name(".intel-n100.old"))  # as a kill between two renames leaves it
    made[0][0].path.write_bytes(b"not what was measured")
    with pytest.raises(ValueError, match="measured"):
        packed(made, tmp_path / "out")
    assert read_bundle(folder).licence == "old"


def test_a_full_disk_leaves_what_was_there(made, tmp_path):
    folder = packed(made, tmp_path / "out")
    before = everything(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(EnvironmentFailure, match="cannot write"):
            packed(made, tmp_path / "out", licence="MIT")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert everything(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == ["intel-n100"]


def test_runs_at_once_take_turns(made, tmp_path):
    children = []
    for licence in ("one", "two", "three", "four"):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                packed(made, tmp_path / "out", licence=licence)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    folder = tmp_path / "out" / "student-x2" / "intel-n100"
    assert read_bundle(folder).licence in ("one", "two", "three", "four")
    assert [p.name for p in folder.parent.iterdir()] == ["intel-n100"]
