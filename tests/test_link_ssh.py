"""The ssh link: what is an address, and each way of not getting in has its own words."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest
from needs import needs
from ssh_server import CLIENT, free_port, make_key, ssh_server

from toolkit.cli import main
from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.links import ssh
from toolkit.links.ssh.address import Address, address_of
from toolkit.links.ssh.refusal import refusal

OPTIONS = LinkOptions(connect_s=5.0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("board", Address(host="board")),
        ("pi@camera-7.local:2222", Address(host="camera-7.local", user="pi", port=2222)),
        ("root@192.0.2.7", Address(host="192.0.2.7", user="root")),
        ("root@[2001:db8::7]", Address(host="2001:db8::7", user="root")),
        ("[fe80::1%eth0]:22", Address(host="fe80::1%eth0", port=22)),
    ],
)
def test_addresses(text, address):
    assert address_of(text) == address
    assert address.words()[-2:] == ["--", address.host]


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=touch x", "a b", "pi@-x", "-l@host", "pi@", "@host", "host/path",
     "host:99999", "host:0", "host:", "::1", "[nonsense]", "[::1", "a;b", "a$(b)", "h\nost",
     "[::1%-o]x", "[fe80::1%a;b]", "host:٣"],
)  # fmt: skip
def test_what_is_no_address(text):
    with pytest.raises(UserError):
        address_of(text)


@pytest.mark.parametrize(
    ("said", "failure", "words"),
    [
        ("ssh: Could not resolve hostname b: Name or service not known", EnvironmentFailure,
         "nobody knows the host `board`"),
        ("ssh: connect to host b port 22: Connection timed out", EnvironmentFailure,
         "did not answer within 5 s"),
        ("ssh: connect to host b port 22: No route to host", EnvironmentFailure,
         "did not answer within 5 s"),
        ("root@b: Permission denied (publickey).", EnvironmentFailure, "refused the log-in"),
        ("kex_exchange_identification: Connection closed by remote host", EnvironmentFailure,
         "ended the connection before the log-in: kex_exchange"),
        ("cfg: line 1: Bad configuration option: foo", EnvironmentFailure, "configuration cannot"),
        ("something \033[2J new", EnvironmentFailure, "cannot be reached: something ?[2J new"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
         SecurityError, "host key has changed"),
    ],
)  # fmt: skip
def test_the_words_of_ssh(said, failure, words):
    found = refusal(said, "ssh://board", Address(host="board"), OPTIONS)
    assert type(found) is failure and words in found.problem and found.where == "ssh://board"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def client(server, tmp_path, monkeypatch):
    """A client's own folder with a config that knows the server; tests spoil parts of it."""
    for name in ("user_key", "known_hosts"):
        (tmp_path / name).write_bytes((server.folder / name).read_bytes())
        (tmp_path / name).chmod(0o600)
    (tmp_path / "ssh_config").write_text(CLIENT.format(folder=tmp_path))
    monkeypatch.setenv("EDGESR_SSH_CONFIG", str(tmp_path / "ssh_config"))
    return tmp_path


def devices(capsys, *words):
    """Exit code, what --json says of the only device, and the words on stderr."""
    code = main(["devices", "--json", *words])
    said = capsys.readouterr()
    (seen,) = json.loads(said.out)
    return code, seen, said.err


@needs("ssh")
def test_a_device_that_lets_us_in(server, client, capsys):
    code, seen, err = devices(capsys, server.url)
    assert (code, seen["state"], err) == (0, "free", "")
    assert seen["device"]["machine"] == os.uname().machine and seen["folder"] == str(server.home)
    assert not server.home.exists()  # looking changes nothing


@needs("ssh")
def test_one_shared_connection_in_a_private_folder_that_goes(server, client):
    link = ssh.open(server.url.removeprefix("ssh://"), OPTIONS)
    try:
        folder = link._folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {p.name for p in folder.iterdir()} == {"s", "said"}
        script = "echo $SSH_CLIENT; cat; echo talk >&2; exit 3"
        ran = [link.run(script, timeout_s=30, stdin=b"given") for _ in range(2)]
        assert {(done.code, done.stdout, done.stderr) for done in ran} == {
            (3, ran[0].stdout, "talk\n")
        }  # the same client port twice: one connection
        assert ran[0].stdout.endswith(b"\ngiven")
        assert link.run("exit 255", timeout_s=30).code == 254  # the script's own, no lost link
        assert link.run("kill -9 $$", timeout_s=30).code == 137
    finally:
        link.close()
    assert not folder.exists() and link._master is None


