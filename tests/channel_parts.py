"""Drafts to publish, and TUF's own client to take them with, for the tests of channels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from toolkit.channel.publish import Published, publish_draft
from toolkit.drafts.draft import Draft, DraftFile
from toolkit.keys.ring import KeyRing
from toolkit.release import Index, Release, read_index, read_release, target_path

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


def draft(seed: int = 1, /, **changes) -> Draft:
    """A small draft whose model is another one for each seed."""
    made = Draft(
        compatible="street",
        min_firmware=0,
        recipe="tiny",
        backend="onnxruntime",
        precision="int8",
        scale=2,
        licence="none",
        toolkit="1.0.0",
        runtime="onnxruntime",
        runtime_least="1.20.0",
        golden=(),
        latency_limit_us=None,
        figures={"psnr_drop_mean_udb": 1200},
        files=(
            DraftFile(name="tiny.onnx", role="model", content=f"model {seed}\n".encode() * 200),
            DraftFile(name="report.json", role="report", content=b"{}"),
        ),
    )
    return replace(made, **changes)


class FolderFetcher(FetcherInterface):
    """Serves a folder as a web server would."""

    def __init__(self, channel: Path) -> None:
        self.channel = channel

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = self.channel / url.removeprefix("test:")
        if not file.is_file():
            raise DownloadHTTPError(url, 404)
        return iter([file.read_bytes()])


class Camera:
    """TUF's own client, with the metadata that it trusts kept between polls."""

    def __init__(self, channel: Path, root: Path, folder: Path | None = None) -> None:
        self.channel, self.root = channel, root
        self.folder = Path(folder or tempfile.mkdtemp())

    def updater(self, now: datetime = NOW) -> Updater:
        """Refreshed at this time. Raises what python-tuf raises."""
        made = Updater(
            str(self.folder),
            "test:metadata/",
            target_dir=str(self.folder),
            target_base_url="test:targets/",
            fetcher=FolderFetcher(self.channel),
            bootstrap=self.root.read_bytes(),
        )
        made._trusted_set.reference_time = now
        made.refresh()
        return made

    def take(self, path: str, now: datetime = NOW) -> bytes:
        """One file by its target path."""
        updater = self.updater(now)
        target = updater.get_targetinfo(path)
        assert target is not None, path
        return Path(updater.download_target(target)).read_bytes()

    def index(self, family: str = "street", now: datetime = NOW) -> Index:
        """The verified index of a family."""
        import json

        return read_index(json.loads(self.take(target_path(family, "index.json"), now)), family)

    def newest(self, family: str = "street", now: datetime = NOW) -> Release:
        """The verified newest release, all of its files taken."""
        import json

        entry = self.index(family, now).releases[0]
        release = read_release(json.loads(self.take(entry.manifest, now)), entry, family)
        for file in release.files:
            data = self.take(target_path(family, entry.release, file.name), now)
            assert len(data) == file.length
        return release


def camera(channel: Path, keys: KeyRing) -> Camera:
    """A new camera with the newest root of these keys."""
    return Camera(channel, keys.folder / "root.json")


def publish(channel: Path, keys: KeyRing, seed: int = 1, /, **options) -> Published:
    """Publish the draft of this seed."""
    return publish_draft(channel, draft(seed), keys=keys, **{"now": NOW, **options})


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
