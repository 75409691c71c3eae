"""Area glance.image: the images, from the API and from RADOS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.ceph import RbdImage
from fixtures.facts.openstack import Image
from fixtures.facts.run import Facts

QCOW2 = "514649fb"
WHOLE = ("raw", "iso")


def _active(facts: Facts) -> list[Image]:
    return [image for image in need(facts.openstack.images, "images") if image.status == "active"]


def _in_rbd(facts: Facts, cloud: Cloud) -> Iterator[tuple[Image, RbdImage | None]]:
    """Active images that the API or the pool says are in the images pool, with the RBD side."""
    pool = cloud.ceph.pools.images
    if not _active(facts):
        raise NotMeasured("there is no active image: upload one, an empty list proves nothing")
    stored = {image.name: image for image in need(facts.ceph.images.get(pool), f"images of pool {pool}")}
    for image in _active(facts):
        located = f"/{pool}/{image.id}/" in image.direct_url or (cloud.glance.store or "") in image.stores
        if image.id in stored or located:
            yield image, stored.get(image.id)


@pytest.mark.check("glance.image.format_raw", severity="major", source="S0 S2 RO NI")
def test_images_are_raw_by_name_and_by_content(facts: Facts, cloud: Cloud) -> None:
    """Every active image in the images pool is raw (or an ISO), by its format and by its first bytes.

    Why: Ceph clones raw only; any other format is downloaded and converted for each use, or does not boot.
    """
    bad = [text for image, stored in _in_rbd(facts, cloud) if (text := _not_raw(image, stored))]
    assert not bad, finding(
        f"pool {cloud.ceph.pools.images}",
        found=bad,
        expected="raw",
        remedy="qemu-img convert -O raw, upload again, swap the names",
    )


def _not_raw(image: Image, stored: RbdImage | None) -> str:
    problems = [] if image.disk_format in WHOLE else [f"format {image.disk_format}"]
    problems += ["content is qcow2"] if stored and stored.magic == QCOW2 else []
    return f"{image.id} ({image.name}): {', '.join(problems)}" if problems else ""


@pytest.mark.check("glance.image.rbd_backing", severity="critical", source="GS NI")
def test_images_are_whole_in_the_pool(facts: Facts, cloud: Cloud) -> None:
    """Each image in the store has its RBD image, of Glance's size, with a snapshot `snap` to clone from.

    Why: an image without its snapshot stays active and fails every boot.
    """
    protect = not facts.ceph.clone_v2
    bad = [text for image, stored in _in_rbd(facts, cloud) for text in _faults(image, stored, protect)]
    assert not bad, finding(
        f"pool {cloud.ceph.pools.images}",
        found=bad,
        expected="an RBD image of the right size with a snapshot `snap`",
        remedy="rbd snap create POOL/ID@snap (and protect), or upload the image again",
    )


def _faults(image: Image, stored: RbdImage | None, protect: bool) -> Iterator[str]:
    if stored is None:
        yield f"{image.id}: no RBD image"
        return
    snapshot = next((snap for snap in stored.snapshots if snap.name == "snap"), None)
    if snapshot is None:
        yield f"{image.id}: no snapshot `snap`"
    elif protect and not snapshot.protected:
        yield f"{image.id}: `snap` is not protected, and clones of the first version need that"
    if stored.size != image.size:
        yield f"{image.id}: {stored.size} bytes in RBD, {image.size} in Glance"
