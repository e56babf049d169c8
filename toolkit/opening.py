"""Artefacts opened on this host by the very code that opens them on a device."""

from __future__ import annotations

from toolkit.contracts import Artefact, Session
from toolkit.errors import EnvironmentFailure, ToolkitError, UserError
from toolkit.runner.failure import Failure
from toolkit.runner.session import Opening, runtime


def opening_of(artefact: Artefact, *, threads: int) -> Opening:
    """What the runner's sessions need to know of an artefact."""
    return Opening(
        path=artefact.path,
        precision=artefact.precision,
        threads=threads,
        input=artefact.contract.input.name,
        output=artefact.contract.output.name,
    )


def open_here(
    artefact: Artefact, *, name: str, threads: int, refusal: str, hint: str = ""
) -> Session:
    """Open with the runtime `name`.

    Raises UserError that begins with `refusal` where the runtime does not take the file, and
    EnvironmentFailure where the runtime is not installed or the memory does not suffice.
    """
    try:
        return runtime(name).open(opening_of(artefact, threads=threads))
    except Failure as failure:
        raise _told(failure, artefact, refusal, hint) from failure


def _told(failure: Failure, artefact: Artefact, refusal: str, hint: str) -> ToolkitError:
    if failure.kind == "missing":
        return EnvironmentFailure(failure.text, hint="`edgesr doctor` tells what is missing")
    where = str(artefact.path)
    if failure.kind == "memory":
        return EnvironmentFailure(
            f"the memory does not suffice to load the file: {failure.text}",
            where=where,
            hint="free some memory, or build for a smaller tile",
        )
    return UserError(f"{refusal}: {failure.text}", where=where, hint=hint)
