"""`edgesr upscale`: a picture, a folder of pictures or a video through a bundle's file."""

from __future__ import annotations

import argparse
import json

from toolkit.commands.reading import bundle_artefact


def run(arguments: argparse.Namespace) -> int:
    """Write the upscaled picture, folder or video; never over the source."""
    from toolkit import plugins
    from toolkit.contracts import Progress
    from toolkit.images.upscaling import upscale_path
    from toolkit.run.score import tileable
    from toolkit.show.terminal import Terminal

    artefact = bundle_artefact(arguments.bundle, arguments.file)
    session = plugins.load("backends", artefact.backend).open(artefact, threads=arguments.threads)
    with Terminal() as terminal:
        terminal.started("upscale", artefact.path.name)
        notes = upscale_path(
            arguments.source,
            arguments.goal,
            tileable(artefact.contract),
            session.run,
            lambda done, total, note: terminal.progress(
                Progress(done=done, total=total, note=note)
            ),
        )
        for note in notes:
            terminal.say(note)
    session.close()
    if arguments.json:
        print(json.dumps({"written": str(arguments.goal), "file": artefact.path.name}))  # noqa: T201
    return 0
