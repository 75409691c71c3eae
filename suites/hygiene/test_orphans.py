"""Area hyg: what the APIs list against what the pools hold, in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fixtures import inventory
from fixtures.checks import finding, some
from fixtures.cloud import Cloud
from fixtures.facts.images import PoolContent
from fixtures.facts.run import Facts


def _described(content: PoolContent, names: Sequence[str]) -> list[str]:
    """Names with what is known of those that were opened: size and age."""
    looks = {name: content.looks.get(name.partition("@")[0]) for name in names}
    return some(f"{name} ({look.size >> 20} MiB, of {look.created})" if look else name for name, look in looks.items())


@pytest.mark.check("hyg.volume.orphan", severity="major", source="CR")
def test_volumes_and_their_images_belong_together(facts: Facts, cloud: Cloud) -> None:
    """Each `volume-UUID` in the pool is a volume of Cinder's, and each volume of the back end is in the pool.

    Why: an orphan takes space that no quota counts; a volume without its image is data lost that nobody missed yet.
    """
    pool, found = cloud.ceph.pools.volumes, inventory.volumes(cloud, facts)
    assert not found.lost, finding(
        f"pool {pool}",
        found=some(f"volume {uuid} has no image" for uuid in found.lost),
        expected="an image for each volume",
        remedy="look in the trash (rbd trash ls --all); restore it, else delete the volume or restore a backup",
    )
    assert not found.orphans, finding(
        f"pool {pool}",
        found=_described(inventory.content_of(facts, pool), found.orphans),
        expected="a volume for each image",
        remedy="make sure that no other cloud uses the pool; then cinder manage, or rbd trash mv",
    )


@pytest.mark.check("hyg.volume.deleted_suffix", severity="minor", source="CR")
def test_deleted_volumes_that_remain_have_clones(facts: Facts, cloud: Cloud) -> None:
    """Each `volume-UUID.deleted` in the pool still has a clone.

    Why: Cinder keeps a deleted volume only for its clones; without any it was forgotten, and takes its space for ever.
    """
    pool = cloud.ceph.pools.volumes
    content = inventory.content_of(facts, pool)
    kept = [name for name in content.names if inventory.is_deleted_volume(cloud, facts, name)]
    leaked = [name for name in kept if name in content.looks and not any(content.looks[name].clones.values())]
    assert not leaked, finding(
        f"pool {pool}",
        found=_described(content, leaked),
        expected="clones of each",
        remedy="rbd snap purge and rbd trash mv, once rbd children says that there are none",
    )


@pytest.mark.check("hyg.snapshot.orphan", severity="major", source="CR CP")
def test_snapshots_belong_to_cinder(facts: Facts, cloud: Cloud) -> None:
    """Each snapshot in the pool is one of Cinder's, of a backup or of a clone that exists, and none of Cinder's lacks.

    Why: a forgotten snapshot holds every block that was overwritten since; a lost one cannot be restored from.
    """
    pool, found = cloud.ceph.pools.volumes, inventory.snapshots(cloud, facts)
    content = inventory.content_of(facts, pool)
    assert not found.lost, finding(
        f"pool {pool}",
        found=some(f"{name} is not there" for name in found.lost),
        expected="an RBD snapshot for each",
        remedy="delete the snapshot in Cinder; it cannot be restored",
    )
    unused = [
        f"{image}@{name} without a clone"
        for image, names in inventory.clone_snapshots(content).items()
        for name in names
        if image in content.looks and not content.looks[image].clones.get(name, ("unseen",))
    ]
    assert not found.orphans and not unused, finding(
        f"pool {pool}",
        found=some([*found.orphans, *unused]),
        expected="a snapshot, backup or clone of Cinder's for each",
        remedy="rbd snap unprotect, rbd snap rm",
    )


@pytest.mark.check("hyg.vm.orphan_disk", severity="major", source="NR")
@pytest.mark.applies_if(lambda cloud: cloud.ceph.pools.vms is not None, "the cloud file names no pool for servers")
def test_disks_belong_to_servers(facts: Facts, cloud: Cloud) -> None:
    """Each `UUID_disk…` is a server's, each server on an image has its disk, and no resize left its snapshot.

    Why: Nova gives up a deletion after ten seconds of "image is busy"; the disk then stays for ever.
    """
    pool, found = cloud.ceph.pools.vms, inventory.disks(cloud, facts)
    assert not found.lost, finding(
        f"pool {pool}",
        found=some(f"{name} is not there" for name in found.lost),
        expected="a disk for each server",
        remedy="look in the trash (rbd trash ls --all), and whether its hypervisor keeps disks elsewhere",
    )
    left = inventory.resize_leftovers(cloud, facts)
    assert not found.orphans and not left, finding(
        f"pool {pool}",
        found=[*_described(inventory.content_of(facts, pool), found.orphans), *some(left)],
        expected="a server for each disk, and no snapshot nova-resize outside a resize",
        remedy="make sure that no other cloud or cell uses the pool; then rbd snap rm, rbd trash mv",
    )


@pytest.mark.check("hyg.image.orphan", severity="major", source="GS")
def test_images_belong_to_glance(facts: Facts, cloud: Cloud) -> None:
    """Each RBD image in the images pool is one of Glance's, and each location that Glance shows is in the pool.

    Why: an orphan takes space that Glance does not count; a location that leads nowhere fails each boot from it.
    """
    pool, found = cloud.ceph.pools.images, inventory.images(cloud, facts)
    assert not found.lost, finding(
        f"pool {pool}",
        found=some(f"image {uuid} is not there" for uuid in found.lost),
        expected="an RBD image for each location",
        remedy="look in the trash (rbd trash ls --all); restore it, else upload the image again",
    )
    assert not found.orphans, finding(
        f"pool {pool}",
        found=_described(inventory.content_of(facts, pool), found.orphans),
        expected="an image of Glance's for each",
        remedy="rbd children; if there are none, rbd trash mv",
    )
