"""Area fn: what is made of volumes: snapshots, clones, larger volumes, images."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.heartbeat import AREA_BYTES, pattern_digest
from fixtures.integration import backend_option, config_of
from fixtures.reach import Hosts
from fixtures.scratch.gates import HAS_GUEST
from fixtures.scratch.guest import MIB, Boot
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.temporary import Temporary
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks, expect_clone

if TYPE_CHECKING:
    from openstack.block_storage.v3.volume import Volume

pytestmark = [pytest.mark.dynamic]

GIB = 1 << 30
OFFSET, LENGTH = 64, 8
"""Where journeys write on a volume, in MiB."""
SPAN = 128 * MIB
"""How much of a volume is compared, after a guest's own records: what was written and as much of what was not."""
NOTHING_BYTES = MIB
"""What a new clone may store: RBD's own records, no data."""
FLATTENED = (
    "take rbd_flatten_volume_from_snapshot out of Cinder's back end, and do not let rbd_max_clone_depth be 0; else "
    "cinder-volume's log says why it copied"
)


def _write_noise(disk: Disk) -> str:
    """Write what does not compress into a volume that nobody has open; return the digest of its span."""
    disk.write(OFFSET * MIB, random.randbytes(LENGTH * MIB))
    return disk.digest(AREA_BYTES, SPAN)


@pytest.mark.check("fn.volume.snap_clone", severity="major", source="CR LP1969643")
def test_copies_of_a_volume_are_clones_of_its_snapshots(
    scratch: Scratch, disks: Disks, cloud: Cloud, facts: Facts, measure: Measure
) -> None:
    """Volumes from a snapshot and from a volume are clones with the content of then, never in too long a chain.

    Why: a copy that is not a clone takes the volume's time and space once more; a chain that grows for ever makes
    each read slower than the last.
    """
    volume = scratch.volume(1)
    disk = disks.volume(volume)
    first = _write_noise(disk)
    with timed(measure, "snapshot"):
        snapshot = scratch.snapshot(volume)
    name = f"snapshot-{snapshot.id}"
    _expect_snapshots(disk, [name])
    second = _write_noise(disk)

    with timed(measure, "volume from snapshot"):
        thawed = scratch.volume(1, snapshot=snapshot)
    _expect_copy(disks.volume(thawed), f"{disk}@{name}", first)
    with timed(measure, "volume from volume"):
        twin = scratch.volume(1, source=volume)
    _expect_copy(disks.volume(twin), f"{disk}@volume-{twin.id}.clone_snap", second)
    _expect_bounded_chain(scratch, disks, twin, _longest_chain(cloud, facts), second)
    disk.expect_content(second, AREA_BYTES, SPAN)

    scratch.remove(thawed)
    scratch.remove(snapshot)
    assert name not in _snapshots(disk), finding(
        str(disk), found=f"snapshot {name}, deleted", expected="it gone", remedy=REMEDIES["snapshot"]
    )
    disk.expect_content(second, AREA_BYTES, SPAN)
    scratch.clean_up()


def _snapshots(disk: Disk) -> list[str]:
    return [snapshot.name for snapshot in disk.image().snapshots]


def _expect_snapshots(disk: Disk, expected: list[str]) -> None:
    found = _snapshots(disk)
    assert found == expected, finding(str(disk), found=found, expected=expected, remedy=REMEDIES["snapshot"])


def _expect_copy(copy: Disk, parent: str, content: str) -> None:
    expect_clone(copy, parent, GIB, remedy=FLATTENED)
    stored = copy.stored_bytes()
    assert stored <= NOTHING_BYTES, finding(
        str(copy), found=f"{stored} bytes stored", expected="next to nothing", remedy="see what writes into new volumes"
    )
    copy.expect_content(content, AREA_BYTES, SPAN)
    copy.expect_closed()


def _longest_chain(cloud: Cloud, facts: Facts) -> int:
    """Return how many clones Cinder lets hang on each other."""
    host = facts.host(cloud.hosts_with("cinder-volume")[0])
    return int(backend_option(config_of(host, "cinder-volume"), cloud, "rbd_max_clone_depth", "5"))


def _expect_bounded_chain(scratch: Scratch, disks: Disks, last: Volume, limit: int, content: str) -> None:
    """Clone the clone of a clone, once more than is allowed to hang on each other."""
    for _ in range(limit):
        last = scratch.volume(1, source=last)
    length = len(list(_ancestors(disks.volume(last))))
    assert length <= limit, finding(
        str(disks.volume(last)),
        found=f"{length} parents, one behind the other",
        expected=f"at most {limit} (rbd_max_clone_depth)",
        remedy="see cinder-volume's log for why it did not flatten; `rbd flatten` does it by hand",
    )
    disks.volume(last).expect_content(content, AREA_BYTES, SPAN)


