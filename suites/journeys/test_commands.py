"""Area fn: the commands of python-openstackclient, as a person types them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.heartbeat import pattern_digest
from fixtures.scratch.cli import Cli, logged_in
from fixtures.scratch.gates import HAS_BACKUPS, HAS_EPHEMERAL, HAS_GUEST, HAS_TWO_HYPERVISORS, PROMISES_MIGRATION
from fixtures.scratch.guest import MIB, Guest
from fixtures.scratch.project import Tenant
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disk, Disks, expect_clone

if TYPE_CHECKING:
    from openstack.block_storage.v3.volume import Volume
    from openstack.compute.v2.server import Server
    from openstack.image.v2.image import Image

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.applies_if(*HAS_GUEST),
    pytest.mark.applies_if(*HAS_EPHEMERAL),
    pytest.mark.applies_if(*HAS_BACKUPS),
    pytest.mark.applies_if(*HAS_TWO_HYPERVISORS),
    pytest.mark.applies_if(*PROMISES_MIGRATION),
    pytest.mark.xdist_group("guests"),
]

GIB = 1 << 30
SIZE = 4 * MIB
"""Of the image that is made of a file."""
OFFSET, LENGTH = 64, 8
"""Where the guest writes on the volume, in MiB."""


@pytest.mark.check("fn.cli", severity="major", source="S0 S1 S2 S4")
def test_commands_of_the_guides_do_what_they_say(
    scratch: Scratch, disks: Disks, hand: Hand, guest_image: Image, cloud: Cloud, measure: Measure, tmp_path: Path
) -> None:
    """An image, a volume of it, a server, its second disk, a backup and a live migration, each by `openstack …`.

    Why: these are the lines that guides give and operators type; they take other ways through the APIs than a library,
    and what they print is what scripts read.
    """
    source = tmp_path / "content.raw"
    source.write_bytes(random.randbytes(SIZE))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    with timed(measure, "openstack image create"):
        image = hand.image(source)
    disks.image(image).expect_content(digest)
    with timed(measure, "openstack volume create --image"):
        volume = hand.volume(image)
    disk = disks.volume(volume)
    expect_clone(disk, disks.snapshot_of(image), GIB)
    disk.expect_content(digest, 0, SIZE)

    with timed(measure, "openstack server create --wait"):
        server = hand.server(guest_image)
    guest = Guest(scratch, server, disks.server(server), float(cloud.journeys.timeout))
    expect_clone(guest.root, disks.snapshot_of(guest_image), scratch.flavor_gib * GIB)
    guest.await_up()
    with timed(measure, "openstack server add volume"):
        hand.attach(server, volume)
    written = pattern_digest("by-hand", LENGTH)
    guest.obey(disk, "write", seed="by-hand", mib=LENGTH, offset=OFFSET)
    disk.expect_content(written, OFFSET * MIB, LENGTH * MIB)

    with timed(measure, "openstack volume backup create --force"):
        hand.back_up(volume)
    kept = disks.backups(volume)
    assert len(kept) == 1, finding(
        f"backups of volume {volume.id}", found=[str(it) for it in kept], expected="one", remedy=REMEDIES["backup"]
    )
    kept[0].expect_content(written, OFFSET * MIB, LENGTH * MIB)

    with timed(measure, "openstack server migrate --live-migration --wait"):
        hand.move(server)
    guest.await_beat(after=guest.await_beat().n)
    _expect_both_open(guest.root, disk)
    scratch.clean_up()


@dataclass(frozen=True)
class Hand:
    """A person at a shell: the commands, what they print judged, what they make recorded and waited for."""

    scratch: Scratch
    cloud: Cloud
    tenant: Cli
    operator: Cli

    def image(self, source: Path) -> Image:
        """Upload a file."""
        typed = ("image", "create", "--disk-format", "raw", "--file", source)
        image = cast("Image", self._made("image", lambda name: self.tenant(*typed, name), {"disk_format": "raw"}))
        return self.scratch.until(image, "active")

    def volume(self, image: Image) -> Volume:
        """Make a volume of an image."""
        typed = ("volume", "create", "--image", image.id, "--size", "1", "--type", self.cloud.cinder.volume_type)
        told = {"size": 1, "type": self.cloud.cinder.volume_type}
        volume = self._made("volume", lambda name: self.tenant(*typed, name), told, image)
        return self.scratch.until(cast("Volume", volume), "available")

    def server(self, image: Image) -> Server:
        """Boot a server, on the first hypervisor for tests where the cloud file names some."""
        flavor, network, at = self.scratch.tenant.flavor.id, self.cloud.journeys.network, self.scratch.placement.default
        typed = ["server", "create", "--wait", "--image", image.id, "--flavor", flavor]
        typed += ["--network", network] if network else ["--no-network"]
        typed += ["--host", at] if at else ["--availability-zone", self.cloud.journeys.availability_zone]
        # Only an administrator may name a hypervisor.
        user = self.operator if at else self.tenant
        server = self._made("server", lambda name: user(*typed, name), {"status": "ACTIVE"}, image)
        return self.scratch.until(cast("Server", server), "ACTIVE")

    def attach(self, server: Server, volume: Volume) -> None:
        """Attach a volume."""
        self.scratch.holds(server, volume)
        told = self.tenant("server", "add", "volume", server.id, volume.id)
        _expect_told("server add volume", told, {"Server ID": server.id, "Volume ID": volume.id})
        self.scratch.until(volume, "in-use")

    def back_up(self, volume: Volume) -> None:
        """Back up a volume that is in use."""
        typed = ("volume", "backup", "create", "--force", volume.id, "--name")
        backup = self._made("backup", lambda name: self.tenant(*typed, name), {}, volume)
        self.scratch.until(backup, "available")

    def move(self, server: Server) -> None:
        """Move a running server to another hypervisor."""
        target = self.scratch.placement.other_than(self.scratch.host_of(server))
        self.operator.silent("server", "migrate", "--live-migration", "--host", target, "--wait", server.id)
        found = self.scratch.host_of(server)
        assert found == target, finding(
            self.scratch.where(server), found=f"on {found}", expected=f"on {target}", remedy=REMEDIES["server"]
        )
        self.scratch.until(server, "ACTIVE")

    def _made(self, kind: Any, typed: Callable[[str], dict[str, Any]], expected: dict[str, object], *needs: Any) -> Any:
        def make(name: str) -> str:
            told = typed(name)
            _expect_told(f"{kind} create", told, {"name": name, **expected})
            return str(told["id"])

        return self.scratch.by_hand(kind, make, needs=needs)


@pytest.fixture
def hand(scratch: Scratch, tenant: Tenant, cloud: Cloud) -> Iterator[Hand]:
    """A person at a shell, with the tenant's credentials and with the administrator's for the tenant's project."""
    users = {"tenant": tenant.connection, "operator": tenant.as_admin()}
    with logged_in(float(cloud.journeys.timeout), **users) as cli:
        yield Hand(scratch, cloud, cli["tenant"], cli["operator"])


def _expect_told(command: str, told: dict[str, Any], expected: dict[str, object]) -> None:
    found = {key: told.get(key) for key in expected}
    assert found == expected, finding(
        f"openstack {command}", found=found, expected=expected, remedy="read the service's log for this name"
    )


def _expect_both_open(*disks: Disk) -> None:
    owners = {disk.expect_open_once(by="QEMU there").partition(":")[0] for disk in disks}
    assert len(owners) == 1, finding(
        " and ".join(map(str, disks)), found=f"open from {owners}", expected="from one host", remedy=REMEDIES["server"]
    )
