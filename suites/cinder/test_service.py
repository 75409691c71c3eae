"""Area cinder: services and the back end as the scheduler sees it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud, Role
from fixtures.facts.base import need
from fixtures.facts.openstack import BackendPool, ServiceState
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.targets import service_of
from fixtures.units import starting, unit_problem

LOOK_AT_LOG = "look at caps, keyring and the cinder-volume log"
ROLES: tuple[Role, ...] = ("cinder-api", "cinder-scheduler", "cinder-volume")


@pytest.mark.check("cinder.service.up", severity="critical", source="S0 S1")
def test_volume_services_are_up(facts: Facts, cloud: Cloud) -> None:
    """API, scheduler and a cinder-volume for the back end run, are enabled, and no dead row is left.

    Why: a row of a removed back end stays `down` for ever, and volumes bound to it cannot be deleted.
    """
    units = [(host, service_of(facts.host(host), role).unit) for role in ROLES for host in cloud.hosts_with(role)]
    stopped = [(host, unit) for host, unit in units if unit_problem(unit)]
    assert not stopped, finding(
        "units",
        found=[f"{host}: {unit.name} {unit_problem(unit)}" for host, unit in stopped],
        expected="active and enabled",
        remedy=starting(unit for _, unit in stopped),
    )
    rows = [row for row in need(facts.openstack.volume_services, "volume services") if row.binary != "cinder-backup"]
    bad = [f"{row.binary} {row.host}: {row.status}, {row.state}" for row in rows if _bad(row)]
    assert not bad, finding(
        "volume services",
        found=bad,
        expected="enabled, up",
        remedy="start it, or cinder-manage service remove where the back end is gone",
    )
    suffix = f"@{cloud.cinder.backend}"
    assert any(row.binary == "cinder-volume" and row.host.endswith(suffix) for row in rows), finding(
        "volume services",
        found=[row.host for row in rows if row.binary == "cinder-volume"],
        expected=f"HOST{suffix}",
        remedy="look at the cinder-volume log",
    )


def _bad(row: ServiceState) -> bool:
    return row.state != "up" or row.status != "enabled"


@pytest.mark.check("cinder.backend.state", severity="critical", source="CR")
def test_scheduler_sees_the_back_end_up(facts: Facts, cloud: Cloud) -> None:
    """The scheduler's pool of the back end is up, of protocol ceph, with numeric capacity, on this cluster, and fresh.

    Why: a driver that failed to initialise, or lost its way to Ceph since, keeps its service row up and takes no
    volume; where it cannot even connect, the scheduler keeps the last good report.
    """
    pools = need(facts.openstack.backend_pools, "scheduler pools")
    ours = [pool for pool in pools if f"@{cloud.cinder.backend}#" in pool.name]
    assert ours, finding(
        "scheduler pools",
        found=[pool.name for pool in pools],
        expected=f"HOST@{cloud.cinder.backend}#…",
        remedy="look at the cinder-volume log",
    )
    for pool in ours:
        expected = {"state": "up", "protocol": "ceph", "capacity": "numbers", "fsid": facts.ceph.fsid}
        found = {
            "state": pool.backend_state,
            "protocol": pool.storage_protocol,
            "capacity": "numbers"
            if all(isinstance(gb, float) for gb in (pool.total_gb, pool.free_gb))
            else f"{pool.total_gb}/{pool.free_gb}",
            "fsid": facts.ceph.fsid if facts.ceph.fsid in pool.location_info.split(":") else pool.location_info,
        }
        assert found == expected, finding(pool.name, found=found, expected=expected, remedy=LOOK_AT_LOG)
        silent = _silent_seconds(pool, need(facts.openstack.volume_services, "volume services"))
        longest = 3 * _polling_interval(facts, cloud)
        assert silent <= longest, finding(
            pool.name, found=f"last report {silent:.0f} s ago", expected=f"at most {longest} s", remedy=LOOK_AT_LOG
        )


def _polling_interval(facts: Facts, cloud: Cloud) -> int:
    configs = (config_of(facts.host(name), "cinder-volume") for name in cloud.hosts_with("cinder-volume"))
    return max((config.integer("DEFAULT", "backend_stats_polling_interval", 60) for config in configs), default=60)


def _silent_seconds(pool: BackendPool, services: Iterable[ServiceState]) -> float:
    """By the cloud's own clock: since the pool's last report until the newest sign of life of any service."""
    beats = [_moment(service.updated_at) for service in services if service.updated_at]
    return (max(beats) - _moment(pool.reported_at)).total_seconds() if beats and pool.reported_at else 0.0


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=None)
