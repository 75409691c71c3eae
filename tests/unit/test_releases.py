"""Releases as packages, daemons and cloud files name them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recorded
from fixtures import releases
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts
from fixtures.releases import GATES, Component, Gate
from fixtures.versions import OpenStackRelease, openstack, version

PROJECT = Path(__file__).parents[2]
FACTS = load_facts(recorded.folder("default"))
CLOUD = load_cloud(PROJECT / "clouds/lab.yaml")


def _facts(packages: dict[str, str]) -> Facts:
    host = FACTS.host("controller").model_copy(update={"packages": packages})
    return FACTS.model_copy(update={"hosts": {"controller": host}})


def _cloud(**told: object) -> Cloud:
    shared = {**CLOUD.model_dump(mode="json"), "releases": told}
    return Cloud.model_validate(shared)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2:26.2.2-1~deb12u5", (26, 2, 2)),
        ("3:27.0.0~rc1-0ubuntu1~cloud0", (27, 0, 0)),
        ("1:26.1.0-1.el9s", (26, 1, 0)),
        ("16.2.15+ds-0+deb12u2", (16, 2, 15)),
        ("1:2013.2.3-0ubuntu1", (2013, 2, 3)),
        ("0.94.10-1trusty", (0, 94, 10)),
    ],
)
def test_versions_of_packages(text: str, numbers: tuple[int, ...]) -> None:
    assert version(text) == numbers


@pytest.mark.parametrize("text", ["", "unknown", "git-1.2"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        version(text)


def test_releases_of_openstack_are_in_order_of_time() -> None:
    names = ["havana", "icehouse", "Juno", "kilo", "liberty", "queens", "train", "zed", "2023.1", "2023.2", "2026.1"]
    found = [openstack(name) for name in names]
    assert found == sorted(found)
    assert [str(release) for release in found] == [name.lower() for name in names]


@given(st.integers(min_value=5, max_value=60))
def test_every_release_has_one_name(position: int) -> None:
    release = OpenStackRelease.at(position)
    assert openstack(str(release)) == release


@pytest.mark.parametrize("name", ["austin", "2022.1", "2023.3", "26", "zedd"])
def test_what_is_no_release_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no OpenStack release"):
        openstack(name)


@pytest.mark.parametrize(
    ("package", "text", "project", "release"),
    [
        ("python3-nova", "2:26.2.2-1~deb12u5", "nova", "zed"),
        ("openstack-cinder", "1:21.3.1-1.el9s", "cinder", "zed"),
        ("python-glance", "1:2013.2-0ubuntu1", "glance", "havana"),
        ("python-cinder", "1:2014.1.5-0ubuntu1", "cinder", "icehouse"),
        ("python-nova", "2:12.0.0-1", "nova", "liberty"),
        ("python2-cinder", "1:12.0.0-1.el7", "cinder", "queens"),
        ("keystone", "2:13.0.0-1", "keystone", "queens"),
        ("python3-glance", "2:30.0.0-1", "glance", "2025.1"),
        ("openstack-nova-common", "1:32.0.0-1.el9s", "nova", "2025.2"),
        ("python3-neutron", "2:26.0.0-1", "neutron", "2025.1"),
    ],
)
def test_a_package_tells_the_release(package: str, text: str, project: releases.Project, release: str) -> None:
    found = releases.openstack_release(CLOUD, _facts({package: text}), "controller", project)
    assert found == openstack(release)


def test_the_recorded_lab_is_known() -> None:
    assert str(releases.openstack_release(CLOUD, FACTS, "controller", "nova")) == "zed"
    assert releases.librbd_version(CLOUD, FACTS, "compute1") == (16, 2, 15)
    assert releases.library_version(CLOUD, FACTS, "controller", "glance_store") == (4, 1, 0)
    assert releases.library_version(CLOUD, FACTS, "controller", "os_brick") == (6, 1, 0)
    assert releases.cluster_version(FACTS) == (16, 2, 15)


def test_the_oldest_daemon_counts() -> None:
    mixed = {"ceph version 18.2.7 (0) reef (stable)": 5, "ceph version 17.2.6 (0) quincy (stable)": 1}
    facts = FACTS.model_copy(update={"ceph_cluster": FACTS.ceph.model_copy(update={"versions": mixed})})
    assert releases.cluster_version(facts) == (17, 2, 6)


def test_without_a_package_the_cloud_file_is_asked_for() -> None:
    with pytest.raises(NotMeasured, match="no package tells the version of nova; say it in the cloud file"):
        releases.openstack_release(CLOUD, _facts({}), "controller", "nova")


def test_a_package_of_no_version_is_not_measured() -> None:
    with pytest.raises(NotMeasured, match="package python3-nova: not a version"):
        releases.openstack_release(CLOUD, _facts({"python3-nova": "unknown"}), "controller", "nova")


def test_the_cloud_file_wins() -> None:
    cloud = _cloud(openstack=2023.1, ceph="quincy", glance_store="4.6.0")
    assert releases.openstack_release(cloud, FACTS, "controller", "nova") == openstack("2023.1")
    assert releases.librbd_version(cloud, FACTS, "controller") == (17,)
    assert releases.library_version(cloud, FACTS, "controller", "glance_store") == (4, 6, 0)


def test_a_host_of_the_cloud_file_wins_over_the_cloud() -> None:
    told = {**_cloud(openstack="zed").model_dump(mode="json")}
    told["hosts"]["controller"]["releases"] = {"openstack": "train"}
    cloud = Cloud.model_validate(told)
    assert releases.openstack_release(cloud, FACTS, "controller", "nova") == openstack("train")
    assert releases.openstack_release(cloud, FACTS, "compute1", "nova") == openstack("zed")


def test_a_release_that_is_none_is_refused_by_the_cloud_file() -> None:
    with pytest.raises(ValueError, match="no OpenStack release: 'bexar'"):
        _cloud(openstack="bexar")


@pytest.mark.parametrize(
    ("component", "since", "reached"),
    [
        ("nova", "zed", True),
        ("nova", "2023.1", False),
        ("cinder", "yoga", True),
        ("glance_store", "4.1.0", True),
        ("glance_store", "4.6.0", False),
        ("librbd", "pacific", True),
        ("librbd", "16.2.16", False),
        ("ceph", "16.2.15", True),
        ("ceph", "quincy", False),
    ],
)
def test_gates_open_with_their_release(component: Component, since: str, *, reached: bool) -> None:
    assert Gate(component, since, "x.", "y").reached(CLOUD, FACTS, "controller") is reached


def test_a_closed_gate_says_why() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"controller: glance_store is older than 4\.6\.0: an image"):
        releases.GLANCE_TRASH.required(CLOUD, FACTS, "controller")
    with pytest.raises(pytest.skip.Exception, match="the cluster: ceph is pacific or newer"):
        releases.BLOCKLIST_COMMAND.not_yet(CLOUD, FACTS)


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_can_be_asked(name: str) -> None:
    gate = GATES[name]
    assert isinstance(gate.reached(CLOUD, FACTS, "controller"), bool)
    assert gate.change.endswith(".")
    assert gate.source
