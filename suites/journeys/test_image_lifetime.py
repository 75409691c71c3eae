"""Area fn: images that cannot be cloned, and images that clones depend on."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openstack.exceptions import ConflictException, NotFoundException

from fixtures.checks import finding
from fixtures.scratch.judging import asking
from fixtures.scratch.qcow2 import write_qcow2
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks, expect_clone

if TYPE_CHECKING:
    from openstack.image.v2.image import Image

pytestmark = [pytest.mark.dynamic]

MIB, GIB = 1 << 20, 1 << 30
CONTENT_BYTES = 24 * MIB


@pytest.mark.check("fn.image.qcow2_path", severity="major", source="S0 GI LP1816686")
def test_volume_from_a_qcow2_image_is_its_content_and_no_clone(
    scratch: Scratch, disks: Disks, tmp_path: Path, measure: Measure
) -> None:
    """A volume from a qcow2 image holds the disk that the image describes, as a full copy without a parent.

    Why: a clone of qcow2 data would be a volume that holds the file and not the disk; nothing boots from it. What
    happens instead, a download and a conversion, is what every such volume costs.
    """
    content = random.randbytes(CONTENT_BYTES)
    path = tmp_path / "content.qcow2"
    write_qcow2(path, content)
    image = scratch.image(path, disk_format="qcow2")
    with timed(measure, "volume from qcow2 image"):
        volume = scratch.volume(1, image=image)
    disk = disks.volume(volume)
    found = disk.image()
    assert (found.parent, found.size) == ("", GIB), finding(
        str(disk),
        found=f"{found.size} bytes, parent {found.parent or 'none'}",
        expected=f"{GIB} bytes, parent none",
        remedy="Cinder must see the image's disk_format; read cinder-volume's log for this id",
    )
    disk.expect_content(hashlib.sha256(content).hexdigest(), 0, CONTENT_BYTES)
    measure("volume from qcow2 image stores", round(disk.stored_bytes() / MIB, 2), "MiB")
    disk.expect_closed()
    scratch.clean_up()


@pytest.mark.check("fn.image.delete_with_children", severity="major", source="LP1954883 LP1959186 OSISM2895")
def test_image_with_clones_is_deleted_or_kept_but_nothing_between(
    scratch: Scratch, disks: Disks, tmp_path: Path, measure: Measure
) -> None:
    """An image with clones is deleted, and they live on; or the deletion is refused, and it stays whole.

    Why: an image that is half-deleted is active in the API and has no snapshot: nothing can be made of it, and
    nothing tells before somebody tries.
    """
    content = tmp_path / "content.raw"
    content.write_bytes(random.randbytes(CONTENT_BYTES))
    image = scratch.image(content)
    volume = scratch.volume(1, image=image)
    disk, expected = disks.volume(volume), hashlib.sha256(content.read_bytes()).hexdigest()
    expect_clone(disk, disks.snapshot_of(image), GIB)

    with timed(measure, "image with clones: answer to its deletion"):
        accepted = _deleted(scratch, image)
    measure("image with clones: deletion accepted", float(accepted), "1")
    if accepted:
        _expect_unseen(scratch, image)
    else:
        _expect_whole(scratch, disks.image(image), image)
    disk.expect_content(expected, 0, CONTENT_BYTES)

    scratch.remove(volume)
    if accepted:
        disks.image(image).purge()
    scratch.clean_up()


def _deleted(scratch: Scratch, image: Image) -> bool:
    """Ask for the deletion; return whether it was accepted, False for "in use"."""
    with asking(scratch.where(image), expected="it deleted, or HTTP 409: in use", remedy=CLONES):
        try:
            scratch.tenant.connection.image.delete_image(image.id)
        except ConflictException:
            return False
    return True


def _expect_unseen(scratch: Scratch, image: Image) -> None:
    with asking(scratch.where(image), expected="it not found", remedy=CLONES):
        try:
            status = scratch.tenant.connection.image.get_image(image.id).status
        except NotFoundException:
            return
    raise AssertionError(
        finding(scratch.where(image), found=f"deleted, and {status}", expected="it not found", remedy=CLONES)
    )


def _expect_whole(scratch: Scratch, disk: Disk, image: Image) -> None:
    status = scratch.look(image).status
    found = (status, [snapshot.name for snapshot in disk.image().snapshots])
    assert found == ("active", ["snap"]), finding(
        str(disk),
        found=f"{status} in the API, snapshots {found[1] or 'none'}",
        expected="active, snapshot snap, as before the deletion was refused",
        remedy=CLONES,
    )


CLONES = (
    f"{REMEDIES['image']}; Glance's user must see the pools of the clones (ceph.auth.glance.children_read), and clones "
    "must be of the second version (ceph.compat.min_client)"
)
