"""Area cinder.config: the back end's finer options, as each cinder-volume reads them."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from fixtures import releases
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import (
    backend_option,
    backend_section,
    config_of,
    has_local_locks,
    sharing_volumes_pool,
    volume_host_name,
)
from fixtures.oslo import OsloConfig
from fixtures.roles import role_on
from fixtures.sizes import GIB, is_power_of_two
from fixtures.targets import service_of


def _place(config: OsloConfig, cloud: Cloud, option: str) -> tuple[str, str]:
    return backend_section(config, cloud, option), option


def _where(host: HostFacts, config: OsloConfig, cloud: Cloud, option: str) -> str:
    return f"{host.name}:{config.where(*_place(config, cloud, option))}"


@pytest.mark.check("cinder.config.ceph_conf_cluster", severity="major", source="S0 S1 OB")
def test_the_back_end_reads_this_clusters_conf(volume_host: HostFacts, cloud: Cloud) -> None:
    """rbd_ceph_conf is the cloud file's ceph.conf, and rbd_cluster_name the name that begins its keyrings' names.

    Why: os-brick makes the keyring's path of the cluster's name; with another it looks for a file that is not there.
    """
    config = config_of(volume_host, "cinder-volume")
    found = {
        "rbd_ceph_conf": backend_option(config, cloud, "rbd_ceph_conf", "unset"),
        "rbd_cluster_name": backend_option(config, cloud, "rbd_cluster_name", "ceph"),
    }
    expected = {"rbd_ceph_conf": cloud.ceph.conf, "rbd_cluster_name": cloud.ceph.cluster}
    assert found == expected, finding(
        _where(volume_host, config, cloud, "rbd_ceph_conf"),
        found=found,
        expected=expected,
        remedy=f"set them in [{cloud.cinder.backend}], restart cinder-volume",
    )
    stem = PurePosixPath(cloud.ceph.conf).stem
    assert stem == cloud.ceph.cluster, finding(
        "cloud file",
        found=f"ceph.conf: {cloud.ceph.conf}, ceph.cluster: {cloud.ceph.cluster}",
        expected=f"{cloud.ceph.cluster}.conf",
        remedy="name the file as the cluster: librados makes the cluster's name of it",
    )


@pytest.mark.check("cinder.config.chunk_timeout", severity="minor", source="S0 S1 CR")
def test_objects_and_timeouts_of_the_back_end_are_sound(volume_host: HostFacts, cloud: Cloud) -> None:
    """rbd_store_chunk_size is a power of two, rados_connect_timeout is -1 or above 0, and connecting is tried again.

    Why: the driver rounds the logarithm of the size down; a timeout of 0 waits for ever for a lost monitor.
    """
    config = config_of(volume_host, "cinder-volume")
    chunk = config.integer(*_place(config, cloud, "rbd_store_chunk_size"), 4)
    timeout = config.integer(*_place(config, cloud, "rados_connect_timeout"), -1)
    retries = config.integer(*_place(config, cloud, "rados_connection_retries"), 3)
    interval = config.integer(*_place(config, cloud, "rados_connection_interval"), 5)
    good = is_power_of_two(chunk) and (timeout == -1 or timeout > 0) and retries > 0 and interval > 0
    assert good, finding(
        f"{volume_host.name}: [{cloud.cinder.backend}]",
        found=f"object size {chunk} MiB, timeout {timeout} s, {retries} retries, {interval} s between them",
        expected="a power of two (default 4), -1 or above 0, above 0 (3), above 0 (5)",
        remedy="set them, restart cinder-volume",
    )


@pytest.mark.check("cinder.config.glance_api_version", severity="minor", source="S0 S1 RO CREL-gv1")
def test_the_image_apis_version_is_told_where_it_is_read(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Before Queens glance_api_version is 2, in [DEFAULT]; since then it is not set.

    Why: version 1 shows no location, so each volume of an image was a full copy; later nobody reads the option.
    """
    config = config_of(volume_host, "cinder-volume")
    gone = releases.GLANCE_API_VERSION_GONE.reached(cloud, facts, volume_host.name)
    found = {name: config.get(name, "glance_api_version", "") for name in ("DEFAULT", cloud.cinder.backend)}
    named = {f"[{name}]": value for name, value in found.items() if value}
    expected = {} if gone else {"[DEFAULT]": "2"}
    assert named == expected, finding(
        f"{volume_host.name}: glance_api_version",
        found=named,
        expected=expected or "not set: nobody reads it since Queens",
        remedy="remove it" if gone else "set [DEFAULT] glance_api_version = 2, restart cinder-volume",
    )


