"""A channel on nginx, cameras that poll it, and what each poll costs; no printing here."""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.drafts.draft import Draft, DraftFile

NGINX = "/usr/sbin/nginx"
GNU_TIME = "/usr/bin/time"  # measures in a small process: a large parent's own peak is inherited
FAMILY = "street"
NGINX_CONFIG = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error;
events {{}}
http {{
    log_format asked '$status $body_bytes_sent $uri';
    access_log {folder}/access asked;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as nginx logged it."""

    status: int
    body_bytes: int
    path: str


@dataclass(frozen=True)
class Nginx:
    """A running nginx on loopback."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Of its document root, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def asked(self) -> list[Asked]:
        """Every request since the last call."""
        log = self.folder / "access"
        lines = log.read_text().splitlines()
        log.write_text("")  # nginx appends
        parts = [line.split(" ", 2) for line in lines]
        return [Asked(status=int(s), body_bytes=int(b), path=path) for s, b, path in parts]


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[Nginx]:
    """Debian's nginx with that folder as its document root."""
    with tempfile.TemporaryDirectory(prefix="edgesr-nginx-") as name, socket.socket() as free:
        folder = Path(name)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        config = folder / "nginx.conf"
        config.write_text(NGINX_CONFIG.format(folder=folder, port=port, root=root))
        process = subprocess.Popen([NGINX, "-c", str(config), "-p", name, "-e", str(folder / "e")])
        try:
            _wait_for(port)
            yield Nginx(folder, port)
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError("nginx does not answer")


@dataclass(frozen=True)
class Channel:
    """A folder to serve, which gains a release when told."""

    folder: Path
    keys: Path
    model_bytes: int

    @classmethod
    def made(cls, place: Path, model_bytes: int) -> Channel:
        """Keys and an empty folder below `place`; models will have that many bytes."""
        (place / "channel").mkdir()
        init_keys(place / "keys", families=[FAMILY])
        return cls(place / "channel", place / "keys", model_bytes)

    @property
    def root(self) -> Path:
        """What cameras are made with."""
        return self.keys / "root.json"

    def publish(self, seed: int) -> None:
        """The next release; its model is random bytes, so nothing of it compresses."""
        from toolkit.keys.ring import open_keys

        content = random.Random(seed).randbytes(self.model_bytes)
        files = (DraftFile(name="model.onnx", role="model", content=content),)
        publish_draft(self.folder, replace(_DRAFT, files=files), keys=open_keys(self.keys))


_DRAFT = Draft(
    compatible=FAMILY,
    min_firmware=0,
    recipe="random",
    backend="onnxruntime",
    precision="int8",
    scale=2,
    licence="none",
    toolkit="0",
    runtime="onnxruntime",
    runtime_least="1.0.0",
    golden=(),
    latency_limit_us=None,
    figures={},
    files=(),
)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """One client with its store. Its self-test is `/bin/true`: the client is measured, no model."""

    name: str
    program: tuple[str, ...]
    store: Path
    channel: str
    root: Path

    @property
    def words(self) -> list[str]:
        """The command line of one poll."""
        options = {
            "--channel": self.channel,
            "--device-id": "camera-1",
            "--root": str(self.root),
            "--store": str(self.store),
            "--family": FAMILY,
            "--runtime": "onnxruntime=9.9.9",
            "--self-test": "/bin/true",
        }
        return [*self.program, *(word for pair in options.items() for word in pair)]

    def poll(self) -> None:
        """One poll that must end well."""
        run(self.words)

    def restored(self, kept: Path) -> None:
        """Put the store back to an earlier state."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.copytree(kept, self.store)


def run(words: Sequence[str]) -> None:
    """Run to its end. Raises RuntimeError with what it said unless it exits with 0."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr}")


@dataclass(frozen=True, kw_only=True)
class Took:
    """One process from before it starts until it has ended."""

    wall_ns: int
    cpu_ns: int  # of it and of what it waited for, user and system


def timed(words: Sequence[str]) -> Took:
    """Run to its end, which must be good."""
    start, before = time.perf_counter_ns(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run(words)
    wall_ns, after = time.perf_counter_ns() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Took(wall_ns=wall_ns, cpu_ns=round(cpu_s * 1e9))


def peak_kb(words: Sequence[str]) -> int:
    """Largest resident memory, kB of 1,024 bytes, of a process or one that it waited for."""
    with tempfile.NamedTemporaryFile("r") as told:
        run([GNU_TIME, "-f", "%M", "-o", told.name, *words])
        return int(told.read().split()[-1])


def segments(binary: Path) -> tuple[int, int, int]:
    """Bytes of code and constants, of initialised and of zeroed data, by binutils' `size`."""
    told = subprocess.run(
        ["size", "--format=berkeley", str(binary)], capture_output=True, text=True, check=True
    )
    text, data, bss = map(int, told.stdout.splitlines()[1].split()[:3])
    return text, data, bss
