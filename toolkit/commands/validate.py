"""`edgesr validate`: PSNR and SSIM of every file of a bundle, measured again from the files."""

from __future__ import annotations

import argparse
import json


def run(arguments: argparse.Namespace) -> int:
    """Print mean and worst per file."""
    from toolkit import plugins
    from toolkit.bundle.manifest import read_bundle
    from toolkit.images.sets import folder_set, read_picture, shipped
    from toolkit.metrics.protocol import PROTOCOL, score_image

    data = arguments.data
    images = folder_set(data, "validation") if data else shipped("validation")
    rows = []
    for artefact in read_bundle(arguments.bundle).artefacts:
        session = plugins.load("backends", artefact.backend).open(
            artefact, threads=arguments.threads
        )
        scores = [
            (score_image(read_picture(file), artefact.contract, session.run), file.name)
            for file in images.files
        ]
        session.close()
        worst, worst_name = min(scores, key=lambda pair: pair[0].psnr_db)
        rows.append(
            {
                "file": artefact.path.name,
                "psnr_db": sum(s.psnr_db for s, _ in scores) / len(scores),
                "ssim": sum(s.ssim for s, _ in scores) / len(scores),
                "worst_db": worst.psnr_db,
                "worst_image": worst_name,
                "images": {name: score.psnr_db for score, name in scores},
            }
        )
    if arguments.json:
        print(json.dumps({"protocol": PROTOCOL, "files": rows}, indent=1))  # noqa: T201
        return 0
    print(f"{'file':<34} {'PSNR dB':>8} {'SSIM':>7} {'lowest':>8}  image")  # noqa: T201
    for row in rows:
        print(  # noqa: T201
            f"{row['file']:<34} {row['psnr_db']:>8.3f} {row['ssim']:>7.4f} "
            f"{row['worst_db']:>8.3f}  {row['worst_image']}"
        )
    print(f"{len(images.files)} images, {PROTOCOL}")  # noqa: T201
    return 0
