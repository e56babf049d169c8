"""An OCI image layout: every file of the release as a layer, found by its digest as in TUF.

Manifest and layout: https://github.com/opencontainers/image-spec/blob/main/manifest.md (guidance
for artifacts) and image-layout.md. `oras` writes a layer to the file that its title names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.digest import canonical_json, sha256_bytes
from toolkit.exporting.export import Exported, Wishes
from toolkit.exporting.placing import copy, place
from toolkit.exporting.signed_release import SignedFile, SignedRelease

PURPOSE = "an OCI image layout, to be pushed to a registry"
TAKES: tuple[str, ...] = ()
IS_CHANNEL = False
ARTIFACT = "application/vnd.edgesr.release.v1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_CONTENT = b"{}"  # what the specification says an empty config is
MEDIA_TYPES = {".json": "application/json", ".txt": "text/plain", ".html": "text/html"}
ANY_MEDIA_TYPE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
TARGET = "org.edgesr.tuf.target"  # the TUF target path of the very same bytes


def export(release: SignedRelease, out: Path, wishes: Wishes) -> Exported:
    """Write the layout `out` with one manifest, whose tag is the release's number."""
    files = [*release.files, release.manifest]
    manifest = canonical_json(_manifest(release, files))

    def fill(folder: Path) -> None:
        blobs = folder / "blobs" / "sha256"
        for file in files:
            copy(file, blobs / file.sha256)
        for content in (EMPTY_CONTENT, manifest):
            (blobs / sha256_bytes(content)).write_bytes(content)
        (folder / "index.json").write_bytes(canonical_json(_index(release, manifest)))
        (folder / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))

    changed = place(out, fill, created_s=release.created_s)
    number, family = release.release.release, release.release.family
    return Exported(
        path=out,
        changed=changed,
        digests={file.name: file.sha256 for file in files},
        notes=(),
        next=(
            f"push it:  skopeo copy oci:{out}:{number} docker://REGISTRY/{family}:{number}",
            f"pull it:  oras pull REGISTRY/{family}@sha256:{sha256_bytes(manifest)}",
        ),
    )


def _manifest(release: SignedRelease, files: list[SignedFile]) -> Mapping[str, Any]:
    one = release.release
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": EMPTY, **_described(EMPTY_CONTENT)},
        "layers": [_layer(file) for file in files],
        "annotations": {
            "org.opencontainers.image.created": one.created,
            "org.opencontainers.image.licenses": one.licence,
            "org.opencontainers.image.version": str(one.release),
            TITLE: one.family,
            "org.edgesr.compatible": one.compatible,
            TARGET: release.manifest.target,
        },
    }


def _layer(file: SignedFile) -> Mapping[str, Any]:
    return {
        "mediaType": MEDIA_TYPES.get(Path(file.name).suffix, ANY_MEDIA_TYPE),
        "digest": f"sha256:{file.sha256}",
        "size": file.length,
        "annotations": {TITLE: file.name, TARGET: file.target},
    }


def _index(release: SignedRelease, manifest: bytes) -> Mapping[str, Any]:
    tag = {"org.opencontainers.image.ref.name": str(release.release.release)}
    entry = {"mediaType": MANIFEST, "artifactType": ARTIFACT, "annotations": tag}
    return {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**entry, **_described(manifest)}],
    }


def _described(content: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{sha256_bytes(content)}", "size": len(content)}
