"""Area nova.config: options that only some releases and some clouds want."""

from __future__ import annotations

import pytest

from fixtures import releases
from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.oslo import OsloConfig
from fixtures.targets import libvirt_of, service_of

on_rbd = pytest.mark.applies_if(
    lambda cloud: cloud.ceph.pools.vms is not None, "the cloud file names no vms pool: no ephemeral disks on RBD"
)
MOVED = frozenset(
    {
        *("block_migration_flag", "disk_cachemodes", "hw_disk_discard", "images_rbd_ceph_conf", "images_rbd_pool"),
        *("images_type", "inject_key", "inject_partition", "inject_password", "rbd_secret_uuid", "rbd_user"),
        *("live_migration_bandwidth", "live_migration_flag", "live_migration_uri"),
    }
)
"""Options of [libvirt] that guides once wrote into [DEFAULT]; with `libvirt_` before it, any."""
WATCH_TIMEOUT = 30
"""Seconds after which Ceph forgets a client that died with an image open (osd_client_watch_timeout)."""
LONGEST_CONNECT = 60
"""Seconds after which Nova takes a hypervisor that does not report for down (service_down_time)."""
SHARED = ("nfs", "ceph", "glusterfs", "fuse.", "gfs2", "ocfs2", "lustre", "gpfs", "cifs", "beegfs", "9p", "virtiofs")


