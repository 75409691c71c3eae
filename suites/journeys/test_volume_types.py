"""Area fn: volumes of special types, and volumes that change their type."""

from __future__ import annotations

import random

import pytest

from fixtures.ceph import CephAccess
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import RetypeTo
from fixtures.facts.base import NotMeasured
from fixtures.heartbeat import AREA_BYTES, Op, pattern_digest
from fixtures.scratch.gates import HAS_ANOTHER_BACKEND, HAS_GUEST, HAS_TWO_HYPERVISORS
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.resources import REMEDIES, Scratch, servers_of
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks

pytestmark = [pytest.mark.dynamic]

OFFSET, LENGTH = 64, 8
"""Where journeys write on a volume, in MiB."""
SPAN = 128 * MIB
"""How much of a volume is compared: what was written and as much of what was not."""
SINGLE = frozenset({"exclusive-lock", "object-map", "fast-diff", "journaling"})
"""Features of images that one client at a time writes to."""


@pytest.mark.check("fn.volume.special", severity="minor", source="CR")
@pytest.mark.applies_if(*HAS_GUEST)
@pytest.mark.applies_if(*HAS_TWO_HYPERVISORS)
@pytest.mark.xdist_group("guests")
def test_volume_for_several_servers_is_written_and_read_by_two(
    scratch: Scratch, disks: Disks, boot: Boot, measure: Measure
) -> None:
    """A volume of a multiattach type has no exclusive lock, and guests on two hypervisors write to it and read it.

    Why: with the lock the second server waits for ever, or each takes it from the other in the middle of a write.
    """
    hypervisors = scratch.placement.hosts[:2]
    guests = [boot(host=host) for host in hypervisors]
    volume = scratch.volume(1, volume_type=scratch.volume_type(multiattach="<is> True"))
    disk = disks.volume(volume)
    found = SINGLE & set(disk.image().features)
    assert not found, finding(
        str(disk), found=f"features {', '.join(sorted(found))}", expected="none of them", remedy=REMEDIES["volume"]
    )
    for guest in guests:
        guest.await_up()
        with timed(measure, "attach"):
            scratch.attach(guest.server, volume)
    attached = sorted(servers_of(scratch.look(volume)))
    assert attached == sorted(str(guest.server.id) for guest in guests), finding(
        scratch.where(volume), found=f"attached to {attached}", expected="to both", remedy=REMEDIES["volume"]
    )
    _expect_shared(disk, guests)
    for guest in guests:
        guest.expect_no_io_error()
    scratch.clean_up()


def _expect_shared(disk: Disk, guests: list[Guest]) -> None:
    """Have the guests write a pattern each, and read it; an order on a disk that both have is followed by both."""
    expected = pattern_digest("shared", LENGTH)
    steps: tuple[Op, ...] = ("write", "verify")
    for op in steps:
        order = guests[0].obey(disk, op, seed="shared", mib=LENGTH, offset=OFFSET)
        for guest in guests:
            done = guest.await_done(order.id)
            assert (done.state, done.sha256) == ("done", expected), finding(
                f"{disk}, in the guest of {guest.scratch.where(guest.server)}",
                found=f"{op}: {done.why or done.sha256}",
                expected=expected,
                remedy=REMEDIES["server"],
            )
    disk.expect_content(expected, OFFSET * MIB, LENGTH * MIB)


@pytest.fixture
def retype_to(cloud: Cloud) -> RetypeTo:
    """The back end that a volume is moved to."""
    if cloud.cinder.retype_to is None:
        raise NotMeasured("the cloud file names no cinder.retype_to")
    return cloud.cinder.retype_to


@pytest.mark.check("fn.volume.retype_migrate", severity="minor", source="CR")
@pytest.mark.applies_if(*HAS_ANOTHER_BACKEND)
def test_volume_that_changes_its_type_moves_with_its_content(
    scratch: Scratch, disks: Disks, ceph: CephAccess, retype_to: RetypeTo, measure: Measure
) -> None:
    """A volume that gets another type is in that one's pool under its name, as it was; nothing of it stays behind.

    Why: a move that copies and fails half way leaves two volumes, or one of which Cinder knows the wrong place.
    """
    volume = scratch.volume(1)
    before = disks.volume(volume)
    before.write(OFFSET * MIB, random.randbytes(LENGTH * MIB))
    content = before.digest(AREA_BYTES, SPAN)
    with timed(measure, "retype with migration"):
        volume = scratch.retype(volume, retype_to.volume_type)
    assert volume.volume_type == retype_to.volume_type, finding(
        scratch.where(volume),
        found=f"still of type {volume.volume_type}",
        expected=f"of type {retype_to.volume_type}",
        remedy=REMEDIES["volume"],
    )
    after = Disk(ceph, retype_to.pool, before.name)
    after.expect_content(content, AREA_BYTES, SPAN)
    left = [str(before)] if ceph.image(before.pool, before.name) else []
    left += [f"{before} (in the trash)" for entry in ceph.trash(before.pool) if entry.name == before.name]
    assert not left, finding(
        scratch.where(volume), found=left, expected="gone from where it was", remedy=REMEDIES["volume"]
    )
    scratch.clean_up()
    assert ceph.image(after.pool, after.name) is None, finding(
        str(after), found="still there", expected="removed with its volume", remedy=REMEDIES["volume"]
    )
