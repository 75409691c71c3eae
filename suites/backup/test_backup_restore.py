"""Area fn: backing up volumes and restoring them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.checks import finding
from fixtures.heartbeat import AREA_BYTES, pattern_digest
from fixtures.scratch.gates import HAS_BACKUPS, HAS_GUEST
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks

if TYPE_CHECKING:
    from openstack.block_storage.v3.backup import Backup
    from openstack.block_storage.v3.volume import Volume

pytestmark = [pytest.mark.dynamic, pytest.mark.xdist_group("guests")]

FULL, INCREMENT = (64, 24), (160, 4)
"""What the guest writes before each backup: offset and length in MiB."""
GIB = 1 << 30


@pytest.mark.check("fn.backup.full_incr_restore", severity="critical", source="S0 CK CP LP2155612")
@pytest.mark.applies_if(*HAS_BACKUPS)
@pytest.mark.applies_if(*HAS_GUEST)
def test_volume_comes_back_from_an_incremental_backup(
    scratch: Scratch, disks: Disks, boot: Boot, measure: Measure
) -> None:
    """An attached volume is backed up in full, then incrementally; the increment, restored, equals the volume.

    Why: backups are believed in until the first restore; a full copy where an increment was asked for
    shows only in the bill, a missing keyring on the backup host only in an error.
    """
    guest = boot()
    volume = scratch.volume(1)
    disk = disks.volume(volume)
    measure("boot to first beat", guest.await_up(), "s")
    scratch.attach(guest.server, volume)

    _write(guest, disk, "full", FULL)
    with timed(measure, "full backup"):
        full = scratch.backup(volume)
    full_bytes = _stored(disks, volume)
    _write(guest, disk, "increment", INCREMENT)
    with timed(measure, "incremental backup"):
        increment = scratch.backup(volume, since=full)
    grown = _stored(disks, volume) - full_bytes
    measure("full backup stores", round(full_bytes / MIB, 2), "MiB")
    measure("incremental backup stores", round(grown / MIB, 2), "MiB")
    _judge_kinds(scratch, full, increment)
    assert FULL[1] * MIB <= full_bytes, finding(
        f"backups of volume {volume.id}",
        found=f"{full_bytes} bytes",
        expected=f"{FULL[1]} MiB or more",
        remedy=REMEDIES["backup"],
    )
    assert INCREMENT[1] * MIB <= grown < full_bytes / 2, finding(
        f"backups of volume {volume.id}",
        found=f"{grown} bytes more for the increment, after {full_bytes} for the full one",
        expected=f"{INCREMENT[1]} MiB or more, and less than half of the full one",
        remedy="cinder-backup's log says why it did not use the difference to the last snapshot",
    )

    scratch.detach(guest.server, volume)
    expected = disk.digest(AREA_BYTES)
    with timed(measure, "restore"):
        restored = scratch.restored(increment)
    copy = disks.volume(restored)
    found = copy.digest(AREA_BYTES)
    assert (copy.image().size, found) == (GIB, expected), finding(
        str(copy),
        found=f"{copy.image().size} bytes, {found}",
        expected=f"{GIB} bytes, {expected}",
        remedy=REMEDIES["backup"],
    )
    disk.expect_closed()
    copy.expect_closed()

    scratch.remove(increment, full)
    _expect_no_trace(disks, volume)
    # Cinder looks for these in the wrong pool and leaves them; they go with the volume.
    measure("snapshots of deleted backups on the volume", len(disk.image().snapshots), "1")
    scratch.clean_up()


def _write(guest: Guest, disk: Disk, seed: str, extent: tuple[int, int]) -> None:
    offset, length = extent
    expected = pattern_digest(seed, length)
    result = guest.obey(disk, "write", seed=seed, mib=length, offset=offset)
    assert result.sha256 == expected, finding(
        f"{disk}, in the guest", found=f"wrote {result.sha256}", expected=expected, remedy=REMEDIES["server"]
    )


def _stored(disks: Disks, volume: Volume) -> int:
    """Return the bytes of all backups of a volume."""
    found = disks.backups(volume)
    assert found, finding(
        f"backups of volume {volume.id}",
        found="nothing of them in Ceph",
        expected=f"an RBD image in pool {disks.cloud.ceph.pools.backups}",
        remedy="compare backup_driver and backup_ceph_pool with the cloud file: backup.config.*",
    )
    return sum(disk.stored_bytes() for disk in found)


def _judge_kinds(scratch: Scratch, full: Backup, increment: Backup) -> None:
    kinds = (scratch.look(full).is_incremental, scratch.look(increment).is_incremental)
    assert kinds == (False, True), finding(
        f"backups {full.id} and {increment.id}",
        found=f"incremental: {kinds[0]} and {kinds[1]}",
        expected="False and True",
        remedy=REMEDIES["backup"],
    )


def _expect_no_trace(disks: Disks, volume: Volume) -> None:
    left = [str(it) for it in disks.backups(volume)]
    assert not left, finding(
        f"deleted backups of volume {volume.id}",
        found=left,
        expected="nothing of them in Ceph",
        remedy=REMEDIES["backup"],
    )
