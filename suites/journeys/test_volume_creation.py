"""Area fn: creating volumes, empty and from images."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.scratch.features import default_features
from fixtures.scratch.resources import Scratch
from fixtures.scratch.timing import Measure, stopwatch, timed
from fixtures.scratch.truth import Disks, expect_clone

if TYPE_CHECKING:
    from openstack.image.v2.image import Image

pytestmark = [pytest.mark.dynamic]

MIB = 1 << 20
GIB = 1 << 30
ORDER = 22
FACTOR = 8
REPEATS = 5
SMALL_MIB = 32
NOTHING_BYTES = MIB
"""What a new clone may store: RBD's own records, no data."""
LABELS = ("small", "large")
NOISE_SECONDS = 1.0
"""Differences below this are the scheduler's and the poll's, not the copying of data."""
COPIED = "something copies or converts images on the way: fn.volume.from_image_cow and cinder-volume's log say what"


@pytest.mark.check("fn.volume.create", severity="critical", source="S1 S4")
def test_new_volume_is_an_empty_rbd_image(
    scratch: Scratch, disks: Disks, cloud: Cloud, facts: Facts, measure: Measure
) -> None:
    """A new volume of 1 GiB becomes available and is a thin RBD image with the default features.

    Why: without exclusive-lock and its kin a crashed hypervisor's disk cannot be fenced or compared quickly.
    """
    with timed(measure, "volume create"):
        volume = scratch.volume(1)
    assert volume.volume_type == cloud.cinder.volume_type, finding(
        scratch.where(volume),
        found=f"type {volume.volume_type}",
        expected=cloud.cinder.volume_type,
        remedy="see cinder-api",
    )

    disk = disks.volume(volume)
    image = disk.image()
    assert (image.size, image.order, image.parent) == (GIB, ORDER, ""), finding(
        str(disk),
        found=f"{image.size} bytes in objects of 2^{image.order}, parent {image.parent or 'none'}",
        expected=f"{GIB} bytes in objects of 2^{ORDER}, parent none",
        remedy="set rbd_store_chunk_size = 4 in Cinder's back end",
    )
    expected = default_features(facts, cloud)
    assert image.features == expected, finding(
        str(disk), found=image.features, expected=expected, remedy="compare rbd_default_features with what Cinder sets"
    )
    stored = disk.stored_bytes()
    assert stored == 0, finding(str(disk), found=f"{stored} bytes stored", expected="0", remedy="volumes must be thin")
    disk.expect_closed()

    scratch.clean_up()


@dataclass(frozen=True)
class Source:
    """An image to clone, and how many bytes of it Ceph stores."""

    image: Image
    stored: int


@pytest.fixture(scope="module")
def sources(
    cloud: Cloud, new_scratch: Callable[[], Scratch], disks: Disks, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Source, Source]:
    """A small and a large image; the large one stores at least eight times as much. They go at the run's end."""
    scratch, folder = new_scratch(), tmp_path_factory.mktemp("sources")
    small, large = (_source(scratch, disks, path) for path in _files(cloud, folder))
    if large.stored < FACTOR * small.stored:
        raise NotMeasured(
            f"journeys.large_image stores {large.stored} bytes, not {FACTOR} times the {small.stored} of journeys.image"
        )
    return small, large


def _files(cloud: Cloud, folder: Path) -> tuple[Path, Path]:
    small, large = cloud.journeys.image, cloud.journeys.large_image
    if small and large:
        return small, large
    return _noise(folder / "small.raw", SMALL_MIB), _noise(folder / "large.raw", FACTOR * SMALL_MIB)


def _noise(path: Path, mib: int) -> Path:
    with path.open("wb") as file:
        file.writelines(random.randbytes(MIB) for _ in range(mib))
    return path


def _source(scratch: Scratch, disks: Disks, path: Path) -> Source:
    try:
        image = scratch.image(path)
    except OSError as error:
        raise NotMeasured(f"journeys image {path}: {error.strerror}") from error
    return Source(image, disks.image(image).stored_bytes())


