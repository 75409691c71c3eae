"""What a role is, and how a role finds the machines it depends on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lab.machine import LabError, Machine
from lab.plan import Plan
from lab.releases import Release

Task = Callable[[Machine, Plan], None]


@dataclass(frozen=True)
class Role:
    """A part of the cloud that a machine can take on."""

    name: str
    packages: tuple[str, ...]
    units: tuple[str, ...]
    provision: Task
    after: tuple[str, ...] = ()
    ready: Task | None = None
    apart: bool = False
    """Its packages are only in the base of labs that have it: the others' is built as fast as without it."""

    def packages_on(self, release: Release) -> tuple[str, ...]:
        """What it needs on a release."""
        return (*self.packages, *release.packages.get(self.name, ()))

    def units_on(self, release: Release) -> tuple[str, ...]:
        """What it runs on a release."""
        return (*self.units, *release.units.get(self.name, ()))


def machine_with(plan: Plan, role: str) -> Machine:
    """The first machine that carries a role."""
    found = plan.with_role(role)
    if not found:
        raise LabError(f"profile {plan.profile.name}: no machine has the role {role}")
    return found[0]


def option(plan: Plan, key: str) -> str:
    """A text option of the profile, which must be there."""
    value = plan.profile.options.get(key)
    if not isinstance(value, str):
        raise LabError(f"profile {plan.profile.name}: options.{key} is {value!r}, wanted a text")
    return value


def table(plan: Plan, *keys: str) -> dict[str, object]:
    """A table under the profile's options; empty where the profile has none."""
    found: object = plan.profile.options
    for key in keys:
        found = found.get(key, {}) if isinstance(found, dict) else {}
    if not isinstance(found, dict):
        raise LabError(f"profile {plan.profile.name}: options.{'.'.join(keys)} is not a table")
    return found


def poll(what: str, look: Callable[[], bool], *, timeout: float, every: float = 1.5) -> None:
    """Look until it is so; an error of the look itself counts as not yet."""
    deadline = time.monotonic() + timeout
    last = "it stayed so"
    while time.monotonic() < deadline:
        try:
            if look():
                return
        except (LabError, OSError) as error:
            last = str(error)
        time.sleep(every)
    raise LabError(f"{what}: not within {timeout:.0f} s ({last})")
