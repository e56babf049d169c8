"""RAUC: a bundle for an artifact repository, or the folder that `rauc bundle` makes one of.

A model of one file goes to a repository of type `files`; the link `<repository>/<family>` is then
changed in one moment. A model of two files goes to one of type `trees`, where `<family>` is a
folder. Repositories came with RAUC 1.13; an older one makes such a bundle but cannot install it.
https://rauc.readthedocs.io/en/latest/reference.html (manifest, artifact repositories)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit.digest import sha256_file
from toolkit.errors import EnvironmentFailure, UserError
from toolkit.exporting.export import Exported, Wishes, both_or_none
from toolkit.exporting.format_tool import has_tool, run_tool
from toolkit.exporting.placing import copy, place
from toolkit.exporting.signed_release import SignedRelease
from toolkit.exporting.tar import tar_bytes
from toolkit.release import FAMILY

PURPOSE = "a RAUC bundle (with --cert and --key), or the folder that one is made of"
TAKES = ("cert", "key", "keyring", "name", "hardware")
IS_CHANNEL = False
TOOL = "rauc"
OTHERWISE = "or leave --cert and --key out, and run `rauc bundle` where it is installed"
MANIFEST = "manifest.raucm"
REPOSITORY = "models"


def export(release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
    """Write a signed bundle where a certificate and a key are given, else its input folder."""
    pair = both_or_none(wishes)
    repository = wishes.name or REPOSITORY
    if not FAMILY.fullmatch(repository):
        hint = "--name with 1 to 32 of a-z, 0-9 and `-`"
        raise UserError(f"`{repository}` cannot be the name of a repository", hint=hint)

    def fill(goal: Path) -> None:
        if pair is None:
            _fill_input(release, repository, wishes, goal)
            return
        folder = goal.with_name("input")
        _fill_input(release, repository, wishes, folder)
        words = [TOOL, f"--cert={pair[0]}", f"--key={pair[1]}"]
        run_tool([*words, "bundle", str(folder), str(goal)], package=TOOL, otherwise=OTHERWISE)
        _check(goal, folder, wishes)

    changed = place(out, fill, created_s=release.created_s, alike=_alike if pair else None)
    return Exported(
        path=out,
        changed=changed,
        digests=_digests(release),
        notes=_notes(pair is not None, wishes),
        next=_next(release, repository, out, pair is not None),
    )


def _fill_input(release: SignedRelease, repository: str, wishes: Wishes, folder: Path) -> None:
    """The image and a manifest that names it, for one artifact called as the family."""
    image = folder / _image(release)
    if release.parts:
        copies = folder.with_name("copies")
        for file in release.stored:
            copy(file, copies / file.name)
        inside = [(one.name, (copies / one.name).read_bytes()) for one in release.stored]
        folder.mkdir()
        image.write_bytes(tar_bytes(inside, release.created_s))
    else:
        copy(release.model, image)
    (folder / MANIFEST).write_text(_manifest(release, repository, wishes, image), "ascii")


def _image(release: SignedRelease) -> str:
    """Its name in the bundle: RAUC before 1.15 tells an image's type by this suffix."""
    return f"{release.release.family}.{'tar' if release.parts else 'img'}"


def _manifest(release: SignedRelease, repository: str, wishes: Wishes, image: Path) -> str:
    one = release.release
    # a dot in an artifact's name would start a variant; a family has none
    return (
        "[update]\n"
        f"compatible={_value(wishes.hardware or one.compatible)}\n"
        f"version={one.release}\n"
        f"description={one.family} release {one.release}, {release.model.name}\n"
        f"build={release.manifest.sha256}\n"
        "\n"
        "[bundle]\n"
        "format=verity\n"
        "\n"
        f"[image.{repository}/{one.family}]\n"
        f"filename={image.name}\n"
        f"size={image.stat().st_size}\n"
        f"sha256={sha256_file(image)}\n"
    )


def _value(text: str) -> str:
    """A value of a GLib key file, where a backslash escapes."""
    return text.replace("\\", "\\\\")


def _check(bundle: Path, folder: Path, wishes: Wishes) -> None:
    """RAUC itself must read the image's very digest out of what it signed."""
    told = [one for entry in _info(bundle, wishes)["images"] for one in entry.values()]
    manifest = (folder / MANIFEST).read_text("ascii")
    if len(told) != 1 or f"sha256={told[0]['checksum']}\n" not in manifest:
        raise EnvironmentFailure("`rauc info` tells another digest than was bundled")


def _info(bundle: Path, wishes: Wishes | None) -> dict[str, Any]:
    """What RAUC reads out of a bundle, its signature checked where a keyring is given."""
    keyring = wishes.keyring if wishes else None
    trust = f"--keyring={keyring}" if keyring else "--no-verify"
    words = [TOOL, "info", trust, "--output-format=json", str(bundle)]
    value: dict[str, Any] = json.loads(run_tool(words, package=TOOL, otherwise=OTHERWISE).stdout)
    return value


def _alike(made: Path, there: Path) -> bool:
    """Whether two bundles say the same: salt and signature are drawn at random."""
    try:
        return _info(made, None) == _info(there, None)
    except (EnvironmentFailure, ValueError):
        return False


def _digests(release: SignedRelease) -> dict[str, str]:
    files = release.stored if release.parts else (release.model,)
    return {file.name: file.sha256 for file in files}


def _notes(is_signed: bool, wishes: Wishes) -> tuple[str, ...]:
    notes = []
    if is_signed and wishes.keyring is None:
        notes.append("its signature was not checked against a keyring: name one with --keyring")
    if not is_signed and not has_tool(TOOL):
        notes.append("`rauc` is not installed here, so nothing but the digests was checked")
    return tuple(notes)


def _next(release: SignedRelease, repository: str, out: Path, is_signed: bool) -> tuple[str, ...]:
    kind = "trees" if release.parts else "files"
    family = release.release.family
    put = f"rauc install {out.name}   (RAUC 1.13 or newer)"
    if not is_signed:
        put = f"rauc --cert=CERT.pem --key=KEY.pem bundle {out} {family}.raucb"
    return (
        f"{'on the device' if is_signed else 'sign it'}:  {put}",
        f"its system.conf needs [artifacts.{repository}] with type={kind} and a path; "
        f"the model is then PATH/{family}",
    )
