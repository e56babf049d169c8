"""`edgesr channel`: what a channel offers, to how many cameras, and until when."""

from __future__ import annotations

import argparse
import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from toolkit.commands.keys import opened, say
from toolkit.commands.publish import release_line, result_json
from toolkit.errors import SecurityError, UserError
from toolkit.words.publishing import KEYS

if TYPE_CHECKING:
    from toolkit.channel.publish import Published
    from toolkit.channel.status import ChannelStatus

SCHEMA = 1
EXIT_GATE = 4


def run(arguments: argparse.Namespace) -> int:
    """Do one of the five things.

    `expire-soon` gives 4 where something runs out, `status` 5 where a signed file is damaged.
    """
    actions = {
        "status": _status,
        "rollout": _rollout,
        "rollback": _rollback,
        "expire-soon": _expire_soon,
        "refresh": _refresh,
    }
    return actions[arguments.action](arguments)


def _read(arguments: argparse.Namespace) -> ChannelStatus:
    """Checked with the keys folder where there is one, else the channel by itself."""
    from toolkit.channel.status import status_of
    from toolkit.keys.ring import KEYS as KEYS_FILE

    folder = (arguments.keys or [KEYS])[0]
    with_keys = bool(arguments.keys) or (folder / KEYS_FILE).is_file()
    return status_of(arguments.channel, opened(arguments) if with_keys else None)


def _status(arguments: argparse.Namespace) -> int:
    from toolkit.channel.status_text import status_text

    status = _read(arguments)
    if arguments.json:
        print(json.dumps(status.as_json(), indent=1))  # noqa: T201
    else:
        print(status_text(status, now=datetime.now(UTC)))  # noqa: T201
    if status.damaged:
        say("copy these files into the channel again, or publish the bundle as a new release")
    return SecurityError.exit_code if status.damaged else 0


def _expire_soon(arguments: argparse.Namespace) -> int:
    from toolkit.channel.status import role_json
    from toolkit.channel.status_text import expiry_text

    if not (math.isfinite(arguments.days) and arguments.days >= 0):
        raise UserError(f"`--days` must be 0 or more, got {arguments.days:g}", hint="--days 7")
    now = datetime.now(UTC)
    soon = [role for role in _read(arguments).roles if role.expires_soon(now, arguments.days)]
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "roles": [role_json(one) for one in soon]}, indent=1))  # noqa: T201
    else:
        print(expiry_text(soon, now=now))  # noqa: T201
    return EXIT_GATE if soon else 0


def _rollout(arguments: argparse.Namespace) -> int:
    from toolkit.channel.rollout import basis_points_of, set_share

    share = basis_points_of(arguments.share)
    done = set_share(
        arguments.channel,
        share,
        keys=opened(arguments),
        family=arguments.family,
        release=arguments.release,
        say=say,
    )
    return _told(arguments, done)


def _rollback(arguments: argparse.Namespace) -> int:
    from toolkit.channel.rollout import roll_back

    done = roll_back(
        arguments.channel,
        keys=opened(arguments),
        family=arguments.family,
        to=arguments.to,
        say=say,
    )
    return _told(arguments, done)


def _told(arguments: argparse.Namespace, done: Published) -> int:
    print(result_json(done) if arguments.json else release_line(done))  # noqa: T201
    return 0


def _refresh(arguments: argparse.Namespace) -> int:
    from toolkit.channel.refresh import refresh

    roles = refresh(
        arguments.channel, keys=opened(arguments), everything=arguments.everything, say=say
    )
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, "signed": list(roles)}))  # noqa: T201
    else:
        print(f"signed again: {', '.join(roles)}")  # noqa: T201
    return 0