def _ancestors(disk: Disk) -> Iterator[str]:
    parent = disk.image().parent
    while parent:
        yield parent
        pool, _, name = parent.partition("@")[0].partition("/")
        parent = Disk(disk.ceph, pool, name).image().parent


@pytest.mark.check("fn.volume.extend", severity="major", source="NREL-extend")
@pytest.mark.applies_if(*HAS_GUEST)
@pytest.mark.xdist_group("guests")
def test_volume_grows_also_under_a_running_guest(scratch: Scratch, disks: Disks, boot: Boot, measure: Measure) -> None:
    """A volume grows while nobody has it and while a guest does; the guest sees and uses the new room at once.

    Why: Cinder tells Nova of the growth with a login of its own; where that is wrong, Cinder says that all is well
    and the guest has the old size until its next start.
    """
    guest = boot()
    volume = scratch.volume(1)
    disk = disks.volume(volume)
    content = _write_noise(disk)
    with timed(measure, "extend, not attached"):
        scratch.extend(volume, 2)
    _expect_size(scratch, disk, volume, 2)
    disk.expect_closed()

    measure("boot to first beat", guest.await_up(), "s")
    scratch.attach(guest.server, volume)
    guest.await_size(2 * GIB)
    with timed(measure, "extend, attached"):
        scratch.extend(volume, 3)
    _expect_size(scratch, disk, volume, 3)
    with timed(measure, "growth seen by the guest"):
        guest.await_size(3 * GIB)
    new = 3 * GIB // MIB - LENGTH
    written = guest.obey(disk, "check", seed="grown", mib=LENGTH, offset=new)
    expected = pattern_digest("grown", LENGTH)
    assert written.sha256 == expected, finding(
        f"{disk}, in the guest", found=f"read {written.sha256}", expected=expected, remedy=REMEDIES["server"]
    )
    scratch.detach(guest.server, volume)
    disk.expect_content(expected, new * MIB, LENGTH * MIB)
    disk.expect_content(content, AREA_BYTES, SPAN)
    disk.expect_closed()
    scratch.clean_up()


def _expect_size(scratch: Scratch, disk: Disk, volume: Volume, gib: int) -> None:
    told, size = scratch.look(volume).size, disk.image().size
    assert (told, size) == (gib, gib * GIB), finding(
        str(disk),
        found=f"{told} GiB in the API, {size} bytes in Ceph",
        expected=f"{gib} GiB in both",
        remedy=REMEDIES["volume"],
    )


@pytest.mark.check("fn.volume.upload_image", severity="minor", source="CR LP1991516")
def test_volume_becomes_an_image_of_the_same_content(
    scratch: Scratch, disks: Disks, facts: Facts, cloud: Cloud, hosts: Hosts, measure: Measure
) -> None:
    """A volume uploaded as a raw image has its size and content in Ceph; Cinder keeps no copy of it on its host.

    Why: the upload goes through a temporary file as large as the volume; one that stays fills the controller's disk.
    """
    volume = scratch.volume(1)
    disk = disks.volume(volume)
    _write_noise(disk)
    folders = [_conversions(cloud, facts, hosts, host) for host in cloud.hosts_with("cinder-volume")]
    before = [folder.files() for folder in folders]
    with timed(measure, "volume uploaded as image"):
        image = scratch.uploaded(volume)
    shown = (image.disk_format, image.size)
    assert shown == ("raw", GIB), finding(
        scratch.where(image),
        found=f"{shown[0]}, {shown[1]} bytes",
        expected=f"raw, {GIB} bytes",
        remedy=REMEDIES["image"],
    )
    kept = disks.image(image)
    _expect_snapshots(kept, ["snap"])
    kept.expect_content(disk.digest())
    for folder, files in zip(folders, before, strict=True):
        folder.expect_nothing_beyond(files, scratch.where(image))
    disk.expect_closed()
    scratch.clean_up()


def _conversions(cloud: Cloud, facts: Facts, hosts: Hosts, name: str) -> Temporary:
    config = config_of(facts.host(name), "cinder-volume")
    state = config.get("DEFAULT", "state_path", "/var/lib/cinder")
    return Temporary(hosts[name], config.get("DEFAULT", "image_conversion_dir", f"{state}/conversion"))
