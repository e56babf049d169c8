"""Each seeded fault is caught at the stage that it belongs to, and good builds raise no alarm.

`make faults` prints all of them as tables; here the quick ones run.
"""

from __future__ import annotations

import pytest
from seeded.builds import GOOD
from seeded.catalogue import FAULTS
from seeded.table import good_row, tried

QUICK = [fault for fault in FAULTS if fault.quick]
FEW = [GOOD[1], GOOD[6], GOOD[14]]  # one for each runtime


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_seeded_fault_is_caught_at_its_stage(fault):
    if lacks := fault.lacks():
        pytest.skip(lacks)
    found = tried(fault)
    assert found.stage == fault.stage, found.said


@pytest.mark.parametrize("build", FEW, ids=lambda build: build.name)
def test_a_good_build_raises_no_alarm(build):
    row = good_row(build)
    assert row.is_well, row.cells


def test_there_are_as_many_as_promised():
    assert len(FAULTS) >= 24
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({build.name for build in GOOD}) == 20
