"""Taking a plan's steps, each recorded before and after; and taking a run back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from fixtures.cloud import Role
from fixtures.waiting import DeadlineError
from remediate.journal import Journal, Taken
from remediate.model import Restart, State, Step, Unit
from remediate.plan import Plan, Planned
from remediate.site import Preview, StepFailed, host_of
from remediate.watch import Rows

Tell = Callable[[str], None]


class Acts(Protocol):
    """What takes steps; see `remediate.site.Site`."""

    def previews(self, steps: Sequence[Step]) -> list[Preview]:
        """Say what each step would do."""

    def look(self, step: Step) -> State:
        """Return the present state of what a step is about."""

    def do(self, number: int, step: Step) -> State:
        """Take a step."""

    def undo(self, number: int, step: Step, before: State) -> State:
        """Take a step back."""


class Watches(Protocol):
    """What waits for services; see `remediate.watch.Watch`."""

    def before(self, role: Role) -> Rows:
        """Return what is told before a restart."""

    def until_up(self, host: str, role: Role, before: Rows) -> None:
        """Wait until a service is up."""


@dataclass
class Applied:
    """What became of a plan: the numbers of the steps that were taken, and why it was stopped, if it was."""

    taken: list[int] = field(default_factory=list)
    stopped: str = ""
    host: str = ""
    """Where it was stopped; "" for the cluster."""


def apply(plan: Plan, site: Acts, watch: Watches, journal: Journal, tell: Tell) -> Applied:
    """Take the steps in order; at the first that fails, that host's change is undone and nothing more is done."""
    applied = Applied()
    first = journal.next_number()
    for planned in plan.steps:
        try:
            applied.taken += _take(planned, site, watch, journal, tell)
        except (StepFailed, DeadlineError) as error:
            applied.stopped, applied.host = f"{planned.step}: {error}", host_of(planned.step)
            tell(f"stopped: {applied.stopped}")
            _take_back_host(applied.host, first, site, watch, journal, tell)
            break
    return applied


def _take(planned: Planned, site: Acts, watch: Watches, journal: Journal, tell: Tell) -> list[int]:
    """Take a step; returns its number, or nothing where there was nothing left to do."""
    step = planned.step
    now = site.previews([step])[0]
    if now.refused:
        raise StepFailed(now.refused)
    if now.before == planned.after and not isinstance(step, Restart):
        return []
    if now.before != planned.before:
        raise StepFailed(f"has changed since the plan was made: {_differing(now.before, planned.before)}")
    if not now.changes:
        return []
    role = _started(step, now.before)
    rows = watch.before(role) if role else {}
    number = journal.intend(step, now.before, now.after)
    tell(f"{number}. {step}")
    journal.done(number, site.do(number, step))
    if role:
        watch.until_up(host_of(step), role, rows)
    return [number]


def _started(step: Step, before: State) -> Role | None:
    """The role whose service a step starts, to be waited for; one that is only enabled goes on as it did."""
    if isinstance(step, Restart) or (isinstance(step, Unit) and not before["active"]):
        return step.role
    return None


def _take_back_host(host: str, first: int, site: Acts, watch: Watches, journal: Journal, tell: Tell) -> None:
    """What was done on one host belongs together; the hosts before it are up and stay as they are."""
    mine = [it for it in journal.taken() if it.number >= first and host and host_of(it.step) == host]
    if mine:
        tell(f"{host}: what this round changed there is undone")
        for problem in take_back(mine, site, watch, journal, tell, force=True):
            tell(f"not undone: {problem}")


