"""Area nova.placement: what the scheduler believes that hypervisors have."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.openstack import DiskInventory
from fixtures.facts.run import Facts
from fixtures.room import disks_of_hypervisors, fitting_ratio, held_by
from fixtures.sizes import GIB
from suites.nova.test_compute import on_rbd


@on_rbd
@pytest.mark.check("nova.placement.disk_gb", severity="major", source="NR ND LP1784020")
def test_scheduler_gives_away_what_the_pool_holds(facts: Facts, cloud: Cloud) -> None:
    """Placement has Ceph's present size as each hypervisor's disk, and gives away no more than the vms pool holds.

    policy.vms_overcommit says how many times that may be given away (1).

    Why: every hypervisor reports the whole cluster, copies included, so that the scheduler never says no.
    """
    disks, raw = disks_of_hypervisors(facts, cloud), need(facts.ceph.raw_bytes, "ceph df") // GIB
    bad = {host: why for host, disk in disks.items() if (why := _not_as_ceph(disk, raw))}
    assert not bad, finding(
        "Placement: DISK_GB",
        found=bad,
        expected=f"{raw} GiB a hypervisor, which is what Nova reports each minute of Ceph",
        remedy="look at nova-compute's log; [libvirt] images_type",
    )
    _expect_to_fit([disk for disk in disks.values() if disk], facts, cloud)


def _not_as_ceph(disk: DiskInventory | None, raw: int) -> str:
    if disk is None:
        return "none"
    return "" if abs(disk.total - raw) <= 1 else f"{disk.total} GiB"


def _expect_to_fit(disks: list[DiskInventory], facts: Facts, cloud: Cloud) -> None:
    pool, times = str(cloud.ceph.pools.vms), cloud.policy.vms_overcommit
    usable, limit = sum(disk.usable for disk in disks), held_by(facts, pool) * times / GIB
    ratios = sorted({f"{disk.ratio:g}" for disk in disks})
    assert usable <= limit, finding(
        f"Placement: DISK_GB of {len(disks)} hypervisors",
        found=f"{usable:.1f} GiB to give away, with allocation_ratio {', '.join(ratios)}",
        expected=f"at most {limit:.1f} GiB: what pool {pool} holds, policy.vms_overcommit {times:g} times",
        remedy=f"[DEFAULT] disk_allocation_ratio = {fitting_ratio(disks, facts, cloud):.2f} on every hypervisor "
        "(or more in reserved_host_disk_mb), restart nova-compute; or policy.vms_overcommit, and "
        "an alert on the pool's room",
    )
