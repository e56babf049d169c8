"""The one document that a runner prints, read strictly: what is cut or polluted is no answer."""

from __future__ import annotations

import json
import re
from typing import Any

from toolkit.digest import sha256_bytes
from toolkit.runner.answer import EMPTY, MARK, SCHEMA

HEAD = re.compile(re.escape(MARK.encode()) + rb" ([0-9]{1,9}) ([0-9a-f]{64})\n")


def answer_of(stdout: bytes) -> dict[str, Any] | None:
    """The document in a runner's output, every key of it there; None where it is not whole."""
    head = HEAD.match(stdout)
    if head is None:
        return None
    content, rest = stdout[head.end() :][: int(head[1])], stdout[head.end() + int(head[1]) :]
    if rest != b"\n" or sha256_bytes(content) != head[2].decode():
        return None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return None
    return {**EMPTY, **document}
