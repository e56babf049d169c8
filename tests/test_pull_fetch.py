"""Files of a channel: resumed, limited, over one connection, and never half under a name."""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import ssl
import threading

import pytest
from camera.models import pattern
from camera.server import Act, Server
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.pull.fetch import Http, HttpStatus

BODY = pattern(200_000, "blob")  # several chunks
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "blob").write_bytes(BODY)
    with Server(tmp_path / "served") as running:
        yield running


@pytest.fixture
def http():
    made = Http(stall_s=1.0, tries=3, retry_s=0.0)
    yield made
    made.close()


def take(http, server, goal, sha256=SHA256):
    http.download(f"{server.url}/blob", goal, len(BODY), sha256)


def test_a_file_has_its_name_only_when_it_is_whole(http, server, tmp_path):
    goal, seen = tmp_path / "goal", []
    http.download(
        f"{server.url}/blob",
        goal,
        len(BODY),
        SHA256,
        on_bytes=lambda have: seen.append((have, goal.exists())),
    )
    assert goal.read_bytes() == BODY
    assert len(seen) > 1 and seen[-1] == (len(BODY), False)
    assert not goal.with_name("goal.part").exists()


@pytest.mark.parametrize("cut", [0, 1, 65_536, 100_000, len(BODY) - 1])
def test_no_byte_comes_twice_after_a_cut(http, server, tmp_path, cut):
    server.on("/blob", Act(cut_after=cut))
    take(http, server, tmp_path / "goal")
    assert (tmp_path / "goal").read_bytes() == BODY
    assert http.bytes_fetched == len(BODY)
    assert [one.start for one in server.requests] == [0, cut]


def test_what_an_earlier_poll_left_is_kept(http, server, tmp_path):
    (tmp_path / "goal.part").write_bytes(BODY[:150_000])
    take(http, server, tmp_path / "goal")
    assert (http.bytes_resumed, http.bytes_fetched) == (150_000, 50_000)


def test_a_complete_part_costs_no_request(http, server, tmp_path):
    (tmp_path / "goal.part").write_bytes(BODY)
    take(http, server, tmp_path / "goal")
    assert http.requests == 0 and (tmp_path / "goal").read_bytes() == BODY


def test_a_part_that_is_too_long_is_thrown_away(http, server, tmp_path):
    (tmp_path / "goal.part").write_bytes(BODY + b"x")
    take(http, server, tmp_path / "goal")
    assert http.bytes_resumed == 0 and (tmp_path / "goal").read_bytes() == BODY


@pytest.mark.parametrize(("size", "starts"), [(1000, [1000, 0]), (len(BODY), [0])])
def test_a_damaged_part_is_fetched_afresh_once(http, server, tmp_path, size, starts):
    (tmp_path / "goal.part").write_bytes(bytes(size))  # as a power cut leaves it, also at its end
    take(http, server, tmp_path / "goal")
    assert [one.start for one in server.requests] == starts


def test_another_file_under_a_signed_name_is_refused_at_once(http, server, tmp_path):
    with pytest.raises(SecurityError) as refused:
        take(http, server, tmp_path / "goal", sha256="0" * 64)
    assert refused.value.kind == "arbitrary-file" and len(server.requests) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


def test_what_is_longer_than_signed_is_refused_before_it_is_read(http, server, tmp_path):
    server.on("/blob", Act(extra=bytes(10_000_000)))
    with pytest.raises(SecurityError) as refused:
        take(http, server, tmp_path / "goal")
    assert refused.value.kind == "endless-data" and http.bytes_fetched == 0
    assert not (tmp_path / "goal.part").exists()


def test_a_body_without_end_is_cut_off_at_the_signed_length(http, server, tmp_path):
    server.on("/blob", Act(endless=True))
    with pytest.raises(SecurityError) as refused:
        take(http, server, tmp_path / "goal")
    assert refused.value.kind == "endless-data"
    assert http.bytes_fetched <= len(BODY) + (64 << 10)


def test_every_byte_is_enough_though_the_end_is_missing(http, server, tmp_path):
    server.on("/blob", Act(stall_after=len(BODY), extra=b""))
    take(http, server, tmp_path / "goal")
    assert (tmp_path / "goal").read_bytes() == BODY


def test_a_link_in_the_place_of_a_part_is_not_followed(http, server, tmp_path):
    (tmp_path / "secret").write_bytes(b"keep me")
    (tmp_path / "goal.part").symlink_to(tmp_path / "secret")
    with pytest.raises(EnvironmentFailure):
        take(http, server, tmp_path / "goal")
    assert (tmp_path / "secret").read_bytes() == b"keep me"


@pytest.mark.parametrize("left", [50_000, 100_000, 150_000])
def test_a_file_that_is_shorter_than_signed_is_truncated(http, server, tmp_path, left):
    server.on("/blob", Act(body=BODY[:100_000]), forever=True)
    (tmp_path / "goal.part").write_bytes(BODY[:left])
    with pytest.raises(EnvironmentFailure, match=r"100000|cut short") as failed:
        take(http, server, tmp_path / "goal")
    assert failed.value.kind == "truncated" and len(server.requests) == 3
    assert (tmp_path / "goal.part").exists()  # it is resumed when the rest is there


def test_a_missing_file_is_not_blamed_on_the_channels_address(http, server, tmp_path):
    with pytest.raises(HttpStatus) as failed:
        http.get(f"{server.url}/nothing", 10)
    assert failed.value.kind == "missing" and "--channel" not in failed.value.hint
    assert "being copied there" in failed.value.hint


