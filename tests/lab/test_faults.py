"""Break one thing on the real cloud: exactly the checks that name it fail; mend it: all green.

That a fault is healed is seen in the next run, in which nothing of it may show; the last test
of the module is such a run without any fault.
"""

from __future__ import annotations

import pytest

from lab import faults
from tests.lab.harness import LabUnderTest

FAULTS = faults.load_faults(faults.fault_files())


IN_SLICE = [
    pytest.param(name, marks=() if fault.slice else pytest.mark.whole_table, id=name) for name, fault in FAULTS.items()
]


@pytest.mark.parametrize("name", IN_SLICE)
def test_fault_is_caught_by_exactly_its_checks(lab: LabUnderTest, name: str) -> None:
    fault = FAULTS[name]
    lab.break_(fault)
    try:
        run = lab.suite("-m", "static", "-q")
    finally:
        lab.mend(fault)
    failed, unmeasured = run.ids("failed"), run.ids("not measured")
    messages = "\n".join(entry.message for entry in run.entries("failed", "not measured"))
    assert set(fault.fails) <= failed, f"not caught: {set(fault.fails) - failed}\n{messages}"
    assert failed | unmeasured <= {*fault.fails, *fault.also}, f"beyond the fault: {messages}"
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED


def test_after_the_last_fault_all_is_green(lab: LabUnderTest) -> None:
    run = lab.suite("-m", "static", "-q")
    assert run.exit_code == pytest.ExitCode.OK, run.output
