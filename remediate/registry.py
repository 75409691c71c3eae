"""Which repair a check has, declared by id beside no check: `@repairs(id, …)`, or `manual(id, reason)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, TypeVar

from fixtures import targets
from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from remediate.model import Disruption, Step

AREAS: Final = (
    *("ceph", "ceph_pools", "ceph_users", "hosts", "keystone", "glance", "cinder", "backup", "nova"),
    *("access", "migration", "journeys", "capacity", "hygiene", "security", "recovery", "swift", "horizon", "iscsi"),
)
"""Modules of this package that declare repairs, named as the folders of suites/; a large one is in parts."""

Steps = Callable[..., Iterable[Step]]
S = TypeVar("S", bound=Steps)


@dataclass(frozen=True)
class Repair:
    """A function that says what to do. Its arguments are `cloud`, `facts`, and targets as of the check."""

    steps: Steps
    disruption: Disruption
    otherwise: str = "its repair finds nothing to do: what it can change is as it should be"
    """What is told a person where nothing of it is to be done."""
    lags: bool = False
    """It sums up what others say, and a while after them: right after a repair it may be but of the moment."""

    def of(self, target: str, cloud: Cloud, facts: Facts) -> list[Step]:
        """Return the steps for a failed check's target; none where nothing is to be done.

        Raises:
            NeedsOperator: it cannot be done safely.
            NotMeasured: a fact that it needs is not there.
        """
        wanted = inspect.signature(self.steps).parameters
        given: dict[str, Any] = {"cloud": cloud, "facts": facts, **targets.named(tuple(wanted), target, cloud)}
        return list(self.steps(**{name: given[name] for name in wanted}))


@dataclass(frozen=True)
class Manual:
    """Why a check has no repair."""

    reason: str
    lags: bool = False


_KNOWN: dict[str, Repair | Manual] = {}


def repairs(
    *checks: str, disruption: Disruption, otherwise: str = Repair.otherwise, lags: bool = False
) -> Callable[[S], S]:
    """Declare a function to be the repair of checks; for the rest see `Repair`."""

    def declare(steps: S) -> S:
        for check in checks:
            _declare(check, Repair(steps, disruption, otherwise, lags))
        return steps

    return declare


def manual(reason: str, *checks: str, lags: bool = False) -> None:
    """Declare that these checks have no repair, and why."""
    for check in checks:
        _declare(check, Manual(reason, lags))


def _declare(check: str, what: Repair | Manual) -> None:
    if check in _KNOWN:
        raise ValueError(f"{check}: has a repair already")
    _KNOWN[check] = what


def known() -> MappingProxyType[str, Repair | Manual]:
    """Return all that is declared, by check id."""
    for area in AREAS:
        import_module(f"remediate.{area}")
    return MappingProxyType(_KNOWN)
