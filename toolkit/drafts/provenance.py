"""Where a release comes from, as an in-toto statement with a SLSA provenance predicate.

TUF signs its digest, so it needs no envelope of its own. Fields and their meaning:
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md (Statement v1),
https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md and
https://slsa.dev/spec/v1.2/build-provenance (predicate `https://slsa.dev/provenance/v1`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.bundle.manifest import Bundle

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PACKAGE = "pkg:generic/edge-sr-toolkit"  # a package URL: this project is found under no other URI
BUILD = f"{PACKAGE}#run/v1"


def provenance_of(bundle: Bundle, files: Mapping[str, str], lock_sha256: str) -> dict[str, Any]:
    """The statement as a JSON value; `files` maps the model's files to their SHA-256.

    It claims SLSA Build L1: whoever ran the toolkit says so, no build platform vouches for it.
    """
    return {
        "_type": STATEMENT,
        "subject": [_resource(name, digest) for name, digest in sorted(files.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"recipe": bundle.recipe, "target": bundle.target},
                "internalParameters": {"tools": dict(bundle.report.versions)},
                "resolvedDependencies": _inputs(bundle),
            },
            "runDetails": {
                "builder": {
                    "id": f"{PACKAGE}@{bundle.toolkit}",
                    "version": {"edge-sr-toolkit": bundle.toolkit},
                },
                "metadata": _invocation(bundle),
                "byproducts": [
                    _resource("lock.json", lock_sha256),
                    _resource("report.json", bundle.report_digest),
                ],
            },
        },
    }


def _inputs(bundle: Bundle) -> list[dict[str, Any]]:
    """The float network that the files were made from, and every set of pictures."""
    found = [_resource("network", bundle.network_digest)]
    for name, facts in sorted(bundle.report.images.items()):
        if isinstance(facts, Mapping) and isinstance(facts.get("digest"), str):
            found.append(_resource(name, facts["digest"]))
    return found


def _invocation(bundle: Bundle) -> dict[str, Any]:
    key = bundle.report.network.get("run_key")
    return {"invocationId": key} if key else {}


def _resource(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}}
