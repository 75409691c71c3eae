"""Area hyg: who has images open, who locked them, and what lies in the trash."""

from __future__ import annotations

import pytest

from fixtures import inventory
from fixtures.checks import finding, some
from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.ceph import RbdWatcher, TrashEntry
from fixtures.facts.images import PoolContent
from fixtures.facts.run import Facts
from fixtures.room import held_by, use_of
from fixtures.sizes import GIB
from fixtures.targets import pools
from fixtures.trash import USERS

SPLIT = "split-brain"
"""What rbd-mirror says of an image that was written on both sites."""

LARGEST_TRASH = 0.05
"""Of what the pool holds."""


@pytest.fixture
def content(pool_name: str, facts: Facts) -> PoolContent:
    """What a pool of the integration holds."""
    return inventory.content_of(facts, pool_name)


@pytest.mark.check("hyg.lock.stale", severity="critical", source="S1 XL AADI")
def test_locks_have_a_living_owner(pool_name: str, content: PoolContent, facts: Facts) -> None:
    """Whoever holds a lock on an image has it open, and is not on the blocklist.

    Why: a client that died keeps its lock; where the next may not break it, the guest does not come back after a crash.
    """
    kept_out = need(facts.ceph.blocklist, "blocklist")
    found = [f"{name}: {lock.id} of {lock.owner} at {lock.address}" for name, lock in inventory.stale_locks(content)]
    watchers = content.watchers if isinstance(content.watchers, dict) else {}
    found += [
        f"{name}: of {one.address}, which is on the blocklist"
        for name in content.lockers
        for one in watchers.get(name, ())
        if one.address in kept_out
    ]
    assert not found, finding(
        f"pool {pool_name}",
        found=some(found),
        expected="locks of clients that have the image open",
        remedy=f"make sure that the owner is dead, then rbd lock rm {pool_name}/IMAGE 'ID' OWNER, and give "
        "the cephx user `profile rbd`, so that the next client can do that itself",
    )


@pytest.mark.check("hyg.watcher.stale", severity="major", source="LP1856845")
def test_nobody_has_idle_images_open(facts: Facts, cloud: Cloud) -> None:
    """Nobody has the image of an available volume or of a server that is shut off open, and no kernel has one mapped.

    Why: such an image cannot be deleted, and two who write to it destroy it.
    """
    found = [
        f"{pool}/{name}: {one.address} (client.{one.client}), though {why}"
        for pool, images in inventory.idle(cloud, facts).items()
        for name, why in images.items()
        for one in _watchers(inventory.content_of(facts, pool), name)
    ]
    found += [
        f"{image}: mapped by the kernel of {name}"
        for name in cloud.hosts_with(*CLIENT_ROLES)
        for image in need(facts.host(name).system.krbd, f"{name}: mapped images")
        if image.partition("/")[0] in pools(cloud)
    ]
    assert not found, finding(
        "images that should be idle",
        found=some(found),
        expected="no watcher for longer than 30 s",
        remedy="find the process on that host (rbd device list, virsh list, cinder's and glance's logs) and end it; "
        "last of all ceph osd blocklist add ADDRESS",
    )


def _watchers(content: PoolContent, name: str) -> tuple[RbdWatcher, ...]:
    look = content.looks.get(name)
    return look.watchers if look else ()


@pytest.mark.check("hyg.blocklist", severity="major", source="XL AADI JUHE")
def test_running_guests_are_not_kept_out(facts: Facts, cloud: Cloud) -> None:
    """No client on Ceph's blocklist is the one that holds the disk or a volume of a running server.

    Why: such a guest goes on running with a disk that answers every write with an error.
    """
    until = need(facts.ceph.blocklist, "blocklist")
    found = [
        f"server {server}: {image} was opened by {lock.address}, kept out until {until[lock.address]}"
        for servers, image, lock in inventory.kept_out(cloud, facts)
        for server in servers
    ]
    assert not found, finding(
        "running servers",
        found=some(found),
        expected="none whose client is on the blocklist",
        remedy="restart the server (nova reboot --hard), which opens its disks as a new client",
    )


