"""Area cap: room in Ceph, what was promised of it, and what the hosts have."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.ceph import OsdUse, Pool
from fixtures.facts.host import HostFacts
from fixtures.facts.images import PoolContent
from fixtures.facts.openstack import BackendPool
from fixtures.facts.run import Facts
from fixtures.integration import OSD_RESERVE, backend_option, config_of, memory_of_osds
from fixtures.room import allocated_disk, held_by, room_in, use_of
from fixtures.sizes import GIB

FULL_CODES = frozenset({"OSD_NEARFULL", "OSD_BACKFILLFULL", "OSD_FULL", "POOL_NEARFULL", "POOL_BACKFILLFULL"})
MARGIN = 0.05
"""How far below nearfull the fullest OSD is to stay, as a part of its size."""
VARIANCE = (0.85, 1.15)
CAPACITY_TOLERANCE = 0.05


@pytest.mark.check("cap.osd_fullness", severity="critical", source="HC")
def test_no_osd_is_nearly_full(facts: Facts, cloud: Cloud) -> None:
    """No OSD is within 5 % of nearfull, and the others would hold what a lost failure domain held.

    Why: a single full OSD stops the writes of every pool that it serves.
    """
    ceph = facts.ceph
    osds, ratios = need(ceph.osd_use, "ceph osd df"), need(ceph.ratios, "ratios of the OSD map")
    found = [f"{c.code} ({c.message})" for c in ceph.health_checks if c.code in FULL_CODES]
    limit = ratios.nearfull - MARGIN
    found += [f"osd.{osd.id} at {osd.utilization:.1f} %" for osd in osds if osd.utilization / 100 >= limit]
    assert not found, finding(
        "OSDs",
        found=found,
        expected=f"all under {limit:.0%}, {MARGIN:.0%} below nearfull ({ratios.nearfull:.0%})",
        remedy="add OSDs; ceph balancer on; delete what can go",
    )
    after = fullness_after_loss(osds, cloud.policy.failure_domain, copies=max(pool.size for pool in ceph.pools))
    assert after < ratios.backfillfull, finding(
        "OSDs",
        found=f"{after:.0%} full on average, after the loss of the fullest {cloud.policy.failure_domain}",
        expected=f"under {ratios.backfillfull:.0%}, so that its copies can be made anew",
        remedy="add OSDs",
    )


def fullness_after_loss(osds: tuple[OsdUse, ...], kind: str, copies: int) -> float:
    """Return how full the rest is, from 0, once the fullest failure domain is gone and its data made anew.

    0 where there are no more domains than copies: the lost copies then wait for the domain to come back.
    """
    used: dict[str, int] = {}
    size: dict[str, int] = {}
    for osd in osds:
        place = osd.place.get(kind, "")
        used[place] = used.get(place, 0) + osd.used
        size[place] = size.get(place, 0) + osd.size
    if len(used) <= copies:
        return 0.0
    lost = max(used, key=lambda place: used[place])
    return sum(used.values()) / max(1, sum(size.values()) - size[lost])


@pytest.mark.check("cap.balance", severity="minor", source="practice")
def test_osds_are_filled_alike(facts: Facts) -> None:
    """The balancer is on, or every OSD is within 15 % of the average fullness.

    Why: the cluster is full when its fullest OSD is; the rest was bought for nothing.
    """
    if need(facts.ceph.balancer, "ceph balancer status").active:
        return
    least, most = VARIANCE
    osds = [osd for osd in need(facts.ceph.osd_use, "ceph osd df") if osd.weight > 0]
    bad = {f"osd.{osd.id}": f"{osd.variance:.2f}" for osd in osds if not least <= osd.variance <= most}
    assert not bad, finding(
        "OSDs, with the balancer off",
        found=bad,
        expected=f"{least} to {most} of the average",
        remedy="ceph balancer mode upmap; ceph balancer on (moves data)",
    )


@pytest.mark.check("cap.pool_headroom", severity="major", source="CR LP1960206")
def test_pool_has_room(pool: Pool, facts: Facts, cloud: Cloud) -> None:
    """A pool has room for policy.pool_headroom of what it stores, and for a full copy of its largest image.

    Why: users are refused, or guests stop, at the moment when nobody can buy disks any more.
    """
    used, room = use_of(facts.ceph, pool.name), room_in(facts.ceph, pool)
    wanted = max(int(used.stored * cloud.policy.pool_headroom), _content(facts, pool.name).largest)
    assert room > wanted, finding(
        f"pool {pool.name}",
        found=f"room for {_gib(room)} beside {_gib(used.stored)}",
        expected=f"more than {_gib(wanted)}",
        remedy="add OSDs, delete what can go, or raise the pool's quota",
    )
    told = _told_by_cinder(facts, cloud) if pool.name == cloud.ceph.pools.volumes else {}
    wrong = {
        name: f"{free} GiB"
        for name, free in told.items()
        if abs(free * GIB - room) > CAPACITY_TOLERANCE * room + GIB / 100
    }
    assert not wrong, finding(
        f"Cinder's account of pool {pool.name}",
        found=wrong,
        expected=f"{_gib(room)}, as Ceph has it",
        remedy="look at cinder-volume's log; report_dynamic_total_capacity, rbd_exclusive_cinder_pool",
    )


def _told_by_cinder(facts: Facts, cloud: Cloud) -> dict[str, float]:
    return {pool.name: float(pool.free_gb) for pool in _backends(facts, cloud) if isinstance(pool.free_gb, float)}


def _backends(facts: Facts, cloud: Cloud) -> list[BackendPool]:
    """Scheduler pools of the back end: they are named host@backend#pool."""
    every = need(facts.openstack.backend_pools, "block storage, pools")
    return [pool for pool in every if pool.name.partition("@")[2].partition("#")[0] == cloud.cinder.backend]


