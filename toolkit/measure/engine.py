"""TensorRT engines on the board: built there once per file, GPU and release, and kept there.

The bundle's own script builds them, so an engine made here is the one a user makes by hand. They
lie in `engines/` of the device's folder, which `edgesr devices URL --clean` removes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.benchmark import Benchmark
from toolkit.contracts import Artefact, Finished
from toolkit.digest import sha256_file, sha256_json
from toolkit.errors import EnvironmentFailure, SecurityError
from toolkit.measure.words import marked, plain
from toolkit.quant.engine_script import engine_script

if TYPE_CHECKING:
    from toolkit.measure.board import Board

SCRIPT = "build_engine.sh"
FIRST_LINE = "edgesr-engine 1"
BUILD_S = 1800.0  # a Jetson takes minutes for a large network: every kernel is tried out
FETCH_S = 600.0
NOT_ITS_FILE, NO_TENSORRT = 5, 3  # exit codes of the script
# $1: folder of the engines, $2: HxW that they are fastest at, $3: trtexec. An engine whose bytes
# are not those that were built, or that was never finished, is built again.
_BUILD = """\
mkdir -p "$1" || exit 1
for e in "$1"/*.engine; do
  [ -f "$e" ] || continue
  [ "$(cat "$e.sha256" 2>/dev/null)" = "$(sha256sum < "$e" | cut -d ' ' -f 1)" ] || rm -f "$e"
done
KEEP_ENGINES=yes OPT_SHAPE=$2 TRTEXEC=$3 bash build_engine.sh "$1" > build.log 2>&1
code=$?
if [ $code != 0 ]; then tail -c 4000 build.log >&2; exit $code; fi
echo 'edgesr-engine 1'
engine=$(sed -n -e 's/^building //p' -e 's/^kept //p' build.log | head -n 1)
echo "state=$(sed -n -e 's/^building .*/built/p' -e 's/^kept .*/kept/p' build.log | head -n 1)"
digest=$(sha256sum < "$engine" | cut -d ' ' -f 1)
echo "$digest" > "$engine.sha256"
echo "name=${engine##*/}"
echo "digest=$digest"
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine on the board."""

    place: str  # its path as seen from a job's folder
    name: str  # with the file's stem, the GPU and TensorRT's release
    digest: str  # SHA-256, taken on the board
    was_built: bool  # now; False: it was there


def build_engine(
    board: Board,
    artefact: Artefact,
    *,
    size_px: tuple[int, int],
    trtexec: str,
    timeout_s: float = BUILD_S,
    say: Callable[[str], None] = lambda _line: None,
) -> Engine:
    """Have the engine of an ONNX file on the board, fastest at height and width `size_px`.

    Raises EnvironmentFailure where TensorRT is missing, too old or refuses the file, SecurityError
    where the file on the board is not the one that was sent, LinkLost of the board.
    """
    text = engine_script([artefact])
    key = sha256_json([sha256_file(artefact.path), text, list(size_px)])[:16]
    folder = f"../../engines/{key}"
    say(f"{board.url}: TensorRT engine of {artefact.path.name}, some minutes where it is not there")
    with tempfile.TemporaryDirectory(prefix="edgesr-") as name:
        script = Path(name) / SCRIPT
        script.write_text(text)
        size = f"{size_px[0]}x{size_px[1]}"
        done = board.command(
            ["sh", "-c", _BUILD, "sh", folder, size, trtexec],
            {artefact.path.name: artefact.path, SCRIPT: script},
            timeout_s=timeout_s,
        )
    values = _understood(done, artefact, board.url)
    return Engine(
        place=f"{folder}/{values['name']}",
        name=values["name"],
        digest=values["digest"],
        was_built=values["state"] == "built",
    )


def pull_engine(board: Board, engine: Engine, folder: Path) -> Path:
    """Copy an engine from the board into `folder`, under its name; returns its path.

    Raises SecurityError where other bytes arrive than were measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    goal = folder / engine.name
    words = ["sh", "-c", 'ln "$1" "$2" 2>/dev/null || cp "$1" "$2"', "sh"]
    done = board.command(
        [*words, engine.place, engine.name], {}, timeout_s=FETCH_S, fetch={engine.name: goal}
    )
    if done.code != 0:
        raise EnvironmentFailure(
            f"the engine could not be read on the board: {plain(done.stderr)}", where=board.url
        )
    if sha256_file(goal) != engine.digest:
        goal.unlink()
        raise SecurityError(f"`{engine.name}` is not the engine that was measured", where=board.url)
    return goal


def pull_engines(board: Board, benchmark: Benchmark, bundle: Path) -> list[Path]:
    """The engines that a benchmark ran, into `<bundle>.engines` beside the bundle, which stays.

    An engine that lies there already is not sent again. Raises what `pull_engine` raises.
    """
    folder = bundle.with_name(f"{bundle.name}.engines")
    pulled = []
    for timing in benchmark.files:
        known = (one.get("engine") for one in timing.conditions)
        told = next((engine for engine in known if isinstance(engine, dict)), {})
        if told:
            engine = Engine(**told)
            there = folder / engine.name
            is_there = there.is_file() and sha256_file(there) == engine.digest
            pulled.append(there if is_there else pull_engine(board, engine, folder))
    return pulled


def _understood(done: Finished, artefact: Artefact, url: str) -> dict[str, str]:
    if done.code == NOT_ITS_FILE:
        raise SecurityError(
            f"`{artefact.path.name}` on the board is not the one that was sent",
            where=url,
            hint=f"`edgesr devices {url} --clean`, then run again",
        )
    if done.code != 0:
        said = plain(done.stderr, 600)
        raise EnvironmentFailure(
            f"no TensorRT engine of `{artefact.path.name}` (exit {done.code}): {said}",
            where=url,
            hint="install TensorRT 10 or newer (JetPack 6.1: sudo apt install tensorrt)"
            if done.code == NO_TENSORRT
            else "free memory on the board, or look at what `trtexec` says of the file",
        )
    values = marked(done, FIRST_LINE, url)
    name = values.get("name", "")
    digest = values.get("digest", "")
    is_plain = name.endswith(".engine") and not set(name) & set("/\\'\" ")
    if not is_plain or len(digest) != 64 or values.get("state") not in ("built", "kept"):
        raise EnvironmentFailure(
            f"the board did not say which engine it built: {plain(str(values))}", where=url
        )
    return values
