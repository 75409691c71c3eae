"""What is to be done about failed checks: which steps, in which order, and what is left to a person."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from fixtures.cloud import Cloud, Role
from fixtures.facts.base import NotMeasured
from fixtures.facts.host import Service
from fixtures.facts.run import Facts
from remediate.imagined import imagined
from remediate.model import (
    DISRUPTIONS,
    AnyStep,
    Disruption,
    File,
    HardReboot,
    HostStep,
    NeedsOperator,
    Option,
    Restart,
    State,
    Step,
    Unit,
    service_order,
)
from remediate.readiness import refuse_lost
from remediate.registry import Manual, Repair
from remediate.restarts import restarts_for
from remediate.site import Preview, Site, host_of

GUESTS_NEED = ("ceph.auth.", "ceph.health.", "host.ceph_conf.", "host.keyring.", "nova.", "pkg.qemu_rbd")
"""How checks begin that tell of what a guest's start hangs on."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Part):
    """A check that failed on a target."""

    check: str
    target: str

    def __str__(self) -> str:
        return f"{self.check} [{self.target}]"


class Planned(_Part):
    """A step that is to be taken, for which checks, and what it changes."""

    step: AnyStep
    failures: tuple[Failure, ...]
    disruption: Disruption
    before: State
    after: State
    diff: tuple[str, ...]
    changed: float = 0.0
    """When what is at its path was last changed, as an epoch second."""

    def lines(self) -> Iterator[str]:
        """What it is for, and what it changes."""
        if self.failures:
            yield f"     for {', '.join(str(failure) for failure in self.failures)}"
        yield from (f"     {line}" for line in self.diff)


class Left(_Part):
    """What a plan leaves to a person, why, and the lines by which it is done."""

    failure: Failure
    reason: str
    lines: tuple[str, ...] = ()


class Plan(_Part):
    """All that is to be done, in order, and what is not."""

    steps: tuple[Planned, ...]
    withheld: tuple[Planned, ...] = ()
    """Of a class that was not allowed."""
    left: tuple[Left, ...] = ()

    @property
    def failures(self) -> frozenset[Failure]:
        """All that it is about."""
        planned = (failure for one in (*self.steps, *self.withheld) for failure in one.failures)
        return frozenset(planned) | {left.failure for left in self.left}

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it changes, in its order."""
        return tuple(dict.fromkeys(host for one in self.steps if (host := host_of(one.step))))

    def of(self, hosts: Collection[str]) -> Plan:
        """Return the part of it that is about the cluster and these hosts."""
        there = {"", *hosts}
        return Plan(
            steps=tuple(one for one in self.steps if host_of(one.step) in there),
            withheld=tuple(one for one in self.withheld if host_of(one.step) in there),
            left=tuple(one for one in self.left if one.failure.target.partition("/")[0] in hosts),
        )

    def lines(self) -> Iterator[str]:
        """The plan as a person reads it."""
        for number, planned in enumerate(self.steps, 1):
            yield f"{number}. [{planned.disruption}] {planned.step}"
            yield from planned.lines()
        for planned in self.withheld:
            yield f"not done, since {planned.disruption} (--remediate-allow={planned.disruption}): {planned.step}"
            yield from planned.lines()
        for left in self.left:
            yield f"left to the operator: {left.failure}: {left.reason}"
            yield from (f"     {line}" for line in left.lines)
        if not (self.steps or self.withheld or self.left):
            yield "nothing to do"


@dataclass
class _Wish:
    """A step that repairs ask for."""

    step: Step
    disruption: Disruption
    failures: list[Failure] = field(default_factory=list)

    def join(self, failure: Failure, step: Step, disruption: Disruption) -> None:
        """Take in what another check wants of the same thing.

        Raises:
            NeedsOperator: it wants it to be otherwise.
        """
        self.step = self.step.joined(step)  # type: ignore[arg-type]  # of one kind, since about one thing
        self.failures.append(failure)
        self.disruption = min(self.disruption, disruption, key=DISRUPTIONS.index)


def make_plan(
    failures: Sequence[Failure],
    known: Mapping[str, Repair | Manual],
    cloud: Cloud,
    facts: Facts,
    site: Site,
    allowed: Disruption = "safe",
    owed: Mapping[Restart, str] = MappingProxyType({}),
) -> Plan:
    """Compute the plan; looks at hosts and cluster and changes nothing.

    Args:
        failures: Checks that failed.
        known: All repairs.
        cloud: The cloud file.
        facts: The run's.
        site: Hosts and cluster.
        allowed: The most that a step may disturb.
        owed: Restarts that runs did not come to, with those runs.
    """
    wishes: dict[str, _Wish] = {}
    left = _ask_all(failures, wishes, known, cloud, facts)
    while True:
        ordered = sorted(wishes.values(), key=lambda wish: _place(wish.step, cloud))
        good, spoilt = _previewed(ordered, site)
        ruined = {entry.failure for entry in spoilt}
        kept, held = _held_back([one for one in good if not set(one.failures) <= ruined], failures)
        steps = [one for one in kept if _within(one.disruption, allowed)]
        still = left and _ask_again(left, wishes, known, cloud, imagined(facts, [one.step for one in steps]))
        if len(still) == len(left):
            break
        left = still
    return Plan(
        steps=tuple(_with_restarts(steps, cloud, facts, owed)),
        withheld=tuple(one for one in kept if not _within(one.disruption, allowed)),
        left=(*left, *spoilt, *held, *_idle(failures, (*left, *spoilt, *held), kept, known)),
    )


def _held_back(steps: Sequence[Planned], failures: Sequence[Failure]) -> tuple[list[Planned], list[Left]]:
    """Put off guests' reboots until nothing fails that a guest needs to start: one that does not come back is lost."""
    kept, held = [], []
    for one in steps:
        unwell = _unwell(one.step.hypervisor, failures) if isinstance(one.step, HardReboot) else []
        if unwell:
            reason = f"a guest that is started anew may not come back before these are well: {', '.join(unwell)}"
            held += [Left(failure=failure, reason=reason, lines=(str(one.step),)) for failure in one.failures]
        else:
            kept.append(one)
    return kept, held


