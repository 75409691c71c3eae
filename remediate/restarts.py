"""Which services must be started anew: for what a plan changes, and for what a run changed that was cut short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.distributions import units_beside
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.host import Service
from fixtures.facts.run import Facts
from remediate.journal import Taken
from remediate.model import HostStep, NeedsOperator, Restart, Step, Unit
from remediate.readiness import refuse_lost, refuse_unready


def restarts_for(step: Step, facts: Facts) -> list[Restart]:
    """Return the restarts of the services that read what a step changes, as far as they run."""
    if not isinstance(step, HostStep):
        return []
    return [restart for role in step.restarts if (restart := _restart(facts, step.host, role))]


def _restart(facts: Facts, host: str, role: Role) -> Restart | None:
    service = _service(facts, host, role)
    if service is None or service.unit.active != "active":
        return None
    return Restart(host=host, role=role, unit=service.unit.name, beside=units_beside(role))


def owed(runs: Mapping[str, Sequence[Taken]], cloud: Cloud, facts: Facts) -> dict[Restart, str]:
    """Return restarts that runs did not come to, and that nobody has done since, each with the run that owes it.

    What these runs changed is as it should be by now, so that no check asks for them. A service that lacks
    something of Ceph is left running until it is there.

    Args:
        runs: What each run took and did not take back, oldest first.
        cloud: The cloud file.
        facts: Tell since when services run.
    """
    found: dict[tuple[str, Role], tuple[str, float]] = {}
    for run, steps in runs.items():
        for taken in steps:
            step = taken.step
            if isinstance(step, Restart | Unit) and step.role and taken.done and _is_its_own(facts, step):
                found.pop((step.host, step.role), None)
            elif isinstance(step, HostStep):
                found |= {(step.host, role): (run, taken.at) for role in step.restarts}
    late = {place: run for place, (run, at) in found.items() if _is_due(cloud, facts, *place, at)}
    told = ((_restart(facts, *place), run) for place, run in late.items())
    return {restart: run for restart, run in told if restart}


def started_since(steps: Sequence[Taken], facts: Facts) -> list[Restart]:
    """Return restarts of services that somebody else than the run has started since, and that read what it left."""
    found: dict[tuple[str, str], tuple[Restart, float]] = {}
    for taken in steps:
        if isinstance(taken.step, Restart | Unit):
            found.pop((taken.step.host, taken.step.unit), None)
        for restart in restarts_for(taken.step, facts):
            found[restart.host, restart.unit] = restart, taken.at
    return [restart for restart, at in found.values() if _runs_since(facts, restart) > at]


def _runs_since(facts: Facts, restart: Restart) -> float:
    service = _service(facts, restart.host, restart.role)
    return service.unit.since if service else 0.0


def _is_its_own(facts: Facts, step: Restart | Unit) -> bool:
    """Whether it is the role's service itself that is started, not what that works with, as libvirt's daemon."""
    service = _service(facts, step.host, step.role)
    return service is None or service.unit.name == step.unit


def _is_due(cloud: Cloud, facts: Facts, host: str, role: Role, at: float) -> bool:
    service = _service(facts, host, role)
    if service is None or service.unit.since >= at:
        return False
    try:
        refuse_lost(cloud, facts, host, role)
        if role in CLIENT_ROLES:
            refuse_unready(cloud, facts, host, role)
    except (NeedsOperator, NotMeasured):
        return False
    return True


def _service(facts: Facts, host: str, role: Role | None) -> Service | None:
    on_host = facts.hosts.get(host)
    if role is None or on_host is None or isinstance(on_host, Unreadable):
        return None
    service = on_host.services.get(role)
    return service if isinstance(service, Service) else None