def take_back(
    steps: Sequence[Taken], site: Acts, watch: Watches, journal: Journal, tell: Tell, *, force: bool = False
) -> list[str]:
    """Undo steps in reverse, and start anew what they had started anew; returns what could not be undone.

    A service is as it was before what it has used of the cluster, or of another host, goes.

    A step whose present state is neither the one that the run left nor the one that it found is left
    alone, with the difference told, unless forced; what was changed before it on the same thing stays too.
    """
    problems: list[str] = []
    restarts: list[Taken] = []
    for taken in reversed(steps):
        if restarts and host_of(taken.step) != host_of(restarts[-1].step):
            problems += _restart_again(restarts, steps, site, watch, journal, tell)
            restarts = []
        if isinstance(taken.step, Restart):
            restarts.append(taken)
            continue
        problem = _undo(taken, site, journal, tell, force)
        problems += [problem] if problem else []
    return problems + _restart_again(restarts, steps, site, watch, journal, tell)


def _undo(taken: Taken, site: Acts, journal: Journal, tell: Tell, force: bool) -> str:
    try:
        now = site.look(taken.step)
        if now != taken.before and taken.step.irreversible:
            return f"{taken.step}: cannot be undone: {taken.step.irreversible}"
        if now != taken.before:
            if not force and not _left_by_the_run(now, taken):
                return f"{taken.step}: is not as the run left it: {_differing(now, taken.after)}"
            tell(f"undo {taken.number}. {taken.step}")
            left = site.undo(taken.number, taken.step, taken.before)
            if left != taken.before:
                return f"{taken.step}: is not as the run found it: {_differing(left, taken.before)}"
    except StepFailed as error:
        return f"{taken.step}: {error}"
    journal.undone(taken.number)
    return ""


def _left_by_the_run(now: State, taken: Taken) -> bool:
    if taken.done:
        return now == taken.after
    # Killed on the way: each part is as it was found, or as it was to be.
    return all(value in (taken.before.get(name), taken.after.get(name)) for name, value in now.items())


def _differing(now: State, wanted: State) -> str:
    names = sorted(name for name in now.keys() | wanted.keys() if now.get(name) != wanted.get(name))
    return "; ".join(f"{name} is {now.get(name)!r} and not {wanted.get(name)!r}" for name in names)


def _restart_again(
    restarts: Sequence[Taken], steps: Sequence[Taken], site: Acts, watch: Watches, journal: Journal, tell: Tell
) -> list[str]:
    """Start each service anew once, but those that the run had started: they do not run any more, nor are waited for.

    Nor those that had never read what the run found: they ran on from before it was changed, and so they do now.
    """
    begun = [it.step for it in steps if isinstance(it.step, Unit) and not it.before["active"]]
    stopped, silent = {(it.host, it.unit) for it in begun}, {(it.host, it.role) for it in begun}
    problems = []
    for unit, same in _by_unit(restarts).items():
        problem = "" if unit in stopped or not _ran_with_it(same) else _start_anew(same[-1], site, watch, tell, silent)
        problems += [problem] if problem else []
        for taken in same if not problem else ():
            journal.undone(taken.number)
    return problems


def _ran_with_it(restarts: Sequence[Taken]) -> bool:
    first = restarts[0].step
    return isinstance(first, Restart) and first.again


def _by_unit(restarts: Iterable[Taken]) -> dict[tuple[str, str], list[Taken]]:
    found: dict[tuple[str, str], list[Taken]] = {}
    for taken in sorted(restarts, key=lambda it: it.number):
        assert isinstance(taken.step, Restart)
        found.setdefault((taken.step.host, taken.step.unit), []).append(taken)
    return found


def _start_anew(taken: Taken, site: Acts, watch: Watches, tell: Tell, silent: Set[tuple[str, Role | None]]) -> str:
    step = taken.step
    assert isinstance(step, Restart)
    try:
        awaited = None if (step.host, step.role) in silent else step.role
        rows = watch.before(awaited) if awaited else {}
        tell(f"undo {taken.number}. {step} (again)")
        site.undo(taken.number, step, taken.before)
        if awaited:
            watch.until_up(step.host, awaited, rows)
    except (StepFailed, DeadlineError) as error:
        return f"{taken.step}: {error}"
    return ""
