"""Checks on clouds of other releases than the lab's: its recorded facts, with other packages and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import recorded
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.host import ConfigEntry, HostFacts, Service
from fixtures.facts.openstack import OpenStackFacts, RoleAssignment
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts
from fixtures.targets import service_of
from suites.glance import test_api, test_store_options

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
    rows = tuple(RoleAssignment(user=user, role=role, project="service") for user, role in assigned)
    assert isinstance(facts.apis, OpenStackFacts)
    return facts.model_copy(update={"apis": facts.apis.model_copy(update={"role_assignments": rows})})


Judge = Callable[[HostFacts, Cloud, Facts], None]


def judged(check: Judge, facts: Facts, host: str = "controller") -> str:
    """Return what a check says of the host: "" where it passes, "n/a: …" where it does not apply."""
    try:
        check(facts.host(host), CLOUD, facts)
    except AssertionError as failed:
        return str(failed)
    except pytest.skip.Exception as skipped:
        return f"n/a: {skipped}"
    return ""


STORE_OPTIONS_OF_ICEHOUSE: Options = {
    "DEFAULT": {"enabled_backends": None, "default_store": "rbd", "rbd_store_pool": "images"},
    "rbd": {"rbd_store_pool": None, "rbd_store_user": None, "rbd_store_ceph_conf": None, "rbd_store_chunk_size": None},
    "glance_store": {"default_backend": None},
}


def test_store_options_stood_in_default_once() -> None:
    check = test_store_options.test_store_options_stand_where_they_are_read
    assert judged(check, cloud_of("icehouse", "glance-api", STORE_OPTIONS_OF_ICEHOUSE)).startswith("n/a: controller")
    late = judged(check, cloud_of("mitaka", "glance-api", STORE_OPTIONS_OF_ICEHOUSE))
    assert "[DEFAULT] rbd_store_pool" in late and "[DEFAULT] default_store" in late


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
