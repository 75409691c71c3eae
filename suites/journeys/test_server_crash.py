"""Area fn: guests whose QEMU dies, and what is left of their data and their locks."""

from __future__ import annotations

import time

import pytest

from fixtures import blocklist, heartbeat
from fixtures.ceph import CephAccess
from fixtures.checks import finding
from fixtures.facts.run import Facts
from fixtures.reach import Hosts
from fixtures.scratch.crashes import BACK_SECONDS, LOCKS, await_new_start, kill_qemu
from fixtures.scratch.gates import HAS_GUEST, RELEASES_A_HYPERVISOR
from fixtures.scratch.guest import Boot, Guest
from fixtures.scratch.resources import Scratch
from fixtures.scratch.timing import Measure, timed

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.disruptive,
    pytest.mark.applies_if(*HAS_GUEST),
    pytest.mark.applies_if(*RELEASES_A_HYPERVISOR),
    pytest.mark.xdist_group("guests"),
]

PROMISES = 5
"""Beats on the console before the crash, each with the word that its disk took it."""


@pytest.mark.check("fn.server.crash_lock_break", severity="critical", source="S1 XL RH3391211 AADI")
def test_server_comes_back_after_its_qemu_was_killed(
    scratch: Scratch, boot: Boot, hosts: Hosts, ceph: CephAccess, facts: Facts, measure: Measure
) -> None:
    """A guest whose QEMU was killed starts again and writes; the dead client's lock is broken, its address blocked.

    Why: with caps that do not allow this all looks well until a hypervisor dies, and then every guest of it comes
    back with a disk that it cannot write.
    """
    guest = boot(host=scratch.placement.for_crashes[0])
    measure("boot to first beat", guest.await_up(), "s")
    guest.await_beat()
    dead = guest.root.expect_open_once(by="the hypervisor's QEMU")

    _kill(guest, hosts)
    with timed(measure, "killed guest: start to first beat on its disk"):
        _start_again(guest, BACK_SECONDS)
    alive = guest.root.expect_open_once(by="the new QEMU")
    assert alive != dead, finding(
        str(guest.root), found=f"lock and watcher still of {dead}", expected="the new QEMU's", remedy=LOCKS
    )
    assert dead in blocklist.blocked(ceph, facts), finding(
        f"{guest.root}, dead client {dead}",
        found="not blocked",
        expected=f"listed by `ceph {blocklist.command(facts)} ls`",
        remedy=LOCKS,
    )
    guest.expect_no_io_error()
    scratch.clean_up()


@pytest.mark.check("fn.rbd.persistence", severity="major", source="S0 RC")
def test_what_was_synced_survives_the_death_of_qemu(
    scratch: Scratch, boot: Boot, hosts: Hosts, measure: Measure
) -> None:
    """What a guest wrote with fsync is in Ceph after its QEMU was killed, and the guest starts again from it.

    Why: a cache that answers before Ceph has the data keeps its promise only as long as nothing crashes.
    """
    guest = boot(host=scratch.placement.for_crashes[0])
    measure("boot to first beat", guest.await_up(), "s")
    promised = guest.await_console_beats(PROMISES)
    _kill(guest, hosts)
    broken = heartbeat.broken_promises(promised, guest.ring())
    measure("beats promised before the crash", len(promised), "1")
    assert not broken, finding(
        str(guest.root),
        found=f"no record of {len(broken)} of {len(promised)} beats: {', '.join(str(beat.n) for beat in broken)}",
        expected="all that fsync promised",
        remedy="disk_cachemodes = unsafe, or rbd_cache_writethrough_until_flush = false (host.client.rbd_cache)?",
    )
    _start_again(guest, guest.timeout)
    guest.expect_no_io_error()
    scratch.clean_up()


def _start_again(guest: Guest, timeout: float) -> None:
    """Start a server that was killed, and wait for a beat that its disk took from the new start."""
    before, begun = guest.ring(), time.monotonic()
    guest.scratch.start(guest.server)
    await_new_start(guest, before, begun, timeout)


def _kill(guest: Guest, hosts: Hosts) -> None:
    """Kill the QEMU of a test server, and wait until Nova has noticed."""
    kill_qemu(guest, hosts)
    guest.scratch.until(guest.server, "SHUTOFF")