@pytest.mark.check("hyg.trash", severity="minor", source="LP1941815 OCS6342")
def test_trash_is_emptied(pool_name: str, content: PoolContent, facts: Facts, cloud: Cloud) -> None:
    """No image stays in the pool's trash long after it may be purged, and the trash has under 5 % of the pool.

    What it has is estimated: as large a part of what is stored as of what was promised.

    Why: "deleted" volumes keep their space where nothing purges the trash, or where a snapshot holds them.
    """
    entries = [entry for entry in need(content.trash, f"trash of {pool_name}") if entry.source in USERS]
    if any(not entry.deferred_until for entry in entries):
        raise NotMeasured(f"trash of {pool_name}: until when images are deferred was not told")
    ages = [(entry, facts.age(entry.deferred_until)) for entry in entries]
    overdue = [_overdue(entry, age) for entry, age in ages if age > cloud.hygiene.trash_after]
    assert not overdue, finding(
        f"trash of pool {pool_name}",
        found=some(overdue),
        expected=f"purged {cloud.hygiene.trash_after} s after its deferment at the latest",
        remedy=f"rbd trash purge schedule add; rbd trash purge {pool_name}; delete or flatten what blocks it",
    )
    _expect_little(pool_name, content, facts)


def _expect_little(pool_name: str, content: PoolContent, facts: Facts) -> None:
    entries = need(content.trash, f"trash of {pool_name}")
    if entries and all(entry.size is None for entry in entries):
        raise NotMeasured(f"trash of {pool_name}: sizes of images were not told")
    trashed = sum(entry.size or 0 for entry in entries)
    share = trashed / max(1, trashed + content.provisioned)
    stored, holds = share * use_of(facts.ceph, pool_name).stored, max(1, held_by(facts, pool_name))
    assert stored < LARGEST_TRASH * holds, finding(
        f"trash of pool {pool_name}",
        found=f"{len(entries)} images of {trashed / GIB:.2f} GiB, about {stored / holds:.0%} of the pool",
        expected=f"less than {LARGEST_TRASH:.0%} of the {holds / GIB:.2f} GiB that the pool holds",
        remedy=f"rbd trash purge {pool_name} (what was deleted is gone then), and a schedule that does it more often",
    )


def _overdue(entry: TrashEntry, age: float) -> str:
    blocked = f", held by {entry.snapshots} snapshots" if entry.snapshots else ""
    return f"{entry.name} ({entry.id}): purgeable for {age / 3600:.1f} h{blocked}"


@pytest.mark.check("hyg.rbd_features_locked", severity="minor", source="RC")
def test_no_image_is_half_migrated_split_or_of_the_first_format(
    pool_name: str, content: PoolContent, facts: Facts
) -> None:
    """No image is between `rbd migration prepare` and `commit`, in a split-brain of mirrors, or of format 1.

    Why: an image of the first or last kind can neither be cloned nor deleted by OpenStack, and format 1 was retired
    with Nautilus; of one that was written on both sites, no site takes the other's data any more.
    """
    trash = need(content.trash, f"trash of {pool_name}")
    found = [f"{name}: prepared for a migration" for name in content.migrating]
    found += [f"{entry.name}: source of a migration, in the trash" for entry in trash if entry.source == "MIGRATION"]
    found += [f"{name}: format 1" for name, image_id in content.names.items() if not image_id]
    found += [f"{name}: {why}" for name, why in _mirror_errors(pool_name, facts).items() if SPLIT in why]
    assert not found, finding(
        f"pool {pool_name}",
        found=some(found),
        expected="images of format 2, in no migration, with one primary site if they are mirrored",
        remedy="rbd migration execute and commit, or abort; split-brain: rbd mirror image resync where the data is to "
        "be thrown away; format 1: rbd export, rbd import --image-format 2",
    )


def _mirror_errors(pool_name: str, facts: Facts) -> dict[str, str]:
    pool = facts.ceph.pool(pool_name)
    mirror = need(pool.mirror if pool else None, f"mirroring of pool {pool_name}")
    told = mirror.errors or {}
    if mirror.states.get("error", 0) > len(told):
        raise NotMeasured(f"pool {pool_name}: why mirrored images are in error was told of {len(told)} only")
    return told
