"""Break one thing and let the suite repair it: nothing else is touched, and the way back ends at the same byte.

A second `--remediate` changes nothing at all. What is left to a person (a check's `manual`, or
`left` of the fault) is told as such.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter

from lab import faults
from lab.faults import Fault
from remediate import model
from remediate.model import Restart, Step, Unit
from tests.collecting import collected_checks
from tests.lab.harness import LabUnderTest, SuiteRun
from tests.lab.snapshot import changed

FAULTS = faults.load_faults(faults.fault_files())
_STEP: TypeAdapter[Step] = TypeAdapter(model.AnyStep)


@dataclass(frozen=True)
class Repaired:
    """A run with --remediate: what it said, its id, and the steps of its plans."""

    run: SuiteRun
    id: str
    steps: tuple[Step, ...]


def _remediate(lab: LabUnderTest, *selected: str) -> Repaired:
    run = lab.suite(*selected, "-q", "--remediate", "--remediate-allow=destructive")
    plans = json.loads((run.folder / "plan.json").read_text())
    steps = [_STEP.validate_python(it["step"]) for plan in plans["rounds"] for it in plan["steps"]]
    return Repaired(run, plans["run"], tuple(steps))


@pytest.mark.whole_table
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_repaired_and_can_be_had_back(lab: LabUnderTest, name: str) -> None:
    fault = FAULTS[name]
    started: dict[str, set[str]] = {}
    asked = collected_checks(lab.cloud_file, "asks_services") & {*fault.fails, *fault.also}
    selected = ("-m", "static" if asked else "static and not asks_services")
    try:
        lab.break_(fault)
        broken = lab.snapshot()
        first = _remediate(lab, *selected)
        repaired = lab.snapshot(times=True)
        second = _remediate(lab, *selected)
        _judge(fault, first)
        assert not second.steps, second.run.output
        assert changed(repaired, lab.snapshot(times=True)) == set(), "changed by a second run"
        for step in first.steps:
            if isinstance(step, Restart | Unit):
                started.setdefault(step.host, set()).add(step.unit)
        if first.steps:
            lab.roll_back(first.id)
        assert changed(broken, lab.snapshot()) == set(), "not taken back"
    finally:
        lab.mend(fault)
        for host, units in started.items():  # they were started anew with what was broken
            lab.machine(host).run(f"systemctl restart {' '.join(sorted(units))}")


def _judge(fault: Fault, repaired: Repaired) -> None:
    """Healed, or left to a person with a reason; never worse than before."""
    run = repaired.run
    failing = run.ids("failed", "not measured", "needs operator")
    assert failing <= {*fault.fails, *fault.also}, run.output
    if fault.left:
        assert failing, f"is healed; `left` is not needed: {run.output}"
        assert run.ids("needs operator"), run.output
    else:
        assert not failing, run.output
        assert set(fault.fails) <= run.ids("healed"), run.output
        assert run.exit_code == pytest.ExitCode.OK


def test_a_plan_changes_nothing(lab: LabUnderTest) -> None:
    fault = FAULTS["glance.locations-hidden"]
    try:
        lab.break_(fault)
        before = lab.snapshot(times=True)
        run = lab.suite("-m", "static and not asks_services", "-q", "--remediate=plan")
        assert run.ids("failed") == set(fault.fails)
        assert "+show_image_direct_url = " in (run.folder / "plan.txt").read_text()
        assert changed(before, lab.snapshot(times=True)) == set()
    finally:
        lab.mend(fault)
