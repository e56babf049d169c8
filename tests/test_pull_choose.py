"""Which release a camera takes, why not the others, and how the command line is read."""

from __future__ import annotations

import argparse

import pytest
from camera.models import COMPATIBLE, FAMILY, Model
from pull_parts import stored

from toolkit.errors import Problems, UserError
from toolkit.pull.choose import Camera, choose, number_of
from toolkit.pull.ending import hint_without_model, nothing_taken
from toolkit.pull.runtimes import is_older, reason_against_runtime
from toolkit.pull.settings import Settings
from toolkit.pull.settings import Testing as Trial
from toolkit.pull.store import Standing
from toolkit.pull.words import (
    add_options,
    channel_url,
    device_id_of,
    seconds_of,
    settings_of,
)
from toolkit.release import Entry, Index, Rollout

CAMERA = Camera(device_id="camera-1", compatible="street", firmware=5)
NOTHING = Standing(current=None, previous=None)


def entry(number, *, compatible="street", firmware=0, share=10_000):
    return Entry(
        release=number,
        compatible=compatible,
        min_firmware=firmware,
        rollout=Rollout(basis_points=share, salt=f"{number:016x}"),
        manifest=f"street/{number}/release.json",
    )


def chosen(*entries, above=0, had=0, camera=CAMERA):
    choice = choose(Index(family="street", releases=entries), camera, above=above, had=had)
    numbers = [one.release for one in choice.candidates]
    return numbers, {one.release: one.kind for one in choice.held_back}


def test_the_newest_comes_first_and_nothing_older_is_looked_at():
    assert chosen(entry(1), entry(3), entry(2)) == ([3, 2, 1], {})
    assert chosen(entry(1), entry(3), entry(2), above=2) == ([3], {})
    assert chosen(entry(1), entry(2), above=2) == ([], {})


def test_each_release_that_is_skipped_has_its_reason():
    found = chosen(
        entry(5, compatible="other"), entry(4, firmware=6), entry(3, share=0), entry(2), above=1
    )
    assert found == ([2], {5: "compatible", 4: "firmware", 3: "rollout"})
    assert chosen(entry(4, firmware=5)) == ([4], {})


def test_a_model_of_another_kind_of_camera_is_no_measure(tmp_path):
    present = stored(tmp_path, Model(7))
    assert number_of(None, FAMILY, COMPATIBLE) == 0
    assert number_of(present, FAMILY, COMPATIBLE) == 7
    assert number_of(present, "night", COMPATIBLE) == number_of(present, FAMILY, "other") == 0


def test_a_release_that_was_served_before_waits_for_no_share():
    assert chosen(entry(2, share=0), had=2) == ([2], {})
    assert chosen(entry(3, share=0), had=2) == ([], {3: "rollout"})
    assert chosen(entry(2, share=0, firmware=9), had=2) == ([], {2: "firmware"})


@pytest.mark.parametrize(
    ("entries", "outcome", "kind"),
    [
        ([entry(1)], "current", ""),
        ([entry(1), entry(2, share=0)], "waiting", ""),
        ([entry(1), entry(2, compatible="other")], "current", ""),
        ([entry(1), entry(2, firmware=9)], "kept", "firmware"),
        ([entry(1), entry(3, share=0), entry(2, firmware=9)], "kept", "firmware"),
        ([entry(2, compatible="other")], "failed", "compatible"),
        ([], "failed", "compatible"),
    ],
)
def test_a_poll_that_took_nothing_says_whether_somebody_must_act(entries, outcome, kind):
    choice = choose(Index(family="street", releases=tuple(entries)), CAMERA, above=1)
    result = nothing_taken(NOTHING, choice, choice.held_back, CAMERA)
    assert (result.outcome, result.error.kind if result.error else "") == (outcome, kind)
    assert result.exit_code == (3 if kind else 0)


def test_a_withdrawn_release_waits_for_no_camera():
    (withdrawn,) = choose(
        Index(family="street", releases=(entry(2, share=0),)), CAMERA, above=1
    ).held_back
    assert withdrawn.text == "it is for no camera (any more): its share is 0 %"
    assert "not yet" not in withdrawn.text


