"""A warm Python process that forks one process per command: a pull starts in milliseconds.

Each command is a process of its own, with its own pid, files and end, as `edgesr` started by a
shell is; only the imports are shared. Linux only (pidfds, and files handed over by a socket).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
MOST_BYTES = 1 << 16  # of one request
KILL = "EDGESR_KILL"  # `state:phase`, as the C client built for tests reads it


@dataclass(frozen=True, kw_only=True)
class Started:
    """One command under way."""

    pid: int
    status: int  # a pipe: the exit code comes when the process has ended

    def wait(self) -> int:
        """Its exit code; minus the signal's number where it was killed."""
        with os.fdopen(self.status) as pipe:
            return int(pipe.readline() or -signal.SIGKILL)


class Warm:
    """The warm process, seen from the tests; `close` it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket = ours
        self.process = subprocess.Popen(
            [sys.executable, "-m", "camera.warm", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            cwd=HERE.parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[2])},
        )
        theirs.close()

    def start(
        self,
        argv: Sequence[str],
        *,
        stdout: int,
        stderr: int,
        env: Mapping[str, str] | None = None,
        limits: Mapping[int, int] | None = None,
    ) -> Started:
        """Start `edgesr ARGV` in a fork; `limits` are of `resource`, e.g. {RLIMIT_FSIZE: 4096}."""
        told, tell = os.pipe()
        request = {
            "argv": list(argv),
            "env": dict(env or {}),
            "limits": list((limits or {}).items()),
        }
        socket.send_fds(self.socket, [json.dumps(request).encode()], [stdout, stderr, tell])
        os.close(tell)
        pid = b""
        while not pid.endswith(b"\n"):
            if not (digit := os.read(told, 1)):
                raise RuntimeError("the warm process has ended")
            pid += digit
        return Started(pid=int(pid), status=told)

    def close(self) -> None:
        """End the warm process and whatever it still runs."""
        self.socket.close()
        self.process.wait()


def serve(requests: socket.socket) -> None:
    """Answer requests until the other side goes away."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    selector.unregister(key.fd)
                    pid, tell = key.data
                    _tell_end(pid, tell, key.fd)
                elif (begun := _next(requests)) is None:
                    return
                else:
                    selector.register(os.pidfd_open(begun[0]), selectors.EVENT_READ, begun)


def _tell_end(pid: int, tell: int, pidfd: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    with contextlib.suppress(BrokenPipeError):
        os.write(tell, b"%d\n" % os.waitstatus_to_exitcode(status))
    os.close(tell)


def _next(requests: socket.socket) -> tuple[int, int] | None:
    """Read a request and fork for it; None where there will be no more."""
    try:
        data, files, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
    except ConnectionResetError:
        return None
    if not data:
        return None
    pid = os.fork()
    if pid == 0:
        _become(json.loads(data), requests, *files)
    stdout, stderr, tell = files
    os.close(stdout)
    os.close(stderr)
    os.write(tell, b"%d\n" % pid)
    return pid, tell


def _become(
    request: Mapping[str, Any], requests: socket.socket, stdout: int, stderr: int, tell: int
) -> None:
    """Run the command in this fork and end; never returns."""
    code = 1
    try:
        from toolkit.child import die_with_parent

        die_with_parent()
        requests.close()
        for file, place in ((stdout, 1), (stderr, 2)):
            os.dup2(file, place)
        for file in (stdout, stderr, tell):
            os.close(file)
        os.environ.update(request["env"])
        import resource

        for limit, most in request["limits"]:
            resource.setrlimit(limit, (most, most))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails, as a full disk does
        code = _run(request["argv"])
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 2
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(argv: Sequence[str]) -> int:
    from toolkit.cli import main

    if KILL in os.environ:
        _kill_at(os.environ[KILL])
    return main(list(argv))


def _kill_at(place: str) -> None:
    """Make `flow.pull` die by SIGKILL at `state:phase`; what its caller asked for is still told."""
    from toolkit.pull import flow

    real = flow.pull

    def dying(*args: Any, on_state: Callable[[str, str], None] | None = None, **rest: Any) -> Any:
        def on(state: str, phase: str) -> None:
            if on_state is not None:
                on_state(state, phase)
            if f"{state}:{phase}" == place:
                os.kill(os.getpid(), signal.SIGKILL)

        return real(*args, on_state=on, **rest)

    flow.pull = dying


def main() -> None:
    """Import what a pull needs, then serve."""
    from toolkit.child import die_with_parent

    die_with_parent()
    for name in (
        "toolkit.cli",
        "toolkit.commands.pull",
        "toolkit.pull.flow",
        "toolkit.pull.workflow",
    ):
        importlib.import_module(name)
    sys.modules["toolkit.cli"]._parser()  # imports what the commands say of themselves
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
