"""Area iscsi: a guest whose disk is a LUN."""

from __future__ import annotations

import time

import pytest

from fixtures.ceph import CephAccess
from fixtures.checks import applies
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.iscsi import existing_pool, initiator_of, live_target, section, wanted
from fixtures.reach import Hosts
from fixtures.scratch.gates import HAS_GUEST
from fixtures.scratch.judging import expect_within
from fixtures.scratch.luns import LunGuests
from fixtures.scratch.timing import Measure
from fixtures.waiting import Pending

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.applies_if(*HAS_GUEST),
    pytest.mark.applies_if(
        lambda cloud: cloud.iscsi is not None and cloud.iscsi.scratch is not None,
        "the cloud file has no iscsi:, or no image that journeys may overwrite (iscsi.scratch)",
    ),
    pytest.mark.xdist_group("luns"),
]

BEATS = 5


@pytest.mark.check("iscsi.vm.boot", severity="major", source="S3 CI TCMU642")
def test_guest_boots_from_a_lun(
    iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts, hosts: Hosts, ceph: CephAccess, measure: Measure
) -> None:
    """A guest of libvirt's boots from the LUN, and what it writes every second is in the RBD image.

    Why: target, pool and secret may each be right, and a guest still not start; it is the only proof that its data
    is on Ceph.
    """
    image = section(cloud).scratch or ""
    applies(image in wanted(cloud, iscsi_initiator.name).images, f"this initiator is not given {image}")
    content = cloud.journeys.image
    if content is None or not content.is_file():
        raise NotMeasured(f"journeys.image: {content} is not a file on the runner")
    guests = LunGuests(hosts, ceph, image)
    guests.fill(content)
    volume = _volume(iscsi_initiator, cloud, facts, image)
    begun = time.monotonic()
    with guests.booted(iscsi_initiator.name, existing_pool(cloud, iscsi_initiator).name, volume) as name:

        def look() -> float | Pending:
            beats = guests.ring().beats
            booted = {beat.boot for beat in beats}
            good = len(beats) >= BEATS and len(booted) == 1
            return time.monotonic() - begun if good else Pending(f"{len(beats)} beats in {image}")

        took = expect_within(
            f"{iscsi_initiator.name}: guest {name} on {image}",
            f"{BEATS} beats in the image",
            look,
            float(cloud.journeys.timeout),
            remedy="iscsi.gw.target and iscsi.pool.* name the usual causes; else read QEMU's log",
        )
    measure("boot from a LUN to the fifth beat in its image", round(took, 2), "s")


def _volume(host: HostFacts, cloud: Cloud, facts: Facts, image: str) -> str:
    """Name of the volume that is the image; raises NotMeasured where there is none."""
    gateway = cloud.hosts_with("iscsi-gateway")[0]
    number = next((lun.number for lun in live_target(cloud, facts, gateway).luns if lun.image == image), None)
    volumes = need(initiator_of(host).volumes, f"{host.name}: volumes")
    found = next((one.name for one in volumes if one.number == number), None)
    if found is None:
        raise NotMeasured(f"{host.name}: no volume is {image} (see iscsi.vol.inventory)")
    return found