def _unwell(hypervisor: str, failures: Sequence[Failure]) -> list[str]:
    """Return what fails of that host, or of the cluster, and is needed where a guest starts."""
    places = {hypervisor, "cloud"}
    mine = (one.check for one in failures if one.target.partition("/")[0] in places)
    return sorted({check for check in mine if check.startswith(GUESTS_NEED)})


def _idle(
    failures: Sequence[Failure], left: Sequence[Left], kept: Sequence[Planned], known: Mapping[str, Repair | Manual]
) -> Iterator[Left]:
    """Tell of failures whose repair wants what is so already."""
    told = {one.failure for one in left} | {failure for one in kept for failure in one.failures}
    for failure in failures:
        repair = known.get(failure.check)
        if failure not in told and isinstance(repair, Repair):
            yield Left(failure=failure, reason=repair.otherwise)


def _within(disruption: Disruption, allowed: Disruption) -> bool:
    return DISRUPTIONS.index(disruption) <= DISRUPTIONS.index(allowed)


def _ask_all(
    failures: Sequence[Failure],
    wishes: dict[str, _Wish],
    known: Mapping[str, Repair | Manual],
    cloud: Cloud,
    facts: Facts,
) -> list[Left]:
    """Add what repairs ask for to the wishes; returns what they leave."""
    left = []
    for failure in failures:
        try:
            repair, steps = _asked(failure, known, cloud, facts)
            for step in steps:
                disruption = step.disruption or repair.disruption
                wishes.setdefault(step.thing, _Wish(step, disruption)).join(failure, step, disruption)
        except NeedsOperator as refused:
            left.append(Left(failure=failure, reason=refused.reason, lines=refused.lines))
    return left


def _ask_again(
    left: Sequence[Left], wishes: dict[str, _Wish], known: Mapping[str, Repair | Manual], cloud: Cloud, facts: Facts
) -> list[Left]:
    """Ask those that left something, with other facts; what they leave again has its first reason."""
    still = {one.failure for one in _ask_all([one.failure for one in left], wishes, known, cloud, facts)}
    return [one for one in left if one.failure in still]


def _asked(
    failure: Failure, known: Mapping[str, Repair | Manual], cloud: Cloud, facts: Facts
) -> tuple[Repair, list[Step]]:
    repair = known.get(failure.check)
    if repair is None:
        raise NeedsOperator("there is no repair for this check yet")
    if isinstance(repair, Manual):
        raise NeedsOperator(repair.reason)
    try:
        steps = repair.of(failure.target, cloud, facts)
    except NotMeasured as blind:
        raise NeedsOperator(f"what the repair goes by could not be read: {blind}") from None
    if not steps:
        raise NeedsOperator(repair.otherwise)
    for step in steps:
        _refuse_lost(step, cloud, facts)
    return repair, steps


def _refuse_lost(step: Step, cloud: Cloud, facts: Facts) -> None:
    """Leave what would have a service started anew that would not come back as itself."""
    begun = [step.role] if isinstance(step, Restart | Unit) and step.role else []
    for role in (*(step.restarts if isinstance(step, HostStep) else ()), *begun):
        refuse_lost(cloud, facts, host_of(step), role)


