"""Private keys: made, kept in files of mode 0600, and opened as signers."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from toolkit.digest import sha256_bytes
from toolkit.errors import SecurityError, ToolkitError, UserError
from toolkit.keys.ring import FILE, KeyEntry, KeyRing, Secret, stamp, unusable
from toolkit.writing import Writer

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey

Algorithm = Literal["ed25519", "ecdsa-p256"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
MODE = 0o600
KEY_MAX_BYTES = 16 << 10
# bcrypt rounds of OpenSSH's format: a guess takes about 0.25 s of one 2026 core; ssh-keygen has 24
KDF_ROUNDS = 32
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_key(
    folder: Path, name: str, algorithm: str, passphrase: str | None, now: datetime
) -> KeyEntry:
    """Write a new private key as `name`.key; `passphrase` None leaves it readable.

    A file of that name that a killed run left without an entry is never overwritten: its key is
    taken, if the passphrase opens it. Raises UserError, EnvironmentFailure.
    """
    file = folder / f"{name}.key"
    if os.path.lexists(file):
        key = _left(file, name, passphrase)
    else:
        key = _generate(algorithm)
        pem = _pem(key, passphrase)
        Writer(folder).add(file, pem, sha256=sha256_bytes(pem), mode=MODE)
    public = _public(key)
    return KeyEntry(
        keyid=public.keyid, uri=f"{FILE}{file.name}", public=public.to_dict(), created=stamp(now)
    )


def _left(file: Path, name: str, passphrase: str | None) -> Any:
    """The key in a file without an entry, encrypted where a passphrase was asked for."""
    if passphrase is not None and not _is_encrypted(file):
        raise UserError(
            f"a key file is there already, and it is not encrypted: `{file.name}`",
            where=str(file),
            hint="remove it if no `keys.json` names it, or choose another folder",
            kind="passphrase",
        )
    return _load(file, name, [passphrase or ""], _no_other)


def _is_encrypted(file: Path) -> bool:
    try:
        _opened(_read_private(file), None)
    except (TypeError, ValueError):  # ValueError: damaged, which its reader says
        return True
    return False


def _generate(algorithm: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if algorithm == "ed25519":
        return Ed25519PrivateKey.generate()
    if algorithm == "ecdsa-p256":
        return generate_private_key(SECP256R1())
    raise UserError(f"there is no key algorithm `{algorithm}`", hint=f"{' or '.join(ALGORITHMS)}")


def _pem(key: Any, passphrase: str | None) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    kind = PrivateFormat.OpenSSH
    encryption: Any = NoEncryption()
    if passphrase is not None:
        if not passphrase:
            raise UserError("an empty passphrase protects nothing", hint="--no-passphrase says so")
        builder = kind.encryption_builder().kdf_rounds(KDF_ROUNDS)
        encryption = builder.build(passphrase.encode())
    pem: bytes = key.private_bytes(Encoding.PEM, kind, encryption)
    return pem


def _public(key: Any) -> SSlibKey:
    from securesystemslib.signer import SSlibKey

    return SSlibKey.from_crypto(key.public_key())


def signer_of(ring: KeyRing, name: str) -> Signer | None:
    """What signs with this key; None where its file is not on this machine.

    Raises SecurityError `key-mode` where others may read the file, UserError for a wrong
    passphrase or a file of another key, EnvironmentFailure `signer` for an HSM that does not work.
    """
    if name not in ring.opened:
        entry = ring.keys[name]
        opened = _file_signer(ring, name) if entry.uri.startswith(FILE) else _uri_signer(ring, name)
        if opened is None:
            return None
        ring.opened[name] = opened
    signer: Signer = ring.opened[name]
    return signer


def key_file(ring: KeyRing, name: str) -> Path | None:
    """The file of a private key, where it is on this machine."""
    file = ring.keys[name].uri.removeprefix(FILE)
    if "/" in file or file.startswith("."):
        raise SecurityError(f"the key file `{file!a}` leaves the folder", where=str(ring.folder))
    places = [folder / file for folder in (ring.folder, *ring.elsewhere)]
    return next((place for place in places if os.path.lexists(place)), None)


def _file_signer(ring: KeyRing, name: str) -> Signer | None:
    from securesystemslib.signer import CryptoSigner, SSlibKey

    file = key_file(ring, name)
    if file is None:
        return None
    entry = ring.keys[name]
    key = _load(file, name, ring.known, ring.secret)
    if _public(key).to_dict()["keyval"] != entry.public["keyval"]:
        raise UserError(
            f"this is not the private key of `{name}`",
            where=str(file),
            hint="put the right file there; its key id is in `keys.json`",
        )
    return CryptoSigner(key, SSlibKey.from_dict(entry.keyid, dict(entry.public)))


def _load(file: Path, name: str, known: list[str], secret: Secret) -> Any:
    """The private key; `known` are tried first, and what `secret` says is one of them then."""
    data = _read_private(file)
    try:
        return _opened(data, None)
    except TypeError:
        pass  # it is encrypted
    except ValueError as error:
        raise UserError(f"the key file cannot be read: {error}", where=str(file)) from error
    for passphrase in known:
        with suppress(ValueError):
            return _opened(data, passphrase)
    passphrase = secret(f"the passphrase of {name}")
    try:
        key = _opened(data, passphrase)
    except ValueError as error:
        raise _wrong(file, name) from error
    known.append(passphrase)
    return key


def _opened(data: bytes, passphrase: str | None) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old algorithms, none of which is used here
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    return load_ssh_private_key(data, None if passphrase is None else passphrase.encode())


def _no_other(what: str) -> str:
    raise UserError(
        f"a key file is there already, and {what} is another one",
        hint="state the passphrase of the earlier `edgesr keys init`, or choose another folder",
        kind="passphrase",
    )


def _wrong(file: Path, name: str) -> UserError:
    return UserError(
        f"the passphrase does not open `{name}`, or the file is damaged",
        where=str(file),
        hint="try again; where the passphrase is lost, so is the key: edgesr keys rotate",
        kind="passphrase",
    )


def _read_private(file: Path) -> bytes:
    """A key file's bytes, only if its owner alone may read it."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise UserError(f"cannot read a key: {error.strerror}", where=str(file)) from error
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & OTHERS:
            raise SecurityError(
                f"others may use this private key: its mode is {stat.S_IMODE(status.st_mode):04o}",
                where=str(file),
                hint=f"chmod 600 {file} (of a FAT stick: mount it with umask=077); "
                "if others had access, replace the key: edgesr keys rotate",
                kind="key-mode",
            )
        return stream.read(KEY_MAX_BYTES)


def _uri_signer(ring: KeyRing, name: str) -> Signer:
    from securesystemslib.signer import Signer as Signers
    from securesystemslib.signer import SSlibKey

    entry = ring.keys[name]
    public = SSlibKey.from_dict(entry.keyid, dict(entry.public))

    def ask(what: str) -> str:
        return ring.secret(f"the {what} of {name}")

    try:
        return Signers.from_priv_key_uri(entry.uri, public, ask)
    except ToolkitError:
        raise
    except Exception as error:  # each signer has its own; all of them mean the same to us
        raise unusable(name, str(error)) from error
