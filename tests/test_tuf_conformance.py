"""Both clients as plain TUF clients: the command line that the public conformance suite drives.

    CLIENT --metadata-dir D init ROOT
    CLIENT --metadata-dir D --metadata-url U refresh
    CLIENT --metadata-dir D --metadata-url U --target-name T --target-base-url B --target-dir F
           download

Exit 0 or 1. Source: https://github.com/theupdateframework/tuf-conformance, CLIENT-CLI.md. Asserted
is what that document and the TUF specification promise: requests, stored bytes, exit codes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from needs import needs
from tuf_repository import Repository

ROOT = Path(__file__).parent.parent
PYTHON = (sys.executable, "-m", "toolkit.pull.conformance")
ROLES = ["root.json", "snapshot.json", "targets.json", "timestamp.json"]
FIRST = ["/metadata/2.root.json", "/metadata/timestamp.json",
         "/metadata/1.snapshot.json", "/metadata/1.targets.json"]  # fmt: skip
POLL = FIRST[:2]


@dataclass(frozen=True, kw_only=True)
class Client:
    """One client with its two folders."""

    words: tuple[str, ...]
    folder: Path
    repository: Repository

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def stored(self) -> list[str]:
        """Names of the trusted metadata."""
        return sorted(file.name for file in self.metadata.glob("*.json"))

    @property
    def files(self) -> list[bytes]:
        """What was downloaded, in any order."""
        found = [file for file in (self.folder / "targets").rglob("*") if file.is_file()]
        return sorted(file.read_bytes() for file in found)

    def role(self, name: str) -> bytes:
        return (self.metadata / f"{name}.json").read_bytes()

    def init(self, root: bytes | None = None) -> int:
        given = self.folder / "given.json"
        given.write_bytes(self.repository.roots(1) if root is None else root)
        return self._run("init", str(given))

    def refresh(self, *before: str) -> int:
        return self._run("refresh", before=before)

    def download(self, name: str) -> int:
        options = {
            "--target-name": name,
            "--target-dir": str(self.folder / "targets"),
            "--target-base-url": f"{self.repository.url}/targets/",
        }
        return self._run(*(word for pair in options.items() for word in pair), "download")

    def _run(self, *words: str, before: tuple[str, ...] = ()) -> int:
        self.repository.asked.clear()
        where = ("--metadata-dir", str(self.metadata))
        url = ("--metadata-url", f"{self.repository.url}/metadata/") if words[0] != "init" else ()
        done = subprocess.run(
            [*before, *self.words, *where, *url, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode


@pytest.fixture
def repository() -> Iterator[Repository]:
    """A repository with version 1 of everything."""
    with Repository() as running:
        yield running


@pytest.fixture(scope="session", params=["python", pytest.param("c", marks=needs("c-client"))])
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The command line of each client in turn."""
    if request.param == "python":
        return PYTHON
    from c_client import binary

    return (str(binary("all")),)  # with sanitizers it would not start under faketime


@pytest.fixture
def fresh(words: tuple[str, ...], tmp_path: Path, repository: Repository) -> Client:
    """A client that was told nothing yet."""
    client = Client(words=words, folder=tmp_path, repository=repository)
    client.metadata.mkdir()
    (tmp_path / "targets").mkdir()
    return client


@pytest.fixture
def client(fresh: Client) -> Client:
    """A client that trusts version 1 of root."""
    assert fresh.init() == 0
    return fresh


def test_init_keeps_the_root_and_asks_for_nothing(fresh):
    assert fresh.init() == 0
    assert fresh.repository.asked == []
    assert fresh.stored == ["root.json"]
    assert fresh.role("root") == fresh.repository.roots(1)


def test_a_first_refresh_asks_for_each_role_once_in_order_and_stores_its_bytes(client):
    assert client.refresh() == 0
    assert client.repository.asked == FIRST
    assert client.stored == ROLES
    served = client.repository.served
    assert client.role("timestamp") == served["/metadata/timestamp.json"]
    assert client.role("targets") == served["/metadata/1.targets.json"]


def test_a_refresh_without_news_costs_two_requests(client):
    client.refresh()
    assert client.refresh() == 0
    assert client.repository.asked == POLL


