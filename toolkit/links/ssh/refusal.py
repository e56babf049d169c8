"""Why there is no connection, told from the words of OpenSSH's client."""

from __future__ import annotations

import re
import shlex

from toolkit.contracts import LinkOptions
from toolkit.errors import EnvironmentFailure, SecurityError, ToolkitError
from toolkit.links.ssh.address import Address

HINT_CONNECT = "look at the device, its address and its SSH server"
# Words of OpenSSH's client, what they mean, and what to do. The first that is found counts.
SAID: tuple[tuple[str, str, str], ...] = (
    (
        r"could not resolve hostname",
        "nobody knows the host `{host}`",
        "check the name, or add it to ~/.ssh/config",
    ),
    (
        r"connection refused",
        "the device refused the connection: no SSH server listens there",
        "start its SSH server, or name its port: ssh://user@host:port",
    ),
    (
        r"timed out|no route to host|network is unreachable|host is down",
        "the device did not answer within {connect_s:g} s",
        "is it switched on, and in this network?",
    ),
    (
        r"permission denied|too many authentication failures|no more authentication methods",
        "the device refused the log-in",
        "`ssh-copy-id` puts your key on the device; passwords are never asked for",
    ),
    (
        r"bad configuration option|bad owner or permissions|unsupported option|"
        r"can't open user config file|terminating, .* bad configuration",
        "the SSH configuration cannot be used: {words}",
        "correct ~/.ssh/config or the file that EDGESR_SSH_CONFIG names",
    ),
    (
        r"connection closed|connection reset|kex_exchange_identification|banner",
        "the device ended the connection before the log-in: {words}",
        "is it an SSH server, and does it allow one more connection?",
    ),
)
CHANGED = re.compile(r"identification has changed|host key for .* has changed", re.IGNORECASE)
UNKNOWN = re.compile(r"host key verification failed|no .* host key is known", re.IGNORECASE)


def refusal(said: str, url: str, address: Address, options: LinkOptions) -> ToolkitError:
    """The message for what `ssh` said when there was no connection."""
    if CHANGED.search(said):
        return SecurityError(
            "the device's host key has changed: it was set up anew, or somebody is in between",
            where=url,
            hint="ask whoever runs the device; only if it was set up anew: "
            f"ssh-keygen -R {_known_name(address)}",
        )
    if UNKNOWN.search(said):
        return EnvironmentFailure(
            "the device's host key has never been seen here",
            where=url,
            hint="compare its fingerprint by `ssh` once by hand, or trust what it shows now with "
            "--accept-new-host",
        )
    for pattern, problem, hint in SAID:
        if re.search(pattern, said, re.IGNORECASE):
            text = problem.format(
                host=address.host, connect_s=options.connect_s, words=last_words(said)
            )
            return EnvironmentFailure(text, where=url, hint=hint)
    return EnvironmentFailure(
        f"the device cannot be reached: {last_words(said)}", where=url, hint=HINT_CONNECT
    )


def _known_name(address: Address) -> str:
    return shlex.quote(f"[{address.host}]:{address.port}" if address.port else address.host)


def last_words(said: str) -> str:
    """The end of a program's talk on one line, without anything that a terminal would obey."""
    line = " ".join(said.split())[-300:]
    return "".join(c if c.isprintable() else "?" for c in line) or "(no words)"
