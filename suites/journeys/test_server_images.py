"""Area fn: images of running servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.checks import finding
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.heartbeat import pattern_digest
from fixtures.integration import config_of
from fixtures.reach import Hosts
from fixtures.scratch.gates import HAS_EPHEMERAL, HAS_GUEST
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.temporary import Temporary
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.applies_if(*HAS_GUEST),
    pytest.mark.applies_if(*HAS_EPHEMERAL),
    pytest.mark.xdist_group("guests"),
]

GIB = 1 << 30
OFFSET, LENGTH = 64, 8
"""Where the guest writes on its root disk, in MiB."""


@pytest.mark.check("fn.server.snapshot", severity="major", source="NI NREL-snap")
def test_image_of_a_running_server_holds_what_it_wrote(
    scratch: Scratch, disks: Disks, boot: Boot, snapshots_of: Callable[[Guest], Temporary], measure: Measure
) -> None:
    """An image of a running server is whole in the images pool, with what its guest wrote; nothing else is left of it.

    Why: an image that hangs on the server's disk keeps it from being deleted; one that goes through the hypervisor's
    disk leaves its copy there when it fails, until the disk is full.
    """
    guest = boot()
    measure("boot to first beat", guest.await_up(), "s")
    content = _write(guest, "snapshot")
    folder = snapshots_of(guest)
    before = folder.files()

    with timed(measure, "image of a running server"):
        image = scratch.image_of(guest.server)
    kept = disks.image(image)
    found = kept.image()
    state = (image.disk_format, found.size, found.parent, [snapshot.name for snapshot in found.snapshots])
    expected = ("raw", scratch.flavor_gib * GIB, "", ["snap"])
    assert state == expected, finding(
        str(kept),
        found="{}, {} bytes, parent {!r}, snapshots {}".format(*state),
        expected="{}, {} bytes, parent {!r}, snapshots {}".format(*expected),
        remedy=REMEDIES["server"],
    )
    kept.expect_content(content, OFFSET * MIB, LENGTH * MIB)
    folder.expect_nothing_beyond(before, scratch.where(image))
    _expect_no_snapshots(guest.root)
    guest.await_beat(after=guest.await_beat().n)
    scratch.clean_up()


@pytest.fixture
def snapshots_of(scratch: Scratch, hosts: Hosts, facts: Facts) -> Callable[[Guest], Temporary]:
    """Where the hypervisor of a guest keeps images of servers that are in the making."""

    def folder(guest: Guest) -> Temporary:
        name = scratch.placement.name_of(scratch.host_of(guest.server))
        if name is None:
            raise NotMeasured(f"{scratch.where(guest.server)} runs on a hypervisor that is not for test servers")
        config = config_of(facts.host(name), "nova-compute")
        state = config.get("DEFAULT", "state_path", "/var/lib/nova")
        instances = config.get("DEFAULT", "instances_path", f"{state}/instances")
        return Temporary(hosts[name], config.get("libvirt", "snapshots_directory", f"{instances}/snapshots"))

    return folder


def _write(guest: Guest, seed: str) -> str:
    """Have the guest write a pattern to its root disk; return its digest, which the disk has in Ceph too."""
    expected = pattern_digest(seed, LENGTH)
    guest.obey(guest.root, "write", seed=seed, mib=LENGTH, offset=OFFSET)
    guest.root.expect_content(expected, OFFSET * MIB, LENGTH * MIB)
    return expected


def _expect_no_snapshots(disk: Disk) -> None:
    found = [snapshot.name for snapshot in disk.image().snapshots]
    assert not found, finding(str(disk), found=f"snapshots {', '.join(found)}", expected="none", remedy=LEFT)


LEFT = "`rbd info`, `rbd snap ls` and `rbd children` show what hangs on what; read nova-compute's log for this id"
