"""A loopback web server for channels that fails in a share of its answers, as bad links do.

    python benchmarks/soak_server.py CHANNEL PORT SEED SHARE LOG

SHARE (0 to 0.3) of the answers are broken in one of the ways of `FAULTS`, three times as many of
blobs; 0 is a healthy server. Each
answer appends one word to LOG, so that nothing is lost when the server itself is killed. The first
timestamp.json that was ever asked for is kept beside LOG: it is what a replaying attacker sends.
"""

from __future__ import annotations

import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STALL_S = 2.5  # longer than the soak's clients wait
DRIP_PIECES = 8
DRIP_S = 0.03  # between two pieces
EXTRA_BYTES = 64 << 10  # of an answer that is longer than what was signed
RANGE = re.compile(r"bytes=(\d{1,15})-")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes out: a status, headers and a body of which `sent` may be less than stated."""

    status: int
    headers: dict[str, str]
    sent: bytes
    stated_bytes: int
    pause_s: float = 0.0  # after the bytes, before the connection closes
    pieces: int = 1


def whole(body: bytes) -> Answer:
    """A plain 200."""
    return Answer(status=200, headers={}, sent=body, stated_bytes=len(body))


def part(body: bytes, start: int, *, shift: int = 0) -> Answer:
    """A 206 from `start`, or a 416; a `shift` makes its Content-Range lie."""
    if start >= len(body):
        headers = {"Content-Range": f"bytes */{len(body)}"}
        return Answer(status=416, headers=headers, sent=b"", stated_bytes=0)
    stated = f"bytes {start + shift}-{len(body) - 1}/{len(body)}"
    rest = body[start:]
    return Answer(status=206, headers={"Content-Range": stated}, sent=rest, stated_bytes=len(rest))


def status(number: int) -> Answer:
    """A few words and an error's status."""
    return Answer(status=number, headers={}, sent=b"no\n", stated_bytes=3)


def changed(answer: Answer, *, sent: bytes, stated_bytes: int | None = None) -> Answer:
    """The same answer with other bytes."""
    stated = answer.stated_bytes if stated_bytes is None else stated_bytes
    return Answer(status=answer.status, headers=answer.headers, sent=sent, stated_bytes=stated)


def _cut(answer: Answer, chance: random.Random) -> Answer:
    return changed(answer, sent=answer.sent[: chance.randrange(len(answer.sent) or 1)])


def _stalled(answer: Answer, chance: random.Random) -> Answer:
    short = _cut(answer, chance)
    return Answer(**{**vars(short), "pause_s": STALL_S})


def _dripping(answer: Answer, chance: random.Random) -> Answer:
    return Answer(**{**vars(answer), "pieces": DRIP_PIECES})


def _flipped(answer: Answer, chance: random.Random) -> Answer:
    damaged = bytearray(answer.sent or b"\0")
    damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return changed(answer, sent=bytes(damaged), stated_bytes=len(damaged))


def _noise(answer: Answer, chance: random.Random) -> Answer:
    return changed(answer, sent=chance.randbytes(len(answer.sent)))


def _longer(answer: Answer, chance: random.Random) -> Answer:
    long = answer.sent + bytes(EXTRA_BYTES)
    return changed(answer, sent=long, stated_bytes=len(long))


FAULTS: dict[str, Callable[[Answer, random.Random], Answer | None]] = {
    "closed": lambda answer, chance: None,
    "cut": _cut,
    "stall": _stalled,
    "drip": _dripping,
    "bit flipped": _flipped,
    "noise": _noise,
    "too long": _longer,
    "500": lambda answer, chance: status(500),
    "503": lambda answer, chance: status(503),
    "404": lambda answer, chance: status(404),
}
NO_RANGE, WRONG_RANGE, REPLAY = "no range", "wrong range", "old timestamp"
TIMESTAMP = "metadata/timestamp.json"
BLOBS = "/targets/"
BLOB_SHARE = 3  # blobs fail so much more often than metadata: they are long


class Handler(BaseHTTPRequestHandler):
    """Serves files of a folder; keeps the connection open between healthy answers."""

    protocol_version = "HTTP/1.1"
    channel: Path
    chance: random.Random
    share: float
    log: int
    old: Path  # the first timestamp

    def do_GET(self) -> None:
        """Answer, or fail in one way."""
        fault = self.fault()
        answer: Answer | None = self.answer(fault)
        if fault in FAULTS and answer is not None:
            answer = FAULTS[fault](answer, self.chance)
        self.tell(fault or "well")
        if answer is None:
            self.close_connection = True
        else:
            self.send(answer)

    def fault(self) -> str:
        """How this answer fails; "": it does not."""
        share = self.share * (BLOB_SHARE if self.path.startswith(BLOBS) else 1)
        if self.chance.random() >= share:
            return ""
        own = [NO_RANGE, WRONG_RANGE] if "Range" in self.headers else []
        own += [REPLAY] * 5 if self.path.endswith(TIMESTAMP) else []
        return self.chance.choice([*FAULTS, *own])

    def tell(self, word: str) -> None:
        """One word in the log, complete even if the server dies now."""
        os.write(self.log, f"{word}\n".encode())

    def answer(self, fault: str) -> Answer:
        """The healthy answer, but for the faults that concern ranges and old files."""
        path = self.path.lstrip("/")
        file = self.channel / path
        if ".." in path or not file.is_file():
            return status(404)
        body = file.read_bytes()
        if path == TIMESTAMP and not self.old.exists():
            self.old.write_bytes(body)
        if fault == REPLAY:
            body = self.old.read_bytes()
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is None or fault == NO_RANGE:
            return whole(body)
        return part(body, int(asked[1]), shift=1 if fault == WRONG_RANGE else 0)

    def send(self, answer: Answer) -> None:
        """Write it, in pieces, and close where fewer bytes went out than were stated."""
        short = len(answer.sent) != answer.stated_bytes
        self.close_connection = self.close_connection or short
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.stated_bytes))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        step = -(-len(answer.sent) // answer.pieces) or 1
        for start in range(0, len(answer.sent), step):
            self.wfile.write(answer.sent[start : start + step])
            if answer.pieces > 1:
                time.sleep(DRIP_S)
        if answer.pause_s:
            self.wfile.flush()
            time.sleep(answer.pause_s)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the log has words of its own."""


class Server(ThreadingHTTPServer):
    """One that does not speak of clients that went away, and takes the port at once."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in the middle is what the soak is for."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> None:
    """Serve until killed."""
    from toolkit.child import die_with_parent

    die_with_parent()
    channel, port, seed, share, log = sys.argv[1:]
    parts = {
        "channel": Path(channel),
        "chance": random.Random(int(seed)),
        "share": float(share),
        "log": os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644),
        "old": Path(f"{log}.timestamp"),
    }
    handler = type("Bound", (Handler,), parts)
    threading.stack_size(512 << 10)
    Server(("127.0.0.1", int(port)), partial(handler)).serve_forever()


if __name__ == "__main__":
    main()