def _previewed(wishes: Sequence[_Wish], site: Site) -> tuple[list[Planned], list[Left]]:
    good, left = [], []
    for wish, preview in zip(wishes, site.previews([wish.step for wish in wishes]), strict=True):
        reason = _against(preview)
        if reason:
            lines = _lines(wish.step)
            left += [Left(failure=failure, reason=reason, lines=lines) for failure in wish.failures]
        elif preview.changes:
            good.append(
                Planned(
                    step=wish.step,
                    failures=tuple(wish.failures),
                    disruption=wish.disruption,
                    before=preview.before,
                    after=preview.after,
                    diff=preview.diff,
                    changed=preview.changed,
                )
            )
    return good, left


def _against(preview: Preview) -> str:
    if preview.refused:
        return preview.refused
    return f"the file is a tool's: {preview.managed!r}; give it these lines" if preview.managed else ""


def _lines(step: Step) -> tuple[str, ...]:
    if isinstance(step, Option) and step.value is not None:
        return (f"# {step.host}:{step.path}", f"[{step.section}]", f"{step.key} = {step.value}")
    if isinstance(step, File) and step.text is not None:
        return (f"# {step.host}:{step.path}", *step.text.splitlines())
    return (str(step),)


def _place(step: Step, cloud: Cloud) -> tuple[int, int]:
    """The cluster first, then host by host, so that one host at a time is in change."""
    host = host_of(step)
    rank = list(cloud.hosts).index(host) if host else -1
    return rank, service_order(step)


# Restarts


def _with_restarts(
    steps: Sequence[Planned], cloud: Cloud, facts: Facts, owed: Mapping[Restart, str]
) -> Iterator[Planned]:
    """Behind the last step of each host, what its services must be started anew for."""
    yield from (one for one in steps if not host_of(one.step))
    for host in cloud.hosts:
        here = [one for one in steps if host_of(one.step) == host]
        yield from (one for one in here if not isinstance(one.step, Restart))
        yield from _restarts(here, facts, {step: run for step, run in owed.items() if step.host == host})


def _restarts(here: Sequence[Planned], facts: Facts, owed: Mapping[Restart, str]) -> Iterator[Planned]:
    """Those that repairs ask for, then those of services that read what is changed, or what a dead run changed."""
    others = [one for one in here if not isinstance(one.step, Restart)]
    begun = {one.step.unit for one in others if isinstance(one.step, Unit) and not one.before["active"]}
    causes = _causes(others, facts)
    debts = {step.unit: (step, run) for step, run in owed.items()}
    for one in here:
        if isinstance(one.step, Restart):
            step, known = one.step, causes.pop(one.step.unit, (one.step, []))[1]
            debts.pop(step.unit, None)
            known += [it for it in others if set(it.failures) & set(one.failures) and it not in known]
            shown = {"again": _again(step, known, facts), "role": _awaited(step, others, facts)}
            yield one.model_copy(update={"step": step.model_copy(update=shown)})
    for unit, (step, _) in debts.items():
        causes.setdefault(unit, (step, []))
    for unit, (step, known) in causes.items():
        if unit not in begun:
            yield Planned(
                step=step.model_copy(update={"again": _again(step, known, facts)}),
                failures=tuple(dict.fromkeys(failure for cause in known for failure in cause.failures)),
                disruption="safe",
                before={},
                after={},
                diff=tuple(f"owed by run {run}, which was cut short" for _, run in filter(None, [debts.get(unit)])),
            )


def _awaited(step: Restart, others: Sequence[Planned], facts: Facts) -> Role | None:
    """The service that a restart is felt by: what is stopped, and not started by now, does not report again."""
    service = facts.host(step.host).services.get(step.role) if step.role else None
    begun = {one.step.role for one in others if isinstance(one.step, Unit)}
    stopped = isinstance(service, Service) and service.unit.active != "active" and step.role not in begun
    return None if stopped else step.role


def _causes(steps: Iterable[Planned], facts: Facts) -> dict[str, tuple[Restart, list[Planned]]]:
    """Unit to its restart, and the steps that it is started anew for."""
    found: dict[str, tuple[Restart, list[Planned]]] = {}
    for planned in steps:
        for restart in restarts_for(planned.step, facts):
            found.setdefault(restart.unit, (restart, []))[1].append(planned)
    return found


def _again(step: Restart, causes: Iterable[Planned], facts: Facts) -> bool:
    """Whether the service ran with what its causes change; what was changed under it, it had not read."""
    services = facts.host(step.host).services.values()
    since = [it.unit.since for it in services if isinstance(it, Service) and it.unit.name == step.unit]
    changed = [cause.changed for cause in causes]
    return bool(changed) and max(changed) <= max(since, default=math.inf)