def test_a_root_that_does_not_sign_itself_is_never_used(fresh):
    fresh.init(fresh.repository.roots(1).replace(b'"version": 1', b'"version": 7'))
    assert fresh.refresh() == 1
    assert fresh.repository.asked == []


def test_a_repository_that_is_not_there_is_exit_1_and_nothing_is_stored(client):
    client.repository.served.clear()
    assert client.refresh() == 1
    assert client.stored == ["root.json"]


def test_root_is_followed_over_two_changes_of_its_key(client):
    old = client.repository.rotate_root()
    client.repository.sign_root(old, client.repository.signers["root"])
    client.repository.sign_root(client.repository.signers["root"])
    assert client.refresh() == 0
    roots = [path for path in client.repository.asked if path.endswith(".root.json")]
    assert roots == [f"/metadata/{version}.root.json" for version in (2, 3, 4)]
    assert client.role("root") == client.repository.roots(3)


@pytest.mark.parametrize("signer", ["old", "new"])
def test_a_new_root_that_one_of_both_keys_did_not_sign_is_refused(client, signer):
    old = client.repository.rotate_root()
    client.repository.sign_root(old if signer == "old" else client.repository.signers["root"])
    assert client.refresh() == 1
    assert client.role("root") == client.repository.roots(1)
    assert client.stored == ["root.json"]


def test_an_older_timestamp_is_refused_and_the_newer_kept(client):
    client.repository.publish()
    client.refresh()
    kept = client.role("timestamp")
    client.repository.sign_timestamp(1)
    assert client.refresh() == 1
    assert client.role("timestamp") == kept
    assert client.repository.asked == POLL


@needs("faketime")
def test_metadata_is_refused_when_its_time_is_over(client):
    assert client.refresh() == 0
    assert client.refresh("faketime", "-f", "+29d") == 0
    assert client.refresh("faketime", "-f", "+31d") == 1
    assert client.stored == ROLES


def test_a_download_refreshes_first_and_is_not_repeated_for_a_file_that_is_there(client):
    client.repository.targets["a/file.bin"] = b"its bytes"
    client.repository.publish()
    assert client.download("a/file.bin") == 0
    assert [path.split("/")[1] for path in client.repository.asked] == ["metadata"] * 4 + [
        "targets"
    ]
    assert client.files == [b"its bytes"]
    assert client.download("a/file.bin") == 0
    assert client.repository.asked == POLL


def test_a_changed_file_takes_the_place_of_the_old_one(client):
    for data in (b"first", b"and second"):
        client.repository.targets["file.bin"] = data
        client.repository.publish()
        assert client.download("file.bin") == 0
        assert client.files == [data]


def test_wrong_bytes_are_not_kept(client):
    client.repository.targets["file.bin"] = b"right"
    client.repository.publish()
    path = next(path for path in client.repository.served if path.startswith("/targets/"))
    client.repository.served[path] = b"wrong"
    assert client.download("file.bin") == 1
    assert client.files == []


def test_a_target_that_nobody_lists_is_exit_1_with_fresh_metadata(client):
    client.repository.publish()
    assert client.download("nothing.bin") == 1
    assert client.stored == ROLES
    assert client.files == []


@pytest.mark.parametrize("name", ["a b.bin", "a/b#1?x=%41&y.bin", "100%.bin"])
def test_an_odd_target_name_is_quoted_in_its_url(client, name):
    client.repository.targets[name] = b"odd"
    client.repository.publish()
    assert client.download(name) == 0
    path = client.repository.asked[-1]
    folder, slash, last = name.rpartition("/")
    asked = unquote(path).removeprefix("/targets/")
    assert asked.startswith(f"{folder}{slash}") and asked.endswith(f".{last}")
    assert client.files == [b"odd"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "a b?#", "street"])
def test_a_delegated_role_of_any_name_stays_in_its_folder(client, name):
    before = sorted(client.folder.iterdir())
    client.repository.delegate = name
    client.repository.delegated["of/it.bin"] = b"delegated"
    client.repository.publish()
    assert client.download("of/it.bin") == 0
    assert client.files == [b"delegated"]
    assert len(client.stored) == len(ROLES) + 1
    assert sorted(client.folder.iterdir()) == before
    assert f"/metadata/2.{quote(name, safe='')}.json" in client.repository.asked
