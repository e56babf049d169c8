"""Keys that stay in an HSM, by a PKCS#11 token in software, and URIs of signers we do not know."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from channel_parts import NOW, Camera, draft, tree
from needs import needs
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.channel.rotate import rotate
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.keys.ring import open_keys
from toolkit.keys.uri import keys_of

PIN = "123456"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    """A token `edgesr` with P-256 keys of the ids 2 and 3."""
    import pkcs11

    home = tmp_path_factory.mktemp("softhsm")
    (home / "tokens").mkdir()
    (home / "conf").write_text(f"directories.tokendir = {home}/tokens\nlog.level = ERROR\n")
    before = dict(os.environ)
    os.environ |= {"SOFTHSM2_CONF": str(home / "conf"), "PYKCS11LIB": str(MODULE)}
    words = ["--init-token", "--free", "--label", "edgesr", "--so-pin", "0000", "--pin", PIN]
    subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
    curve = pkcs11.util.ec.encode_named_curve_parameters("secp256r1")
    with (
        pkcs11.lib(str(MODULE))
        .get_token(token_label="edgesr")
        .open(rw=True, user_pin=PIN) as session
    ):
        for number in (2, 3):
            made = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True
            )
            made.generate_keypair(id=bytes([number]), label=f"key {number}", store=True)
    yield "hsm:{}?label=edgesr"
    os.environ.clear()
    os.environ.update(before)


def pin(what):
    assert what.startswith("the pin of ")
    return PIN


@needs("softhsm")
def test_a_channel_whose_targets_key_never_leaves_its_hsm(tmp_path, token):
    uris = keys_of([f"targets={token.format(2)}"], secret=pin, now=NOW)
    init_keys(tmp_path / "keys", families=["street"], uris=uris, secret=pin, now=NOW)
    assert not list((tmp_path / "keys").glob("targets*.key"))
    ring = open_keys(tmp_path / "keys", secret=pin)
    publish_draft(tmp_path / "channel", draft(), keys=ring, now=NOW)
    camera = Camera(tmp_path / "channel", tmp_path / "keys/root.json")
    assert camera.newest().release == 1
    uris = keys_of([f"timestamp={token.format(3)}"], secret=pin, now=NOW)
    ring = rotate(ring, ["timestamp"], uris=uris, channel=tmp_path / "channel", now=NOW)
    assert ring.keys[ring.role("timestamp").keys[0]].uri == token.format(3)
    publish_draft(tmp_path / "channel", draft(2), keys=ring, now=NOW)
    assert camera.newest().release == 2


@needs("softhsm")
def test_an_hsm_that_does_not_sign_leaves_the_channel_alone(tmp_path, token):
    uris = keys_of([f"street={token.format(2)}"], secret=pin, now=NOW)
    init_keys(tmp_path / "keys", families=["street"], uris=uris, secret=pin, now=NOW)
    ring = open_keys(tmp_path / "keys", secret=lambda _: "000000")
    with pytest.raises(EnvironmentFailure, match="the key `street-1` cannot sign") as caught:
        publish_draft(tmp_path / "channel", draft(), keys=ring, now=NOW)
    assert caught.value.kind == "signer" and "000000" not in str(caught.value)
    assert tree(tmp_path / "channel") == {}


@needs("softhsm")
@pytest.mark.parametrize("number, label", [(9, "edgesr"), (2, "another")])
def test_a_key_that_the_hsm_has_not(token, number, label):
    with pytest.raises(EnvironmentFailure, match="does not say its public key"):
        keys_of([f"targets=hsm:{number}?label={label}"], secret=pin, now=NOW)


KEPT = CryptoSigner.generate_ed25519()


class Service(Signer):
    """A signer of somebody else's making, registered as securesystemslib documents."""

    def __init__(self, public):
        self.public = public

    @property
    def public_key(self):
        return self.public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri, public_key, secrets_handler=None):
        assert priv_key_uri == "service:signing/7"
        return cls(public_key)

    def sign(self, payload):
        return KEPT.sign(payload)


@pytest.fixture
def service(monkeypatch, tmp_path):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "service", Service)
    public = KEPT._private_key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(pem)
    return f"service:signing/7,{tmp_path}/public.pem"


def test_a_signer_of_another_making(tmp_path, service):
    uris = keys_of([f"snapshot={service}"], secret=pin, now=NOW)
    ring = init_keys(tmp_path / "keys", families=["street"], uris=uris, now=NOW)
    publish_draft(tmp_path / "channel", draft(), keys=ring, now=NOW)
    assert Camera(tmp_path / "channel", tmp_path / "keys/root.json").newest().release == 1
    assert ring.keys["snapshot-1"].uri == "service:signing/7"


def another_curve(tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = generate_private_key(SECP384R1()).public_key()
    (tmp_path / "p384.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return f"targets=service:signing/7,{tmp_path}/p384.pem"


@pytest.mark.parametrize(
    "word, found",
    [
        ("targets", "is not ROLE=URI"),
        ("=hsm:2", "is not ROLE=URI"),
        ("targets=nothing", "is not ROLE=URI"),
        ("targets=unknown:2", "no signer is known for `unknown:2`"),
        ("targets=file2:/etc/passwd", "no signer is known for `file2:/etc/passwd`"),
        ("targets=service:signing/7", "the public key of `service:signing/7` must be given"),
        ("targets=service:signing/7,{tmp}/none.pem", "no public key in PEM"),
        (another_curve, "cameras do not verify `ecdsa-sha2-nistp384`"),
    ],
)
def test_uris_that_cannot_be_used(tmp_path, service, word, found):
    text = word(tmp_path) if callable(word) else word.format(tmp=tmp_path)
    with pytest.raises(UserError, match=found):
        keys_of([text], secret=pin, now=NOW)
