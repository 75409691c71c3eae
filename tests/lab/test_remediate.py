"""Break things and let the suite repair them: nothing else is touched, and the way back ends at the same byte.

A second `--remediate` changes nothing at all. What is left to a person (a check's `manual`, or
`left` of the fault) is told as such.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pydantic import TypeAdapter

from fixtures.cloud import load_cloud
from lab.faults import Fault
from remediate import model
from remediate.journal import Journal, journals
from remediate.model import DISRUPTIONS, Disruption, HardReboot, Restart, Step, Unit
from tests.lab.harness import PROFILES, PROJECT, LabUnderTest, SuiteRun, faults_on
from tests.lab.snapshot import Snapshot, changed

FAULTS = {profile: {name: fault for name, fault in faults_on(profile).items() if fault.fails} for profile in PROFILES}
"""Per profile of a lab, its faults by name."""
BATCH = 12
KILLED_AT = ("glance.locations-hidden", "ceph.pool-untagged", "ceph.caps-of-the-old-guides", "hosts.keyring-absent")
INSIDE = (0.15, 0.6)
"""Seconds after a step's intent is on disk: a file is written within one, a service started anew within some."""
_CLIENT = re.compile(r"\bvirsh\b|\brbd --id\b")
_DEFINITION = "/etc/libvirt/qemu/instance-"
_NOTE = re.compile(r"/run/lab-[\w-]+")
_STEP: TypeAdapter[Step] = TypeAdapter(model.AnyStep)


@dataclass(frozen=True)
class Repaired:
    """A run with --remediate: what it said, its id, and the steps of its plans."""

    run: SuiteRun
    id: str
    steps: tuple[Step, ...]


def _remediate(lab: LabUnderTest, *broken: Fault, allow: Disruption = "destructive") -> Repaired:
    run = lab.suite(*lab.judging(*broken), "-q", "--remediate", f"--remediate-allow={allow}")
    assert (run.folder / "plan.json").exists(), run.output
    plans = json.loads((run.folder / "plan.json").read_text())
    steps = [_STEP.validate_python(it["step"]) for plan in plans["rounds"] for it in plan["steps"]]
    return Repaired(run, plans["run"], tuple(steps))


@contextmanager
def _broken(lab: LabUnderTest, *broken: Fault) -> Iterator[list[Step]]:
    """Faults in force, mended at the end; takes the steps that were taken meanwhile.

    What is made by way of the services is made while these are whole, and goes when they are so again.
    """
    taken: list[Step] = []
    begun: list[Fault] = []
    try:
        for fault in sorted(broken, key=_uses_services, reverse=True):
            begun.append(fault)
            lab.break_(fault)
        yield taken
    finally:
        lab.mend(*(fault for fault in reversed(begun) if not _uses_services(fault)))
        last = [fault for fault in reversed(begun) if _uses_services(fault)]
        _start_again(lab, taken, *last)
        lab.mend(*last)


def _uses_services(fault: Fault) -> bool:
    """Whether it asks the APIs, starts a guest or opens an image as a service does."""
    return any(step.as_admin or _CLIENT.search(step.run) for step in (*fault.breaks, *fault.mend))


def _start_again(lab: LabUnderTest, taken: list[Step], *in_force: Fault) -> None:
    """What the way back started anew was started with what was broken; a socket has nothing that it would have read.

    A role that a fault in force waits for once it is mended is not ready before.
    """
    unready = {step.ready for fault in in_force for step in fault.healed}
    started: dict[str, set[str]] = {}
    for step in taken:
        if isinstance(step, Restart | Unit) and not step.unit.endswith(".socket"):
            started.setdefault(step.host, set()).add(step.unit)
    for host, units in started.items():
        lab.start_again(host, units, unready)


def _is_repaired_and_can_be_had_back(lab: LabUnderTest, *broken: Fault) -> None:
    with _broken(lab, *broken) as taken:
        before = lab.snapshot()
        first = _remediate(lab, *broken)
        taken += first.steps
        with _had_back(lab, first):
            repaired = lab.snapshot(times=True)
            for fault in broken:
                _judge(fault, first.run)
            assert not _beyond(first.run, broken), first.run.output
            second = _remediate(lab, *broken)
            assert not second.steps, second.run.output
            assert changed(repaired, lab.snapshot(times=True)) == set(), "changed by a second run"
        assert not _other_than(before, lab, first), "not taken back"


@contextmanager
def _had_back(lab: LabUnderTest, repaired: Repaired) -> Iterator[None]:
    """Its steps are taken back, also where it did not do what it should: what it removed could not be mended else."""
    try:
        yield
    except BaseException:
        lab.roll_back(repaired.id)
        raise
    if repaired.steps:
        _take_back(lab, repaired)


def _other_than(before: Snapshot, lab: LabUnderTest, repaired: Repaired) -> set[str]:
    """What differs; Nova writes a guest's definition anew when it is rebooted, with the time in it."""
    rebooted = any(isinstance(step, HardReboot) for step in repaired.steps)
    return {thing for thing in changed(before, lab.snapshot()) if not (rebooted and _DEFINITION in thing)}


