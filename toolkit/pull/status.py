"""What a store says without asking anybody: no network, no lock, nothing is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.pull.disk import read_small
from toolkit.pull.heal import standing
from toolkit.pull.result import SCHEMA, served
from toolkit.pull.store import (
    CURRENT,
    PREVIOUS,
    Standing,
    blocked,
    folder_of,
    is_whole,
    read_pointer,
    stored_manifest,
)
from toolkit.release import MANIFEST

METADATA_MAX_BYTES = 1 << 20


def status_json(store: Path) -> dict[str, Any]:
    """The JSON value of `edgesr pull --status --json`."""
    found = standing(store)
    return {
        "schema": SCHEMA,
        "store": str(store.absolute()),
        **served(found),
        "damaged": [one for name in (CURRENT, PREVIOUS) if (one := _damage(store, name))],
        "model": _model(found),
        "blocked": blocked(store),
        "metadata": trusted_until(store / "metadata"),
    }


def _damage(store: Path, name: str) -> dict[str, Any] | None:
    """What is wrong with the release that a pointer names; None where nothing is."""
    if not (store / name).exists():
        return None
    pointer = read_pointer(store, name)
    if pointer is None:
        return {"pointer": name, "release": None, "id": None, "files": {name: "damaged"}}
    folder = folder_of(store, pointer.id)
    release = stored_manifest(store, pointer.id)
    bad = [MANIFEST]
    if release is not None:
        bad = [file.name for file in release.fetched if not is_whole(folder / file.name, file)]
    files = {one: "damaged" if (folder / one).exists() else "missing" for one in bad}
    found = {"pointer": name, "release": pointer.release, "id": pointer.id, "files": files}
    return found if bad else None


def _model(found: Standing) -> dict[str, Any] | None:
    if found.current is None:
        return None
    release = found.current.release
    keys = ("family", "compatible", "created", "recipe", "precision", "scale", "runtime", "licence")
    return {key: getattr(release, key) for key in keys}


def trusted_until(metadata: Path) -> dict[str, dict[str, Any]]:
    """Version and expiry of each trusted file, as it states them; damaged ones are left out."""
    names = sorted(path for path in metadata.glob("*.json") if path.stem.count(".") == 0)
    found = {}
    for path in names:
        signed = _signed(path)
        if "version" in signed:
            found[path.stem] = {
                key: signed[key] for key in ("version", "expires", "signed_at") if key in signed
            }
    return found


def _shown(value: object) -> str:
    """Names and words of files that anybody may have put there: no escape codes."""
    return ascii(value).strip("'")[:40]


def _signed(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(read_small(path, METADATA_MAX_BYTES) or b"")["signed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def status_text(value: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = []
    model = value["model"]
    if model is None:
        lines.append(f"no model in {value['store']}")
    else:
        lines.append(
            f"release {value['release']} of {model['family']}: {model['recipe']}, "
            f"{model['precision']}, x{model['scale']}, for {model['compatible']}"
        )
        lines.append(f"  {value['path']}")
    previous = value["previous"]
    lines.append("no previous release" if previous is None else f"previous: release {previous}")
    for one in value["damaged"]:
        names = "no release" if one["release"] is None else f"release {one['release']}"
        files = ", ".join(f"`{file}` is {how}" for file, how in one["files"].items())
        lines.append(f"`{one['pointer']}` names {names}: {files}; the next poll repairs it")
    for content, kind in value["blocked"].items():
        lines.append(f"blocked [{kind}]: {content[:16]}")
    for role, said in value["metadata"].items():
        until = f", until {_shown(said['expires'])}" if "expires" in said else ""
        lines.append(f"trusted {_shown(role)} {_shown(said['version'])}{until}")
    return "\n".join(lines)
