"""Area fn: volumes attached to servers."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.heartbeat import pattern_digest
from fixtures.scratch.gates import HAS_GUEST, HAS_TWO_HYPERVISORS
from fixtures.scratch.guest import MIB, Boot
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disks

pytestmark = [pytest.mark.dynamic, pytest.mark.applies_if(*HAS_GUEST), pytest.mark.xdist_group("guests")]

PLACING = "see nova-scheduler's log; journeys.hypervisors in the cloud file names where test servers may run"
OFFSET, LENGTH = 64, 16
"""Where the guest writes its pattern on the volume, in MiB."""


@pytest.mark.check("fn.server.attach_io", severity="critical", source="S4")
@pytest.mark.applies_if(*HAS_TWO_HYPERVISORS)
def test_volume_keeps_its_content_from_one_hypervisor_to_another(
    scratch: Scratch, disks: Disks, boot: Boot, measure: Measure
) -> None:
    """What a guest wrote to a volume reads back unchanged in a guest on another hypervisor.

    Why: a secret or a keyring that is right on one hypervisor only shows at the attachment to the next.
    """
    source, target = scratch.placement.hosts[:2]
    first, second = boot(host=source), boot(host=target)
    volume = scratch.volume(1)
    disk, seed = disks.volume(volume), f"attach-{volume.id}"
    expected = pattern_digest(seed, LENGTH)

    measure("boot to first beat", first.await_up(), "s")
    with timed(measure, "attach"):
        scratch.attach(first.server, volume)
    empty = disk.stored_bytes()
    written = first.obey(disk, "write", seed=seed, mib=LENGTH, offset=OFFSET)
    measure("write in the guest", round(LENGTH / max(written.seconds, 0.001), 1), "MiB/s")
    assert written.sha256 == expected, finding(
        f"{disk}, in the guest", found=f"wrote {written.sha256}", expected=expected, remedy=REMEDIES["server"]
    )
    grown = disk.stored_bytes() - empty
    assert grown >= LENGTH * MIB, finding(
        str(disk), found=f"{grown} bytes more stored", expected=f"{LENGTH * MIB} or more", remedy=REMEDIES["volume"]
    )
    disk.expect_open_once(by=f"QEMU on {source}")
    with timed(measure, "detach"):
        scratch.detach(first.server, volume)
    disk.expect_closed()
    assert disk.digest(OFFSET * MIB, LENGTH * MIB) == expected, finding(
        str(disk), found="other content than the guest wrote", expected=expected, remedy=REMEDIES["volume"]
    )

    second.await_up()
    found = (scratch.host_of(first.server), scratch.host_of(second.server))
    assert found == (source, target), finding(
        "test servers", found=f"on {found[0]} and {found[1]}", expected=f"on {source} and {target}", remedy=PLACING
    )
    scratch.attach(second.server, volume)
    read = second.obey(disk, "verify", seed=seed, mib=LENGTH, offset=OFFSET)
    measure("read in the guest", round(LENGTH / max(read.seconds, 0.001), 1), "MiB/s")
    assert read.sha256 == expected, finding(
        f"{disk}, in the guest on {target}", found=f"read {read.sha256}", expected=expected, remedy=REMEDIES["server"]
    )
    disk.expect_open_once(by=f"QEMU on {target}")
    scratch.detach(second.server, volume)
    disk.expect_closed()

    scratch.clean_up()
