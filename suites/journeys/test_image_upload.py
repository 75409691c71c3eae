"""Area fn: uploading an image."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from fixtures.checks import finding
from fixtures.scratch.judging import asking
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disks

pytestmark = [pytest.mark.dynamic]

MIB = 1 << 20
ORDER = 23
SIZE = 20 * MIB + 4096


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Bytes that do not compress and do not end with an RBD object."""
    path = tmp_path / "content.raw"
    path.write_bytes(random.randbytes(SIZE))
    return path


@pytest.mark.check("fn.image.upload", severity="critical", source="S0 S1 S2")
def test_uploaded_image_is_kept_in_ceph_as_it_was_sent(
    scratch: Scratch, disks: Disks, content: Path, measure: Measure
) -> None:
    """A raw image becomes active, is an RBD image of 8 MiB objects with the snapshot `snap`, and comes back unchanged.

    Why: clones are made from that snapshot; without it every volume and server is a full copy.
    """
    with timed(measure, "image upload"):
        image = scratch.image(content)
    sent = content.read_bytes()

    hashed = hashlib.new(str(image.hash_algo), sent).hexdigest()
    assert image.hash_value == hashed, finding(
        scratch.where(image), found=f"os_hash_value {image.hash_value}", expected=hashed, remedy=REMEDIES["image"]
    )
    with (
        timed(measure, "image download"),
        asking(scratch.where(image), expected="a download", remedy=REMEDIES["image"]),
    ):
        got = scratch.tenant.connection.image.download_image(image.id).content
    assert got == sent, finding(
        scratch.where(image),
        found=f"{len(got)} bytes of other content",
        expected="what was sent",
        remedy=REMEDIES["image"],
    )

    disk = disks.image(image)
    kept = disk.image()
    assert (kept.size, kept.order) == (SIZE, ORDER), finding(
        str(disk),
        found=f"{kept.size} bytes in objects of 2^{kept.order}",
        expected=f"{SIZE} bytes in objects of 2^{ORDER}",
        remedy="set rbd_store_chunk_size = 8 in glance-api's RBD store",
    )
    snapshots = [snapshot.name for snapshot in kept.snapshots]
    assert snapshots == ["snap"], finding(
        str(disk), found=snapshots, expected="one snapshot, snap", remedy=REMEDIES["image"]
    )
    assert disk.digest() == hashlib.sha256(sent).hexdigest(), finding(
        str(disk), found="other content", expected="what was sent", remedy="run a deep scrub of the pool's PGs"
    )
    disk.expect_closed()

    scratch.clean_up()
