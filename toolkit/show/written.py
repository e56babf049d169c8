"""A text on disk, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.images.decode import replacing


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with the line ends that the text has; a file that lies there stays until then.

    Raises EnvironmentFailure where the file system refuses.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
