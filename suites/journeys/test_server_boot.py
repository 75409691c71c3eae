"""Area fn: booting servers from images and from volumes, and deleting them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures.ceph import CephAccess
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.scratch.gates import HAS_EPHEMERAL, HAS_GUEST
from fixtures.scratch.guest import Boot, Guest
from fixtures.scratch.judging import expect_within
from fixtures.scratch.resources import REMEDIES, Scratch, servers_of
from fixtures.scratch.temporary import Folder
from fixtures.scratch.timing import Measure, stopwatch
from fixtures.scratch.truth import Disks, expect_clone
from fixtures.waiting import Pending

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server
    from openstack.image.v2.image import Image

pytestmark = [pytest.mark.dynamic, pytest.mark.applies_if(*HAS_GUEST), pytest.mark.xdist_group("guests")]

MIB, GIB = 1 << 20, 1 << 30
DELETE_SECONDS = 60.0


@pytest.mark.check("fn.server.ephemeral_cow", severity="critical", source="S0 S1 RO NI")
@pytest.mark.applies_if(*HAS_EPHEMERAL)
def test_server_runs_from_a_clone_of_its_image(
    scratch: Scratch, disks: Disks, guest_image: Image, cloud: Cloud, measure: Measure
) -> None:
    """A server booted from a raw image has its disk in Nova's pool, cloned from the image, and its guest writes to it.

    Why: without the clone every boot copies the image through the hypervisor, and fills its local disk.
    """
    with stopwatch() as clock:
        server = scratch.server(image=guest_image)
        measure("boot to ACTIVE", round(clock(), 2), "s")
        guest = Guest(scratch, server, disks.server(server), cloud.journeys.timeout)
        guest.await_console_beats()
        measure("boot to first beat", round(clock(), 2), "s")

    disk = guest.root
    expect_clone(disk, disks.snapshot_of(guest_image), scratch.flavor_gib * GIB)
    beat = guest.await_beat()
    measure("stored by the server's disk", round(disk.stored_bytes() / MIB, 2), "MiB")
    guest.await_beat(after=beat.n)
    disk.expect_open_once(by="the hypervisor's QEMU")
    others = disks.beside(disk)
    config_drive = {f"{disk}.config"} if server.has_config_drive else set()
    assert others == config_drive, finding(
        str(disk), found=others, expected=config_drive, remedy="see what else Nova keeps for this server in its pool"
    )

    scratch.clean_up()


@pytest.mark.check("fn.server.bfv", severity="critical", source="S0")
def test_server_runs_from_a_volume(
    scratch: Scratch, disks: Disks, guest_image: Image, cloud: Cloud, measure: Measure
) -> None:
    """A server boots from a volume that is a clone of the image, and its guest comes up and writes to it.

    Why: here the hypervisor opens Cinder's pool, with the key of the libvirt secret that Cinder names.
    """
    volume = scratch.volume(scratch.flavor_gib, image=guest_image)
    assert volume.is_bootable, finding(
        scratch.where(volume), found="not bootable", expected="bootable", remedy=REMEDIES["volume"]
    )
    disk = disks.volume(volume)
    expect_clone(disk, disks.snapshot_of(guest_image), scratch.flavor_gib * GIB)

    with stopwatch() as clock:
        server = scratch.server(volume=volume)
        measure("boot to ACTIVE", round(clock(), 2), "s")
        guest = Guest(scratch, server, disk, cloud.journeys.timeout)
        guest.await_console_beats()
        measure("boot to first beat", round(clock(), 2), "s")

    attached = scratch.look(volume)
    assert (attached.status, servers_of(attached)) == ("in-use", [server.id]), finding(
        scratch.where(volume),
        found=f"{attached.status}, attached to {servers_of(attached)}",
        expected=f"in-use by {server.id}",
        remedy=REMEDIES["volume"],
    )
    beat = guest.await_beat()
    guest.await_beat(after=beat.n)
    disk.expect_open_once(by="the hypervisor's QEMU")

    scratch.remove(server)
    scratch.until(volume, "available")
    disk.expect_closed()
    scratch.clean_up()


@pytest.mark.check("fn.server.delete_clean", severity="critical", source="LP1856845")
def test_deleted_server_leaves_nothing(
    scratch: Scratch,
    disks: Disks,
    boot: Boot,
    ceph: CephAccess,
    folder_of: Callable[[Server], Folder],
    measure: Measure,
) -> None:
    """A deleted server's disks, watchers, folder and allocations are gone within a minute, its volume is free again.

    Why: what stays fills the pool, blocks volumes, and counts against capacity until nothing can be booted.
    """
    guest = boot()
    server, volume = guest.server, scratch.volume(1)
    measure("boot to first beat", guest.await_up(), "s")
    scratch.attach(server, volume)
    folder = folder_of(server)
    where = f"server {server.id}"
    assert scratch.allocations(server), finding(
        where, found="no allocations in Placement", expected="its share of the hypervisor", remedy=AUDIT
    )

    with stopwatch() as clock:
        scratch.remove(server)
        took = round(clock(), 2)
    measure("server delete, until Ceph has let go", took, "s")
    assert took <= DELETE_SECONDS, finding(
        where, found=f"gone after {took:g} s", expected=f"within {DELETE_SECONDS:g} s", remedy=REMEDIES["server"]
    )
    left = [f"{pool}/{name}" for pool in disks.pools for name in ceph.image_names(pool) if server.id in name]
    assert not left, finding(where, found=left, expected="nothing of it in Ceph", remedy=REMEDIES["server"])
    expect_within(where, "nothing of it left", lambda: _left(scratch, server, folder), DELETE_SECONDS, remedy=AUDIT)
    kept = scratch.until(volume, "available")
    disks.volume(kept).expect_closed()

    scratch.clean_up()


AUDIT = "nova-manage placement audit --verbose --delete; read nova-compute's log for this id"


def _left(scratch: Scratch, server: Server, folder: Folder) -> Pending | None:
    left = [f"{amount} {kind} in Placement" for kind, amount in scratch.allocations(server).items()]
    left += [str(folder)] if folder.exists() else []
    return Pending(", ".join(left)) if left else None