def _named(broken: tuple[Fault, ...]) -> set[str]:
    return {check for fault in broken for check in (*fault.fails, *fault.also)}


def _beyond(run: SuiteRun, broken: tuple[Fault, ...]) -> set[str]:
    """What is not well and no fault names; what blinds and is left leaves others unmeasured."""
    blind = any(fault.blinds and fault.left for fault in broken)
    unwell = run.ids("failed", "needs operator") | (set() if blind else run.ids("not measured"))
    return unwell - _named(broken)


def _judge(fault: Fault, run: SuiteRun) -> None:
    """Healed, or left to a person with a reason."""
    mine = {*fault.fails, *fault.also}
    left = run.ids("failed", "not measured", "needs operator") & mine
    if fault.left:
        assert left, f"{fault.name} is healed; `left` is not needed: {run.output}"
        assert run.ids("needs operator") & mine, run.output
    else:
        assert not left, run.output
        assert set(fault.fails) <= run.ids("healed"), run.output


def _take_back(lab: LabUnderTest, repaired: Repaired) -> None:
    done = lab.roll_back(repaired.id)
    lasting = any(step.irreversible for step in repaired.steps)
    assert done.returncode == lasting, done.stdout
    assert ("cannot be undone" in done.stdout) == lasting, done.stdout


def _goes_with_others(fault: Fault) -> bool:
    return not (fault.blinds or fault.bars or fault.settle)


def _batches(profile: str) -> list[tuple[str, ...]]:
    """Faults to be broken at the same time: no two of a batch are seen by one check, or change the same thing whole."""
    batches: list[list[Fault]] = []
    for fault in filter(_goes_with_others, FAULTS[profile].values()):
        fitting = (it for it in batches if len(it) < BATCH and not any(_meet(fault, other) for other in it))
        batch = next(fitting, None)
        if batch is None:
            batches.append(batch := [])
        batch.append(fault)
    return [tuple(fault.name for fault in batch) for batch in batches]


def _alone(profile: str) -> list[tuple[str, ...]]:
    return [(name,) for name, fault in FAULTS[profile].items() if not _goes_with_others(fault)]


def _meet(one: Fault, other: Fault) -> bool:
    return bool(_named((one,)) & _named((other,)) or _kept(one) & _kept(other))


def _kept(fault: Fault) -> set[str]:
    """Files, notes of what was made, and any cephx user: in some profiles two services share one."""
    kept = {"client" if it.startswith("client.") else it for step in fault.breaks for it in step.keep}
    return kept.union(*(_NOTE.findall(step.run) for step in (*fault.breaks, *fault.mend)))


def _on_each_lab(cases: Callable[[str], Iterable[tuple[str, ...]]]) -> pytest.MarkDecorator:
    params = [
        pytest.param(profile, names, id=f"{profile}-{names[0]}" + (f"+{len(names) - 1}" if names[1:] else ""))
        for profile in PROFILES
        for names in cases(profile)
    ]
    return pytest.mark.parametrize(("lab", "names"), params, indirect=["lab"])


@pytest.mark.whole_table
@_on_each_lab(_batches)
def test_many_faults_are_repaired_at_once(lab: LabUnderTest, names: tuple[str, ...]) -> None:
    _is_repaired_and_can_be_had_back(lab, *(FAULTS[lab.profile][name] for name in names))


@pytest.mark.whole_table
@_on_each_lab(_alone)
def test_fault_is_repaired_or_left_to_a_person(lab: LabUnderTest, names: tuple[str, ...]) -> None:
    _is_repaired_and_can_be_had_back(lab, *(FAULTS[lab.profile][name] for name in names))


def test_a_plan_changes_nothing(lab: LabUnderTest) -> None:
    fault = FAULTS[lab.profile]["glance.locations-hidden"]
    with _broken(lab, fault):
        before = lab.snapshot(times=True)
        run = lab.suite("-m", "static and not asks_services", "-q", "--remediate=plan")
        assert run.ids("failed") == set(fault.fails)
        assert "+show_image_direct_url = " in (run.folder / "plan.txt").read_text()
        assert changed(before, lab.snapshot(times=True)) == set()


# ---------------------------------------------------------------------------- killed


@pytest.mark.whole_table
def test_a_run_killed_anywhere_is_had_back(lab: LabUnderTest) -> None:
    """At each boundary of its steps, and inside each step, until a run is through before it would be killed."""
    broken = tuple(FAULTS[lab.profile][name] for name in KILLED_AT)
    with _broken(lab, *broken):
        before = lab.snapshot()
        points = ((lines, after) for lines in count(2) for after in (0.0, *(INSIDE if lines % 2 == 0 else ())))
        lines = next(lines for lines, after in points if not _killed_and_had_back(lab, before, lines, after))
        assert lines > 2 * len(KILLED_AT) + 3, "there was a step for each fault, and a restart"


