"""Where a file ran: its operators by compute unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from toolkit.runner.session import Executed


def units_of(operators: Sequence[Executed]) -> list[dict[str, Any]]:
    """One entry per unit as `toolkit.benchmark.UnitUse` has it, the one with most operators first.

    Time is None where one operator's is not known; `precisions` leaves data movement out.
    """
    names = Counter(operator.unit for operator in operators)
    return [
        _use(unit, [o for o in operators if o.unit == unit], len(operators))
        for unit, _ in names.most_common()
    ]


def _use(unit: str, own: Sequence[Executed], total: int) -> dict[str, Any]:
    times = [operator.time_ms for operator in own if operator.time_ms is not None]
    return {
        "unit": unit,
        "operators": len(own),
        "operators_share": len(own) / total,
        "time_ms": round(sum(times), 6) if len(times) == len(own) else None,
        "precisions": dict(Counter(o.precision for o in own if o.precision)),
    }
