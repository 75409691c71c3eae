"""Area nova: nova-compute and its RBD options."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import Disk, HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import config_of, find_secret
from fixtures.targets import auth_of, libvirt_of
from fixtures.units import expect_running

on_rbd = pytest.mark.applies_if(
    lambda cloud: cloud.ceph.pools.vms is not None, "the cloud file names no vms pool: no ephemeral disks on RBD"
)


@pytest.mark.check("nova.compute.up", severity="critical", source="S0 S2")
def test_compute_service_is_up(hypervisor: HostFacts, facts: Facts) -> None:
    """nova-compute runs and is enabled, Nova sees it up, and libvirt answers.

    Why: a hypervisor that is down takes its guests with it, and cannot be migrated to.
    """
    expect_running(hypervisor, "nova-compute")
    libvirt = hypervisor.libvirt
    assert not isinstance(libvirt, Unreadable), finding(
        f"{hypervisor.name}: libvirt",
        found=libvirt.unreadable,
        expected="an answer",
        remedy="systemctl start libvirtd or the virtqemud sockets",
    )
    services = need(facts.openstack.compute_services, "compute services")
    rows = [row for row in services if row.binary == "nova-compute" and hypervisor.is_called(row.host)]
    found = [f"{row.status}, {row.state}" for row in rows] or f"only {', '.join(row.host for row in services)}"
    assert [(row.status, row.state) for row in rows] == [("enabled", "up")], finding(
        f"compute service {hypervisor.hostname}",
        found=found,
        expected="enabled, up",
        remedy="openstack compute service set --enable; look at its log",
    )


@on_rbd
@pytest.mark.check("nova.config.images_type", severity="critical", source="S0 S1 RO")
def test_ephemeral_disks_are_on_rbd(hypervisor: HostFacts) -> None:
    """[libvirt] images_type is rbd.

    Why: one hypervisor with local disks breaks migration to and from it, and loses its guests with its disk.
    """
    _expect(hypervisor, "images_type", "rbd", default="default")


@on_rbd
@pytest.mark.check("nova.config.images_rbd", severity="critical", source="S0 S1")
def test_ephemeral_disks_go_to_the_vms_pool(hypervisor: HostFacts, cloud: Cloud) -> None:
    """images_rbd_pool is the vms pool and images_rbd_ceph_conf the cluster's conf.

    Why: Nova's own default pool is `rbd`.
    """
    _expect(hypervisor, "images_rbd_pool", str(cloud.ceph.pools.vms), default="rbd")
    _expect(hypervisor, "images_rbd_ceph_conf", cloud.ceph.conf, default="unset")


def _expect(host: HostFacts, option: str, expected: str, default: str) -> None:
    config = config_of(host, "nova-compute")
    found = config.get("libvirt", option, default)
    assert found == expected, finding(
        f"{host.name}:{config.where('libvirt', option)}",
        found=f"[libvirt] {option} = {found}",
        expected=expected,
        remedy=f"set [libvirt] {option} = {expected}, restart nova-compute",
    )


@on_rbd
@pytest.mark.check("nova.config.rbd_user_secret", severity="critical", source="S0 S1 NN LP1635008 LP1934145")
def test_nova_logs_in_as_its_user_with_its_secret(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """rbd_user is Nova's cephx id, rbd_secret_uuid is set, and that secret here holds that user's key.

    Why: the user of one service with the secret of the other is refused only when a guest starts.
    """
    _expect(hypervisor, "rbd_user", str(cloud.ceph.users.nova), default="unset")
    config = config_of(hypervisor, "nova-compute")
    uuid = config.get("libvirt", "rbd_secret_uuid", "")
    where = f"{hypervisor.name}:{config.where('libvirt', 'rbd_secret_uuid')}"
    assert uuid, finding(
        where, found="rbd_secret_uuid unset", expected="a libvirt secret", remedy="set it, restart nova-compute"
    )
    secret = find_secret(hypervisor, uuid)
    held = need(secret.value, f"{hypervisor.name}: secret {uuid}") if secret and secret.value else None
    entity = f"client.{cloud.ceph.users.nova}"
    assert held == auth_of(facts, entity).key, finding(
        where,
        found=f"rbd_secret_uuid = {uuid}, {'no such secret' if not secret else 'with another key or none'}",
        expected=f"a secret with the key of {entity}",
        remedy="mend rbd_secret_uuid or the secret's value",
    )


@pytest.mark.check("nova.config.disk_cachemodes", severity="major", source="RO S1 ND NC")
def test_network_disks_are_cached_as_writeback(hypervisor: HostFacts) -> None:
    """disk_cachemodes has network=writeback, in [libvirt] and in that syntax, and running guests' RBD disks have it.

    A disk that several guests write to (multiattach) must have no cache.

    Why: librbd's cache obeys flushes; without it each small write waits for the cluster.
    """
    config = config_of(hypervisor, "nova-compute")
    found = config.items("libvirt", "disk_cachemodes")
    assert "network=writeback" in found, finding(
        f"{hypervisor.name}:{config.where('libvirt', 'disk_cachemodes')}",
        found=f"disk_cachemodes = {','.join(found) or 'unset'}",
        expected="network=writeback",
        remedy="set [libvirt] disk_cachemodes, restart nova-compute, hard-reboot guests",
    )
    disks = need(libvirt_of(hypervisor).disks, f"{hypervisor.name}: disks of running guests")
    wrong = [
        f"{disk.domain} {disk.target} ({disk.source}): cache {disk.cache or 'not set'} instead of {_cache_of(disk)}"
        for disk in disks
        if disk.protocol == "rbd" and disk.cache != _cache_of(disk)
    ]
    assert not wrong, finding(
        f"{hypervisor.name}: running guests",
        found=wrong,
        expected="writeback; none where several guests share the disk",
        remedy="hard-reboot these guests: a disk keeps the mode that it was opened with",
    )


def _cache_of(disk: Disk) -> str:
    return "none" if disk.shareable else "writeback"


@pytest.mark.check("nova.config.injection", severity="minor", source="S0 S2 NC")
def test_nothing_is_injected_into_disks(hypervisor: HostFacts) -> None:
    """Password and key injection are off, and inject_partition is -2.

    Why: injection opens the guest's disk through libguestfs, slow on RBD and in need of readable secrets.
    """
    config = config_of(hypervisor, "nova-compute")
    expected = {"inject_password": False, "inject_key": False, "inject_partition": -2}
    found = {
        "inject_password": config.boolean("libvirt", "inject_password", False),
        "inject_key": config.boolean("libvirt", "inject_key", False),
        "inject_partition": config.integer("libvirt", "inject_partition", -2),
    }
    assert found == expected, finding(
        f"{hypervisor.name}: [libvirt]", found=found, expected=expected, remedy="set them, restart nova-compute"
    )


@pytest.mark.check("nova.config.force_raw", severity="critical", source="S1 ND LP1816686")
def test_images_are_forced_to_raw(hypervisor: HostFacts) -> None:
    """force_raw_images is on.

    Why: with disks on RBD nova-compute refuses to start without it, and older ones wrote guests that do not boot.
    """
    config = config_of(hypervisor, "nova-compute")
    assert config.boolean("DEFAULT", "force_raw_images", True), finding(
        f"{hypervisor.name}:{config.where('DEFAULT', 'force_raw_images')}",
        found="force_raw_images = False",
        expected=True,
        remedy="remove it (true is the default), restart nova-compute",
    )
