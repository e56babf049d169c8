"""A web server on loopback that serves a channel's folder and misbehaves as it is told.

    with Server(folder) as server:
        server.on("*.model.onnx", Act(cut_after=10), Act(status=500))   # the next two answers
        server.on("*/timestamp.json", Act(endless=True), forever=True)

Without a script it is a plain static server with ranges and kept connections. What was asked of it
is in `server.requests`.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLIENT_GONE_S = 30.0  # a stalled answer ends when the client leaves, or after this
ENDLESS_BYTES = 256 << 20  # an endless body ends here, so that a client that reads it all ends too
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Act:
    """How one request is answered; as it stands, as a good static server would."""

    status: int | None = None  # this instead of 200 or 206, with a short page as its body
    body: bytes | None = None  # these bytes instead of the file's
    raw: bytes = b""  # these bytes on the wire instead of any answer, then the end
    extra: bytes = b""  # sent after the body and counted in Content-Length
    drop: bool = False  # the connection is closed before any answer
    cut_after: int | None = None  # so many bytes of the body, then the connection is closed
    stall_after: int | None = None  # so many bytes of the body, then silence
    drip_s: float = 0.0  # pause before each byte of the body
    endless: bool = False  # no Content-Length, and zeros after the body without end
    ranges: bool = True  # False: a range is answered by 200 and the whole file
    content_range: str | None = None  # this text as Content-Range; "": no such header
    location: str = ""  # of a redirect
    reset: bool = False  # where the connection is closed early: by RST instead of FIN


@dataclass(kw_only=True)
class Request:
    """One request as it arrived, and what has been sent so far."""

    path: str
    start: int  # first byte asked for; 0 also where no range was asked for
    has_range: bool
    status: int = 0  # 0: dropped without an answer
    sent_bytes: int = 0  # of the body


class Server:
    """A folder on a free port of loopback; `stop` and `start` keep the port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[Request] = []
        self.port = 0
        self._scripts: list[tuple[str, list[Act], bool]] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._httpd: ThreadingHTTPServer | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on(self, pattern: str, *acts: Act, forever: bool = False) -> None:
        """The next requests for paths that fit are answered so; `forever` repeats the last act."""
        self._scripts.append((pattern, list(acts), forever))

    def well(self) -> None:
        """Forget all scripts and all requests: a good server from now on."""
        self._scripts.clear()
        self.requests.clear()

    def asked(self, pattern: str) -> list[Request]:
        """The requests so far whose path fits."""
        return [one for one in self.requests if fnmatch(one.path, pattern)]

    def start(self) -> None:
        """Listen, on the port of the first start."""
        server = self

        class Handler(_Handler):
            owner = server

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """A client that leaves in the middle is what these tests do."""

        self._httpd = Quiet(("127.0.0.1", self.port), Handler)
        self.port = self._httpd.server_address[1]
        threading.Thread(target=self._httpd.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening and close every connection, also in the middle of an answer."""
        if self._httpd is None:
            return
        self._httpd.shutdown()
        self._httpd.server_close()
        self._httpd = None
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def act_for(self, path: str) -> Act:
        """What the scripts say about the next answer for this path."""
        with self._lock:
            for pattern, acts, forever in self._scripts:
                if acts and fnmatch(path, pattern):
                    return acts[0] if forever and len(acts) == 1 else acts.pop(0)
        return Act()

    def hold(self, connection: socket.socket, *, is_open: bool) -> None:
        """Called as a connection opens and closes."""
        with self._lock:
            (self._connections.add if is_open else self._connections.discard)(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.owner.hold(self.connection, is_open=True)

    def finish(self) -> None:
        self.owner.hold(self.connection, is_open=False)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal; `Server.requests` has it all."""

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        request = Request(
            path=path, start=int(found[1]) if found else 0, has_range=found is not None
        )
        self.owner.requests.append(request)
        act = self.owner.act_for(path)
        try:
            if act.raw:
                self._write(act.raw, request)
                self._send(act, b"", request)
            if act.drop or act.raw:
                self._leave(act)
            else:
                self._answer(act, request)
        except OSError:
            self.close_connection = True

    def _answer(self, act: Act, request: Request) -> None:
        status, body, headers = self._reply(act, request)
        request.status = status
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if act.endless:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(act, body, request)

    def _reply(self, act: Act, request: Request) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        whole = self._bytes_of(act, request.path)
        if act.status is not None or whole is None:
            headers = {"Location": act.location} if act.location else {}
            return act.status or 404, b"as the script says\n", headers
        if not (request.has_range and act.ranges):
            return 200, whole + act.extra, {}
        if request.start >= len(whole) and act.content_range is None:
            return 416, b"", {"Content-Range": f"bytes */{len(whole)}"}
        right = f"bytes {request.start}-{len(whole) - 1}/{len(whole)}"
        text = right if act.content_range is None else act.content_range
        return 206, whole[request.start :] + act.extra, {"Content-Range": text} if text else {}

    def _bytes_of(self, act: Act, path: str) -> bytes | None:
        if act.body is not None:
            return act.body
        file = (self.owner.folder / path.lstrip("/")).resolve()
        inside = file.is_relative_to(self.owner.folder.resolve())
        return file.read_bytes() if inside and file.is_file() else None

    def _send(self, act: Act, body: bytes, request: Request) -> None:
        ends = [k for k in (act.cut_after, act.stall_after) if k is not None]
        part = body[: min([len(body), *ends])]
        pieces = [part] if not act.drip_s else [part[k : k + 1] for k in range(len(part))]
        for piece in pieces:
            time.sleep(act.drip_s)
            self._write(piece, request)
        if act.endless:
            zeros = bytes(1 << 16)
            while request.sent_bytes < ENDLESS_BYTES:
                self._write(zeros, request)
        if act.stall_after is not None:
            select.select([self.connection], [], [], CLIENT_GONE_S)
        if ends:
            self._leave(act)

    def _write(self, data: bytes, request: Request) -> None:
        self.wfile.write(data)
        request.sent_bytes += len(data)

    def _leave(self, act: Act) -> None:
        """Close now; with `reset`, so that the client sees a reset instead of an end."""
        self.close_connection = True
        if act.reset:
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
