"""Area fn: volumes that change their type."""

from __future__ import annotations

import random

import pytest

from fixtures.ceph import CephAccess
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import RetypeTo
from fixtures.facts.base import NotMeasured
from fixtures.heartbeat import AREA_BYTES
from fixtures.scratch.gates import HAS_ANOTHER_BACKEND
from fixtures.scratch.guest import MIB
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks

pytestmark = [pytest.mark.dynamic]

OFFSET, LENGTH = 64, 8
"""Where journeys write on a volume, in MiB."""
SPAN = 128 * MIB
"""How much of a volume is compared: what was written and as much of what was not."""


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
