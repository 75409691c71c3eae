"""What hypervisors' disks in Placement and images promise, against what the pools hold; on the recorded lab."""

from __future__ import annotations

import pytest

from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.ceph import PoolUse, TrashEntry
from fixtures.facts.openstack import DiskInventory
from fixtures.facts.run import Facts
from fixtures.room import allocated_disk, held_by
from fixtures.sizes import GIB
from suites.capacity import test_capacity as capacity
from suites.hygiene import test_use as hygiene
from suites.nova import test_placement as placement
from tests.unit.test_old_releases import CLOUD, RECORDED, judged, with_apis

CHECK = placement.test_scheduler_gives_away_what_the_pool_holds


def _disk(provider: str, ratio: float, *, total: int = 60, allocated: int = 0) -> DiskInventory:
    return DiskInventory(provider=provider, total=total, ratio=ratio, allocated=allocated)


def _with(*disks: DiskInventory, quota: int = 0, trash: tuple[TrashEntry, ...] = ()) -> Facts:
    """A cluster of 60 GiB, of which each pool holds 20; servers' disks as Placement has them."""
    ceph = RECORDED.ceph
    usage = {pool.name: PoolUse(stored=2 * GIB, objects=1, max_avail=18 * GIB) for pool in ceph.pools}
    pools = tuple(pool.model_copy(update={"quota_bytes": quota}) for pool in ceph.pools)
    cluster = ceph.model_copy(update={"usage": usage, "pools": pools, "raw_bytes": 60 * GIB})
    contents = {
        name: content.model_copy(update={"provisioned": 3 * GIB, "trash": trash})
        for name, content in RECORDED.contents.items()
    }
    return with_apis(RECORDED.model_copy(update={"ceph_cluster": cluster, "contents": contents}), disks=disks)


def _overcommitted(times: float) -> Cloud:
    return CLOUD.model_copy(update={"policy": CLOUD.policy.model_copy(update={"vms_overcommit": times})})


def test_disks_that_fit_the_pool_together_are_sound() -> None:
    assert judged(CHECK, _with(_disk("compute1", 0.16), _disk("compute2.example.net", 0.16))) == ""


def test_the_whole_cluster_of_each_hypervisor_is_too_much() -> None:
    both = _with(_disk("compute1", 1), _disk("compute2", 1))
    found = judged(CHECK, both)
    assert "120.0 GiB to give away" in found
    assert "at most 20.0 GiB" in found
    assert "disk_allocation_ratio = 0.16" in found
    assert judged(CHECK, both, cloud=_overcommitted(6)) == ""


def test_a_quota_is_what_the_pool_holds() -> None:
    facts = _with(_disk("compute1", 0.1), _disk("compute2", 0.1), quota=10 * GIB)
    assert held_by(facts, "vms") == 10 * GIB
    assert "at most 10.0 GiB" in judged(CHECK, facts)


@pytest.mark.parametrize(
    ("disks", "said"),
    [
        ((_disk("compute1", 0.1),), "compute2: none"),
        ((_disk("compute1", 0.1), _disk("compute2", 0.1, total=40)), "compute2: 40 GiB"),
    ],
)
def test_placement_has_what_ceph_has(disks: tuple[DiskInventory, ...], said: str) -> None:
    assert said in judged(CHECK, _with(*disks))


def test_providers_that_are_not_of_the_cloud_file_do_not_count() -> None:
    here = (_disk("compute1", 0.1, allocated=2), _disk("compute2", 0.1, allocated=3))
    facts = _with(*here, _disk("elsewhere", 16, total=9000, allocated=7000))
    assert judged(CHECK, facts) == ""
    assert allocated_disk(facts, CLOUD) == 5


def test_disk_of_servers_is_tracked_against_the_pool() -> None:
    check = capacity.test_disks_are_promised_within_a_stated_ratio
    facts = _with(_disk("compute1", 16, allocated=15), _disk("compute2", 16, allocated=6))
    assert "given to servers: 21.00 GiB" in judged(check, facts)
    assert judged(check, facts, cloud=_overcommitted(1.1)) == ""


def _trashed(*sizes: int | None) -> None:
    trash = tuple(
        TrashEntry(id=str(n), name="x", source="USER", deferred_until="2999-01-01T00:00:00Z", size=size)
        for n, size in enumerate(sizes)
    )
    facts = _with(trash=trash)
    hygiene.test_trash_is_emptied("vms", facts.contents["vms"], facts, CLOUD)  # type: ignore[arg-type]


def test_trash_is_estimated_from_what_is_stored() -> None:
    _trashed()
    # a tenth of the pool is stored, by images of 3 GiB and the trash
    _trashed(2 * GIB, None)
    with pytest.raises(AssertionError, match=r"2 images of 9\.00 GiB, about 8% of the pool"):
        _trashed(5 * GIB, 4 * GIB)
    with pytest.raises(NotMeasured, match="sizes of images were not told"):
        _trashed(None)