@pytest.mark.check("fn.volume.from_image_cow", severity="critical", source="S0 RO CR")
@pytest.mark.xdist_group("clones")
def test_volume_from_image_is_a_clone_whatever_the_images_size(
    scratch: Scratch, disks: Disks, sources: tuple[Source, Source], measure: Measure
) -> None:
    """A volume from an image, be it small or large, is a clone of the image's snapshot that stores nothing of its own.

    Why: this is what Ceph is joined to OpenStack for; a silent full copy passes every check of the API alone.
    """
    size = _size_for(sources)
    for label, source in zip(LABELS, sources, strict=True):
        measure(f"{label} image stores", round(source.stored / MIB, 2), "MiB")
        disk = disks.volume(scratch.volume(size, image=source.image))
        expect_clone(disk, disks.snapshot_of(source.image), size * GIB)
        stored = disk.stored_bytes()
        measure(f"volume from {label} image stores", round(stored / MIB, 2), "MiB")
        assert stored <= NOTHING_BYTES, finding(
            str(disk),
            found=f"{stored} bytes stored",
            expected="next to nothing",
            remedy="see what writes into new volumes",
        )
        disk.expect_closed()
    scratch.clean_up()


@pytest.mark.check("cap.cow_slo", severity="major", source="S0 HBW")
@pytest.mark.xdist_group("clones")
def test_volumes_from_images_take_no_time_and_no_room(
    scratch: Scratch, disks: Disks, cloud: Cloud, sources: tuple[Source, Source], measure: Measure
) -> None:
    """Volumes from images are made within journeys.max_cow_seconds, large ones no slower, and take no room.

    Why: time and room that grow with the image mean that something copies it, whatever the volumes look like. The
    shortest times are compared, for a copy takes its time each time, a busy cloud only sometimes.
    """
    size = _size_for(sources)
    seconds: dict[str, list[float]] = {label: [] for label in LABELS}
    stored = 0
    for _ in range(REPEATS):
        for label, source in zip(LABELS, sources, strict=True):
            with stopwatch() as clock:
                volume = scratch.volume(size, image=source.image, longest_pause=0.2)
                seconds[label].append(clock())
            stored += disks.volume(volume).stored_bytes()
        if stored > 2 * REPEATS * NOTHING_BYTES:
            break  # copies: each more would take its time and room
    small, large = (min(seconds[label]) for label in LABELS)
    slowest = max(median(seconds[label]) for label in LABELS)
    for label in LABELS:
        measure(f"volume from {label} image: shortest time", round(min(seconds[label]), 2), "s")
        measure(f"volume from {label} image: median time", round(median(seconds[label]), 2), "s")
        measure(f"volume from {label} image: longest time", round(max(seconds[label]), 2), "s")
    measure("volumes from images store together", round(stored / MIB, 2), "MiB")

    where = f"volumes from images {sources[0].image.id} and {sources[1].image.id}"
    assert large <= 2 * small or large - small <= NOISE_SECONDS, finding(
        where,
        found=f"{large:.1f} s for {sources[1].stored} bytes, {small:.1f} s for {sources[0].stored}: it grows",
        expected="the same time",
        remedy=COPIED,
    )
    assert stored <= 2 * REPEATS * NOTHING_BYTES, finding(
        where, found=f"{stored} bytes stored", expected="next to nothing", remedy=COPIED
    )
    assert slowest <= cloud.journeys.max_cow_seconds, finding(
        where,
        found=f"{slowest:.1f} s",
        expected=f"at most {cloud.journeys.max_cow_seconds:g} s (journeys.max_cow_seconds)",
        remedy="see where Cinder spends the time: scheduler, cinder-volume's log, Ceph's latency",
    )
    scratch.clean_up()


def _size_for(sources: tuple[Source, Source]) -> int:
    """Return the GiB that hold either image."""
    return max(-(-int(source.image.size) // GIB) for source in sources)
