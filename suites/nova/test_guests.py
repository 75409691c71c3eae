"""Area nova: running guests, and what they need of QEMU and libvirt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest

from fixtures.base_images import instances_of, needless_base_images
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import Disk, Emulator, HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import disk_monitors, find_secret, monitor_hosts, secret_user, secret_uuid
from fixtures.targets import libvirt_of

on_rbd = pytest.mark.applies_if(
    lambda cloud: cloud.ceph.pools.vms is not None, "the cloud file names no vms pool: no ephemeral disks on RBD"
)
USES: tuple[Literal["volumes", "vms"], ...] = ("volumes", "vms")
MAX_FILES, MAX_PROCESSES = 32768, 131072
"""Enough on any cluster."""
GUEST_DISKS, HOST_DISKS = 26, 512
"""What a guest and a hypervisor may have open; a disk takes a socket and two threads for each daemon of Ceph."""
MAX_WORKERS, MAX_CLIENT_REQUESTS = 50, 20
FULL = 0.7
LIMITS = "set them in {}, restart the daemon, then stop and start guests"


@pytest.mark.check("nova.domain.rbd_xml", severity="major", source="NI LV LP1741364")
def test_guests_have_their_disks_open_as_nova_would_today(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """RBD disks of running guests are raw, the guest's own, opened as the right user, at monitors that exist.

    Why: a guest keeps what it was started with; what is stale stops it at its next migration or reboot.
    """
    disks = need(libvirt_of(hypervisor).disks, f"{hypervisor.name}: disks of running guests")
    wrong = [
        f"{disk.domain} {disk.target} ({disk.source}): {problem}"
        for disk in disks
        if disk.protocol == "rbd"
        for problem in _problems(disk, hypervisor, cloud, facts)
    ]
    assert not wrong, finding(
        f"{hypervisor.name}: running guests",
        found=wrong,
        expected="disks as Nova would define them today",
        remedy="hard-reboot these guests, or migrate them",
    )


def _problems(disk: Disk, host: HostFacts, cloud: Cloud, facts: Facts) -> list[str]:
    pools = cloud.ceph.pools
    pool, _, image = disk.source.partition("/")
    problems = [] if disk.format in ("", "raw") else [f"format {disk.format}"]
    if pool in (pools.images, pools.backups):
        problems.append("not a disk's pool")
    if pool == pools.vms and pools.vms != pools.volumes and not image.startswith(f"{disk.uuid}_"):
        problems.append(f"not of this guest ({disk.uuid})")
    problems += _login_problems(disk, pool, host, cloud, facts)
    strange = disk_monitors(disk) - monitor_hosts(facts)
    return problems + [f"no monitor at {name}" for name in sorted(strange)]


def _login_problems(disk: Disk, pool: str, host: HostFacts, cloud: Cloud, facts: Facts) -> list[str]:
    wanted = {
        (secret_user(cloud, use), secret_uuid(facts, cloud, host, use).lower())
        for use in USES
        if getattr(cloud.ceph.pools, use) == pool
    }
    if wanted and (disk.user, disk.secret.lower()) not in wanted:
        expected = " or ".join(f"{user} with secret {uuid}" for user, uuid in sorted(wanted))
        return [f"opened as {disk.user or 'nobody'} with secret {disk.secret or 'none'} instead of {expected}"]
    return [] if find_secret(host, disk.secret) else [f"secret {disk.secret or 'none'} is not here"]


@on_rbd
@pytest.mark.check("nova.image_cache.growth", severity="major", source="HBW")
def test_no_image_was_downloaded_that_could_be_cloned(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """nova-compute's folder of base images holds none of the raw images that are in Glance's RBD store.

    Why: such a file is the trace of a boot that copied its image through the hypervisor instead of cloning it.
    """
    instances = instances_of(hypervisor)
    copied = needless_base_images(instances, cloud, facts)
    assert not copied, finding(
        f"{hypervisor.name}:{instances.path}",
        found=[f"base image of {image.name or image.id}" for image in copied.values()],
        expected="none of images that can be cloned",
        remedy="see that Glance shows locations and Nova's user may read the images pool; then remove the files",
    )


@pytest.mark.check("nova.qemu.limits", severity="major", source="KA-023334d TENC LP2158515")
def test_guests_may_open_a_socket_to_every_osd(hypervisor: HostFacts, facts: Facts) -> None:
    """Guests are granted enough open files and processes, none has used up most of them, and libvirt has workers.

    Enough follows from the number of OSDs, and never is more than 32768 files and 131072 processes. What qemu.conf
    does not say is inherited from the daemon that starts guests.

    Why: a disk opens a socket for each OSD that it meets; at the limit its I/O hangs and nothing is logged.
    """
    libvirt = libvirt_of(hypervisor)
    daemon = need(libvirt.daemon, f"{hypervisor.name}: libvirt's daemon")
    conf = need(libvirt.qemu_conf, f"{hypervisor.name}: qemu.conf")
    granted = {
        "max_files": int(conf.get("max_files", 0)) or daemon.max_files,
        "max_processes": int(conf.get("max_processes", 0)) or daemon.max_processes,
    }
    needed = _needed(facts.ceph.osds.total + len(facts.ceph.monitors))
    few = _below(granted, needed)
    assert not few, finding(
        f"{hypervisor.name}: qemu.conf",
        found=few,
        expected=[f"{name} {least} at least" for name, least in needed.items()],
        remedy=LIMITS.format("qemu.conf"),
    )
    workers = {
        "max_workers": int(daemon.settings.get("max_workers", 20)),
        "max_client_requests": int(daemon.settings.get("max_client_requests", 5)),
    }
    few = _below(workers, {"max_workers": MAX_WORKERS, "max_client_requests": MAX_CLIENT_REQUESTS})
    assert not few, finding(
        f"{hypervisor.name}: {daemon.name}.conf",
        found=few,
        expected=f"max_workers {MAX_WORKERS}, max_client_requests {MAX_CLIENT_REQUESTS} at least",
        remedy=LIMITS.format(f"{daemon.name}.conf"),
    )
    emulators = need(libvirt.emulators, f"{hypervisor.name}: processes of running guests")
    near = [f"{one.guest}: {one.open_files} of {one.max_files} files open" for one in emulators if _is_near(one)]
    assert not near, finding(
        f"{hypervisor.name}: running guests",
        found=near,
        expected=f"under {FULL:.0%}",
        remedy="raise max_files in qemu.conf, then stop and start these guests",
    )


def _needed(daemons: int) -> dict[str, int]:
    return {
        "max_files": min(MAX_FILES, 1024 + GUEST_DISKS * daemons),
        "max_processes": min(MAX_PROCESSES, 4096 + 2 * HOST_DISKS * daemons),
    }


def _below(found: Mapping[str, int | None], least: dict[str, int]) -> dict[str, int]:
    """What is less than it should be; None is without limit."""
    return {name: value for name, value in found.items() if value is not None and value < least[name]}


def _is_near(emulator: Emulator) -> bool:
    return emulator.max_files is not None and emulator.open_files > FULL * emulator.max_files