@pytest.mark.check("nova.config.section", severity="major", source="S0 S1")
def test_libvirts_options_stand_in_their_section(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """No option of [libvirt] stands in [DEFAULT], under its present name or the one with `libvirt_` before it.

    Why: there they are ignored without a word; the disks stay local and the cache off, and the file looks right.
    """
    releases.LIBVIRT_SECTION.required(cloud, facts, hypervisor.name)
    config = config_of(hypervisor, "nova-compute")
    stray = [key for key in config.keys("DEFAULT") if key in MOVED or key.startswith("libvirt_")]
    assert not stray, finding(
        f"{hypervisor.name}: [DEFAULT]",
        found=[f"{key} ({config.where('DEFAULT', key)})" for key in stray],
        expected="them in [libvirt], without libvirt_",
        remedy="move them, or remove what newer releases do not know, and restart nova-compute",
    )


@on_rbd
@pytest.mark.check("nova.config.discard", severity="minor", source="RO NC CR")
def test_guests_give_freed_space_back(hypervisor: HostFacts) -> None:
    """hw_disk_discard is unmap, and the RBD disks of running guests have it.

    Why: without discard a thin disk grows to its full size, and nothing that a guest deletes is ever free again.
    """
    config = config_of(hypervisor, "nova-compute")
    found = config.get("libvirt", "hw_disk_discard", "unset")
    assert found == "unmap", finding(
        f"{hypervisor.name}:{config.where('libvirt', 'hw_disk_discard')}",
        found=f"[libvirt] hw_disk_discard = {found}",
        expected="unmap",
        remedy="set it, restart nova-compute, hard-reboot guests",
    )
    disks = need(libvirt_of(hypervisor).disks, f"{hypervisor.name}: disks of running guests")
    wrong = [
        f"{disk.domain} {disk.target} ({disk.source}): {disk.discard or 'not set'}"
        for disk in disks
        if disk.protocol == "rbd" and disk.device == "disk" and disk.discard != "unmap"
    ]
    assert not wrong, finding(
        f"{hypervisor.name}: running guests",
        found=wrong,
        expected="discard='unmap'",
        remedy="hard-reboot these guests: a disk keeps what it was opened with",
    )


@on_rbd
@pytest.mark.check("nova.config.never_download", severity="minor", source="NW LP1858877 NREL-ms")
def test_a_broken_copy_on_write_path_is_loud(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Nova refuses to download an image that it could clone, or has it copied to its own store first.

    Why: else a boot whose clone fails downloads the image and uploads it again, slowly and for every guest anew.
    """
    releases.NEVER_DOWNLOAD.required(cloud, facts, hypervisor.name)
    config = config_of(hypervisor, "nova-compute")
    refused = config.boolean("workarounds", "never_download_image_if_on_rbd", False)
    copied = config.get("libvirt", "images_rbd_glance_store_name", "")
    assert refused or copied, finding(
        f"{hypervisor.name}:{config.where('workarounds', 'never_download_image_if_on_rbd')}",
        found="never_download_image_if_on_rbd off, images_rbd_glance_store_name unset",
        expected="the one on, or (with several clusters) the other naming the store in this one",
        remedy="set [workarounds] never_download_image_if_on_rbd = true once all images are raw, restart nova-compute",
    )


@on_rbd
@pytest.mark.check("nova.config.rbd_timeouts", severity="minor", source="NC LP1834048 LP1856845")
def test_nova_neither_hangs_on_ceph_nor_gives_up_early(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Connecting to Ceph ends after at most a minute, and removing a disk is tried for longer than a dead watch lives.

    Why: a hypervisor that waits for Ceph for ever is taken for down; one that gives up early leaves disks behind.
    """
    releases.RBD_CONNECT_TIMEOUT.required(cloud, facts, hypervisor.name)
    config = config_of(hypervisor, "nova-compute")
    connect = config.integer("libvirt", "rbd_connect_timeout", 5)
    assert 1 <= connect <= LONGEST_CONNECT, finding(
        f"{hypervisor.name}:{config.where('libvirt', 'rbd_connect_timeout')}",
        found=f"rbd_connect_timeout = {connect}",
        expected=f"1 to {LONGEST_CONNECT} s",
        remedy="remove it (5 s is the default), restart nova-compute",
    )
    if not releases.DESTROY_RETRIES.reached(cloud, facts, hypervisor.name):
        return
    retries = config.integer("libvirt", "rbd_destroy_volume_retries", 12)
    interval = config.integer("libvirt", "rbd_destroy_volume_retry_interval", 5)
    assert retries * interval > WATCH_TIMEOUT, finding(
        f"{hypervisor.name}:{config.where('libvirt', 'rbd_destroy_volume_retries')}",
        found=f"{retries} retries every {interval} s",
        expected=f"more than {WATCH_TIMEOUT} s in all",
        remedy="remove both options (12 retries every 5 s are the default), restart nova-compute",
    )


@on_rbd
@pytest.mark.applies_if(lambda cloud: cloud.policy.evacuation, "policy.evacuation is off")
@pytest.mark.check("nova.config.instance_dir_cleanup", severity="minor", source="LP1414895 LP1761062")
def test_an_evacuated_guest_can_come_back(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Where instances_path is the hypervisor's own, Nova removes an instance's folder with the instance.

    Why: evacuation and reverted resizes leave the folder behind, and DestinationDiskExists bars the way back.
    """
    releases.INSTANCE_DIR_CLEANUP.required(cloud, facts, hypervisor.name)
    instances = need(
        service_of(hypervisor, "nova-compute").instances, f"{hypervisor.name}: instances_path of nova-compute"
    )
    shared = instances.filesystem.startswith(SHARED)
    applies(not shared, f"{hypervisor.name}: {instances.path} is on {instances.filesystem}, shared with others")
    config = config_of(hypervisor, "nova-compute")
    assert config.boolean("workarounds", "ensure_libvirt_rbd_instance_dir_cleanup", False), finding(
        f"{hypervisor.name}:{config.where('workarounds', 'ensure_libvirt_rbd_instance_dir_cleanup')}",
        found="ensure_libvirt_rbd_instance_dir_cleanup off",
        expected=f"on, since {instances.path} is not shared",
        remedy="set it in [workarounds], restart nova-compute",
    )


@pytest.mark.check("nova.config.rbd_download", severity="info", source="NGC")
def test_images_are_fetched_from_rados_only_by_local_disks(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """enable_rbd_download is off where disks are on RBD; elsewhere it comes with Glance's pool, a user and a conf.

    Why: with disks on RBD an image is cloned, never fetched; without user and pool each fetch falls back to HTTP.
    """
    releases.RBD_DOWNLOAD.required(cloud, facts, hypervisor.name)
    config = config_of(hypervisor, "nova-compute")
    if not config.boolean("glance", "enable_rbd_download", False):
        return
    where = f"{hypervisor.name}:{config.where('glance', 'enable_rbd_download')}"
    kind = config.get("libvirt", "images_type", "default")
    assert kind != "rbd", finding(
        where, found="on, with images_type = rbd", expected="off", remedy="remove it, restart nova-compute"
    )
    found = {key: config.get("glance", key, "") for key in ("rbd_user", "rbd_pool", "rbd_ceph_conf")}
    assert all(found.values()) and found["rbd_pool"] == cloud.ceph.pools.images, finding(
        where,
        found=found,
        expected=f"all three, with rbd_pool = {cloud.ceph.pools.images}",
        remedy="set them in [glance], restart nova-compute",
    )


@pytest.mark.check("nova.config.service_user", severity="critical", source="NSU OSSA-2023-003")
def test_nova_sends_a_token_of_its_own(nova_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """send_service_user_token is on, and [service_user] says who logs in and how.

    Why: Cinder detaches for a service only since CVE-2023-2088, and a user's token ends in long migrations.
    """
    releases.SERVICE_USER.required(cloud, facts, nova_host.name)
    for role in ("nova-control", "nova-compute"):
        if role in cloud.hosts[nova_host.name].roles:
            _expect_service_user(nova_host, config_of(nova_host, role))


def _expect_service_user(host: HostFacts, config: OsloConfig) -> None:
    sent = config.boolean("service_user", "send_service_user_token", False)
    where = f"{host.name}:{config.where('service_user', 'send_service_user_token')}"
    remedy = "fill [service_user] on all hosts of Nova, restart its services"
    assert sent, finding(where, found="send_service_user_token off", expected="on", remedy=remedy)
    section = config.get("service_user", "auth_section", "service_user")
    missing = [key for key in ("auth_type", "auth_url") if not config.get(section, key)]
    named = any(config.get(section, key) for key in ("username", "user_id", "application_credential_id"))
    missing += [] if named else ["username"]
    assert not missing, finding(
        f"{host.name}: [{section}]", found=f"no {', '.join(missing)}", expected="who logs in, and where", remedy=remedy
    )


@pytest.mark.asks_services
@pytest.mark.check("nova.status", severity="major", source="S2 ND")
def test_nova_finds_nothing_wrong_with_itself(control_host: HostFacts) -> None:
    """Every point of `nova-status upgrade check` is a success.

    Why: it knows what the next start or the next release of Nova will stumble over.
    """
    told = need(control_host.upgrades.get("nova-control"), f"{control_host.name}: nova-status upgrade check")
    wrong = [f"{check.name}: {check.result}: {check.details}" for check in told if check.result != "Success"]
    assert not wrong, finding(
        f"{control_host.name}: nova-status upgrade check",
        found=wrong,
        expected="success throughout",
        remedy="do what each point says; run it again as Nova's account",
    )