@pytest.mark.check("cinder.config.no_rbd_keyring_conf", severity="critical", source="OSSN-0085 KA")
def test_no_keyring_is_handed_to_users(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """rbd_keyring_conf is not set, neither for the back end nor in [DEFAULT] or [backend_defaults].

    Why: until Ussuri the keyring's content went into every connection, where tenants can read it; later it is ignored.
    """
    config = config_of(volume_host, "cinder-volume")
    sections = ("DEFAULT", "backend_defaults", cloud.cinder.backend)
    named = [config.where(name, "rbd_keyring_conf") for name in sections if (name, "rbd_keyring_conf") in config]
    ignored = named and releases.KEYRING_CONF_GONE.reached(cloud, facts, volume_host.name)
    assert not named, finding(
        f"{volume_host.name}:{named[0]}",
        found=f"rbd_keyring_conf, which {'this release ignores' if ignored else 'shows the key to tenants'}",
        expected="not set",
        remedy="remove it" if ignored else "remove it, restart cinder-volume, give Cinder's user a new key",
    )


@pytest.mark.check("cinder.config.exclusive_pool", severity="minor", source="CD LP1704106")
def test_the_pool_is_exclusive_where_it_is_said_to_be(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """rbd_exclusive_cinder_pool is true where the volumes pool is Cinder's alone, and false where it is shared.

    Why: if false, the driver opens every image each minute, and with 1000 volumes misses its own heartbeat; if
    true on a shared pool, it promises room that others have taken.
    """
    releases.EXCLUSIVE_POOL.required(cloud, facts, volume_host.name)
    config = config_of(volume_host, "cinder-volume")
    default = releases.POOL_EXCLUSIVE_BY_DEFAULT.reached(cloud, facts, volume_host.name)
    exclusive = config.boolean(*_place(config, cloud, "rbd_exclusive_cinder_pool"), default)
    sharing = sharing_volumes_pool(config, cloud, facts, volume_host.name)
    assert exclusive == (not sharing), finding(
        _where(volume_host, config, cloud, "rbd_exclusive_cinder_pool"),
        found=f"rbd_exclusive_cinder_pool = {exclusive}, and the pool is {_shared_with(sharing)}",
        expected=not sharing,
        remedy=f"set [{cloud.cinder.backend}] rbd_exclusive_cinder_pool = {not sharing}, restart cinder-volume",
    )


def _shared_with(others: tuple[str, ...]) -> str:
    return f"shared with {', '.join(others)}" if others else "Cinder's alone"


@pytest.mark.check("cinder.config.upload_flags", severity="minor", source="LP1991516 CIV")
def test_images_are_made_and_used_without_detours(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """image_upload_use_cinder_backend and image_volume_cache_enabled are off; the conversion folder is open, with room.

    The first is for a Glance that stores in Cinder, the second for back ends that cannot clone from images. Room:
    for the largest image. Open: Cinder's account may write there.

    Why: the one makes images that Glance cannot open, the other keeps a second copy of each image; a full folder
    fails every volume of an image that is not raw.
    """
    config = config_of(volume_host, "cinder-volume")
    names = ("image_upload_use_cinder_backend", "image_volume_cache_enabled")
    on = [name for name in names if config.boolean(*_place(config, cloud, name), False)]
    assert not on, finding(
        _where(volume_host, config, cloud, on[0]),
        found=f"{', '.join(on)} = True",
        expected=False,
        remedy="remove it, restart cinder-volume",
    )
    folder = need(
        service_of(volume_host, "cinder-volume").folders.get("image_conversion_dir"),
        f"{volume_host.name}: image_conversion_dir",
    )
    service = role_on(cloud, volume_host.name, "cinder-volume")
    closed = folder.closed_to(service.account, service.group)
    assert not closed, finding(
        f"{volume_host.name}:{folder.path}",
        found=closed,
        expected=f"{service.account}'s to write",
        remedy=f"chown {service.account}:{service.group} {folder.path}",
    )
    free = need(folder.free, f"{volume_host.name}: free space of {folder.path}")
    largest = max((image.size for image in need(facts.openstack.images, "images")), default=0)
    assert free >= largest, finding(
        f"{volume_host.name}:{folder.path}",
        found=f"{free / GIB:.1f} GiB free",
        expected=f"at least {largest / GIB:.1f} GiB, the largest image",
        remedy="set [DEFAULT] image_conversion_dir to a larger file system, restart cinder-volume",
    )


@pytest.mark.check("cinder.config.deferred_deletion", severity="minor", source="CR")
def test_deferred_deletion_is_whole(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Where volumes are deleted by way of the trash, it is purged; where they are not, no delay is set.

    Why: a delay that is not in force lets people believe that a deleted volume can be brought back.
    """
    releases.DEFERRED_DELETION.required(cloud, facts, volume_host.name)
    config = config_of(volume_host, "cinder-volume")
    enabled = config.boolean(*_place(config, cloud, "enable_deferred_deletion"), False)
    delay = config.integer(*_place(config, cloud, "deferred_deletion_delay"), 0)
    interval = config.integer(*_place(config, cloud, "deferred_deletion_purge_interval"), 60)
    where = _where(volume_host, config, cloud, "deferred_deletion_delay")
    assert enabled or not delay, finding(
        where,
        found=f"a delay of {delay} s, without enable_deferred_deletion",
        expected="both or neither",
        remedy=f"set [{cloud.cinder.backend}] enable_deferred_deletion = true, or remove the delay",
    )
    assert not enabled or (delay >= 0 and interval > 0), finding(
        where,
        found=f"delay {delay} s, purged every {interval} s",
        expected="a delay of 0 or more, an interval above 0",
        remedy="set them, restart cinder-volume",
    )


@pytest.mark.check("cinder.config.ha_host", severity="critical", source="CR CHA")
def test_the_back_end_outlives_its_controller(cloud: Cloud, facts: Facts) -> None:
    """cinder-volume reports under the name that it is configured with; several share a name, or a cluster and locks.

    Active/passive: the same backend_host (or host) on all. Active/active: the same cluster, and a backend_url of
    [coordination] that is no file.

    Why: volumes are bound to the name; those of a controller that is gone can be neither deleted nor detached.
    """
    hosts = {name: facts.host(name) for name in cloud.hosts_with("cinder-volume")}
    configs = {name: config_of(host, "cinder-volume") for name, host in hosts.items()}
    clusters = {name: config.get("DEFAULT", "cluster", "") for name, config in configs.items()}
    names = {name: volume_host_name(hosts[name], config, cloud) for name, config in configs.items()}
    if any(clusters.values()):
        locks = {name: config.get("coordination", "backend_url", "file:") for name, config in configs.items()}
        split = len(set(clusters.values())) > 1 or len(set(locks.values())) > 1
        local = any(map(has_local_locks, configs.values()))
        assert not split and not local, finding(
            "cinder-volume",
            found={"cluster": clusters, "coordination": locks},
            expected="one cluster, one backend_url that all hosts share",
            remedy="set [coordination] backend_url (as etcd3+http://…) and cluster alike, restart cinder-volume",
        )
    else:
        assert len(set(names.values())) <= 1, finding(
            "cinder-volume",
            found=names,
            expected="one backend_host on all, or a cluster",
            remedy=f"set [{cloud.cinder.backend}] backend_host alike, cinder-manage volume update_host, restart",
        )
    rows = [row.host for row in need(facts.openstack.volume_services, "volume services") if "volume" in row.binary]
    wanted = {f"{name}@{cloud.cinder.backend}" for name in names.values()}
    assert wanted <= set(rows), finding(
        "volume services",
        found=sorted(rows),
        expected=sorted(wanted),
        remedy="mend host or backend_host, or restart cinder-volume and cinder-manage volume update_host",
    )


@pytest.mark.check("cinder.config.service_token", severity="critical", source="OSSA-2023-003 CST")
def test_services_must_prove_themselves(cloud: Cloud, facts: Facts) -> None:
    """cinder-api asks for service tokens of role `service`, and the user that Nova sends them as has that role.

    Why: without them a tenant detaches a volume behind Nova's back and reads another's (CVE-2023-2088).
    """
    hosts = cloud.hosts_with("cinder-api")
    for name in hosts:
        releases.SERVICE_TOKENS_REQUIRED.required(cloud, facts, name)
    found = {name: _token_problem(config_of(facts.host(name), "cinder-api")) for name in hosts}
    assert hosts and not any(found.values()), finding(
        "cinder-api: [keystone_authtoken]",
        found={name: text for name, text in found.items() if text} or "no cinder-api in the cloud file",
        expected="service_token_roles_required = true, service_token_roles = service",
        remedy="set them once Nova sends tokens ([service_user] send_service_user_token), restart cinder-api",
    )
    assigned = {(one.user, one.role) for one in need(facts.openstack.role_assignments, "role assignments")}
    users = {name: config_of(facts.host(name), "nova-compute") for name in cloud.hosts_with("nova-compute")}
    lacking = {
        name: user
        for name, config in users.items()
        if (user := config.get("service_user", "username", "nova")) and (user, "service") not in assigned
    }
    assert not lacking, finding(
        "users of [service_user]",
        found=lacking,
        expected="role service",
        remedy="openstack role add --user USER --project service service",
    )


def _token_problem(config: OsloConfig) -> str:
    if not config.boolean("keystone_authtoken", "service_token_roles_required", False):
        return "service_token_roles_required is off"
    roles = config.items("keystone_authtoken", "service_token_roles", ("service",))
    return "" if "service" in roles else f"service_token_roles = {', '.join(roles)}"
