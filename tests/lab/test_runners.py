"""Two hosts of the lab as runners: what they observe and judge is what one machine does."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reports.model import Outcome
from tests.lab.binds import bound
from tests.lab.harness import PROJECT, LabUnderTest, SuiteRun, faults_on

RUNNERS = ["compute1", "compute2"]
BROKEN = ("glance.locations-hidden", "nova.secret-undefined-on-one-hypervisor")
"""One fault of a host that the controller judges, or one runner, and one of another."""
WRITTEN = "find /tmp /var/tmp /root /dev/shm -xdev -newer {mark} ! -type d"
"""Files that came into being where programs leave what they are not told to leave elsewhere."""


@pytest.fixture(scope="module")
def runners(lab: LabUnderTest) -> Iterator[list[str]]:
    """Two hosts that have this checkout, this interpreter's environment and the lab's keys where this machine does."""
    with ExitStack() as stack:
        for name in RUNNERS:
            for folder in (PROJECT, Path(sys.prefix), lab.state.access):
                stack.enter_context(bound(lab.machine(name), folder))
        yield RUNNERS


def _outcomes(run: SuiteRun) -> dict[tuple[str, str], tuple[Outcome, str]]:
    return {(entry.check, entry.target): (entry.outcome, entry.nodeid) for entry in run.report.entries}


def test_two_runners_tell_what_one_machine_does(lab: LabUnderTest, runners: list[str]) -> None:
    mark = "/run/before-runners"
    for name in runners:
        lab.machine(name).run(f"touch {mark}")
    shared = lab.suite(*lab.judging(), "--runners", ",".join(runners))
    alone = lab.suite(*lab.judging())
    assert _outcomes(shared) == _outcomes(alone), shared.story
    assert shared.exit_code == alone.exit_code, shared.story
    for name in runners:
        assert re.search(rf"^{name}: [1-9]\d* tests judged; [1-9]\d* more", shared.output, re.M), shared.output
        assert lab.machine(name).run(WRITTEN.format(mark=mark)).stdout == ""


def test_what_two_runners_found_is_repaired_by_the_controller(lab: LabUnderTest, runners: list[str]) -> None:
    broken = [faults_on(lab.profile)[name] for name in BROKEN]
    among = ("--runners", ",".join(runners))
    try:
        for fault in broken:
            lab.break_(fault)
        shared, alone = (lab.suite(*lab.judging(), *how, "--remediate=plan") for how in (among, ()))
        assert _planned(shared) == _planned(alone) != []
        repaired = lab.suite(*lab.judging(), *among, "--remediate", "--remediate-allow=disruptive")
    finally:
        lab.mend(*reversed(broken))
    assert {check for fault in broken for check in fault.fails} <= repaired.ids("healed"), repaired.story
    named = {check for fault in broken for check in (*fault.fails, *fault.also)}
    # What the checkout on the runners shows, keys of its own tests, is no part of it.
    assert not named & repaired.ids("failed", "not measured", "needs operator"), repaired.story


def _planned(run: SuiteRun) -> list[object]:
    planned: list[object] = json.loads((run.folder / "plan.json").read_text())["rounds"]
    return planned