@needs("ssh")
def test_refused(client, capsys):
    code, seen, err = devices(capsys, f"ssh://127.0.0.1:{free_port()}")
    assert (code, seen["state"]) == (3, "unreachable")
    assert "no SSH server listens there" in err


@needs("ssh")
def test_a_host_that_is_down(client):
    with socket.socket() as silent:  # it accepts, and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EnvironmentFailure, match="did not answer within 1 s"):
            ssh.open(url, LinkOptions(connect_s=1.0))


@needs("ssh")
def test_no_ssh_server_but_something_else(client):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        url = f"127.0.0.1:{other.getsockname()[1]}"
        if os.fork() == 0:
            taken, _ = other.accept()
            taken.recv(100)
            taken.close()
            os._exit(0)
        with pytest.raises(EnvironmentFailure, match="ended the connection before the log-in"):
            ssh.open(url, OPTIONS)
        os.wait()


@needs("ssh")
def test_a_refused_log_in(server, client, capsys):
    (client / "user_key").unlink()
    make_key(client / "user_key")
    code, seen, err = devices(capsys, server.url)
    assert (code, seen["problem"]) == (3, "the device refused the log-in")
    assert "ssh-copy-id" in err


@needs("ssh")
def test_a_changed_host_key_is_an_alarm(server, client, capsys):
    public = make_key(client / "other_host_key")
    (client / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}")
    for flags in ([], ["--accept-new-host"]):
        code, seen, err = devices(capsys, server.url, *flags)
        assert code == 5 and "host key has changed" in seen["problem"]
        assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in err


@needs("ssh")
def test_an_unknown_host_key_is_trusted_only_when_asked(server, client, capsys):
    known = (client / "known_hosts").read_text().split()
    (client / "known_hosts").write_text("")
    code, seen, err = devices(capsys, server.url)
    assert code == 3 and "never been seen" in seen["problem"] and "--accept-new-host" in err
    assert (client / "known_hosts").read_text() == ""
    assert devices(capsys, server.url, "--accept-new-host")[0] == 0
    assert known[2] in (client / "known_hosts").read_text()
    assert devices(capsys, server.url)[0] == 0


@needs("ssh")
def test_a_configuration_that_is_none(server, client, capsys):
    (client / "ssh_config").write_text("Nonsense yes\n")
    code, seen, _ = devices(capsys, server.url)
    assert code == 3 and "SSH configuration cannot be used" in seen["problem"]


@needs("ssh")
def test_the_users_config_cannot_undo_what_is_safe(server, client):
    marker = client / "ran-here"
    (client / "ssh_config").write_text(
        CLIENT.format(folder=client)
        + f"  PermitLocalCommand yes\n  LocalCommand touch {marker}\n  ForwardAgent yes\n"
        "  RemoteCommand echo other\n  RequestTTY force\n  StrictHostKeyChecking no\n"
    )
    link = ssh.open(server.url.removeprefix("ssh://"), OPTIONS)
    try:
        done = link.run('echo "${SSH_AUTH_SOCK:-none} ${SSH_TTY:-none}"', timeout_s=30)
    finally:
        link.close()
    assert done.stdout == b"none none\n" and not marker.exists()


@needs("ssh")
def test_an_alias_of_the_config(server, client):
    text = (client / "ssh_config").read_text()
    (client / "ssh_config").write_text(
        f"Host camera\n  HostName 127.0.0.1\n  Port {server.port}\n{text}"
    )
    link = ssh.open("camera", OPTIONS)
    try:
        assert link.run("echo here", timeout_s=30).stdout == b"here\n"
    finally:
        link.close()


def test_no_ssh_on_this_host(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match="there is no `ssh`"):
        ssh.open("board", OPTIONS)


def test_no_folder_is_left_by_failures(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure):
        ssh.open("board", OPTIONS)
    assert list(Path(tmp_path).iterdir()) == []
