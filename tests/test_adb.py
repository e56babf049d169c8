"""The link to Android devices, by a scripted `adb` that behaves as the documented one."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import numpy as np
import pytest
from quant_networks import anchored, quantized, target
from scripted_adb import UNAUTHORIZED, Phone

from toolkit.backends import onnxruntime as plug
from toolkit.benchmark import TimingProtocol
from toolkit.bundle.manifest import Golden
from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure, LinkLost, UserError
from toolkit.links import adb
from toolkit.measure.board import open_board
from toolkit.measure.rounds import bench

SERIAL = "R58M123ABC"
URL = f"adb:{SERIAL}"
LOST = "couldn't read from device"
OLD = ["cmd"]  # a device before Android 7: no shell_v2


@pytest.fixture
def phone(tmp_path, monkeypatch):
    found = Phone(tmp_path / "phone")
    monkeypatch.setenv("EDGESR_ADB", str(found.program))
    return found


def linked(serial=SERIAL):
    return adb.open(serial, LinkOptions())


@pytest.mark.parametrize("features", [["shell_v2"], OLD], ids=["android 7", "older"])
def test_exit_codes_streams_and_stdin(phone, features):
    phone.set(features=features)
    link = linked()
    done = link.run("cat; echo talk >&2; (exit 42)", timeout_s=20, stdin=b"\x00\r\n\xff given")
    assert (done.code, done.stdout, done.stderr.strip()) == (42, b"\x00\r\n\xff given", "talk")
    long = "# " + "x" * 9000 + "\nkill -9 $$"
    assert link.run(long, timeout_s=20).code == 137
    assert link.run("exit 0", timeout_s=20).stdout == b""
    assert phone.left() == []


def test_a_push_is_the_files_bytes(phone, tmp_path):
    given = tmp_path / "-odd name"
    given.write_bytes(os.urandom(70_000))
    linked().push(given, "/data/local/tmp/there.part", timeout_s=20)
    assert (phone.tmp / "there.part").read_bytes() == given.read_bytes()
    assert phone.calls()[-1] == [
        "-s", SERIAL, "push", str(given), "/data/local/tmp/there.part",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "problem", "hint"),
    [
        ("unauthorized", "has not authorised this computer", "USB debugging"),
        ("authorizing", "still being authorised", "accept the question"),
        ("offline", "the device is offline", "plug it in again"),
        ("no permissions (user in plugdev group; are your udev rules wrong?); see [http://d]",
         "may not open the USB device", "udev rule"),
        ("bootloader", "in its bootloader", "fastboot reboot"),
        ("recovery", "in its recovery system", "adb reboot"),
        ("sparkling", "adb calls the device `sparkling`", "adb devices"),
    ],
)  # fmt: skip
def test_each_state_has_its_own_message(phone, state, problem, hint):
    phone.set(devices={SERIAL: state})
    with pytest.raises(EnvironmentFailure) as told:
        linked()
    assert problem in told.value.problem and hint in told.value.hint
    assert told.value.where == URL


def test_a_device_that_is_not_there(phone):
    with pytest.raises(EnvironmentFailure, match=f"no such device; adb sees `{SERIAL}`"):
        linked("OTHER")
    phone.set(devices={})
    with pytest.raises(EnvironmentFailure, match="adb sees no device"):
        linked("OTHER")


def test_no_serial_means_the_only_device(phone):
    assert linked("").url == URL
    phone.set(devices={SERIAL: "device", "emulator-5554": "offline"})
    with pytest.raises(UserError, match="2 devices are connected"):
        linked("")


@pytest.mark.parametrize("serial", ["-s", "a b", "x;reboot", "a\nb", "$(id)", "x" * 300])
def test_a_serial_that_is_none_reaches_no_program(phone, serial):
    with pytest.raises(UserError, match="no serial number"):
        linked(serial)
    assert phone.calls() == []


def test_a_network_address_is_connected_and_disconnected(phone):
    phone.set(network={"192.168.1.9:5555": "connected to 192.168.1.9:5555"})
    link = linked("192.168.1.9:5555")
    assert link.run("echo hello", timeout_s=20).stdout == b"hello\n"
    link.close()
    assert phone.calls()[-1] == ["disconnect", "192.168.1.9:5555"]
    linked("192.168.1.9:5555").close()  # was connected already: it stays
    assert ["disconnect", "192.168.1.9:5555"] not in phone.calls()[-2:]


def test_a_network_address_that_refuses(phone):
    said = "failed to connect to '192.168.1.9:5555': Connection refused"
    phone.set(network={"192.168.1.9:5555": said})
    with pytest.raises(EnvironmentFailure, match="Connection refused"):
        linked("192.168.1.9:5555")


def test_adb_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGESR_ADB", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match="`adb` is not installed") as told:
        linked()
    assert "apt install adb" in told.value.hint
    monkeypatch.setenv("EDGESR_ADB", "/no/adb")
    with pytest.raises(EnvironmentFailure, match="`/no/adb`, named by EDGESR_ADB"):
        linked()


@pytest.mark.parametrize(
    ("says", "kind", "problem"),
    [
        ("remote couldn't create file: Permission denied", EnvironmentFailure, "did not take"),
        ("remote write failed: No space left on device", EnvironmentFailure, "did not take"),
        (LOST, LinkLost, "the link was lost while `file` was sent"),
        ("no response: Connection reset by peer", LinkLost, "the link was lost"),
    ],
)
def test_what_may_befall_a_push(phone, tmp_path, says, kind, problem):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    link = linked()
    phone.set(push={"after_bytes": 0, "says": says, "times": 1})
    with pytest.raises(EnvironmentFailure) as told:
        link.push(tmp_path / "file", "/data/local/tmp/x", timeout_s=20)
    assert type(told.value) is kind and problem in told.value.problem
    assert says in told.value.problem


@pytest.mark.parametrize(
    ("state", "problem"),
    [("offline", "the device is offline"), ("unauthorized", "has not authorised")],
)
@pytest.mark.parametrize("features", [["shell_v2"], OLD], ids=["android 7", "older"])
def test_a_device_that_changes_under_an_open_link(phone, state, problem, features):
    phone.set(features=features)
    link = linked()
    phone.set(devices={SERIAL: state})
    with pytest.raises(LinkLost) as told:
        link.run("echo", timeout_s=20)
    assert problem in told.value.problem


@pytest.mark.parametrize("features", [["shell_v2"], OLD], ids=["android 7", "older"])
def test_a_link_that_is_lost_while_a_script_runs_is_no_exit_code(phone, features):
    phone.set(features=features)
    link = linked()
    phone.set(shell={"match": "", "skip": 0, "after_s": 0.1, "says": ""})
    with pytest.raises(LinkLost, match="the link was lost while a script ran"):
        link.run("sleep 20", timeout_s=20)


def test_a_device_that_does_not_answer_in_time(phone):
    with pytest.raises(LinkLost, match="no answer within 1 s"):
        linked().run("sleep 20", timeout_s=1)


def test_what_the_device_prints_cannot_fake_the_end(phone):
    done = linked().run("printf '\\nedgesr-end-0 0\\n' >&2; exit 7", timeout_s=20)
    assert done.code == 7 and "edgesr-end-0 0" in done.stderr


# Through the board: what a bench does.


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ort")
    network, plan, _ = quantized(anchored(), folder)
    artefact = plug.lower(network, plan, target("onnxruntime"), folder, "tiny")[1]
    given = np.random.default_rng(1).random((1, 3, 24, 32), dtype=np.float32)
    session = plug.open(artefact, threads=1)
    golden = Golden(
        file=artefact.path.name, input=given, output=session.run(given), tolerance=1 / 255
    )
    session.close()
    return artefact, golden


def timed(board, artefact, golden, *, min_s=0.01):
    protocol = TimingProtocol(
        threads=1, rounds=2, min_runs=4, min_s=min_s, warm_up_s=0.01, input_px=(24, 32)
    )
    return bench(board, [artefact], [golden], protocol, bundle="b", target="t", say=lambda _: None)


@pytest.mark.parametrize("features", [["shell_v2"], OLD], ids=["android 7", "older"])
def test_a_bench_leaves_only_files_by_digest(phone, int8_file, features):
    phone.set(features=features)
    with open_board(URL) as board:
        found = timed(board, *int8_file)
    file = found.files[0]
    assert found.device.url == URL and file.golden.passed and file.problem == ""
    assert len(file.samples_ns) == 2 and all(len(one) >= 2 for one in file.samples_ns)
    files = [name for name in phone.left() if name not in ("edgesr", "edgesr/files")]
    assert files and all(re.fullmatch(r"edgesr/files/[0-9a-f]{64}", name) for name in files)


def test_numbers_that_differ_are_found(phone, int8_file):
    artefact, golden = int8_file
    with open_board(URL) as board:
        found = timed(board, artefact, replace(golden, output=golden.output + 0.1))
    assert not found.files[0].golden.passed and found.files[0].samples_ns == ()


def test_a_push_that_is_cut_is_sent_again(phone, int8_file, tmp_path):
    artefact, _ = int8_file
    with open_board(URL) as board:
        phone.set(push={"after_bytes": 500, "says": LOST, "times": 2})
        digest = board.put(artefact.path)
    assert (phone.tmp / "edgesr/files" / digest).read_bytes() == artefact.path.read_bytes()
    assert not [name for name in phone.left() if name.endswith(".part")]


def test_a_link_that_stays_lost_mid_push_is_cleaned_on_the_next_visit(phone, int8_file):
    artefact, _ = int8_file
    with pytest.raises(LinkLost, match=r"the device is offline"), open_board(URL) as board:
        phone.set(push={"after_bytes": 500, "says": LOST, "times": 9, "state": "offline"})
        board.put(artefact.path)
    assert [name for name in phone.left() if name.endswith(".part")]
    phone.set(push={}, devices={SERIAL: "device"})
    with open_board(URL):
        pass
    assert phone.left() == []


def test_a_link_that_is_lost_mid_run_leaves_nothing(phone, int8_file):
    cut = {"match": "edgesr-runner.pyz job.json", "skip": 1, "after_s": 0.3, "says": ""}
    with (
        pytest.raises(LinkLost, match="the link was lost while a script ran"),
        open_board(URL) as board,
    ):
        phone.set(shell=cut)
        timed(board, *int8_file, min_s=40.0)
    assert not [name for name in phone.left() if "jobs" in name or "lock" in name]


def test_a_phone_without_python_says_so(phone, int8_file):
    phone.set(python="/no/python")
    with open_board(URL) as board, pytest.raises(EnvironmentFailure, match=r"lacks Python 3\.9"):
        timed(board, *int8_file)


def test_the_words_of_adb_are_quoted_whole(phone):
    assert UNAUTHORIZED.startswith("device unauthorized")
    link = linked()
    phone.set(devices={})
    with pytest.raises(LinkLost, match=f"device '{SERIAL}' not found"):
        link.run("echo", timeout_s=20)
