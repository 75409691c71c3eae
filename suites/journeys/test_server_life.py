"""Area fn: what a tenant does with a server between its boot and its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fixtures.checks import finding
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.heartbeat import pattern_digest
from fixtures.integration import config_of
from fixtures.reach import Hosts
from fixtures.scratch.gates import HAS_EPHEMERAL, HAS_GUEST, HAS_TWO_HYPERVISORS
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.temporary import Temporary
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks, expect_clone

if TYPE_CHECKING:
    from openstack.compute.v2._proxy import Proxy as Compute
    from openstack.image.v2.image import Image

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


@pytest.mark.check("fn.server.lifecycle", severity="major", source="NR LP1653953")
@pytest.mark.applies_if(*HAS_TWO_HYPERVISORS)
def test_server_keeps_its_disk_through_all_that_is_done_with_it(
    scratch: Scratch, disks: Disks, boot: Boot, guest_image: Image, measure: Measure
) -> None:
    """A server is rescued, rebuilt, shelved, stopped, resized both ways, started, rebooted; its disk is as it must be.

    Why: each of these moves, copies or snapshots the disk by a way of its own; what one of them leaves behind keeps
    the server, or the image that it came from, from being deleted.
    """
    guest = boot()
    measure("boot to first beat", guest.await_up(), "s")
    life = Life(guest, guest_image, disks, measure)
    content = _write(guest, "life")
    life.rescue()
    guest.root.expect_content(content, OFFSET * MIB, LENGTH * MIB)
    life.rebuild()
    content = _write(guest, "rebuilt")
    # Before it grows: where Nova must not write to the images pool, its whole disk goes through the hypervisor.
    life.shelve(content)
    life.do("stop", lambda nova: nova.stop_server(life.id), "SHUTOFF")
    guest.root.expect_closed()
    life.resize_both_ways()
    life.restart()
    guest.root.expect_content(content, OFFSET * MIB, LENGTH * MIB)
    scratch.clean_up()


@dataclass(frozen=True)
class Life:
    """A server that things are done with, each judged by what becomes of its disk."""

    guest: Guest
    image: Image
    """What it was booted from."""
    disks: Disks
    measure: Measure

    @property
    def id(self) -> str:
        """The server's id."""
        return str(self.guest.server.id)

    def do(self, what: str, ask: Callable[[Compute], object], wanted: str) -> None:
        """Have something done, and put into the report how long it took until the server had the status."""
        with timed(self.measure, what):
            self.guest.scratch.act(self.guest.server, ask, wanted)

    def resize_both_ways(self) -> None:
        """Give the stopped server a larger disk and take it back, then give it for good."""
        scratch, root = self.guest.scratch, self.guest.root
        before, larger = scratch.flavor_gib, scratch.larger_flavor()
        self.do("resize", lambda nova: nova.resize_server(self.id, larger), "VERIFY_RESIZE")
        _expect_size(root, before + 1)
        self.do("resize reverted", lambda nova: nova.revert_server_resize(self.id), "SHUTOFF")
        _expect_size(root, before)
        _expect_no_snapshots(root)
        self.do("resize, again", lambda nova: nova.resize_server(self.id, larger), "VERIFY_RESIZE")
        self.do("resize confirmed", lambda nova: nova.confirm_server_resize(self.id), "SHUTOFF")
        _expect_size(root, before + 1)
        _expect_no_snapshots(root)

    def restart(self) -> None:
        """Start the stopped server, reboot it hard at once, and wait until its guest writes again."""
        beats = self.guest.ring().beats
        self.do("start", lambda nova: nova.start_server(self.id), "ACTIVE")
        self.do("hard reboot", lambda nova: nova.reboot_server(self.id, "HARD"), "ACTIVE")
        self.guest.await_beat(after=max(beat.n for beat in beats))

    def rescue(self) -> None:
        """Boot it from another disk, and back."""
        root = self.guest.root
        self.do("rescue", lambda nova: nova.rescue_server(self.id), "RESCUE")
        _expect_beside(root, {f"{root}.rescue"})
        self.do("unrescue", lambda nova: nova.unrescue_server(self.id), "ACTIVE")
        _expect_beside(root, set())

    def rebuild(self) -> None:
        """Give it a new disk from its image, and wait until its guest writes to that."""
        size = self.guest.root.image().size
        self.do("rebuild", lambda nova: nova.rebuild_server(self.id, self.image.id), "ACTIVE")
        expect_clone(self.guest.root, self.disks.snapshot_of(self.image), size)
        self.guest.await_beat()

    def shelve(self, content: str) -> None:
        """Shelve it, which leaves of its disk an image alone, and have it back, which leaves no image."""
        root = self.guest.root
        self.do("shelve", lambda nova: nova.shelve_server(self.id), "SHELVED_OFFLOADED")
        _expect_beside(root, set(), itself=False)
        kept = [
            self.disks.image(image) for image in self.guest.scratch.images_named(f"{self.guest.server.name}-shelved")
        ]
        for image in kept:
            image.expect_content(content, OFFSET * MIB, LENGTH * MIB)
        self.do("unshelve", lambda nova: nova.unshelve_server(self.id), "ACTIVE")
        root.expect_content(content, OFFSET * MIB, LENGTH * MIB)
        _expect_flat(root)
        _expect_gone(kept)
        self.guest.await_beat(after=self.guest.await_beat().n)


def _write(guest: Guest, seed: str) -> str:
    """Have the guest write a pattern to its root disk; return its digest, which the disk has in Ceph too."""
    expected = pattern_digest(seed, LENGTH)
    guest.obey(guest.root, "write", seed=seed, mib=LENGTH, offset=OFFSET)
    guest.root.expect_content(expected, OFFSET * MIB, LENGTH * MIB)
    return expected


def _expect_no_snapshots(disk: Disk) -> None:
    found = [snapshot.name for snapshot in disk.image().snapshots]
    assert not found, finding(str(disk), found=f"snapshots {', '.join(found)}", expected="none", remedy=LEFT)


def _expect_size(disk: Disk, gib: int) -> None:
    size = disk.image().size
    assert size == gib * GIB, finding(
        str(disk), found=f"{size} bytes", expected=f"{gib} GiB", remedy=REMEDIES["server"]
    )


def _expect_beside(disk: Disk, expected: set[str], *, itself: bool = True) -> None:
    """Fail the check where the pool holds something else under the disk's name than expected, a config drive apart."""
    names = {f"{disk.pool}/{name}" for name in disk.ceph.image_names(disk.pool) if name.startswith(disk.name)}
    wanted = expected | ({str(disk)} if itself else set())
    found = {name for name in names if not name.endswith(".config")}
    assert found == wanted, finding(f"pool {disk.pool}", found=found, expected=wanted, remedy=LEFT)


def _expect_flat(disk: Disk) -> None:
    parent = disk.image().parent
    assert not parent, finding(str(disk), found=f"parent {parent}", expected="none, once it is unshelved", remedy=LEFT)


def _expect_gone(images: list[Disk]) -> None:
    left = [str(image) for image in images if image.ceph.image(image.pool, image.name)]
    left += [
        f"{entry.name} (in the trash)" for it in images for entry in it.ceph.trash(it.pool) if entry.name == it.name
    ]
    assert images and not left, finding(
        "image of a shelved server", found=left or "never there", expected="gone since it is unshelved", remedy=LEFT
    )


LEFT = "`rbd info`, `rbd snap ls` and `rbd children` show what hangs on what; read nova-compute's log for this id"