def test_tries_are_counted_per_file(http, server, tmp_path):
    server.on("/blob", Act(status=503), forever=True)
    with pytest.raises(HttpStatus) as failed:
        take(http, server, tmp_path / "goal")
    assert (failed.value.kind, failed.value.status) == ("http", 503)
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "kind"), [(404, "missing"), (403, "http"), (401, "http")])
def test_what_asking_again_cannot_mend_is_asked_once(http, server, status, kind):
    server.on("/blob", Act(status=status), forever=True)
    with pytest.raises(HttpStatus) as failed:
        http.get(f"{server.url}/blob", 1 << 20)
    assert failed.value.kind == kind and len(server.requests) == 1


def test_a_redirect_to_tls_is_told_with_what_to_do(http, server):
    server.on("/blob", Act(status=301, location="https://127.0.0.1:9/b\x1b[2Jb"))
    with pytest.raises(HttpStatus, match="redirects") as failed:
        http.get(f"{server.url}/blob", 10)
    assert (failed.value.kind, failed.value.where) == ("http", r"https://127.0.0.1:9/b\x1b[2Jb")
    assert "--channel" in failed.value.hint


def test_a_file_in_memory_has_a_limit(http, server):
    assert http.get(f"{server.url}/blob", len(BODY)) == BODY
    for act in (Act(), Act(endless=True)):
        server.on("/blob", act)
        with pytest.raises(SecurityError) as refused:
            http.get(f"{server.url}/blob", len(BODY) - 1)
        assert refused.value.kind == "endless-data"


def test_pauses_double_up_to_a_ceiling_and_differ_between_cameras(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    patient = Http(retry_s=1.0)
    passing = EnvironmentFailure("", kind="network")
    pauses = [patient._pause_s(attempt, passing) for attempt in (1, 2, 3, 4, 9)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 60.0]
    assert patient._pause_s(1, HttpStatus(503, "", retry_after_s=20.0)) == 20.0


def raw_server(answer):
    """A server of our own on loopback: `answer(connection)` in a thread for each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener, connections


def dripping(start):
    """These bytes, then one more each 50 ms, for ever: no single read ever times out."""

    def answer(connection):
        try:
            connection.sendall(start)
            while not threading.Event().wait(0.05):
                connection.sendall(b"x")
        except OSError:
            return

    return answer


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "start",
    [b"X: ", CHUNKED + b"1;", CHUNKED + b"1\r\nx\r\n0\r\nX: "],
    ids=["head", "chunk", "trailer"],
)
def test_what_never_ends_is_a_stall(start):
    listener, _ = raw_server(dripping(b"HTTP/1.1 200 OK\r\n" + start))
    http = Http(stall_s=0.3, tries=1)
    with listener, pytest.raises(EnvironmentFailure) as failed:
        http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/blob", 10)
    assert failed.value.kind == "timeout"


def test_a_body_that_drips_is_a_stall(server, tmp_path):
    server.on("/blob", Act(drip_s=0.05), forever=True)
    http = Http(stall_s=0.3, tries=1)
    with pytest.raises(EnvironmentFailure) as failed:
        take(http, server, tmp_path / "goal")
    assert failed.value.kind == "timeout" and not (tmp_path / "goal").exists()


def test_a_handshake_that_never_ends_is_cut(monkeypatch):
    monkeypatch.setattr("toolkit.pull.watched.CONNECT_S", 0.1)

    a_long_record = b"\x16\x03\x03\x3f\xff\x02"
    listener, _ = raw_server(dripping(a_long_record))
    with listener, pytest.raises(EnvironmentFailure) as failed:
        Http(stall_s=0.3, tries=1).get(f"https://127.0.0.1:{listener.getsockname()[1]}/", 10)
    assert failed.value.kind in ("timeout", "network")


def test_one_connection_serves_many_files():
    def answer(connection):
        while connection.recv(4096):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    listener, connections = raw_server(answer)
    with listener:
        http = Http(tries=1)
        for name in ("a", "b", "c"):
            assert http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/{name}", 10) == b"ok"
        http.close()
    assert len(connections) == 1


def certificate(folder):
    """A certificate for 127.0.0.1 and localhost that signs itself, in one file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


def test_tls_is_verified(tmp_path):
    context = certificate(tmp_path)

    def answer(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(4096)
                secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            return

    listener, _ = raw_server(answer)
    with listener:
        url = f"https://localhost:{listener.getsockname()[1]}/"
        assert Http(ca=tmp_path / "ca.pem", tries=1).get(url, 10) == b"ok"
        asked = Http(tries=3, retry_s=60.0)  # a second try would take a minute
        with pytest.raises(EnvironmentFailure, match="not trusted") as failed:
            asked.get(url, 10)
        assert failed.value.kind == "tls" and asked.requests == 1


def test_a_folder_is_a_channel_too(http, tmp_path):
    (tmp_path / "a b").write_bytes(BODY)
    url = (tmp_path / "a b").as_uri()
    assert http.get(url, len(BODY)) == BODY
    (tmp_path / "goal.part").write_bytes(BODY[:1000])
    http.download(url, tmp_path / "goal", len(BODY), SHA256)
    assert (tmp_path / "goal").read_bytes() == BODY and http.bytes_resumed == 1000


def test_pipes_and_missing_files_of_a_folder_are_not_there(http, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing", "pipe/below"):
        with pytest.raises(HttpStatus) as failed:
            http.get((tmp_path / name).as_uri(), 10)
        assert failed.value.kind == "missing"
