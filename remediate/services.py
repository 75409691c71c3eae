"""A service's unit, the same for every service."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Role
from fixtures.facts.run import Facts
from fixtures.targets import service_of
from fixtures.units import ENABLED
from remediate.model import NeedsOperator, Unit
from remediate.options import refuse_container


def run_unit(facts: Facts, host: str, role: Role) -> Iterator[Unit]:
    """Enable a unit and start it, as far as it is not.

    Raises:
        NeedsOperator: there is no such unit, it is masked, or a container's.
    """
    refuse_container(facts, host, role, f"restart the container of {role}")
    unit = service_of(facts.host(host), role).unit
    if unit.load != "loaded":
        raise NeedsOperator(
            f"{host}: {unit.name} is {unit.load}", f"apt install {role}", f"systemctl unmask {unit.name}"
        )
    if unit.active != "active" or unit.enabled not in ENABLED:
        yield Unit(host=host, role=role, unit=unit.name, enable=unit.enabled not in ENABLED)
