"""What the client itself needs of a camera's Python, looked up before any work."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata, util

from toolkit.errors import EnvironmentFailure
from toolkit.pull.runtimes import is_older

# Least versions. tuf 6 is the first whose Updater begins with a given root (`bootstrap`); urllib3
# 2.2 the first whose answers are read in the pieces that come (`read1`).
LEAST: Mapping[str, str] = {
    "tuf": "6", "securesystemslib": "1", "cryptography": "0", "urllib3": "2.2",
}  # fmt: skip
PIP = 'pip install "tuf>=6" cryptography "urllib3>=2.2"'


def require_packages() -> None:
    """Nothing is imported. Raises EnvironmentFailure `runtime` with all that is wrong at once."""
    wrong = [text for name, least in LEAST.items() if (text := _reason_against(name, least))]
    if wrong:
        raise EnvironmentFailure(
            f"this Python has {'; '.join(wrong)}",
            where=sys.executable,
            hint=f"{PIP}; best into an environment of its own (`python3 -m venv FOLDER`)",
            kind="runtime",
        )


def _reason_against(name: str, least: str) -> str:
    """Why a package does not do; "" where it does, or does not say its version."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        # firmware may strip what states the version: then the package itself has to do
        return "" if util.find_spec(name) else f"no `{name}`{_or_newer(least)}"
    return f"`{name}` {found}{_or_newer(least)}" if is_older(found, least) else ""


def _or_newer(least: str) -> str:
    return "" if least == "0" else f", {least} or newer is needed"


def unusable(error: Exception) -> EnvironmentFailure:
    """A `tuf` that does not do what is asked of it; not the fault of a channel."""
    text = f"`tuf` cannot be used here: {type(error).__name__}: {error}"[:300]
    return EnvironmentFailure(ascii(text)[1:-1], where=sys.executable, hint=PIP, kind="runtime")
