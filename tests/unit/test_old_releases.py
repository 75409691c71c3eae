"""Checks on clouds of other releases than the lab's: its recorded facts, with other packages and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import recorded
from fixtures.cloud import Cloud, load_cloud
from fixtures.cloud.model import Glance, Releases
from fixtures.facts.base import NotMeasured
from fixtures.facts.host import ConfigEntry, HostFacts, Service
from fixtures.facts.openstack import (
    Attachment,
    Backup,
    BackupLimits,
    OpenStackFacts,
    QosSpec,
    RoleAssignment,
    ServiceState,
)
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts
from fixtures.targets import service_of
from suites.backup import test_service as test_backup
from suites.cinder import test_options, test_volumes
from suites.glance import test_api, test_store_options
from suites.glance import test_service as test_glance
from suites.hosts import test_versions

PROJECT = Path(__file__).parents[2]
CLOUD = load_cloud(PROJECT / "clouds/lab.yaml")
RECORDED = load_facts(recorded.folder("default"))
VERSIONS = {
    "icehouse": {"nova": "1:2014.1.5", "cinder": "1:2014.1.5", "glance": "1:2014.1.5"},
    "juno": {"nova": "1:2014.2.4", "cinder": "1:2014.2.4", "glance": "1:2014.2.4"},
    "mitaka": {"nova": "2:13.1.4", "cinder": "2:8.1.1", "glance": "2:12.0.0", "glance-store": "0.13.1"},
    "ussuri": {"nova": "2:21.2.4", "cinder": "2:16.4.2", "glance": "2:20.2.0", "glance-store": "2.0.1"},
    "2023.1": {"nova": "2:27.5.0", "cinder": "2:22.1.1", "glance": "2:26.0.0", "glance-store": "4.3.0"},
    "2025.2": {"nova": "3:32.0.0", "cinder": "2:27.0.0", "glance": "2:31.0.0", "glance-store": "5.0.0"},
}
"""Release to the version that its packages have."""

Options = Mapping[str, Mapping[str, str | None]]
"""Section to options; None takes one away."""


def cloud_of(release: str, role: str = "", options: Options | None = None) -> Facts:
    """Return the recorded cloud as one of a release, with options of a service set otherwise on all its hosts."""
    packages = {f"python-{name}": version for name, version in VERSIONS[release].items()}
    hosts = {
        name: _with_options(host.model_copy(update={"packages": packages}), role, options or {})
        for name, host in RECORDED.hosts.items()
        if isinstance(host, HostFacts)
    }
    return RECORDED.model_copy(update={"hosts": hosts})


def _with_options(host: HostFacts, role: str, options: Options) -> HostFacts:
    if role not in host.services:
        return host
    service = service_of(host, role)  # type: ignore[arg-type]
    changed = service.model_copy(update={"entries": _entries(service, options)})
    return host.model_copy(update={"services": {**host.services, role: changed}})


def _entries(service: Service, options: Options) -> tuple[ConfigEntry, ...]:
    assert isinstance(service.entries, tuple)
    kept = [entry for entry in service.entries if entry.key not in options.get(entry.section, {})]
    file = service.config_files[-1]
    added = [
        ConfigEntry(file=file, line=1, section=section, key=key, value=value)
        for section, values in options.items()
        for key, value in values.items()
        if value is not None
    ]
    return (*kept, *added)


def with_roles(facts: Facts, *assigned: tuple[str, str]) -> Facts:
    """Return the facts with users and their roles in project `service`."""
    return with_apis(
        facts,
        role_assignments=tuple(RoleAssignment(user=user, role=role, project="service") for user, role in assigned),
    )


def with_apis(facts: Facts, **parts: object) -> Facts:
    """Return the facts with other answers of the APIs."""
    assert isinstance(facts.apis, OpenStackFacts)
    return facts.model_copy(update={"apis": facts.apis.model_copy(update=parts)})


def judged(check: Callable[..., None], facts: Facts, host: str = "controller", cloud: Cloud = CLOUD) -> str:
    """Return what a check says of the host: "" where it passes, "n/a: …" where it does not apply."""
    given = {"cloud": cloud, "facts": facts}
    try:
        check(**{name: given.get(name, facts.host(host)) for name in inspect.signature(check).parameters})
    except AssertionError as failed:
        return str(failed)
    except pytest.skip.Exception as skipped:
        return f"n/a: {skipped}"
    return ""


STORE_OPTIONS_OF_ICEHOUSE: Options = {
    "DEFAULT": {
        "enabled_backends": None,
        "default_store": "rbd",
        "rbd_store_pool": "images",
        "rbd_store_user": "glance",
        "rbd_store_ceph_conf": "/etc/ceph/ceph.conf",
    },
    "rbd": {"rbd_store_pool": None, "rbd_store_user": None, "rbd_store_ceph_conf": None, "rbd_store_chunk_size": None},
    "glance_store": {"default_backend": None},
}


def test_store_options_stood_in_default_once() -> None:
    check = test_store_options.test_store_options_stand_where_they_are_read
    assert judged(check, cloud_of("icehouse", "glance-api", STORE_OPTIONS_OF_ICEHOUSE)).startswith("n/a: controller")
    late = judged(check, cloud_of("mitaka", "glance-api", STORE_OPTIONS_OF_ICEHOUSE))
    assert "[DEFAULT] rbd_store_pool" in late and "[DEFAULT] default_store" in late


@pytest.mark.parametrize(
    "check",
    [
        test_glance.test_rbd_is_the_default_store,
        test_glance.test_store_writes_to_the_images_pool,
        test_glance.test_store_logs_in_as_glances_user,
        test_glance.test_store_reads_this_clusters_conf,
    ],
)
def test_the_store_is_judged_by_default_before_kilo(check: Callable[..., None]) -> None:
    single = CLOUD.model_copy(update={"glance": Glance()})
    assert judged(check, cloud_of("icehouse", "glance-api", STORE_OPTIONS_OF_ICEHOUSE), cloud=single) == ""
    late = judged(check, cloud_of("mitaka", "glance-api", STORE_OPTIONS_OF_ICEHOUSE), cloud=single)
    # the default of the pool happens to be right
    assert bool(late) == (check is not test_glance.test_store_writes_to_the_images_pool)


def test_every_store_is_enabled_before_kilo() -> None:
    check = test_glance.test_rbd_is_an_enabled_store
    single = CLOUD.model_copy(update={"glance": Glance()})
    juno: Options = {**STORE_OPTIONS_OF_ICEHOUSE, "glance_store": {"stores": "glance.store.rbd.Store"}}
    assert judged(check, cloud_of("icehouse", "glance-api", STORE_OPTIONS_OF_ICEHOUSE), cloud=single).startswith("n/a")
    assert judged(check, cloud_of("juno", "glance-api", juno), cloud=single) == ""
    assert "file" in judged(check, cloud_of("mitaka", "glance-api", STORE_OPTIONS_OF_ICEHOUSE), cloud=single)


def test_the_backup_driver_is_a_module_before_stein() -> None:
    check = test_backup.test_backup_driver_is_named_by_its_class
    named: Options = {"DEFAULT": {"backup_driver": "cinder.backup.drivers.ceph"}}
    assert judged(check, cloud_of("mitaka", "cinder-backup", named)) == ""
    assert "CephBackupDriver" in judged(check, cloud_of("ussuri", "cinder-backup", named))


def test_a_timeout_is_ignored_for_a_while_and_zero_takes_all_limits_away_afterwards() -> None:
    check = test_store_options.test_connect_timeout_means_what_it_says

    def told(release: str, value: str) -> str:
        return judged(check, cloud_of(release, "glance-api", {"rbd": {"rados_connect_timeout": value}}))

    assert told("ussuri", "0") == told("ussuri", "5") == told("2023.1", "-1") == told("2025.2", "5") == ""
    assert "which this release ignores" in told("2023.1", "5")
    assert "no number of seconds to wait" in told("2025.2", "0")


def test_large_image_objects_are_not_cloned_before_xena() -> None:
    check = test_store_options.test_image_objects_have_a_size_that_ceph_keeps
    assert "no more than Cinder's before Xena" in judged(check, cloud_of("ussuri"))
    assert judged(check, cloud_of("2023.1")) == ""
    assert judged(check, cloud_of("ussuri", "cinder-volume", {"rbd": {"rbd_store_chunk_size": "8"}})) == ""


OLD_LOGIN: Options = {
    "keystone_authtoken": {
        "auth_type": None,
        "auth_url": None,
        "username": None,
        "project_name": None,
        "auth_host": "10.0.0.1",
        "admin_user": "glance",
        "admin_tenant_name": "service",
    }
}


def test_the_login_of_2013_serves_until_mitaka() -> None:
    check = test_api.test_image_service_can_check_tokens
    assert judged(check, with_roles(cloud_of("mitaka", "glance-api", OLD_LOGIN))) == ""
    assert "admin_tenant_name" in judged(check, with_roles(cloud_of("ussuri", "glance-api", OLD_LOGIN)))
    assert judged(check, with_roles(cloud_of("ussuri"), ("glance", "service"))) == ""


def test_the_first_image_api_may_be_named_until_queens() -> None:
    check = test_api.test_nothing_of_the_first_image_api_is_left
    named: Options = {"DEFAULT": {"enable_v1_api": "True", "registry_host": "10.0.0.1"}}
    assert judged(check, cloud_of("mitaka", "glance-api", named)).startswith("n/a")
    assert "enable_v1_api, registry_host" in judged(check, cloud_of("ussuri", "glance-api", named))


OF_MEMBERS = "role:member and project_id:%(project_id)s"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, ""),
        ({"service_api": "role:service or role:admin"}, ""),
        ({"fetch_image_location": "rule:context_is_admin or (role:service and (user_id:a or user_id:b))"}, ""),
        ({"fetch_image_location": "(rule:mine)", "mine": "rule:service_api"}, ""),
        ({"get_image_location": OF_MEMBERS}, ""),
        ({"fetch_image_location": ""}, "tells others than services: @"),
        ({"fetch_image_location": "rule:default"}, "tells others than services: @"),
        (
            {"fetch_image_location": f"rule:service_api or ({OF_MEMBERS})"},
            f"services: (role:service or ({OF_MEMBERS}))",
        ),
        ({"fetch_image_location": "rule:context_is_admin"}, "fetch_image_location refuses services: role:admin"),
        ({"fetch_image_location": "!"}, "refuses services"),
        ({"service_api": "role:glance_service"}, "refuses services"),
        ({"add_image_location": OF_MEMBERS}, "add_image_location refuses services"),
        ({"fetch_image_location": "rule:nowhere"}, "not measured"),
    ],
)
def test_locations_are_told_to_services_alone(rules: dict[str, str], said: str) -> None:
    facts = with_roles(
        cloud_of("2025.2", "cinder-volume", {"glance": {"auth_type": "password", "username": "cinder"}}),
        *(("cinder", "service"), ("nova", "service")),
    )
    host = facts.host("controller")
    system = host.system.model_copy(update={"policies": {"glance": rules}})
    facts = facts.model_copy(update={"hosts": {**facts.hosts, host.name: host.model_copy(update={"system": system})}})
    try:
        found = judged(test_api.test_services_may_use_the_new_location_api, facts)
    except NotMeasured as blind:
        found = f"not measured: {blind}"
    assert said in found
    assert bool(said) == bool(found)


def test_policy_files_elsewhere_are_not_measured() -> None:
    check = test_api.test_services_may_use_the_new_location_api
    usual: Options = {"oslo_policy": {"policy_file": "policy.yaml", "policy_dirs": "/etc/glance/policy.d"}}
    assert "policies" not in judged(check, with_roles(cloud_of("2025.2", "glance-api", usual)))
    for key, value in (("policy_file", "/srv/policy.yaml"), ("policy_dirs", "policy.d,/srv/policies")):
        with pytest.raises(NotMeasured, match="policy files of its own"):
            judged(check, cloud_of("2025.2", "glance-api", {"oslo_policy": {key: value}}))


@pytest.mark.parametrize(
    ("openstack", "ceph", "wanted"),
    [
        ("wallaby", "13.2.10", ""),
        ("wallaby", "12.2.13", "Ceph 13 or newer"),
        ("victoria", "12.2.13", ""),
        ("yoga", "17.2.9", ""),  # as Ubuntu 22.04 has them: newer than Cinder's policy speaks of
        ("zed", "16.2.15", ""),
        ("zed", "13.2.10", "Ceph 14 or newer"),
        ("2023.2", "14.2.22", "Ceph 15 or newer"),
        ("2024.1", "15.2.17", ""),
        ("2024.2", "15.2.17", "Ceph 16 or newer"),
        ("2025.2", "16.2.15", ""),
        ("2026.1", "16.2.15", "Ceph 17 or newer"),
        ("2026.2", "21.2.0", ""),
    ],
)
def test_cinder_supports_four_releases_of_ceph(openstack: str, ceph: str, wanted: str) -> None:
    hosts = {name: host.model_copy(update={"packages": {"librbd1": ceph}}) for name, host in RECORDED.hosts.items()}
    cluster = RECORDED.ceph.model_copy(update={"versions": {f"ceph version {ceph} (0) x (stable)": 6}})
    facts = RECORDED.model_copy(update={"hosts": hosts, "ceph_cluster": cluster})
    cloud = CLOUD.model_copy(update={"releases": Releases(openstack=openstack)})
    said = judged(test_versions.test_client_libraries_fit_the_cluster, facts, cloud=cloud)
    assert wanted in said
    assert bool(said) == bool(wanted)


def test_locations_are_for_services_since_2024_2() -> None:
    check = test_api.test_services_may_use_the_new_location_api
    own: Options = {"glance": {"auth_type": "password", "username": "cinder"}}
    both = (("cinder", "service"), ("nova", "service"))
    assert judged(check, cloud_of("2023.1")).startswith("n/a")
    assert judged(check, with_roles(cloud_of("2025.2", "cinder-volume", own), *both)) == ""
    assert "no login in [glance]" in judged(check, with_roles(cloud_of("2025.2"), *both))
    assert "user nova has no role service" in judged(
        check, with_roles(cloud_of("2025.2", "cinder-volume", own), both[0])
    )


def test_the_image_apis_version_is_named_until_pike() -> None:
    check = test_options.test_the_image_apis_version_is_told_where_it_is_read
    named: Options = {"DEFAULT": {"glance_api_version": "2"}}
    assert judged(check, cloud_of("mitaka", "cinder-volume", named)) == ""
    assert "set [DEFAULT] glance_api_version = 2" in judged(check, cloud_of("mitaka"))
    assert "nobody reads it since Queens" in judged(check, cloud_of("ussuri", "cinder-volume", named))


def test_a_keyring_is_shown_to_tenants_until_ussuri() -> None:
    check = test_options.test_no_keyring_is_handed_to_users
    named: Options = {"rbd": {"rbd_keyring_conf": "/etc/ceph/ceph.client.cinder.keyring"}}
    assert "shows the key to tenants" in judged(check, cloud_of("ussuri", "cinder-volume", named))
    assert "this release ignores" in judged(check, cloud_of("2023.1", "cinder-volume", named))


def test_a_pool_is_not_exclusive_by_default_before_wallaby() -> None:
    check = test_options.test_the_pool_is_exclusive_where_it_is_said_to_be
    said: Options = {"rbd": {"rbd_exclusive_cinder_pool": "true"}}
    assert judged(check, cloud_of("mitaka")).startswith("n/a")
    assert "= False, and the pool is Cinder's alone" in judged(check, cloud_of("ussuri"))
    assert judged(check, cloud_of("ussuri", "cinder-volume", said)) == ""
    second: Options = {
        "DEFAULT": {"enabled_backends": "rbd,slow"},
        "slow": {"volume_driver": "cinder.volume.drivers.rbd.RBDDriver", "rbd_pool": "volumes"},
    }
    assert "shared with back end slow" in judged(check, cloud_of("2023.1", "cinder-volume", second))


def test_volumes_are_deleted_at_once_before_stein() -> None:
    check = test_options.test_deferred_deletion_is_whole
    delayed: Options = {"rbd": {"deferred_deletion_delay": "60", "enable_deferred_deletion": "true"}}
    assert judged(check, cloud_of("mitaka", "cinder-volume", delayed)).startswith("n/a")
    assert judged(check, cloud_of("ussuri", "cinder-volume", delayed)) == ""


def test_service_tokens_are_asked_for_since_pike() -> None:
    check = test_options.test_services_must_prove_themselves
    assert judged(check, cloud_of("mitaka")).startswith("n/a")
    assert judged(check, with_roles(cloud_of("ussuri"), ("nova", "service"))) == ""
    assert "nova" in judged(check, with_roles(cloud_of("ussuri"), ("nova", "admin")))


def test_several_controllers_share_a_name_or_a_cluster() -> None:
    check = test_options.test_the_back_end_outlives_its_controller
    hosts = CLOUD.hosts | {"second": CLOUD.hosts["controller"]}
    cloud = CLOUD.model_copy(update={"hosts": hosts})

    def told(options: Options, row: str) -> str:
        facts = cloud_of("2023.1", "cinder-volume", options)
        other = facts.host("controller").model_copy(update={"name": "second", "hostname": "second"})
        rows = (ServiceState(binary="cinder-volume", host=row, zone="nova", status="enabled", state="up"),)
        facts = with_apis(facts.model_copy(update={"hosts": {**facts.hosts, "second": other}}), volume_services=rows)
        try:
            check(cloud, facts)
        except AssertionError as failed:
            return str(failed)
        return ""

    assert "one backend_host on all, or a cluster" in told({}, "controller@rbd")
    assert told({"rbd": {"backend_host": "group"}}, "group@rbd") == ""
    assert "found controller@rbd; expected group@rbd" in told({"rbd": {"backend_host": "group"}}, "controller@rbd")
    assert "one backend_url that all hosts share" in told({"DEFAULT": {"cluster": "c"}}, "controller@rbd")


def test_limits_on_rbd_came_with_zed() -> None:
    check = test_volumes.test_limits_of_the_back_end_mean_what_they_say

    def told(release: str, **specs: str) -> str:
        spec = QosSpec(name="slow", consumer="back-end", specs=specs, types=("ceph",))
        return judged(check, with_apis(cloud_of(release), qos_specs=(spec,)))

    assert told("2023.1", total_iops_sec="500", read_bytes_sec_max="1000") == ""
    assert "slow: total_iops_sec_max" in told("2023.1", total_iops_sec_max="500")
    assert "before Zed" in told("ussuri", total_iops_sec="500")


def test_an_attachment_keeps_what_is_gone_since() -> None:
    check = test_volumes.test_attached_volumes_can_be_opened_again
    secret = next(iter(RECORDED.host("compute1").libvirt.secrets)).uuid  # type: ignore[union-attr]
    monitor = RECORDED.ceph.monitors[0].addresses[0].partition(":")[2].rpartition(":")[0]

    def told(**changed: object) -> str:
        row = {"user": "cinder", "secret": secret, "addresses": (monitor, "mon1.example.net"), **changed}
        attachment = Attachment(id="a", volume="v", server="s", status="attached", driver="rbd", **row)
        return judged(check, with_apis(RECORDED, attachments=(attachment,)))

    assert told() == ""
    assert "user admin instead of cinder" in told(user="admin")
    assert "secret other is not on compute1, compute2" in told(secret="other")
    assert "192.0.2.7: no monitor" in told(addresses=("192.0.2.7",))


def test_backups_limits_by_release_and_project() -> None:
    kept: Options = {"DEFAULT": {"backup_ceph_max_snapshots": "3"}}
    tuning = test_backup.test_backups_are_cut_and_striped_soundly
    assert "3, which this release ignores" in judged(tuning, cloud_of("2023.1", "cinder-backup", kept))
    assert judged(tuning, cloud_of("2025.2", "cinder-backup", kept)) == ""
    rows = tuple(Backup(id=str(n), volume_id="v", status="available", project="p", size=10) for n in range(3))
    check = test_backup.test_backups_can_be_made
    assert judged(check, with_apis(RECORDED, backups=rows, backup_limits=BackupLimits(backups=4, gigabytes=-1))) == ""
    full = with_apis(RECORDED, backups=rows, backup_limits=BackupLimits(backups=4, gigabytes=30))
    assert "project p: 3 backups, 30 GiB" in judged(check, full)
