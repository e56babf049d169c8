"""A camera's own metadata as a run finds it: perhaps damaged, perhaps planted, never believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from toolkit.errors import SecurityError
from toolkit.pull import verdicts
from toolkit.pull.kept import Kept, root_name
from toolkit.pull.strict_json import parse_metadata
from toolkit.pull.verified import Verified, file_of


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The files of the last run. Says what is damaged; the run then fetches it afresh."""

    kept: Kept
    ascii_only: bool
    say: Callable[[str], None]

    def copy_in(self, verified: Verified, roles: Sequence[str], given_version: int) -> None:
        """Give python-tuf what can be read: these roles, and the roots above the given one."""
        chain = [root_name(one) for one in self.kept.root_versions() if one > given_version]
        for name in [file_of(role) for role in roles] + chain:
            data = self.kept.read(name)
            if data is None:
                continue
            if self._metadata(data) is None:
                self.say(f"the stored `{name}` is damaged; it is fetched afresh")
            else:
                verified.put(name, data)

    def compare(self, verified: Verified, role: str, version: int, fetched: bytes) -> None:
        """Say so where python-tuf asked again for a version that is stored, and got another."""
        if role == "root":
            stored, name = verified.root_bytes(version), root_name(version)
        else:
            stored, name = verified.read(role), file_of(role)
        metadata = self._metadata(stored) if stored not in (None, fetched) else None
        if metadata is not None and metadata.signed.version == version:
            self.say(f"the stored `{name}` is damaged; it is fetched afresh")

    def newer_root(self, reached: Root) -> int | None:
        """The version of the stored root where it is above the one reached; None where it is not.

        A root that does not sign itself is damaged, and one that the keys of the root reached did
        not sign may be anybody's: neither is news. Else whoever wrote to the store once could keep
        a camera from its channel for ever.
        """
        data = self.kept.read("root.json")
        metadata = None if data is None else self._metadata(data)
        if metadata is not None and verdicts.signs(metadata.signed, "root", metadata):
            found: int = metadata.signed.version
            if found <= reached.version:
                return None
            if verdicts.signs(reached, "root", metadata):
                return found
        if data is not None:
            self.say("the stored `root.json` is damaged; it is made anew")
        return None

    def _metadata(self, data: bytes) -> Metadata[Any] | None:
        try:
            parse_metadata(data, "stored", ascii_only=self.ascii_only)
            return Metadata[Any].from_bytes(data)
        except (SecurityError, DeserializationError):
            return None
