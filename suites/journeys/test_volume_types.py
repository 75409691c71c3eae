"""Area fn: volumes of special types, and volumes that change their type."""

from __future__ import annotations

import random
from typing import Final

import pytest

from fixtures.ceph import CephAccess
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import RetypeTo
from fixtures.facts.base import NotMeasured
from fixtures.heartbeat import AREA_BYTES, RECORD_BYTES, Op, pattern, pattern_digest
from fixtures.scratch.gates import HAS_ANOTHER_BACKEND, HAS_GUEST, HAS_TWO_HYPERVISORS, PROMISES_ENCRYPTION
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks

pytestmark = [pytest.mark.dynamic]

OFFSET, LENGTH = 64, 8
"""Where journeys write on a volume, in MiB."""
SPAN = 128 * MIB
"""How much of a volume is compared: what was written and as much of what was not."""
SINGLE: Final = frozenset({"exclusive-lock", "object-map", "fast-diff", "journaling"})
"""Features of images that one client at a time writes to."""
LUKS: Final = b"LUKS\xba\xbe"
"""The first bytes of an encrypted volume."""
HEADER: Final = 32
"""MiB by which the header of an encrypted volume moves its content at most."""
ENCRYPTED: Final = (
    "[key_manager] of Cinder and of Nova on each hypervisor must lead to the same keys; read cinder-volume's log, and "
    "nova-compute's for this id"
)


@pytest.mark.check("fn.volume.special", severity="minor", source="CR")
@pytest.mark.applies_if(*HAS_GUEST)
@pytest.mark.applies_if(*HAS_TWO_HYPERVISORS)
@pytest.mark.xdist_group("guests")
def test_volume_for_several_servers_is_written_and_read_by_two(
    scratch: Scratch, disks: Disks, boot: Boot, measure: Measure
) -> None:
    """A volume of a multiattach type has no exclusive lock; what a guest on one hypervisor writes another's reads.

    Why: with the lock the second server waits for ever, or each takes it from the other in the middle of a write;
    with a cache each reads what was there before.
    """
    guests = [boot(host=host) for host in scratch.placement.hosts[:2]]
    volume = scratch.volume(1, volume_type=scratch.volume_type(multiattach="<is> True"))
    disk = disks.volume(volume)
    found = SINGLE & set(disk.image().features)
    assert not found, finding(
        str(disk), found=f"features {', '.join(sorted(found))}", expected="none of them", remedy=REMEDIES["volume"]
    )
    for guest in guests:
        measure("boot to first beat", guest.await_up(), "s")
        with timed(measure, "attach"):
            scratch.attach(guest.server, volume)
    one, other = guests
    for writer, reader in ((one, other), (other, one)):
        seed = f"by-{writer.server.id}"
        _expect_done(writer, "write", seed)
        _expect_done(reader, "verify", seed)
        disk.expect_content(pattern_digest(seed, LENGTH), OFFSET * MIB, LENGTH * MIB)
    for guest in guests:
        guest.expect_no_io_error()
    scratch.clean_up()


def _expect_done(guest: Guest, op: Op, seed: str) -> None:
    """Have a guest write a pattern to the volume that it was given, or read it; fail the check where it is another."""
    expected = pattern_digest(seed, LENGTH)
    done = guest.obey_on(guest.await_disk(), op, seed=seed, mib=LENGTH, offset=OFFSET)
    assert done.sha256 == expected, finding(
        f"guest of {guest.scratch.where(guest.server)}",
        found=f"{op}: {done.sha256}",
        expected=expected,
        remedy=REMEDIES["server"],
    )


@pytest.mark.check("fn.volume.encrypted", severity="minor", source="CR")
@pytest.mark.applies_if(*HAS_GUEST)
@pytest.mark.applies_if(*PROMISES_ENCRYPTION)
@pytest.mark.xdist_group("guests")
def test_encrypted_volume_is_plain_to_its_guest_only(
    scratch: Scratch, disks: Disks, boot: Boot, measure: Measure
) -> None:
    """A volume of an encrypted type is LUKS in Ceph; what a guest wrote is nowhere in it, and the guest reads it again.

    Why: Cinder locks it with a key that each hypervisor must be given too; a type that was set up wrongly makes
    volumes in plain, of which nobody hears.
    """
    guest = boot()
    with timed(measure, "create an encrypted volume"):
        volume = scratch.volume(1, volume_type=scratch.encrypted_type())
    disk, seed = disks.volume(volume), f"secret-{volume.id}"
    begins = disk.read(0, len(LUKS))
    assert begins == LUKS, finding(str(disk), found=f"begins with {begins!r}", expected=LUKS, remedy=ENCRYPTED)

    measure("boot to first beat", guest.await_up(), "s")
    with timed(measure, "attach an encrypted volume"):
        scratch.attach(guest.server, volume, remedy=ENCRYPTED)
    before = disk.stored_bytes()
    _expect_done(guest, "write", seed)
    _expect_hidden(disk, seed, before)
    scratch.detach(guest.server, volume)
    disk.expect_closed()
    scratch.attach(guest.server, volume, remedy=ENCRYPTED)
    _expect_done(guest, "verify", seed)
    guest.expect_no_io_error()
    scratch.clean_up()


def _expect_hidden(disk: Disk, seed: str, before: int) -> None:
    """Fail the check where a disk holds any MiB of what a guest wrote to it, or no more bytes than before."""
    stored = disk.read(OFFSET * MIB, (LENGTH + HEADER) * MIB)
    shown = [number for number, mib in enumerate(pattern(seed, LENGTH)) if mib[:RECORD_BYTES] in stored]
    assert not shown, finding(
        str(disk), found=f"{len(shown)} MiB of what the guest wrote, in plain", expected="none", remedy=ENCRYPTED
    )
    grown = disk.stored_bytes() - before
    assert grown >= LENGTH * MIB, finding(
        str(disk), found=f"{grown} bytes more stored", expected=f"{LENGTH * MIB} or more", remedy=REMEDIES["volume"]
    )


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
