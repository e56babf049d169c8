"""The licence of a model, as a text for people."""

from __future__ import annotations

from toolkit.bundle.manifest import Bundle
from toolkit.contracts import Artefact

SPDX = "https://spdx.org/licenses"


def licence_text(bundle: Bundle, artefact: Artefact) -> bytes:
    """A short ASCII text: what is licensed, under what the recipe states, where that text is."""
    from cyclonedx.spdx import is_supported_id

    stated = bundle.licence
    lines = [
        f"{artefact.path.name}, of the recipe `{bundle.recipe}` for `{bundle.target}`",
        "",
        f"Licence, as the recipe states it: {stated}",
    ]
    if is_supported_id(stated):
        lines += [f"SPDX-License-Identifier: {stated}", f"Its text: {SPDX}/{stated}.html"]
    return ("\n".join(lines) + "\n").encode("ascii", "backslashreplace")
