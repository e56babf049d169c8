"""`edgesr publish`: a passed bundle becomes the next release of a channel."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from toolkit.commands.keys import opened, say
from toolkit.errors import UserError
from toolkit.release import ALL_BASIS_POINTS, WORD

if TYPE_CHECKING:
    from toolkit.channel.publish import Published

SCHEMA = 1


def run(arguments: argparse.Namespace) -> int:
    """Publish, or say that nothing changed; which release it is now."""
    from toolkit.channel.publish import publish_draft
    from toolkit.channel.rollout import basis_points_of
    from toolkit.drafts.of_bundle import draft_of

    share = None if arguments.rollout is None else basis_points_of(arguments.rollout)
    keys = opened(arguments)
    draft = draft_of(arguments.bundle, file=arguments.file, min_firmware=arguments.min_firmware)
    family = arguments.family or draft.compatible
    if arguments.compatible is not None:
        draft = replace(draft, compatible=_word(arguments.compatible))
    done = publish_draft(
        arguments.channel, draft, keys=keys, family=family, basis_points=share, say=say
    )
    if arguments.json:
        print(result_json(done))  # noqa: T201
        return 0
    print(release_line(done))  # noqa: T201
    if done.compatible != done.family:
        say(f"cameras of `{done.family}` take it with --compatible {done.compatible}")
    if done.changed and done.basis_points < ALL_BASIS_POINTS:
        say(f"next: edgesr channel rollout 100% --channel {arguments.channel} --family {family}")
    return 0


def result_json(done: Published) -> str:
    """The JSON text of what a command did to a release."""
    return json.dumps({"schema": SCHEMA, **asdict(done)}, indent=1)


def release_line(done: Published) -> str:
    """A release, for whom it is, and whether anything changed."""
    share = f"{done.basis_points / 100:g} % of the `{done.compatible}` cameras"
    text = f"release {done.release} of `{done.family}` is for {share}"
    return text if done.changed else f"{text}; nothing changed"


def _word(compatible: str) -> str:
    if not WORD.fullmatch(compatible):
        raise UserError(
            f"{compatible!a} is no word that cameras can state",
            hint="1 to 100 printable ASCII characters without a space, e.g. raspberry-pi-5",
        )
    return compatible
