"""Keys that never leave an HSM or a key service, by the URIs of securesystemslib's signers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlparse

from toolkit.errors import EnvironmentFailure, ToolkitError, UserError
from toolkit.keys.ring import KeyEntry, Secret, stamp

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

# what both clients verify
SCHEMES = ("ed25519", "ecdsa-sha2-nistp256", "rsassa-pss-sha256")
PEM_MAX_BYTES = 16 << 10


def keys_of(
    words: Sequence[str], *, secret: Secret, now: datetime
) -> Mapping[str, tuple[KeyEntry, ...]]:
    """`ROLE=URI` or `ROLE=URI,PUBLIC.pem`, as often as a role has keys, by role.

    Without the file the public half is asked of the HSM or service itself: `hsm:2?label=edgesr`,
    `awskms:ID`, `gcpkms:NAME`, `azurekms://VAULT.vault.azure.net/keys/NAME`, `hv:NAME`.
    Raises UserError for words or keys that cannot be used, EnvironmentFailure `signer` where the
    HSM or service does not answer.
    """
    found: dict[str, tuple[KeyEntry, ...]] = {}
    for word in words:
        role, equals, uri = word.partition("=")
        if not role or not equals or ":" not in uri:
            raise UserError(
                f"`--uri {word}` is not ROLE=URI", hint='--uri "targets=hsm:2?label=edgesr"'
            )
        found[role] = (*found.get(role, ()), _entry(role, uri, secret, now))
    return found


def _entry(role: str, uri: str, secret: Secret, now: datetime) -> KeyEntry:
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME

    uri, _, pem = uri.partition(",")
    scheme = uri.partition(":")[0]
    if scheme not in SIGNER_FOR_URI_SCHEME or scheme.startswith("file"):
        known = sorted(name for name in SIGNER_FOR_URI_SCHEME if not name.startswith("file"))
        raise UserError(f"no signer is known for `{uri}`", hint=f"there are: {', '.join(known)}")
    if pem:
        public = _from_pem(Path(pem))
    else:
        uri, public = _asked(role, uri, SIGNER_FOR_URI_SCHEME[scheme], secret)
    if public.scheme not in SCHEMES:
        raise UserError(
            f"cameras do not verify `{public.scheme}`, the kind of the key `{uri}`",
            hint=f"they verify {', '.join(SCHEMES)}",
        )
    return KeyEntry(keyid=public.keyid, uri=uri, public=public.to_dict(), created=stamp(now))


def _from_pem(file: Path) -> SSlibKey:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        with file.open("rb") as stream:
            return SSlibKey.from_crypto(load_pem_public_key(stream.read(PEM_MAX_BYTES)))
    except (OSError, ValueError) as error:
        raise UserError(f"this is no public key in PEM: {error}", where=str(file)) from error


def _asked(role: str, uri: str, signer: Any, secret: Secret) -> tuple[str, SSlibKey]:
    """The URI and public key as the signer's own `import_` says."""
    scheme = uri.partition(":")[0]
    if scheme not in _IMPORTS:
        raise UserError(
            f"the public key of `{uri}` must be given", hint=f'--uri "{role}={uri},public.pem"'
        )
    try:
        found: tuple[str, SSlibKey] = _IMPORTS[scheme](
            signer, uri, lambda what: secret(f"the {what} of {role}")
        )
    except ToolkitError:
        raise
    except Exception as error:  # each has errors of its own: drivers, networks, rights
        raise EnvironmentFailure(
            f"`{uri}` does not say its public key: {error}",
            hint="look at the URI and the driver of the HSM; --uri ROLE=URI,PUBLIC.pem states it",
            kind="signer",
        ) from error
    return found


def _hsm(signer: Any, uri: str, secret: Secret) -> Any:
    parsed = urlparse(uri)
    label = dict(parse_qsl(parsed.query)).get("label")
    return signer.import_(int(parsed.path) if parsed.path else None, label, secret)


def _aws(signer: Any, uri: str, _: Secret) -> Any:
    return signer.import_(uri.partition(":")[2], "ecdsa-sha2-nistp256")


def _azure(signer: Any, uri: str, _: Secret) -> Any:
    parsed = urlparse(uri)
    return signer.import_(parsed.netloc.partition(".")[0], parsed.path.split("/")[2])


def _named(signer: Any, uri: str, _: Secret) -> Any:
    return signer.import_(uri.partition(":")[2].split("?")[0])


_IMPORTS: Mapping[str, Callable[[Any, str, Secret], Any]] = {
    "hsm": _hsm,
    "awskms": _aws,
    "azurekms": _azure,
    "gcpkms": _named,
    "hv": _named,
}
