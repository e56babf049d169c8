"""The command line of the public TUF client conformance suite, for the client in this package.

    python -m toolkit.pull.conformance --metadata-dir D init ROOT
    python -m toolkit.pull.conformance --metadata-dir D --metadata-url U refresh
    python -m toolkit.pull.conformance --metadata-dir D --metadata-url U \\
        --target-name T --target-base-url B --target-dir D download

Exit code 0 or 1. It differs from `edgesr pull` only where TUF allows more than our channels use:
any roles, any hashes, text beyond ASCII, no given time. Protocol: CLIENT-CLI.md of
https://github.com/theupdateframework/tuf-conformance
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from toolkit.errors import SecurityError, ToolkitError, UserError
from toolkit.pull import clock
from toolkit.pull.disk import replace_file
from toolkit.pull.kept import Kept

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from toolkit.pull.fetch import Http

GIVEN = "given/root.json"  # in the metadata folder: the root that `init` was given
NO_FLOOR = datetime(1970, 1, 1, tzinfo=timezone.utc)


def main(arguments: Sequence[str]) -> int:
    """Run one command; says on stderr why it failed."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "init":
            _init(options)
        elif options.command == "refresh":
            _update(options, None)
        else:
            _download(options)
    except ToolkitError as problem:
        _say(str(problem))
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="conformance", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name")
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


def _init(options: argparse.Namespace) -> None:
    try:
        root = options.root.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read it: {error.strerror}", where=str(options.root)) from error
    folder = Kept(folder=options.metadata_dir)
    folder.write(GIVEN, root)
    folder.write("root.json", root)


def _http() -> Http:
    from toolkit.pull.fetch import Http

    return Http(stall_s=10.0, tries=1)


def _update(options: argparse.Namespace, path: str | None) -> TargetFile | None:
    """Refresh; the target's length and hashes where a path is asked for."""
    from toolkit.pull.workflow import Workflow

    folder = Kept(folder=options.metadata_dir)
    with tempfile.TemporaryDirectory(prefix="edgesr-") as scratch:
        workflow = Workflow(
            url=options.metadata_url,
            kept=folder,
            scratch=Path(scratch),
            http=_http(),
            clock=clock.read(NO_FLOOR),
            ascii_only=False,
            on_state=lambda state, phase: None,
            say=_say,
        )
        roles = [unquote(name) for name in folder.names() if name != "root"]
        workflow.refresh(folder.read(GIVEN) or b"", roles)
        return None if path is None else workflow.find(path)


def _download(options: argparse.Namespace) -> None:
    found = _update(options, options.target_name)
    if found is None:
        raise SecurityError(f"no role signs a target `{options.target_name}`", kind="missing")
    goal = options.target_dir / quote(found.path, "")
    if goal.is_file() and _is(found, goal.read_bytes()):
        return
    url = f"{options.target_base_url.rstrip('/')}/{quote(_stored(options.metadata_dir, found))}"
    content = _http().get(url, found.length)
    if not _is(found, content):
        raise SecurityError("the file is not what was signed", where=url, kind="arbitrary-file")
    replace_file(goal, content)


def _stored(metadata: Path, target: TargetFile) -> str:
    """Where a target lies below the base URL: named by its digest in consistent snapshots."""
    from tuf.api.metadata import Metadata, Root

    root = Metadata[Root].from_bytes((metadata / "root.json").read_bytes()).signed
    folder, slash, name = target.path.rpartition("/")
    digest = next(iter(target.hashes.values()))
    return f"{folder}{slash}{digest}.{name}" if root.consistent_snapshot else target.path


def _is(target: TargetFile, content: bytes) -> bool:
    from tuf.api.exceptions import LengthOrHashMismatchError

    try:
        target.verify_length_and_hashes(io.BytesIO(content))
    except LengthOrHashMismatchError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