@pytest.mark.whole_table
@pytest.mark.parametrize("lines", [3, 7, 8])
def test_a_killed_run_is_gone_on_with(lab: LabUnderTest, lines: int) -> None:
    """Also where a service was not started anew yet for what it reads: nothing else would ask for that."""
    broken = tuple(FAULTS[lab.profile][name] for name in KILLED_AT)
    with _broken(lab, *broken) as taken:
        killed = _killed(lab, lines)
        assert killed.dead
        run = _remediate(lab, *broken)
        taken += run.steps
        assert not run.run.ids("failed", "not measured", "needs operator"), run.run.output
        assert any(isinstance(step, Restart) for step in (*killed.done, *run.steps)), run.run.output
        assert not _remediate(lab, *broken).steps


@dataclass(frozen=True)
class Killed:
    """A remediating run, whether it was killed before its end, and the steps that it was through with."""

    id: str
    dead: bool
    done: tuple[Step, ...]


def _killed_and_had_back(lab: LabUnderTest, before: Snapshot, lines: int, after: float) -> bool:
    """Whether the run was killed before its end; whenever that was, nothing of it is left when it is rolled back."""
    run = _killed(lab, lines, after)
    done = lab.roll_back(run.id)
    assert done.returncode == 0, done.stdout
    assert changed(before, lab.snapshot()) == set(), f"killed at {lines} lines and {after} s: {done.stdout}"
    return run.dead


def _killed(lab: LabUnderTest, lines: int, after: float = 0.0) -> Killed:
    """Kill a remediating run, with all its processes, some seconds after its journal has so many lines."""
    folder = journals(load_cloud(PROJECT / lab.cloud_file).name)
    known = set(folder.glob("*.jsonl"))
    dead = False
    with lab.started("-m", "static and not asks_services", "-q", "--remediate") as process:
        while not dead and process.poll() is None:
            fresh = set(folder.glob("*.jsonl")) - known
            if any(_lines(path) >= lines for path in fresh):
                time.sleep(after)
                os.killpg(process.pid, signal.SIGKILL)
                dead = process.wait() == -signal.SIGKILL
            time.sleep(0.002)
    path = max(set(folder.glob("*.jsonl")) - known)
    with closing(_claimed(path)) as journal:
        done = tuple(taken.step for taken in journal.taken() if taken.done)
    return Killed(path.stem, dead, done)


def _claimed(path: Path) -> Journal:
    journal = Journal.claim(path)
    assert journal is not None, "the dead hold no journal"
    return journal


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


# ---------------------------------------------------------------------------- any sequence


class Sequence(RuleBasedStateMachine):
    """Faults, repairs and ways back in any order: nothing fails that no fault explains, whatever was done."""

    _lab: ClassVar[LabUnderTest]

    def __init__(self) -> None:
        """Begin with a healthy cloud."""
        super().__init__()
        self._broken: list[Fault] = []
        self._runs: list[Repaired] = []

    @precondition(lambda self: len(self._broken) < 4)
    @rule(data=st.data())
    def something_breaks(self, data: st.DataObject) -> None:
        """One more fault, of other checks than those in force."""
        fault = data.draw(st.sampled_from([*filter(_goes_with_others, FAULTS[self._lab.profile].values())]))
        if not _named((fault,)) & _named(tuple(self._broken)):
            self._broken.append(fault)
            self._lab.break_(fault)

    @precondition(lambda self: self._broken)
    @rule(allow=st.sampled_from(DISRUPTIONS))
    def it_is_repaired(self, allow: Disruption) -> None:
        """What fails afterwards was failing before, and is told."""
        repaired = _remediate(self._lab, *self._broken, allow=allow)
        self._runs.append(repaired)
        self._explained(repaired.run)

    @precondition(lambda self: self._runs)
    @rule()
    def the_last_repair_is_had_back(self) -> None:
        """It may be refused where something was broken since; then too nothing else fails."""
        self._lab.roll_back(self._runs.pop().id)
        self._explained(self._lab.suite(*self._lab.judging(*self._broken), "-q"))

    def _explained(self, run: SuiteRun) -> None:
        assert run.ids("failed", "not measured", "needs operator") <= _named(tuple(self._broken)), run.output

    def teardown(self) -> None:
        """Mend what was broken; rules of hypothesis's own may have raised before."""
        self._lab.mend(*reversed(self._broken))
        _start_again(self._lab, [step for run in self._runs for step in run.steps])


@pytest.mark.whole_table
def test_any_sequence_converges_or_ends_with_a_person(lab: LabUnderTest) -> None:
    bounds = settings(max_examples=4, stateful_step_count=6, deadline=None, derandomize=True, phases=[Phase.generate])

    class OnThisLab(Sequence):
        _lab = lab

    run_state_machine_as_test(OnThisLab, settings=bounds)
