"""Each seeded fault is caught at the stage that it belongs to, and good builds raise no alarm.

`make faults` prints all of them as tables; here the quick ones run.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from seeded.builds import GOOD
from seeded.case import Case, validate
from seeded.catalogue import FAULTS
from seeded.table import fault_row, good_row, tried

from toolkit.errors import EnvironmentFailure

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


def holding(**changes):
    """A fault that puts nothing in; what is asked and expected can be changed."""

    @contextlib.contextmanager
    def put_in(made, folder):
        yield Case(made=made, bundle=made.bundle, ask=changes.get("ask", validate))

    fault = next(fault for fault in FAULTS if fault.name == "CRD read as DCR")
    return replace(fault, put_in=put_in, error=changes.get("error", ""))


def test_what_was_not_put_in_is_not_called_caught():
    row = fault_row(holding())
    assert row.cells[-2:] == ("nothing found", "NO")
    assert row.is_well is False


def test_an_error_about_something_else_is_not_called_caught():
    def ask(case):
        raise EnvironmentFailure("the device went away")

    assert fault_row(holding(ask=ask, error="its digest differs")).is_well is False
    assert fault_row(holding(ask=ask)).is_well is False


def test_there_are_as_many_as_promised():
    assert len(FAULTS) >= 24
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({build.name for build in GOOD}) == 20
