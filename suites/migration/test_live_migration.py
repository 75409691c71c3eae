"""Area lm: moving running servers between hypervisors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures import heartbeat
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.heartbeat import Beat, pattern_digest
from fixtures.scratch.gates import HAS_EPHEMERAL, HAS_GUEST, HAS_TWO_HYPERVISORS, PROMISES_MIGRATION
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.resources import MIGRATION, REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks

if TYPE_CHECKING:
    from openstack.block_storage.v3.volume import Volume
    from openstack.image.v2.image import Image

pytestmark = [pytest.mark.dynamic, pytest.mark.xdist_group("guests")]

LENGTH, LOAD = 8, 2
BEFORE, AFTER = 64, 128
"""Where the guest writes its patterns; all in MiB. The load is little: an emulated guest that is busy never moves."""
SETTLED_BEATS = 3


@pytest.mark.check("lm.ephemeral", severity="critical", source="S0 S1 NM")
@pytest.mark.applies_if(*PROMISES_MIGRATION)
@pytest.mark.applies_if(*HAS_GUEST)
@pytest.mark.applies_if(*HAS_EPHEMERAL)
@pytest.mark.applies_if(*HAS_TWO_HYPERVISORS)
def test_running_server_moves_there_and_back_without_a_lost_beat(
    scratch: Scratch, boot: Boot, cloud: Cloud, measure: Measure
) -> None:
    """A running server moves to another hypervisor and back; no beat is lost, and what it wrote is intact.

    Why: hypervisors are emptied this way for every upgrade; a wrong secret or a lock that does not move
    stops the guest there, or lets two hypervisors write to one disk.
    """
    guest = boot()
    measure("boot to first beat", guest.await_up(), "s")
    _expect_pattern(guest, "before", BEFORE)
    source = scratch.host_of(guest.server)
    for direction, host in (("there", scratch.placement.other_than(source)), ("back", source)):
        _move(guest, host, direction, cloud, measure)
    _expect_pattern(guest, "before", BEFORE, op="verify")
    _expect_pattern(guest, "after", AFTER)
    scratch.clean_up()


def _move(guest: Guest, host: str, direction: str, cloud: Cloud, measure: Measure) -> None:
    scratch, root = guest.scratch, guest.root
    first, printed = guest.await_beat(), guest.console().beats
    owner = root.expect_open_once(by=f"QEMU on {scratch.host_of(guest.server)}")
    with timed(measure, f"live migration {direction}"):
        scratch.live_migrate(guest.server, host)
    guest.await_beat(after=guest.await_beat().n + SETTLED_BEATS)

    # The console first: what it shows by now must be in a ring that is read later.
    printed += guest.console().beats
    ring = guest.ring()
    beats = [beat for beat in ring.beats if beat.n >= first.n]
    _judge_beats(guest, beats, cloud, measure, direction)
    broken = heartbeat.broken_promises(printed, ring)
    assert not broken, finding(
        str(root),
        found=f"no record of beats {[beat.n for beat in broken]}",
        expected="all that fsync promised",
        remedy=LOST,
    )
    new_owner = root.expect_open_once(by=f"QEMU on {host}")
    assert new_owner != owner, finding(
        str(root), found=f"lock and watcher still of {owner}", expected=f"QEMU on {host}", remedy=MIGRATION
    )


def _judge_beats(guest: Guest, beats: list[Beat], cloud: Cloud, measure: Measure, direction: str) -> None:
    lost, starts = heartbeat.lost(beats), heartbeat.boots(beats)
    gap = heartbeat.longest_gap(beats)
    longest, paused = (gap.seconds, gap.paused) if gap else (0.0, 0.0)
    measure(f"live migration {direction}: longest heartbeat gap", round(longest, 2), "s")
    measure(f"live migration {direction}: guest's clock at rest", round(paused, 2), "s")
    measure(f"live migration {direction}: beats lost", len(lost), "1")
    assert not lost, finding(str(guest.root), found=f"beats {lost} lost", expected="none lost", remedy=LOST)
    assert len(starts) == 1, finding(
        str(guest.root),
        found=f"{len(starts)} starts of the guest; its kernel said {guest.last_words() or 'nothing'}",
        expected="the guest goes on",
        remedy=RESTART,
    )
    limit = cloud.journeys.max_heartbeat_gap
    assert longest <= limit, finding(
        str(guest.root),
        found=f"a gap of {longest:.1f} s between beats {gap.before.n if gap else ''} and {gap.after.n if gap else ''}",
        expected=f"at most {limit:g} s (journeys.max_heartbeat_gap)",
        remedy="see live_migration_downtime and the migration network's bandwidth",
    )


def _expect_pattern(guest: Guest, seed: str, offset: int, op: heartbeat.Op = "write", disk: Disk | None = None) -> None:
    disk, expected = disk or guest.root, pattern_digest(seed, LENGTH)
    result = guest.obey(disk, op, seed=seed, mib=LENGTH, offset=offset)
    assert result.sha256 == expected, finding(
        f"{disk}, in the guest", found=f"{op} gave {result.sha256}", expected=expected, remedy=REMEDIES["server"]
    )
    stored = disk.digest(offset * MIB, LENGTH * MIB)
    assert stored == expected, finding(str(disk), found=f"{stored} in Ceph", expected=expected, remedy=LOST)


@pytest.mark.check("lm.volume", severity="critical", source="NSU")
@pytest.mark.applies_if(*PROMISES_MIGRATION)
@pytest.mark.applies_if(*HAS_GUEST)
@pytest.mark.applies_if(*HAS_TWO_HYPERVISORS)
def test_server_with_volumes_moves_while_it_writes_to_them(
    scratch: Scratch, disks: Disks, guest_image: Image, cloud: Cloud, measure: Measure
) -> None:
    """A server that booted from a volume moves there and back while it writes to another one; Cinder is told where to.

    Why: volumes are opened with Cinder's secret, and their attachments are made anew for the target: what is wrong
    there shows when a hypervisor is to be emptied, in the middle of tenants' writes.
    """
    root = scratch.volume(scratch.flavor_gib, image=guest_image)
    server = scratch.server_asked_for(volume=root)
    guest = Guest(scratch, server, disks.volume(root), float(cloud.journeys.timeout))
    data = scratch.volume(1)
    disk = disks.volume(data)
    measure("boot to first beat", guest.await_up(), "s")
    scratch.attach(server, data)
    _expect_pattern(guest, "before", BEFORE, disk=disk)
    guest.keep_writing(disk, seed="load", mib=LOAD, offset=AFTER)

    source = scratch.host_of(server)
    for direction, host in (("there", scratch.placement.other_than(source)), ("back", source)):
        _move(guest, host, direction, cloud, measure)
        for volume in (root, data):
            _expect_attached_to(scratch, volume, host)
        disk.expect_open_once(by=f"QEMU on {host}")
    guest.expect_no_io_error()
    _expect_pattern(guest, "before", BEFORE, op="verify", disk=disk)
    scratch.clean_up()


def _expect_attached_to(scratch: Scratch, volume: Volume, host: str) -> None:
    found = scratch.attached_hosts(volume)
    assert found == [host], finding(
        scratch.where(volume),
        found=f"attachments to {found or 'no hypervisor'}",
        expected=f"one, to {host}",
        remedy=f"{MIGRATION}; `openstack volume attachment list --all-projects` shows what Cinder believes",
    )


LOST = "a write that was confirmed is not in Ceph: look for two watchers, rbd_cache settings, and scrub errors"
RESTART = (
    "libvirt's log of the server tells a reset, nova-compute's a start; a kernel that died of its memory is the "
    "hypervisors': without KVM (virt_type = qemu) QEMU may lose a write to memory that it copies, the less often the "
    "sooner a guest may rest (live_migration_downtime)"
)
