"""Break one thing on the real cloud: exactly the checks that name it fail; mend it: all green.

That a fault is healed is seen in the next run, in which nothing of it may show; the last test
of the module is such a run without any fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.faults import Fault
from tests.lab.harness import PROFILES, LabUnderTest, SuiteRun, faults_on

FAULTS = {profile: faults_on(profile) for profile in PROFILES}
SHOWN = 20


def _where_it_fits(wanted: Callable[[Fault], Any]) -> pytest.MarkDecorator:
    """Each fault on each lab that can have it; all are marked but those that CI breaks, each on one lab in turn."""
    labs: dict[str, list[str]] = {}
    for profile, table in FAULTS.items():
        for name in (name for name, fault in table.items() if wanted(fault)):
            labs.setdefault(name, []).append(profile)
    sliced = [name for name, fitting in labs.items() if FAULTS[fitting[0]][name].slice]
    turns = {(name, labs[name][turn % len(labs[name])]) for turn, name in enumerate(sliced)}
    cases = [
        pytest.param(profile, name, marks=() if (name, profile) in turns else pytest.mark.whole_table)
        for name, fitting in labs.items()
        for profile in fitting
    ]
    return pytest.mark.parametrize(("lab", "name"), cases, indirect=["lab"])


@_where_it_fits(lambda fault: fault.fails)
def test_fault_is_caught_by_exactly_its_checks(lab: LabUnderTest, name: str) -> None:
    fault = FAULTS[lab.profile][name]
    with _broken(lab, fault):
        run = lab.suite(*lab.judging(fault), "-q", "--fail-on=info")
    caught, blind, expected = run.ids("failed"), run.ids("not measured"), set(fault.fails)
    assert expected <= caught, f"not caught: {', '.join(sorted(expected - caught))}{_told(run, caught | blind)}"
    beyond = (caught if fault.blinds else caught | blind) - expected - set(fault.also)
    assert not beyond, f"beyond the fault: {', '.join(sorted(beyond))}{_told(run, beyond)}"
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED


@_where_it_fits(lambda fault: fault.journeys)
def test_fault_stops_its_journeys(lab: LabUnderTest, name: str) -> None:
    fault = FAULTS[lab.profile][name]
    with _broken(lab, fault):
        named = " or ".join(fault.journeys)
        run = lab.suite("-m", "dynamic", "--journeys=disruptive", "-k", named, "-q", "--fail-on=info")
    assert run.ids("failed") == set(fault.journeys), _told(run, run.ids("failed", "not measured", "passed"))
    # What could not be removed while it was in force can be now.
    swept = lab.python("-m", "pytest", "--cloud", lab.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
    assert lab.scratch_names() == []


def test_after_the_last_fault_all_is_green(lab: LabUnderTest) -> None:
    run = lab.suite("-m", "static", "-q")
    assert run.exit_code == pytest.ExitCode.OK, run.story


@contextmanager
def _broken(lab: LabUnderTest, fault: Fault) -> Iterator[None]:
    """A fault in force; mended also where breaking it failed half-way."""
    try:
        lab.break_(fault)
        yield
    finally:
        lab.mend(fault)


def _told(run: SuiteRun, checks: set[str]) -> str:
    """What the run said of some checks, each once."""
    entries = [entry for entry in run.entries("failed", "not measured") if entry.check in checks]
    lines = dict.fromkeys(f"\n{entry.check} [{entry.target}] {entry.outcome}: {entry.message}" for entry in entries)
    return "".join([*lines][:SHOWN])
