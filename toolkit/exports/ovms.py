"""OpenVINO Model Server: `<models>/<model>/<number>/` with the model's files.

The server serves the highest number and loads a new one when its folder appears, so the folder
appears whole, by a rename, and an older number is never touched.
https://docs.openvino.ai/latest/ovms_docs_models_repository.html
"""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import UserError
from toolkit.exporting.export import Exported, Wishes
from toolkit.exporting.placing import copy, place
from toolkit.exporting.signed_release import SignedRelease
from toolkit.release import NAME

PURPOSE = "a version folder of an OpenVINO Model Server"
TAKES = ("name",)
IS_CHANNEL = False
SUFFIXES = (".xml", ".onnx", ".tflite")  # of what the server loads and the toolkit makes


def export(release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
    """Add the release to the model repository `out`; its number there is the release's."""
    name = wishes.name or release.release.family
    if not NAME.fullmatch(name):
        raise UserError(f"`{name}` cannot be the name of a model", hint="--name with letters, "
                        "digits, `.`, `_` and `-`")  # fmt: skip
    if release.model.path.suffix not in SUFFIXES:
        raise UserError(
            f"OpenVINO Model Server does not load `{release.model.name}`",
            hint=f"it loads {', '.join(SUFFIXES)}",
        )
    files = [release.model, *release.parts]

    def fill(folder: Path) -> None:
        for file in files:
            copy(file, folder / file.name)

    goal = out / name / str(release.release.release)
    changed = place(goal, fill, created_s=release.created_s)
    return Exported(
        path=goal,
        changed=changed,
        digests={file.name: file.sha256 for file in files},
        notes=(),
        next=(
            "a server that watches the folder loads it within a second; a new server:",
            f"  ovms --model_name {name} --model_path {(out / name).absolute()} --port 9000",
        ),
    )
