"""A service's unit, the same for every service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.openstack import ServiceState
from fixtures.facts.run import Facts
from fixtures.targets import service_of
from fixtures.units import ENABLED
from remediate.model import NeedsOperator, Restart, Unit
from remediate.options import refuse_container
from remediate.readiness import refuse_unready


def run_unit(cloud: Cloud, facts: Facts, host: str, role: Role) -> Iterator[Unit]:
    """Enable a unit and start it, as far as it is not.

    Raises:
        NeedsOperator: there is no such unit, it is masked, a container's, or lacks what it needs of Ceph.
    """
    refuse_container(facts, host, role, f"restart the container of {role}")
    unit = service_of(facts.host(host), role).unit
    if unit.load != "loaded":
        raise NeedsOperator(
            f"{host}: {unit.name} is {unit.load}", f"apt install {role}", f"systemctl unmask {unit.name}"
        )
    if unit.active != "active" and role in CLIENT_ROLES:
        refuse_unready(cloud, facts, host, role, f"systemctl start {unit.name}")
    if unit.active != "active" or unit.enabled not in ENABLED:
        yield Unit(host=host, role=role, unit=unit.name, enable=unit.enabled not in ENABLED)


def restart_unit(cloud: Cloud, facts: Facts, host: str, role: Role) -> Iterator[Restart]:
    """Start a service anew that runs and does not do its work.

    Raises:
        NeedsOperator: it is a container's, or lacks what it needs of Ceph.
    """
    refuse_container(facts, host, role, f"restart the container of {role}")
    unit = service_of(facts.host(host), role).unit
    if role in CLIENT_ROLES:
        refuse_unready(cloud, facts, host, role, f"systemctl restart {unit.name}")
    if unit.active == "active":
        yield Restart(host=host, role=role, unit=unit.name)


def revive(cloud: Cloud, facts: Facts, host: str, role: Role, rows: Iterable[ServiceState]) -> Iterator[Unit | Restart]:
    """Run a service, and start it anew where it runs and its rows say that it is down.

    Args:
        cloud: The cloud file.
        facts: The run's.
        host: The host of the cloud file.
        role: The service.
        rows: The service's rows, on whatever host.

    Raises:
        NeedsOperator: as `run_unit`.
    """
    steps = list(run_unit(cloud, facts, host, role))
    yield from steps
    if not steps and any(row.state != "up" for row in rows_on(facts, host, rows)):
        yield from restart_unit(cloud, facts, host, role)


def rows_on(facts: Facts, host: str, rows: Iterable[ServiceState]) -> list[ServiceState]:
    """Return the rows of a service list that are of a host, whether it is named there in full or not."""
    on = facts.host(host)
    return [row for row in rows if on.is_called(row.host.partition("@")[0])]


def refuse_disabled(rows: Iterable[ServiceState]) -> None:
    """Leave what somebody disabled; raises NeedsOperator."""
    disabled = [row for row in rows if row.status != "enabled"]
    if disabled:
        raise NeedsOperator(
            f"an administrator disabled {', '.join(f'{row.binary} on {row.host}' for row in disabled)}: "
            "whether that maintenance is over is not ours to say",
            *(_enabling(row) for row in disabled),
        )


def _enabling(row: ServiceState) -> str:
    area = "compute" if row.binary.startswith("nova") else "volume"
    return f"openstack {area} service set --enable {row.host} {row.binary}"
