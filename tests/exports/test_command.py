"""`edgesr export` as its user sees it."""

import argparse
import json
import re
from dataclasses import fields

import pytest
from release_bundle import ONNX, bundle

from exports.parts import NOW, released
from toolkit import plugins
from toolkit.channel.publish import publish_draft
from toolkit.cli import main
from toolkit.drafts.of_bundle import draft_of
from toolkit.exporting.export import Wishes
from toolkit.words.exporting import add_options


def command(capsys, *words):
    code = main(["export", *map(str, words)])
    return code, *capsys.readouterr()


def test_the_command_says_what_to_do_next(channel, tmp_path, capsys):
    out = tmp_path / "models"
    words = ("ovms", "--channel", channel, "--family", "pi", "--out", out)
    code, data, talk = command(capsys, *words)
    assert (code, data) == (0, f"{out}/pi/1\n")
    assert "pi, release 1 for cam-pi: 1 file, written\n" in talk
    assert f"ovms --model_name pi --model_path {out}/pi --port 9000" in talk
    _, data, _ = command(capsys, *words, "--json")
    value = json.loads(data)
    assert (value["schema"], value["format"], value["changed"]) == (1, "ovms", False)
    assert value["files"] == {"net.int8.tflite": released(channel).model.sha256}


def test_what_other_agents_do_not_heed_is_said(published, channel, tmp_path, capsys):
    draft = draft_of(bundle(tmp_path / "new", ONNX), compatible="cam-pi", min_firmware=7)
    publish_draft(channel, draft, keys=published[1], family="pi", basis_points=1000, now=NOW)
    words = ("--channel", channel, "--family", "pi")
    out = tmp_path / "models"
    code, _, talk = command(capsys, "ovms", *words, "--out", out, "--release", "2")
    assert code == 0
    assert "note: it needs firmware 7 or newer, and nothing in this format checks that\n" in talk
    assert "note: the channel offers it to 10 % of the cameras; this format knows no shares" in talk
    assert "firmware 7" not in command(capsys, "usb", *words, "--out", tmp_path / "stick")[2]


def test_options_of_other_formats_are_refused_at_once(channel, tmp_path, capsys):
    words = ("usb", "--channel", channel, "--out", tmp_path / "o", "--cert", "c", "--release", "1")
    code, _, talk = command(capsys, *words)
    assert code == 2
    assert "--cert is no option of `usb`" in talk
    assert "`usb` does not carry single releases" in talk
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("place", ["", "targets/new"])
def test_nothing_is_exported_into_the_channel(channel, capsys, place):
    words = ("--channel", channel, "--family", "pi", "--out", channel / place)
    code, _, talk = command(capsys, "oci" if place else "usb", *words)
    assert code == 2 and "would lie in the channel, which is served to everybody" in talk
    assert not (channel / "targets/new").exists()


def test_a_key_that_is_not_there_is_told_before_any_tool_runs(channel, tmp_path, capsys):
    words = ("--channel", channel, "--family", "pi", "--out", tmp_path / "o", "--key", "no.pem")
    code, _, talk = command(capsys, "mender", *words)
    assert code == 2 and "there is no file `no.pem`" in talk


def test_an_unknown_format_is_told_the_nearest(channel, tmp_path, capsys):
    code, _, talk = command(capsys, "swupdat", "--channel", channel, "--out", tmp_path / "o")
    assert code == 2 and "did you mean `swupdate`?" in talk


def test_tampering_has_its_exit_code(channel, tmp_path, capsys):
    released(channel).model.path.write_bytes(b"evil")
    words = ("oci", "--channel", channel, "--family", "pi", "--out", tmp_path / "o")
    code, data, talk = command(capsys, *words)
    assert (code, data) == (5, "")
    assert talk.startswith("refused[tampered]: the channel is not what was published")


@pytest.mark.parametrize("wish", [one.name for one in fields(Wishes)])
def test_the_help_names_the_formats_that_take_an_option(wish):
    parser = argparse.ArgumentParser()
    add_options(parser)
    (told,) = [one.help for one in parser._actions if one.dest == wish]
    formats = plugins.names("exports")
    takers = {name for name in formats if wish in plugins.load("exports", name).TAKES}
    assert {name for name in formats if re.search(rf"\b{name}\b", told)} == takers
