"""`python -m seeded`: every fault and every good build, as tables; 1 where something went unseen.

Names of faults or stages as words try only those; `--good` only the good builds.
"""

from __future__ import annotations

import argparse
import sys
import time

from seeded.catalogue import FAULTS
from seeded.table import Row, fault_row, good_row, printed

FAULT_HEAD = ("fault", "where it was put in", "stage", "caught by", "caught")
GOOD_HEAD = ("good build", "gates", "nearest gate", "verdict")


def main() -> int:
    parser = argparse.ArgumentParser(prog="seeded", description=__doc__)
    parser.add_argument("only", nargs="*", help="faults or stages")
    parser.add_argument("--good", action="store_true", help="only the good builds")
    arguments = parser.parse_args()
    began = time.monotonic()
    faults = [] if arguments.good else [f for f in FAULTS if _is_asked(f, arguments.only)]
    rows = printed(FAULT_HEAD, faults, fault_row)
    good: list[Row] = []
    if not arguments.only:
        from seeded.builds import GOOD

        good = printed(GOOD_HEAD, GOOD, good_row)
    print(summary(rows, good, time.monotonic() - began))
    return 0 if all(row.is_well is not False for row in (*rows, *good)) else 1


def _is_asked(fault, only):
    return not only or any(word == fault.stage or word in fault.name for word in only)


def summary(rows, good, seconds):
    """The last line."""
    tried = [row for row in rows if row.is_well is not None]
    caught = sum(bool(row.is_well) for row in tried)
    quiet = sum(bool(row.is_well) for row in good)
    parts = [f"{caught} of {len(tried)} faults caught at their stage"] if tried else []
    parts += [f"{len(rows) - len(tried)} not tried here"] if len(tried) < len(rows) else []
    parts += [f"{quiet} of {len(good)} good builds raise no alarm"] if good else []
    return f"{', '.join(parts)}; {seconds:.0f} s"


sys.exit(main())
