"""Mender: an artifact of the update module `single-file`, or `directory` for a model of two files.

`single-file` puts the model's file in place by a copy beside it, sync and rename, and keeps a copy
to roll back to. Its files `dest_dir`, `filename` and `permissions` are what Mender's own generator
writes: https://github.com/mendersoftware/mender/tree/master/support/modules-artifact-gen
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from toolkit.exporting.export import Exported, Wishes, device_folder
from toolkit.exporting.format_tool import run_tool
from toolkit.exporting.placing import copy, place
from toolkit.exporting.signed_release import SignedFile, SignedRelease
from toolkit.exporting.tar import tar_bytes, tar_members

PURPOSE = "a Mender artifact of its update module single-file"
TAKES = ("key", "device_path", "hardware")
IS_CHANNEL = False
TOOL = "mender-artifact"
OTHERWISE = "or export to another format"
KEY_FORM = (  # of version 3.9; later ones read both forms
    "an RSA key in its older form can be read by every version: "
    "openssl rsa -in KEY.pem -traditional -out MENDER.pem"
)
SIGNATURE = "manifest.sig"


def export(release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
    """Write `out` with Mender's own tool, signed where a key is given."""
    files = _carried(release)
    device = device_folder(release, wishes)

    def fill(file: Path) -> None:
        payload = _payload(release, files, device, file.with_name("payload"))
        _write(release, wishes, payload, file)
        # the tool puts the present time on two members; their contents are what is signed
        file.write_bytes(tar_bytes(tar_members(file), release.created_s))
        # `validate` wants the public key of a signed one; `read` checks every digest as well
        check = "read" if wishes.key else "validate"
        run_tool([TOOL, check, str(file)], package=TOOL, otherwise=OTHERWISE)

    changed = place(out, fill, created_s=release.created_s, alike=_alike)
    whole = (
        f"the model has {1 + len(release.parts)} files: Mender's module `directory` takes them, "
        f"and replaces all of {device}/"
    )
    return Exported(
        path=out,
        changed=changed,
        digests={file.name: file.sha256 for file in files},
        notes=(whole,) if release.parts else (),
        next=(
            f"upload {out.name} to Mender, or on the device:  mender install {out.name}",
            f"it puts {_told(files)} into {device}/",
        ),
    )


def _told(files: tuple[SignedFile, ...]) -> str:
    return files[0].name if len(files) == 1 else f"{len(files)} files"


def _carried(release: SignedRelease) -> tuple[SignedFile, ...]:
    """One file where the model is one; else everything that a camera stores."""
    return release.stored if release.parts else (release.model,)


def _payload(
    release: SignedRelease, files: tuple[SignedFile, ...], device: str, folder: Path
) -> list[Path]:
    """The files that the update module reads on the device."""
    for file in files:
        copy(file, folder / file.name)
    made: Mapping[str, bytes] = {"dest_dir": f"{device}\n".encode()}
    if release.parts:
        inside = [(file.name, (folder / file.name).read_bytes()) for file in files]
        made = {**made, "update.tar": tar_bytes(inside, release.created_s)}
    else:
        name = release.model.name
        made = {**made, "filename": f"{name}\n".encode(), "permissions": b"644\n"}
    for name, content in made.items():
        (folder / name).write_bytes(content)
    paths = [folder / name for name in made]
    paths += [] if release.parts else [folder / release.model.name]
    for path in paths:
        os.utime(path, (release.created_s, release.created_s))
    return paths


def _write(release: SignedRelease, wishes: Wishes, payload: list[Path], file: Path) -> None:
    one = release.release
    words = [TOOL, "write", "module-image", "--compression", "none"]
    words += ["--type", "directory" if release.parts else "single-file"]
    words += ["--artifact-name", f"{one.family}-{one.release}"]
    words += ["--device-type", wishes.hardware or one.compatible]
    # `data-partition.<family>.version`: an update of the root file system leaves it as it is
    words += ["--software-filesystem", "data-partition", "--software-name", one.family]
    words += ["--software-version", str(one.release)]
    words += ["--output-path", str(file)]
    words += ["--key", wishes.key] if wishes.key else []
    for path in payload:
        words += ["--file", str(path)]
    run_tool(words, package=TOOL, otherwise=OTHERWISE, hint=KEY_FORM if wishes.key else "")


def _alike(made: Path, there: Path) -> bool:
    """Whether two artifacts differ in their signatures alone."""
    try:
        pair = [[one for one in tar_members(file) if one[0] != SIGNATURE] for file in (made, there)]
    except ValueError:
        return False
    return pair[0] == pair[1]
