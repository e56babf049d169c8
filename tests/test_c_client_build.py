"""The C client compiles without a warning, and its page tells the numbers of its header."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from c_client import SOURCE, binary
from needs import needs

pytestmark = needs("c-client")
TEXT_MOST_BYTES = 96 << 10  # a budget: what flash of a small camera is willing to give
LINES_MOST = 310  # of one file


def made(*words: str) -> str:
    done = subprocess.run(
        ["make", "--silent", "-C", str(SOURCE), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_each_compiler_accepts_it_with_warnings_as_errors(compiler):
    made("syntax", f"CC={compiler}")


def test_the_program_is_small_and_hardened():
    program = binary("all")
    text = int(made("size").splitlines()[-1].split()[0])
    assert text <= TEXT_MOST_BYTES
    headers = subprocess.run(
        ["readelf", "-hldW", program], capture_output=True, text=True, check=True
    ).stdout
    assert "DYN (Position-Independent Executable file)" in headers
    assert "BIND_NOW" in headers and "GNU_RELRO" in headers
    stack = next(line for line in headers.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack


def test_it_needs_three_libraries_and_exports_nothing_of_its_own():
    """A global named like a function of libc would be taken for it by every library."""
    program = binary("all")
    headers = subprocess.run(
        ["readelf", "-dW", program], capture_output=True, text=True, check=True
    )
    needed = set(re.findall(r"\[(lib[a-z]+)", headers.stdout))
    assert needed == {"libcurl", "libcrypto", "libjansson", "libc"}
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", program], capture_output=True, text=True, check=True
    ).stdout
    assert all("@" in line for line in symbols.splitlines()), symbols  # copies of libc's alone


def test_the_kill_points_of_the_tests_are_not_in_the_program():
    assert b"EDGESR_KILL" not in binary("all").read_bytes()
    assert b"EDGESR_KILL" in binary("san").read_bytes()


def test_the_page_tells_the_limits_of_the_header():
    header = (SOURCE / "limits.h").read_text()
    page = (SOURCE.parent / "README.md").read_text()
    for name, row, value in (
        ("ROOT_MOST_BYTES (128u << 10)", "root metadata", "128 KiB"),
        ("TIMESTAMP_MOST_BYTES (16u << 10)", "timestamp", "16 KiB"),
        ("SNAPSHOT_MOST_BYTES (128u << 10)", "snapshot", "128 KiB"),
        ("TARGETS_MOST_BYTES (256u << 10)", "targets and delegated roles, each", "256 KiB"),
        ("INDEX_MOST_BYTES (64u << 10)", "`index.json`, `release.json`, each", "64 KiB"),
        ("MANIFEST_MOST_BYTES (64u << 10)", "`index.json`, `release.json`, each", "64 KiB"),
        ("FILE_MOST_BYTES (512ll << 20)", "one file of a release", "512 MiB"),
        ("FILES_MOST 64u", "files of a release", "64"),
        ("NAME_MOST_BYTES 100u", "length of a file's name", "100"),
        ("JSON_MOST_DEPTH 32u", "depth of JSON", "32"),
        ("ARENA_BYTES (8u << 20)", "memory for all parsed JSON of a poll", "8 MiB"),
        ("ROOT_ROTATIONS_MOST 256", "new roots followed in a poll", "256"),
        ("DELEGATIONS_MOST 32", "delegated roles visited for a target", "32"),
        ("KEYS_MOST 64u", "keys, and signatures, of a role", "64"),
        ("PATTERN_MOST_BYTES 256u", "a path pattern", "256 bytes, 8 stars"),
        ("PATTERN_MOST_STARS 8u", "a path pattern", "256 bytes, 8 stars"),
        ("URL_MOST_BYTES 2048u", "URL", "2048 bytes"),
        ("BLOCKED_MOST_BYTES (32u << 10)", "list of blocked contents", "32 KiB"),
        ("CONNECT_S 10l", "connecting", "10 s"),
        ("STALL_BYTES_PER_S 64l", "slower than 64 bytes per second", "`--stall-s`"),
        ("REDIRECTS_MOST 3l", "redirects, within one scheme", "3"),
    ):
        assert re.search(rf"#define {re.escape(name)}(?![\w])", header), name
        assert f"| {row} | {value}" in page, row


def test_the_limits_are_those_of_the_publisher():
    """What `toolkit/release.py` lets pass a camera must take."""
    from toolkit import release

    header = (SOURCE / "limits.h").read_text()
    assert (release.INDEX_MAX_BYTES, release.MANIFEST_MAX_BYTES) == (64 << 10, 64 << 10)
    assert release.FILE_MAX_BYTES == 512 << 20 and release.FILES_MOST == 64
    assert "INDEX_MOST_BYTES (64u << 10)" in header and "FILES_MOST 64u" in header


def test_every_file_says_what_it_is_for_and_stays_short():
    files = [*SOURCE.glob("*.c"), *SOURCE.glob("*.h"), *SOURCE.glob("fuzz/*.c")]
    assert len(files) > 30
    for file in files:
        lines = file.read_text().splitlines()
        assert lines[0].startswith("/* "), f"{file.name} does not begin with its purpose"
        assert len(lines) <= LINES_MOST, f"{file.name} has {len(lines)} lines"


def test_the_page_names_every_file():
    page = (SOURCE.parent / "README.md").read_text()
    names = {path.stem for path in Path(SOURCE).glob("*.c")}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
