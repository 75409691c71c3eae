"""Checks of capacity on constructed facts, where the lab cannot be in that state."""

from __future__ import annotations

import pytest

from fixtures.cloud import Cloud
from fixtures.cloud.model import Host, Policy
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import OsdUse
from fixtures.facts.files import File
from fixtures.facts.host import ConfigEntry, HostFacts, IniFile, Service, Unit
from fixtures.facts.run import Facts
from fixtures.facts.system import Machine, System
from suites.capacity import test_capacity as capacity
from tests.unit.test_ceph_observe import CLOUD, _facts

GIB = 1 << 30
NOTHING = File(path="/etc/ceph", kind="absent")


def _osds(fill: dict[str, int]) -> tuple[OsdUse, ...]:
    """One OSD of ten bytes a host, with so many used."""
    return tuple(
        OsdUse(id=n, utilization=used * 10, variance=1, size=10, used=used, weight=1, pgs=1, place={"host": host})
        for n, (host, used) in enumerate(fill.items())
    )


@pytest.mark.parametrize(
    ("fill", "after"),
    [
        ({"a": 6, "b": 6, "c": 6}, 0.0),  # as many hosts as copies: nothing is made anew
        ({"a": 6, "b": 6, "c": 6, "d": 6}, 0.8),
        ({"a": 9, "b": 6, "c": 6, "d": 6}, 0.9),
    ],
)
def test_fullness_after_the_loss_of_a_host(fill: dict[str, int], after: float) -> None:
    assert capacity.fullness_after_loss(_osds(fill), "host", copies=3) == pytest.approx(after)


def _host(memory: float, cores: int, reserved: str = "") -> HostFacts:
    entries = [("reserved_host_memory_mb", reserved)] if reserved else [("debug", "false")]
    nova = Service(
        role="nova-compute",
        unit=Unit(name="nova-compute", load="loaded", active="active", sub="running", enabled="enabled"),
        entries=tuple(ConfigEntry(file="nova.conf", line=1, section="DEFAULT", key=k, value=v) for k, v in entries),
    )
    return HostFacts(
        **{"name": "one", "hostname": "one.example.net", "collected_at": 0.0, "python": "3.11.2", "distro": "debian"},
        ceph_dir=NOTHING,
        ceph_conf=IniFile(stat=NOTHING),
        services={"nova-compute": nova},
        system=System(machine=Machine(memory=int(memory * GIB), cores=cores)),
    )


def _judge(host: HostFacts, *roles: str) -> None:
    cloud: Cloud = CLOUD.model_copy(
        update={"hosts": {"one": Host.model_validate({"roles": roles})}, "policy": Policy()}
    )
    place = {"root": "default", "host": "one"}
    osds = tuple(osd.model_copy(update={"place": place}) for osd in _osds({"a": 1, "b": 1}))
    ceph = _facts("healthy").model_copy(
        update={"osd_use": osds, "options": {"osd": {"osd_memory_target": str(4 * GIB)}}}
    )
    facts = Facts(observed_at=0.0, hosts={"one": host}, ceph_cluster=ceph, apis=Unreadable(unreadable="none"))
    capacity.test_host_has_what_openstack_needs(host, facts, cloud)


def test_a_host_with_enough_is_sound() -> None:
    _judge(_host(7.7, 4), "nova-compute")


@pytest.mark.parametrize(("memory", "cores"), [(4, 4), (64, 2)])
def test_a_host_with_too_little_is_a_finding(memory: float, cores: int) -> None:
    with pytest.raises(AssertionError, match="expected 8"):
        _judge(_host(memory, cores), "keystone")


def test_a_hypervisor_with_osds_reserves_their_memory() -> None:
    _judge(_host(64, 16, reserved="9831"), "nova-compute", "ceph-osd")
    with pytest.raises(AssertionError, match="reserved_host_memory_mb"):
        _judge(_host(64, 16), "nova-compute", "ceph-osd")
