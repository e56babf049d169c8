"""`edgesr upscale`: a picture, a folder of pictures or a video through a bundle's file."""

from __future__ import annotations

import argparse
import json

from toolkit.commands.reading import bundle_artefact


def run(arguments: argparse.Namespace) -> int:
    """Write the upscaled picture, folder or video; never over the source."""
    from toolkit import plugins
    from toolkit.images.upscaling import upscale_path
    from toolkit.show.terminal import Terminal

    artefact = bundle_artefact(arguments.bundle, arguments.file)
    session = plugins.load("backends", artefact.backend).open(artefact, threads=arguments.threads)
    with Terminal() as terminal:
        terminal.started("upscale", artefact.path.name)
        upscale_path(
            arguments.source, arguments.goal, artefact.contract, session.run, terminal.progress
        )
    session.close()
    if arguments.json:
        print(json.dumps({"written": str(arguments.goal), "file": artefact.path.name}))  # noqa: T201
    return 0
