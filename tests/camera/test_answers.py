"""Answers that are no HTTP, or that lie about themselves: each ends in a sentence, nothing kept."""

from __future__ import annotations

import gzip

import pytest

from camera.attack import AFTER, assert_kept
from camera.models import Model
from camera.server import Act

OK = b"HTTP/1.1 200 OK\r\n"
BLOB = "*.model.xml"
LIES = {
    "no-http": Act(raw=b"220 mail.example ESMTP\r\n"),
    "escape-codes": Act(raw=b"\x1b]0;owned\x07\x1b[2J all is well\r\n\r\n"),
    "nothing-but-nul": Act(raw=bytes(5000)),
    "half-a-head": Act(raw=OK + b"Content-Le"),
    "head-without-end": Act(raw=OK + b"X: ", endless=True),
    "many-heads": Act(raw=OK + b"X: y\r\n" * 200_000 + b"\r\n"),
    "length-is-text": Act(raw=OK + b"Content-Length: many\r\n\r\n" + b"x" * 600),
    "length-is-negative": Act(raw=OK + b"Content-Length: -1\r\n\r\n" + b"x" * 600),
    "length-wraps": Act(raw=OK + b"Content-Length: 18446744073709552216\r\n\r\n" + b"x" * 600),
    "two-lengths": Act(raw=OK + b"Content-Length: 600\r\nContent-Length: 1\r\n\r\n" + b"x" * 600),
    "chunks-without-end": Act(
        raw=OK + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", endless=True
    ),
    "chunk-of-nonsense": Act(raw=OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "huge-chunk": Act(
        raw=OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx\r\n0\r\n\r\n"
    ),
    "gzip-bomb": Act(
        raw=OK
        + b"Content-Encoding: gzip\r\nContent-Length: 600\r\n\r\n"
        + gzip.compress(bytes(300_000)).ljust(600, b"\0")
    ),
    "status-999": Act(raw=b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    "status-204": Act(raw=b"HTTP/1.1 204 No Content\r\n\r\n"),
    "redirect-without-place": Act(raw=b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
    "redirect-to-a-file": Act(status=302, location="file:///etc/passwd"),
}


@pytest.mark.parametrize("place", [BLOB, "*/timestamp.json"], ids=["model", "timestamp"])
@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_lies_is_left(camera, forge, server, lie, place):
    forge.publish(Model(2))
    server.on(place, LIES[lie], forever=True)
    before = camera.store.state()
    outcome = camera.pull(tries=2)
    assert outcome.code in (3, 5) and outcome.kind, outcome
    assert f"[{outcome.kind}]: " in outcome.stderr
    assert_kept(camera, before, forge, at=AFTER if place == BLOB else "timestamp")
    server.well()
    assert camera.heals() and camera.store.release == 2


def test_the_name_of_an_encoding_changes_no_byte(camera, forge, server):
    """What was asked for is the file as it is; a proxy's word about it is not believed."""
    forge.publish(Model(2))
    data = Model(2).blobs[0].data
    head = OK + f"Content-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    server.on(BLOB, Act(raw=head + data))
    assert camera.heals() and camera.store.release == 2