def test_the_words_that_a_channel_has_are_named():
    others = (entry(3, compatible="raspberry-pi-5"), entry(1, compatible="jetson"))
    for above in (0, 3):  # also those that are no news
        choice = choose(Index(family="street", releases=others), CAMERA, above=above)
        hint = nothing_taken(NOTHING, choice, choice.held_back, CAMERA).error.hint
        assert hint == (
            "its releases are for `--compatible jetson` or `--compatible raspberry-pi-5`"
        )


def test_no_model_stays_where_there_is_none(tmp_path):
    hint = "tell somebody; the present model stays; the next poll tries again"
    told = hint_without_model(hint, tmp_path)
    assert told == "tell somebody; no model is served yet; the next poll tries again"
    (tmp_path / "current").write_bytes(b"damaged")
    assert "; no whole model is stored; " in hint_without_model(hint, tmp_path)


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [("1.9.0", "1.20", True), ("1.20", "1.20.0", False), ("1.20.1+cu12", "1.20.1", False),
     ("2.0rc1", "2.0.1", True), ("", "1", True), ("10", "9.9.9", False)],
)  # fmt: skip
def test_versions_are_numbers(version, least, older):
    assert is_older(version, least) is older


def test_a_stated_runtime_counts_before_the_installed_one(monkeypatch):
    class Needs:
        runtime, runtime_least = "onnxruntime", "1.5"

    def reason(**changes):
        made = Settings(channel="", device_id="", root=None, store=None, **changes)
        return reason_against_runtime(Needs, made)

    monkeypatch.setattr("toolkit.pull.runtimes.installed", lambda name: "1.4")
    assert "1.5 or newer, this camera has onnxruntime 1.4" in reason()
    assert reason(runtimes={"onnxruntime": "1.5"}) == ""
    assert "no onnxruntime" in reason(runtimes={"openvino": "9"})
    assert reason(testing=Trial(wanted=False)) == ""  # the firmware may have one of its own
    monkeypatch.setattr("toolkit.pull.runtimes.installed", lambda name: None)
    assert "in this Python" in reason()


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_every_problem_of_the_command_line_is_told_at_once(tmp_path):
    with pytest.raises(Problems) as refused:
        settings_of(
            parsed(
                "--channel", "ftp://host/x", "--tries", "0", "--stall-s", "nan", "--family", "root",
                "--runtime", "x", "--time-floor", "noon", "--self-test", str(tmp_path / "none"),
                "--ca", str(tmp_path / "none"), "--every", "often",
            )
        )  # fmt: skip
    text = str(refused.value)
    named = "ftp: --device-id --root --store --tries --stall-s --family --runtime --time-floor"
    for word in (*named.split(), "self-test", "--ca", "--every"):
        assert word in text
    assert refused.value.exit_code == 2


def test_a_file_that_holds_no_certificate_is_a_mistake_and_no_silent_server(tmp_path):
    (tmp_path / "ca.pem").write_text("junk")
    with pytest.raises(Problems, match="--ca"):
        settings_of(parsed("--ca", str(tmp_path / "ca.pem")))


def test_a_channel_is_a_url_or_a_folder(tmp_path):
    assert channel_url("https://cdn.example/models/") == "https://cdn.example/models"
    assert channel_url(str(tmp_path)) == tmp_path.as_uri()
    assert channel_url("file:///media/usb/") == "file:///media/usb"
    for bad in (
        "cdn.example/models",
        "http://",
        "",
        "ftp://x/y",
        "https://x/y?token=1",
        "https://user:hunter2@x/y",
    ):
        with pytest.raises(UserError) as refused:
            channel_url(bad)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "id"),
    [(b"abc\n", "abc"), (b"abc\0", "abc"), (b" serial-7 \r\nsecond\n", "serial-7")],
)
def test_a_device_id_may_be_in_a_file(tmp_path, content, id):
    (tmp_path / "id").write_bytes(content)
    assert device_id_of(f"@{tmp_path / 'id'}") == id


@pytest.mark.parametrize("bad", ["", "two words", "ü", "x" * 101, "@/nowhere", "@/dev/zero"])
def test_a_device_id_is_one_printable_word(bad):
    with pytest.raises(UserError):
        device_id_of(bad)


def test_intervals_have_units():
    assert [seconds_of(text) for text in ("90s", "30m", "1h", "1.5d")] == [90, 1800, 3600, 129600]
    for bad in ("", "1", "h", "0s", "-1h", "nanh", "1e9d", "1 w"):
        with pytest.raises(UserError):
            seconds_of(bad)
