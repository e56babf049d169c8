"""What a release is made of, as a CycloneDX 1.6 document: the model, its licence, digests, tools.

https://cyclonedx.org/docs/1.6/json/ ; written with the project's own Python library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from toolkit.bundle.manifest import Bundle
from toolkit.contracts import Artefact
from toolkit.digest import sha256_json
from toolkit.drafts.figures import figures_of
from toolkit.release import file_bytes

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

OWN = "edge-sr-toolkit"


def sbom_of(bundle: Bundle, artefact: Artefact, digests: Mapping[str, str]) -> bytes:
    """The document as canonical ASCII JSON; `digests` are SHA-256 of the model's files.

    The serial number is made of the digests. There is no timestamp: a bundle has no time of its
    own, and the same bundle gives the same bytes.
    """
    from cyclonedx.output.json import JsonV1Dot6

    bom = _bom(bundle, artefact, digests)
    value: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    value["metadata"].pop("timestamp", None)
    return file_bytes(value)


def _bom(bundle: Bundle, artefact: Artefact, digests: Mapping[str, str]) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.tool import ToolRepository

    model, tools = _model(bundle, artefact, digests), _tools(bundle.report.versions)
    own = [tool for tool in tools if tool.name == OWN]
    others = [tool for tool in tools if tool.name != OWN]
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"sha256:{sha256_json(dict(digests))}"),
        metadata=BomMetaData(component=model, tools=ToolRepository(components=own)),
        components=[*others, *_sets(bundle.report.images)],
    )
    bom.register_dependency(model, bom.components)
    return bom


def _model(bundle: Bundle, artefact: Artefact, digests: Mapping[str, str]) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    def hashed(digest: str) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]

    name = artefact.path.name
    facts: dict[str, object] = {
        "recipe": bundle.recipe,
        "target": bundle.target,
        "backend": artefact.backend,
        "precision": artefact.precision,
        "scale": artefact.contract.image.scale,
        **figures_of(bundle.report, artefact),
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=name,
        bom_ref=f"model:{name}",
        hashes=hashed(digests[name]),
        licenses=[LicenseFactory().make_from_string(bundle.licence)],
        properties=[Property(name=f"edgesr:{key}", value=str(fact)) for key, fact in facts.items()],
        components=[
            Component(
                type=ComponentType.FILE, name=part, bom_ref=f"file:{part}", hashes=hashed(digest)
            )
            for part, digest in digests.items()
            if part != name
        ],
    )


def _tools(versions: Mapping[str, str]) -> list[Component]:
    """Distributions that made and proved the file; all but ours are of PyPI."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    return [
        Component(
            type=ComponentType.LIBRARY if name != OWN else ComponentType.APPLICATION,
            name=name,
            version=version,
            bom_ref=f"tool:{name}@{version}",
            purl=PackageURL("generic" if name == OWN else "pypi", None, name, version),
        )
        for name, version in versions.items()
    ]


def _sets(images: Mapping[str, Any]) -> list[Component]:
    """The sets of pictures by their digests."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return [
        Component(
            type=ComponentType.DATA,
            name=name,
            bom_ref=f"data:{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=facts["digest"])],
        )
        for name, facts in images.items()
        if isinstance(facts, Mapping) and isinstance(facts.get("digest"), str)
    ]
