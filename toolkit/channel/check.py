"""The publisher's own check: a fresh TUF client takes the new state, before anybody else can."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.channel.folder import METADATA, TARGETS, blob_file
from toolkit.channel.roots import root_files
from toolkit.errors import SecurityError
from toolkit.keys.ring import KeyRing

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile
    from tuf.ngclient import FetcherInterface

BASE = "channel:"  # no client but this one ever sees such addresses


def check_forward(
    channel: Path, keys: KeyRing, timestamp: bytes, paths: Sequence[str], now: datetime
) -> None:
    """Walk the new state from the first root, as a camera does; read every file of `paths`.

    `timestamp` is not on disk yet. Raises SecurityError `tampered` where a file is not the signed
    one; RuntimeError where a client would refuse the metadata: that is a mistake of this program.
    """
    from tuf.api.exceptions import DownloadError, RepositoryError
    from tuf.ngclient import Updater

    root = root_files(keys.folder)[1].read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            updater = Updater(
                scratch,
                f"{BASE}{METADATA}/",
                target_base_url=f"{BASE}{TARGETS}/",
                fetcher=_fetcher(channel, keys, timestamp),
                bootstrap=root,
            )
            updater._trusted_set.reference_time = now  # it has no public way to set the clock
            updater.refresh()
            for path in paths:
                target = updater.get_targetinfo(path)
                if target is None:
                    raise RuntimeError(f"no client would find `{path}`")
                _check_blob(blob_file(channel, path, target.hashes["sha256"]), target)
        except (RepositoryError, DownloadError) as error:
            raise RuntimeError(
                f"a client would refuse what was about to be published: {error}"
            ) from error


def _check_blob(file: Path, target: TargetFile) -> None:
    """Also of the releases that were there before: all of them are signed for once more."""
    from tuf.api.exceptions import LengthOrHashMismatchError

    try:
        with file.open("rb") as stream:
            target.verify_length_and_hashes(stream)
    except (OSError, LengthOrHashMismatchError) as error:
        raise SecurityError(
            f"a published file is not what was published: {error}",
            where=str(file),
            hint="restore it from a copy of the channel; nothing was published now",
            kind="tampered",
        ) from error


def _fetcher(channel: Path, keys: KeyRing, timestamp: bytes) -> FetcherInterface:
    """Serves the channel's files, with the new timestamp and all roots over them."""
    from tuf.api.exceptions import DownloadHTTPError
    from tuf.ngclient import FetcherInterface

    over = {f"{METADATA}/timestamp.json": timestamp}
    for version, file in root_files(keys.folder).items():
        over[f"{METADATA}/{version}.root.json"] = file.read_bytes()

    class Local(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            name = url.removeprefix(BASE)
            if name in over:
                return iter([over[name]])
            if name.endswith(".root.json") or not (channel / name).is_file():
                raise DownloadHTTPError(f"no file {name}", 404)
            return iter([(channel / name).read_bytes()])

    return Local()
