"""The lock of a release: every input and tool that its files were made from, by digest and version.

Two releases with equal locks, apart from `host` and `device`, were made from the same things.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.bundle.manifest import Bundle

SCHEMA = 1
SET_FACTS = ("count", "digest")
DEVICE_FACTS = ("name", "identity", "machine", "cpu", "cores", "system", "is_emulated")


def lock_of(bundle: Bundle, files: Mapping[str, str]) -> dict[str, Any]:
    """The lock as a JSON value without floats; `files` maps the model's files to their SHA-256."""
    report = bundle.report
    return {
        "schema": SCHEMA,
        "recipe": bundle.recipe,
        "target": bundle.target,
        "toolkit": bundle.toolkit,
        "files": dict(files),
        "network": {"sha256": bundle.network_digest, **_network(report.network)},
        "report_sha256": bundle.report_digest,
        "images": {name: _image_set(facts) for name, facts in report.images.items()},
        "protocol": report.protocol,
        "steps": [{"name": step.name, "key": step.key} for step in report.steps],
        "tools": dict(report.versions),
        **_machines(report.host),
    }


def _network(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network as it was given, and the key of everything that the run depended on."""
    names = {"digest": "given_sha256", "run_key": "run_key"}
    return {told: network[name] for name, told in names.items() if network.get(name)}


def _image_set(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Count and digest; names and digests of single pictures are in the report."""
    return {name: facts[name] for name in SET_FACTS if name in facts}


def _machines(host: Mapping[str, Any]) -> dict[str, Any]:
    """The building host, and the device that took the times; None: no device was named."""
    facts = {name: value for name, value in host.items() if isinstance(value, str | int)}
    facts.pop("device", None)
    device, told = host.get("device"), None
    if isinstance(device, Mapping):
        # not `url`: addresses of a lab are nobody's business
        told = {name: device[name] for name in DEVICE_FACTS if name in device}
    return {"host": facts, "device": told}
