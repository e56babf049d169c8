"""Every format carries the very bytes of a release, whole or not at all."""

import os
import resource
import shutil
import signal
from dataclasses import fields, replace
from pathlib import Path

import pytest
from channel_parts import Camera
from needs import needs

from exports.parts import (
    NOW,
    digests_of,
    exported,
    in_folder,
    released,
)
from toolkit import plugins
from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.exporting.export import Wishes
from toolkit.exporting.placing import contents, copy

FORMATS = plugins.names("exports")
WITH_TOOLS = ["mender"]  # what cannot even be written without the format's tool


def parts(*formats):
    """Formats as parameters; those that need their own tool are skipped where it is missing."""
    return [pytest.param(one, marks=needs("formats")) if one in WITH_TOOLS else one
            for one in formats or FORMATS]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_plug_says_what_it_takes(name):
    plug = plugins.load("exports", name)
    assert set(plug.TAKES) <= {one.name for one in fields(Wishes)}
    assert plug.PURPOSE and not plug.PURPOSE.endswith(".") and isinstance(plug.IS_CHANNEL, bool)


@pytest.mark.parametrize("family", ["pi", "street"])
@pytest.mark.parametrize("name", parts())
def test_what_is_told_has_the_release_s_digests(channel, tmp_path, name, family):
    done = exported(name, channel, tmp_path / "out", family)
    known = digests_of(released(channel, family))
    assert done.changed and done.path.exists() and done.digests
    if name == "usb":
        assert set(done.digests) >= {f"{family}/index.json", f"{family}/1/release.json"}
    else:
        assert done.digests.items() <= known.items()
        assert released(channel, family).model.name in done.digests


@pytest.mark.parametrize("family", ["pi", "street"])
@pytest.mark.parametrize("name", parts())
def test_the_same_release_gives_the_same_bytes(channel, tmp_path, name, family):
    first = exported(name, channel, tmp_path / "a" / "out", family)
    os.utime(released(channel, family).model.path, (1, 1))
    second = exported(name, channel, tmp_path / "b" / "out", family)
    assert contents(first.path) == contents(second.path)


@pytest.mark.parametrize("name", parts(*[one for one in FORMATS if one != "usb"]))
def test_times_are_the_release_s(channel, tmp_path, name):
    done = exported(name, channel, tmp_path / "out")
    assert done.path.stat().st_mtime == NOW.timestamp()


@pytest.mark.parametrize("name", parts())
def test_once_more_changes_nothing(channel, tmp_path, name):
    out = tmp_path / "here" / "out"
    exported(name, channel, out)
    before = {path: path.stat() for path in out.parent.rglob("*")}
    again = exported(name, channel, out)
    assert not again.changed
    after = {path: path.stat() for path in out.parent.rglob("*")}
    assert [(p, s.st_ino, s.st_mtime_ns) for p, s in before.items() if p.is_file()] == [
        (p, s.st_ino, s.st_mtime_ns) for p, s in after.items() if p.is_file()
    ]


@pytest.mark.parametrize("name", parts())
def test_what_is_in_the_way_is_refused_and_kept(channel, tmp_path, name):
    out = tmp_path / "here" / "out"
    goal = out / "pi" / "1" if name == "ovms" else out
    goal.mkdir(parents=True)
    (goal / "mine.txt").write_text("years of work")
    with pytest.raises(UserError, match="something else is there already"):
        exported(name, channel, out)
    assert in_folder(out.parent) == {
        str((goal / "mine.txt").relative_to(out.parent)): b"years of work"
    }


