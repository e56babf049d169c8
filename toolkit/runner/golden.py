"""Numbers before speed: a file's golden vectors on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.runner.failure import Failure, failure_of
from toolkit.runner.job import Golden

if TYPE_CHECKING:
    from toolkit.runner.session import Session, Tensor

# Stands for a difference that is no number; JSON has neither NaN nor infinity.
BEYOND = sys.float_info.max


@dataclass(frozen=True)
class GoldenCheck:
    """All vectors of one file; see `toolkit.benchmark.GoldenCheck`."""

    vectors: int
    worst: float  # BEYOND where an output value was no finite number
    tolerance: float
    within_share: float
    least_share: float
    equal_share: float
    passed: bool


def check_golden(session: Session, vectors: Sequence[Golden]) -> GoldenCheck | None:
    """Run every vector; None where there are none. A value that is no number never passes.

    Raises Failure `golden` where a vector cannot be read or the output has another shape or type,
    `run` where the file fails.
    """
    return together([_checked(session, vector) for vector in vectors])


def together(checks: Sequence[GoldenCheck]) -> GoldenCheck | None:
    """All vectors of a file in one; the one with the least reserve is told. None for none."""
    if not checks:
        return None
    least = min(checks, key=lambda check: check.within_share - check.least_share)
    return GoldenCheck(
        vectors=len(checks),
        worst=max(check.worst for check in checks),
        tolerance=least.tolerance,
        within_share=least.within_share,
        least_share=least.least_share,
        equal_share=min(check.equal_share for check in checks),
        passed=all(check.passed for check in checks),
    )


def _checked(session: Session, vector: Golden) -> GoldenCheck:
    given, expected = load_tensor(vector.input), load_tensor(vector.output)
    try:
        found = session.run(given)
    except Exception as error:  # every runtime has its own classes
        raise failure_of(error, "run") from error
    return compared(found, expected, vector.tolerance, vector.least_share)


def load_tensor(path: Path) -> Tensor:
    """One .npy file without objects. Raises Failure `golden` where it is none."""
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Failure("golden", f"`{path.name}` cannot be read: {error}") from error
    return np.asarray(array)


def compared(found: Tensor, expected: Tensor, tolerance: float, least_share: float) -> GoldenCheck:
    """One output beside what it should be, values as they are stored."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise Failure(
            "golden",
            f"the output is {found.dtype} {found.shape}, "
            f"the golden vector {expected.dtype} {expected.shape}",
        )
    with np.errstate(invalid="ignore"):
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    is_number = np.isfinite(difference)
    all_numbers = bool(is_number.all())
    within_share = float((is_number & (difference <= tolerance)).mean())
    return GoldenCheck(
        vectors=1,
        worst=float(difference.max()) if all_numbers else BEYOND,
        tolerance=tolerance,
        within_share=within_share,
        least_share=least_share,
        equal_share=float((is_number & (difference == 0)).mean()),
        passed=all_numbers and within_share >= least_share,
    )
