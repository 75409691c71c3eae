"""Area fn: servers of a hypervisor that is dead, and what becomes of it when it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import blocklist, heartbeat
from fixtures.ceph import CephAccess
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.heartbeat import pattern_digest
from fixtures.reach import Hosts
from fixtures.scratch.crashes import BACK_SECONDS, LOCKS, await_new_start, kill_qemu
from fixtures.scratch.gates import HAS_GUEST, HAS_TWO_HYPERVISORS, RELEASES_A_HYPERVISOR
from fixtures.scratch.guest import MIB, Boot, Guest
from fixtures.scratch.outage import Outages
from fixtures.scratch.resources import Scratch
from fixtures.scratch.temporary import Folder
from fixtures.scratch.timing import Measure, timed

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.disruptive,
    pytest.mark.applies_if(*HAS_GUEST),
    pytest.mark.applies_if(*RELEASES_A_HYPERVISOR),
    pytest.mark.applies_if(*HAS_TWO_HYPERVISORS),
    pytest.mark.xdist_group("guests"),
]

OFFSET, LENGTH = 64, 8
"""Where the guest writes on its root disk, in MiB."""


@pytest.mark.check("fn.server.evacuate", severity="critical", source="S0 LP1550919 LP1414895")
@pytest.mark.applies_if(lambda cloud: cloud.policy.evacuation, "policy.evacuation is off")
def test_evacuated_server_has_its_disk_and_keeps_it_when_the_dead_host_comes_back(
    scratch: Scratch,
    boot: Boot,
    hosts: Hosts,
    outages: Outages,
    folder_of: Callable[[Server], Folder],
    ceph: CephAccess,
    facts: Facts,
    cloud: Cloud,
    measure: Measure,
) -> None:
    """A dead hypervisor's server is built anew elsewhere with what it wrote, and is left alone when that one returns.

    Why: this is how servers outlive their hypervisor. Without the right to break the dead one's lock they start with
    a disk that they cannot write; a hypervisor that returns may remove the disk, or bar the server's way back.
    """
    guest = boot(host=scratch.placement.for_crashes[0])
    measure("boot to first beat", guest.await_up(), "s")
    content = _write(guest)
    server, dead_host = guest.server, scratch.host_of(guest.server)
    dead_client, folder, held = guest.root.expect_open_once(by="QEMU"), folder_of(server), scratch.allocations(server)

    outage = scratch.outage(lambda name: outages.announce(dead_host, name))
    outages.take(outage)
    kill_qemu(guest, hosts)
    before = guest.ring()
    outages.declare_dead(outage)
    begun = time.monotonic()
    scratch.evacuate(server, scratch.placement.other_than(dead_host))
    measure("evacuation, asked to running", round(time.monotonic() - begun, 2), "s")
    await_new_start(guest, before, time.monotonic(), BACK_SECONDS)
    _measure_gap(guest, measure)
    guest.root.expect_content(content, OFFSET * MIB, LENGTH * MIB)
    guest.root.expect_open_once(by="the new QEMU")
    assert dead_client in blocklist.blocked(ceph, facts), finding(
        f"{guest.root}, dead client {dead_client}",
        found="not blocked",
        expected=f"listed by `ceph {blocklist.command(facts)} ls`",
        remedy=LOCKS,
    )

    with timed(measure, "hypervisor back, until Nova has it up"):
        scratch.remove(outage)
    assert not folder.exists(), finding(
        str(folder), found="still there", expected="removed when the hypervisor came back", remedy=LEFT
    )
    now = scratch.allocations(server)
    assert now == held, finding(scratch.where(server), found=now, expected=f"{held} in Placement", remedy=LEFT)
    guest.await_beat(after=guest.await_beat().n)
    if cloud.policy.live_migration:
        with timed(measure, "live migration back"):
            scratch.live_migrate(server, dead_host)
        guest.await_beat(after=guest.await_beat().n)
    guest.root.expect_content(content, OFFSET * MIB, LENGTH * MIB)
    guest.expect_no_io_error()
    scratch.clean_up()


def _write(guest: Guest) -> str:
    """Have the guest write a pattern to its root disk; return its digest, which the disk has in Ceph too."""
    expected = pattern_digest("evacuate", LENGTH)
    guest.obey(guest.root, "write", seed="evacuate", mib=LENGTH, offset=OFFSET)
    guest.root.expect_content(expected, OFFSET * MIB, LENGTH * MIB)
    return expected


def _measure_gap(guest: Guest, measure: Measure) -> None:
    gap = heartbeat.longest_gap(guest.ring().beats)
    if gap:
        measure("longest gap of the heartbeat", round(gap.seconds, 2), "s")


LEFT = (
    "[workarounds] ensure_libvirt_rbd_instance_dir_cleanup (nova.config.instance_dir_cleanup); nova-compute's log of "
    "the hypervisor that came back; `nova-manage placement audit --verbose --delete`"
)
