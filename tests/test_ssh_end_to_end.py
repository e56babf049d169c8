"""A bundle benched and validated through a real OpenSSH server, as a user would."""

from __future__ import annotations

import json

import pytest
from needs import needs
from ssh_server import ssh_server
from tiny_project import command, make_project

from toolkit.cli import main

pytestmark = needs("ssh")
SHORT = ("--min-runs", "6", "--min-s", "0.1", "--rounds", "1", "--size", "24x32", "--threads", "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(autouse=True)
def client(server, monkeypatch):
    monkeypatch.setenv("EDGESR_SSH_CONFIG", str(server.client_config))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    recipe = make_project(tmp_path_factory.mktemp("project"))
    assert main(command(recipe)[3:]) == 0
    return recipe.parent / "out" / "tiny" / "generic-cpu"


def test_bench(server, bundle, tmp_path, capsys):
    result = tmp_path / "result.json"
    words = ["bench", str(bundle), "--device", server.url, *SHORT, "--out", str(result), "--json"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "numbers hold" in said.err
    taken = json.loads(result.read_text())
    assert taken == json.loads(said.out)["benchmark"]
    assert taken["device"]["url"] == server.url
    assert len(taken["files"]) == 2
    for file in taken["files"]:
        assert file["golden"]["passed"] and file["golden"]["vectors"] >= 1
        assert len(file["samples_ns"]) == 1 and len(file["samples_ns"][0]) >= 6
    assert server.left() == []


def test_validate(server, bundle, capsys):
    data = bundle.parents[2] / "validation"
    words = ["validate", str(bundle), "--data", str(data), "--device", server.url, "--json"]
    code = main([*words, "--threads", "1"])
    validation = json.loads(capsys.readouterr().out)
    assert code == (0 if validation["passed"] else 4)  # nobody trained the tiny network
    assert validation["device"]["url"] == server.url
    device = [v for v in validation["verdicts"] if v["gate"].startswith("device.")]
    assert all(v["passed"] for v in device)
    shares = [v["value"] for v in device if v["gate"] == "device.within_one_share"]
    assert shares == [1.0, 1.0]
    assert server.left() == []


def test_a_device_that_refuses_us_stops_before_any_work(server, bundle, tmp_path, capsys):
    (server.folder / "known_hosts").rename(tmp_path / "known_hosts")
    try:
        for name in ("bench", "validate"):
            assert main([name, str(bundle), "--device", server.url]) == 3
            assert "has never been seen here" in capsys.readouterr().err
    finally:
        (tmp_path / "known_hosts").rename(server.folder / "known_hosts")
