"""Many tensors through one file, read and written one after another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.job import Batch

if TYPE_CHECKING:
    from toolkit.runner.session import Session


def run_batch(session: Session, batch: Batch) -> int:
    """Run every array of the input file; returns how many there were.

    Raises Failure `run` where an array cannot be read or run, or an output cannot be written.
    """
    count = 0
    size_bytes = batch.inputs.stat().st_size if batch.inputs.is_file() else 0
    try:
        with batch.inputs.open("rb") as given, batch.outputs.open("wb") as made:
            while given.tell() < size_bytes:
                tensor = np.load(given, allow_pickle=False)
                np.save(made, session.run(tensor), allow_pickle=False)
                count += 1
            made.flush()
            os.fsync(made.fileno())
    except Exception as error:  # every runtime has its own classes
        failure = failure_of(error, "run")
        raise Failure(failure.kind, f"array {count + 1} of the batch: {failure.text}") from error
    return count
