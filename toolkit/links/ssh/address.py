"""`[user@]host[:port]`, read so that nothing in it is taken for an option or a command."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from toolkit.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # a host or an alias of ~/.ssh/config
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\$?")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A checked address: nothing in it is taken for an option or a command."""

    host: str
    user: str = ""
    port: int | None = None

    def words(self) -> list[str]:
        """The end of an `ssh` command line."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return [*user, *port, "--", self.host]


def address_of(text: str) -> Address:
    """Read `[user@]host[:port]`, IPv6 in brackets. Raises UserError for anything else."""
    user, at, place = text.rpartition("@")
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::([0-9]{1,5}))?", place)
    plain = re.fullmatch(r"([^:\[\]]+)(?::([0-9]{1,5}))?", place)
    found = bracketed or plain
    is_host = found is not None and (
        _is_ipv6(found[1]) if bracketed else NAME.fullmatch(found[1]) is not None
    )
    if found is None or not is_host or (at and not USER.fullmatch(user)):
        raise UserError(
            f"`ssh://{ascii(text)[1:-1]}` is no address",
            hint="ssh://user@host, ssh://user@host:2222, ssh://user@[fe80::1%eth0]:22, or an "
            "alias of ~/.ssh/config",
        )
    port = int(found[2]) if found[2] else None
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"`{port}` is no port", where=f"ssh://{text}", hint="1 to 65535")
    return Address(host=found[1], user=user, port=port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return re.fullmatch(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?", text) is not None