@pytest.mark.parametrize(
    "victim",
    ["targets/pi/1/*.net.int8.tflite", "targets/pi/1/*.golden.0.output.npy",
     "targets/pi/1/*.report.json", "targets/pi/1/*.release.json", "targets/pi/*.index.json",
     "metadata/timestamp.json", "metadata/*.snapshot.json", "metadata/*.targets.json",
     "metadata/*.pi.json"],
)  # fmt: skip
@pytest.mark.parametrize("name", FORMATS)
def test_one_flipped_bit_is_refused_before_anything_is_written(channel, tmp_path, name, victim):
    file = sorted(channel.glob(victim))[-1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    out = tmp_path / "here" / "out"
    with pytest.raises(SecurityError) as caught:
        exported(name, channel, out)
    assert caught.value.exit_code == 5 and caught.value.kind == "tampered"
    assert not out.parent.exists()


def test_a_file_that_changes_after_it_was_checked_is_refused(channel, tmp_path):
    model = released(channel).model
    model.path.write_bytes(b"x" * model.length)
    with pytest.raises(SecurityError, match="changed while it was exported"):
        copy(model, tmp_path / "copy")


@pytest.mark.parametrize("name", [one for one in FORMATS if one != "mender"])
def test_a_failure_half_way_leaves_nothing(channel, tmp_path, name):
    """The model changes between the check and the copy."""
    release = released(channel)
    model = release.model
    wrong = replace(model, sha256="0" * 64)
    files = tuple(wrong if one is model else one for one in release.files)
    out = tmp_path / "here" / "out"
    if name == "usb":
        model.path.write_bytes(b"x" * model.length)
    with pytest.raises(SecurityError):
        plugins.load("exports", name).export(replace(release, files=files), out, Wishes())
    assert in_folder(out.parent) == {}


@pytest.mark.parametrize(
    ("name", "tool_", "wishes"),
    [
        ("mender", "mender-artifact", {}),
        ("rauc", "rauc", {"cert": "cert.pem", "key": "key.pem"}),
    ],
)
def test_a_missing_tool_is_named_with_its_package(
    channel, tmp_path, monkeypatch, name, tool_, wishes
):
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "here" / "out"
    with pytest.raises(EnvironmentFailure, match=f"`{tool_}` is not installed") as caught:
        exported(name, channel, out, **wishes)
    assert f"apt install {tool_}" in caught.value.hint and caught.value.kind == "missing"
    assert in_folder(out.parent) == {}


def killed(work, moment):
    """Run `work` in a child that dies by SIGKILL at the given rename; whether it got that far."""
    child = os.fork()
    if child == 0:
        left = [moment]

        def mortal(real):
            def rename(*words, **more):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return real(*words, **more)

            return rename

        Path.rename, Path.replace = mortal(Path.rename), mortal(Path.replace)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", parts(*[one for one in FORMATS if one != "usb"]))
def test_a_killed_export_leaves_nothing_under_its_name_and_the_next_one_cleans_up(
    channel, tmp_path, name
):
    out = tmp_path / "here" / "out"
    assert killed(lambda: exported(name, channel, out), 0)
    goal = out / "pi" / "1" if name == "ovms" else out
    assert not goal.exists()
    done = exported(name, channel, out)
    assert done.changed and {one.name for one in goal.parent.iterdir()} == {goal.name}


@pytest.mark.parametrize("name", parts(*[one for one in FORMATS if one != "usb"]))
def test_a_full_disk_is_told_and_nothing_is_left(channel, tmp_path, name):
    """No file may grow beyond 4 kB: the model has 9."""
    out = tmp_path / "here" / "out"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            exported(name, channel, out)
        except EnvironmentFailure as problem:
            os._exit(problem.exit_code)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert in_folder(out.parent) == {}


def test_leftovers_of_a_killed_export_do_not_get_in(channel, tmp_path):
    stale = tmp_path / "here" / ".out.part" / "out"
    stale.mkdir(parents=True)
    (stale / "old").write_text("half a file")
    exported("oci", channel, tmp_path / "here" / "out")
    assert "old" not in in_folder(tmp_path / "here" / "out")


def test_a_stick_that_was_killed_at_any_file_is_whole_or_no_channel_yet(
    published, channel, tmp_path
):
    stick, root = tmp_path / "stick", published[1].folder / "root.json"
    for moment in range(100):
        shutil.rmtree(stick, ignore_errors=True)
        ended = not killed(lambda: exported("usb", channel, stick), moment)
        assert ended == (stick / "metadata" / "timestamp.json").exists()
        exported("usb", channel, stick)
        if ended:
            break
    assert moment == len(in_folder(stick))
    assert Camera(stick, root).newest("pi").release == 1