def _content(facts: Facts, pool: str) -> PoolContent:
    return need(facts.contents.get(pool), f"images of pool {pool}")


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


@pytest.mark.check("cap.overcommit", severity="major", source="CREL-thin COV")
def test_disks_are_promised_within_a_stated_ratio(facts: Facts, cloud: Cloud) -> None:
    """Cinder's back end states max_over_subscription_ratio and reserves room, and its volumes are within the ratio.

    Disks of servers are within what the vms pool holds, or policy.vms_overcommit times that.

    Why: thin disks promise more than there is; by default up to twenty times, and to the last byte.
    """
    promised = _content(facts, cloud.ceph.pools.volumes).provisioned / max(1, held_by(facts, cloud.ceph.pools.volumes))
    for host in cloud.hosts_with("cinder-volume"):
        config = config_of(facts.host(host), "cinder-volume")
        ratio = backend_option(config, cloud, "max_over_subscription_ratio")
        reserved = backend_option(config, cloud, "reserved_percentage", "0")
        assert ratio and int(reserved) > 0, finding(
            f"{host}: [{cloud.cinder.backend}]",
            found=f"max_over_subscription_ratio {ratio or 'unset'}, reserved_percentage {reserved}",
            expected="a ratio that somebody has chosen, and a few percent reserved",
            remedy="set both for the back end; restart cinder-volume",
        )
        assert ratio == "auto" or promised <= float(ratio), finding(
            f"pool {cloud.ceph.pools.volumes}",
            found=f"volumes of {promised:.1f} times its room",
            expected=f"at most max_over_subscription_ratio {ratio}",
            remedy="add OSDs, or delete volumes; the scheduler places none until then",
        )
    if cloud.ceph.pools.vms:
        _expect_disks_to_fit(facts, cloud, cloud.ceph.pools.vms)


def _expect_disks_to_fit(facts: Facts, cloud: Cloud, name: str) -> None:
    times = cloud.policy.vms_overcommit
    limit = held_by(facts, name) * times
    promised = {
        "images in the pool": _content(facts, name).provisioned,
        "disk that Placement has given to servers": allocated_disk(facts, cloud) * GIB,
    }
    over = {what: _gib(size) for what, size in promised.items() if size > limit}
    assert not over, finding(
        f"pool {name}",
        found=over,
        expected=f"at most {_gib(int(limit))}: what it holds, policy.vms_overcommit {times:g} times",
        remedy="add OSDs, delete servers, or say in policy.vms_overcommit how far disks may be promised",
    )


@pytest.mark.check("cap.object_map", severity="minor", source="RC")
def test_object_maps_are_valid(pool: Pool, facts: Facts) -> None:
    """No image's object map or fast diff is marked invalid.

    Why: usage, backups and deletions of such an image look at every object that it could have.
    """
    invalid = _content(facts, pool.name).invalid
    if invalid is None:
        raise NotMeasured(f"pool {pool.name}: flags of images were not read: ceph.access reaches no librbd")
    assert not invalid, finding(
        f"pool {pool.name}",
        found=sorted(invalid)[:20],
        expected="none",
        remedy=f"rbd object-map rebuild {pool.name}/{min(invalid)}, while nobody uses the image",
    )


@pytest.mark.check("cap.host_minimum", severity="minor", source="S0 S1")
def test_host_has_what_openstack_needs(openstack_host: HostFacts, facts: Facts, cloud: Cloud) -> None:
    """A host of OpenStack has policy.min_host_memory (8 GiB) and min_host_cores (4), and reserves what its OSDs take.

    Why: services that are short of memory are killed, and OSDs take the guests' where both share a host.
    """
    system, policy = openstack_host.system, cloud.policy
    machine = need(system.machine, f"{openstack_host.name}: memory and processors")
    # the kernel keeps some of what is built in
    enough = machine.memory >= policy.min_host_memory * GIB * 0.95 and machine.cores >= policy.min_host_cores
    assert enough, finding(
        openstack_host.name,
        found=f"{_gib(machine.memory)}, {machine.cores} processors",
        expected=f"{policy.min_host_memory} GiB, {policy.min_host_cores} processors",
        remedy="give it more, or move services away",
    )
    roles = cloud.hosts[openstack_host.name].roles
    if "nova-compute" not in roles or "ceph-osd" not in roles:
        return
    wanted = memory_of_osds(facts, openstack_host) * OSD_RESERVE
    reserved = config_of(openstack_host, "nova-compute").integer("DEFAULT", "reserved_host_memory_mb", 512) << 20
    assert reserved >= wanted, finding(
        f"{openstack_host.name}: nova.conf [DEFAULT] reserved_host_memory_mb",
        found=_gib(reserved),
        expected=f"at least {_gib(int(wanted))}: osd_memory_target of its OSDs and a fifth",
        remedy="raise it; restart nova-compute",
    )
