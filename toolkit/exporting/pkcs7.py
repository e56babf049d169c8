"""A detached CMS signature by a certificate's key, as SWUpdate checks it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toolkit.errors import UserError

PASSPHRASE = "EDGESR_KEY_PASSPHRASE"  # never on a command line, where others can read it
LARGEST_BYTES = 1 << 20  # of a PEM file


def detached_signature(data: bytes, cert: str, key: str) -> bytes:
    """DER of a CMS signature over `data` with SHA-256 and no attributes, so without a time.

    `cert` and `key` are PEM files; the passphrase of an encrypted key is in the environment.
    Raises UserError where they cannot be read or do not belong together.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    options = pkcs7.PKCS7Options
    secret = os.environ.get(PASSPHRASE)
    try:
        certificate = x509.load_pem_x509_certificate(_read(cert))
        private = _private(_read(key), secret.encode() if secret else None)
        if private.public_key() != certificate.public_key():
            raise ValueError("the key is not the certificate's")
        builder = pkcs7.PKCS7SignatureBuilder().set_data(data)
        builder = builder.add_signer(certificate, private, SHA256())
        kinds = [options.DetachedSignature, options.Binary, options.NoAttributes]
        return builder.sign(Encoding.DER, kinds)
    except (ValueError, TypeError, OSError) as error:
        raise UserError(
            f"cannot sign: {error}",
            where=f"{cert} and {key}",
            hint=f"both are PEM files, RSA or ECDSA; a passphrase goes into {PASSPHRASE}",
        ) from error


def _private(pem: bytes, secret: bytes | None) -> Any:
    """The key; the passphrase may be there for other keys, and this one plain."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None)
    except TypeError:  # it is encrypted
        return load_pem_private_key(pem, secret)


def _read(path: str) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(LARGEST_BYTES)
