"""Passphrases: what they protect, and where they come from."""

from __future__ import annotations

import base64
import struct
import subprocess

import pytest
from channel_parts import NOW, draft

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.errors import SecurityError, UserError
from toolkit.keys import files as keys_file
from toolkit.keys.files import signer_of
from toolkit.keys.ring import open_keys
from toolkit.keys.secret import new_passphrase, read_passphrase, secret_of

WORDS = "correct horse"


@pytest.fixture
def quick(monkeypatch):
    """One round of key stretching instead of the many that a thief must pay."""
    monkeypatch.setattr(keys_file, "KDF_ROUNDS", 1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


def test_an_encrypted_key_needs_its_passphrase(folder, quick):
    ring = init_keys(folder, passphrase=WORDS, now=NOW)
    for file in folder.glob("*.key"):
        assert subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", file], capture_output=True, check=False
        ).returncode
    signature = signer_of(open_keys(folder, passphrase=WORDS), "targets-1").sign(b"x")
    signer_of(ring, "targets-1").public_key.verify_signature(signature, b"x")
    with pytest.raises(UserError) as caught:
        signer_of(open_keys(folder, passphrase="wrong"), "targets-1")
    assert (caught.value.exit_code, caught.value.kind) == (2, "passphrase")
    assert "the passphrase does not open `targets-1`" in str(caught.value)


def test_a_guess_costs_a_thief_32_rounds_of_bcrypt():
    pem = keys_file._pem(keys_file._generate("ed25519"), WORDS)
    data = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    # openssh's PROTOCOL.key: magic, cipher, KDF, and the KDF's salt and rounds, each with a length
    fields, at = [], len(b"openssh-key-v1\0")
    for _ in range(3):
        (length,) = struct.unpack_from(">I", data, at)
        fields.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    assert fields[:2] == [b"aes256-ctr", b"bcrypt"]
    assert struct.unpack(">I", fields[2][-4:]) == (32,)


def test_one_passphrase_is_asked_for_once(folder, quick):
    init_keys(folder, families=["street"], passphrase=WORDS, now=NOW)
    asked = []

    def secret(what):
        asked.append(what)
        return WORDS

    ring = open_keys(folder, secret=secret)
    publish_draft(folder.parent / "channel", draft(), keys=ring, now=NOW)
    assert asked == ["the passphrase of street-1"]


def test_where_a_passphrase_comes_from(tmp_path):
    file = tmp_path / "passphrase"
    file.write_text("from the file\nmore\n")
    file.chmod(0o600)
    here = {"EDGESR_KEY_PASSPHRASE": "from here", "EDGESR_KEY_PIN": "1234"}
    typed = lambda prompt: f"typed at {prompt}"  # noqa: E731
    what = "the passphrase of root-1"
    assert secret_of(file, environment=here)(what) == "from the file"
    assert secret_of(None, environment=here)(what) == "from here"
    assert secret_of(None, environment={}, ask=typed)(what) == f"typed at {what}: "
    assert secret_of(file, environment=here)("the pin of timestamp-1") == "1234"
    assert new_passphrase(file, environment=here) == "from the file"
    assert new_passphrase(None, environment=here) == "from here"


def test_a_new_passphrase_is_typed_twice():
    answers = iter(["one", "one", "one", "two"])
    ask = lambda _: next(answers)  # noqa: E731
    assert new_passphrase(None, environment={}, ask=ask) == "one"
    with pytest.raises(UserError, match="the two passphrases differ"):
        new_passphrase(None, environment={}, ask=ask)


def test_a_passphrase_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "passphrase"
    file.write_text("x\n")
    file.chmod(0o644)
    with pytest.raises(SecurityError) as caught:
        read_passphrase(file)
    assert (caught.value.exit_code, caught.value.kind) == (5, "key-mode")
    file.chmod(0o600)
    assert read_passphrase(file) == "x"
    file.write_text("\n")
    with pytest.raises(UserError, match="no passphrase in its first line"):
        read_passphrase(file)


def test_an_empty_passphrase_protects_nothing(folder):
    with pytest.raises(UserError, match="protects nothing"):
        init_keys(folder, passphrase="", now=NOW)
