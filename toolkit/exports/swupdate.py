"""SWUpdate: a `.swu` that puts a release's files into a folder of their own on the device.

The format: https://sbabic.github.io/swupdate/sw-description.html and signed_images.html. Each file
is written as `.tmp` and renamed (`atomic-install`), in the order of the list, release.json last:
a numbered folder with it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolkit.exporting.cpio import Member, archive_bytes, members
from toolkit.exporting.export import Exported, Wishes, both_or_none, device_folder
from toolkit.exporting.pkcs7 import detached_signature
from toolkit.exporting.placing import copy, place
from toolkit.exporting.signed_release import SignedFile, SignedRelease

PURPOSE = "a .swu of SWUpdate"
TAKES = ("cert", "key", "device_path", "hardware")
IS_CHANNEL = False
DESCRIPTION, SIGNATURE = "sw-description", "sw-description.sig"


def export(release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
    """Write `out`, signed by CMS where a certificate and its key are given."""
    pair = both_or_none(wishes)
    text = _description(release, wishes).encode("ascii")
    signature = None if pair is None else detached_signature(text, *pair)

    def fill(file: Path) -> None:
        head = [Member(name=DESCRIPTION, content=text)]
        if signature is not None:
            head.append(Member(name=SIGNATURE, content=signature))
        copies = file.with_name("copies")
        for one in release.stored:
            copy(one, copies / one.name)
        rest = [Member(name=o.name, content=(copies / o.name).read_bytes()) for o in release.stored]
        file.write_bytes(archive_bytes([*head, *rest], release.created_s))

    changed = place(out, fill, created_s=release.created_s, alike=_alike)
    unsigned = "it is not signed: a SWUpdate built for signed images refuses it (--cert, --key)"
    return Exported(
        path=out,
        changed=changed,
        digests={file.name: file.sha256 for file in release.stored},
        notes=() if pair else (unsigned,),
        next=(
            f"on the device:  swupdate -k CERT.pem -i {out.name}",
            f"its files are then in {_folder(release, wishes)}/, release.json the last of them",
        ),
    )


def _folder(release: SignedRelease, wishes: Wishes) -> str:
    return f"{device_folder(release, wishes)}/{release.release.release}"


def _description(release: SignedRelease, wishes: Wishes) -> str:
    one = release.release
    hardware = wishes.hardware or one.compatible
    title = f"{one.family} release {one.release}, {release.manifest.sha256}"
    entries = ",\n".join(_entry(file, release, wishes) for file in release.stored)
    return (
        "software =\n{\n"
        f"  version = {_text(str(one.release))};\n"
        f"  description = {_text(title)};\n"
        f"  hardware-compatibility: [ {_text(hardware)} ];\n"
        f"  files: (\n{entries}\n  );\n"
        "}\n"
    )


def _entry(file: SignedFile, release: SignedRelease, wishes: Wishes) -> str:
    """One file; a device whose sw-versions state this release or a higher one skips it."""
    lines = {
        "filename": file.name,
        "path": f"{_folder(release, wishes)}/{file.name}",
        "type": "rawfile",
        "name": release.release.family,
        "version": str(release.release.release),
        "sha256": file.sha256,
    }
    told = "".join(f"      {key} = {_text(value)};\n" for key, value in lines.items())
    return (
        "    {\n"
        f"{told}"
        "      install-if-higher = true;\n"
        '      properties = { atomic-install = "true"; create-destination = "true"; };\n'
        "    }"
    )


def _text(value: str) -> str:
    """A string of libconfig, which escapes as C does; every value here is printable ASCII."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _alike(made: Path, there: Path) -> bool:
    """Whether two files differ in their signatures alone."""

    def unsigned(file: Path) -> Iterator[Member]:
        return (one for one in members(file.read_bytes()) if one.name != SIGNATURE)

    return list(unsigned(made)) == list(unsigned(there))
