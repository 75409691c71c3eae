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
from fixtures.sizes import GIB

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


@pytest.mark.check("glance.image.location_rbd", severity="major", source="S1 GS NW")
def test_images_lie_in_this_clusters_pool(facts: Facts, cloud: Cloud) -> None:
    """Every active image has its location in the images pool of this cluster.

    Where Glance hides locations, an image of its id in that pool is taken for it.

    Why: an image of the time before the switch stays where it was; one of another fsid is uploaded anew per boot.
    """
    pool = cloud.ceph.pools.images
    images = _active(facts)
    if not images:
        raise NotMeasured("there is no active image: upload one, an empty list proves nothing")
    stored = {image.name for image in need(facts.ceph.images.get(pool), f"images of pool {pool}")}
    wanted = f"rbd://{facts.ceph.fsid}/{pool}/"
    elsewhere = {
        f"{image.id} ({image.name})": image.direct_url or f"hidden, and not in pool {pool}"
        for image in images
        if not (image.direct_url.startswith(wanted) if image.direct_url else image.id in stored)
    }
    assert not elsewhere, finding(
        "images",
        found=elsewhere,
        expected=f"{wanted}ID/snap",
        remedy="import with method copy-image into the RBD store, or download and upload again",
    )


@pytest.mark.check("glance.image.properties", severity="minor", source="RO S2")
def test_images_ask_for_what_hypervisors_have(facts: Facts, cloud: Cloud) -> None:
    """Raw images carry the properties of policy.image_properties, and none that contradict each other or KVM.

    Why: a SCSI disk on an emulated LSI controller never discards; quiescing without an agent fails each snapshot.
    """
    images = [image for image in _active(facts) if image.disk_format in WHOLE]
    wanted = cloud.policy.image_properties
    wrong = {
        f"{image.id} ({image.name})": found
        for image in images
        if (found := [*_contradictions(image), *_lacking(image, wanted if image.disk_format == "raw" else {})])
    }
    assert not wrong, finding(
        "images",
        found=wrong,
        expected=wanted or "no contradiction",
        remedy="openstack image set --property; new servers only",
    )


def _lacking(image: Image, wanted: dict[str, str]) -> Iterator[str]:
    for name, value in wanted.items():
        if image.properties.get(name, "").lower() != value.lower():
            yield f"{name} = {image.properties.get(name, 'unset')}"


def _contradictions(image: Image) -> Iterator[str]:
    told = {name: value.lower() for name, value in image.properties.items()}
    if told.get("hw_disk_bus") == "scsi" and told.get("hw_scsi_model") != "virtio-scsi":
        yield "hw_disk_bus = scsi without hw_scsi_model = virtio-scsi"
    if _is_set(told, "os_require_quiesce") and not _is_set(told, "hw_qemu_guest_agent"):
        yield "os_require_quiesce without hw_qemu_guest_agent"
    for name in ("hypervisor_type", "img_hv_type"):
        if told.get(name, "kvm") not in ("kvm", "qemu"):
            yield f"{name} = {told[name]}"
    for name in ("vm_mode", "hw_vm_mode"):
        if told.get(name, "hvm") != "hvm":
            yield f"{name} = {told[name]}"
    if image.min_disk and image.min_disk * GIB < image.size:
        yield f"min_disk = {image.min_disk} GiB, and {image.size} bytes long"


def _is_set(told: dict[str, str], name: str) -> bool:
    return told.get(name, "no") in ("yes", "true", "1", "on")
