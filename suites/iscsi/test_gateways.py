"""Area iscsi: gateways, and the target that they export."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.iscsi import Gateway, GatewayConfig, Target
from fixtures.facts.run import Facts
from fixtures.iscsi import (
    IN_USE,
    access_problems,
    addresses_of_gateways,
    exported,
    gateway_of,
    gateways,
    section,
    target_of,
)
from fixtures.units import starting, unit_problem

FEWEST, MOST = 2, 4
"""Gateways of ceph-iscsi."""


@pytest.mark.check("iscsi.gw.maintenance", severity="info", source="IO S3")
@pytest.mark.applies_if(*IN_USE)
def test_gateways_are_not_of_ceph_iscsi(cloud: Cloud) -> None:
    """The gateways are not ceph-iscsi's.

    Why: it is in maintenance since November 2022 and gets no new features; new clouds attach by librbd, or over
    NVMe-oF.
    """
    assert section(cloud).served_by != "ceph-iscsi", finding(
        "gateways",
        found="ceph-iscsi",
        expected="librbd, or Ceph's NVMe-oF gateway, where clients can",
        remedy="plan to move; waive it until then",
    )


@pytest.mark.check("iscsi.gw.services", severity="critical", source="S3 CI IT CATL")
@pytest.mark.applies_if(*IN_USE)
def test_gateway_runs_and_listens(iscsi_gateway: HostFacts, cloud: Cloud) -> None:
    """The gateway's services are active and enabled, and its portal is open; of ceph-iscsi there are two to four.

    Why: guests go on over the other gateway when one ends, and all stop when none comes back after a reboot.
    """
    units = gateway_of(iscsi_gateway).units
    stopped = [unit for unit in units if unit_problem(unit)]
    assert not stopped, finding(
        iscsi_gateway.name,
        found={unit.name: unit_problem(unit) for unit in stopped},
        expected="active and enabled",
        remedy=starting(stopped),
    )
    _expect_portal(iscsi_gateway, cloud)
    if section(cloud).served_by == "ceph-iscsi":
        _expect_several(iscsi_gateway, cloud)


def _expect_portal(host: HostFacts, cloud: Cloud) -> None:
    port = section(cloud).port
    listening = {one.port for one in need(host.listening, f"{host.name}: listening sockets")}
    assert port in listening, finding(
        host.name,
        found=f"nothing listens on port {port}",
        expected="the target's portal",
        remedy="read the gateway's log; start it anew",
    )


def _expect_several(host: HostFacts, cloud: Cloud) -> None:
    number = len(cloud.hosts_with("iscsi-gateway"))
    assert FEWEST <= number <= MOST, finding(
        "gateways", found=number, expected=f"{FEWEST} to {MOST}", remedy="add or remove gateways by gwcli"
    )
    target = target_of(cloud, gateway_of(host).live, f"{host.name}: targets")
    named = sorted(target.portals) if target else []
    assert any(host.is_called(name) for name in named), finding(
        host.name,
        found=named,
        expected=f"a gateway of the name {host.hostname}",
        remedy="gateways are called by their hosts' full names: gwcli, /iscsi-targets/IQN/gateways create NAME IP",
    )


@pytest.mark.check("iscsi.gw.config", severity="critical", source="IT CI CATL")
@pytest.mark.applies_if(*IN_USE)
@pytest.mark.compares_hosts
def test_gateways_configuration_is_closed_and_alike(cloud: Cloud, facts: Facts) -> None:
    """Files with passwords are root's alone, no gateway opens images as client.admin, and all gateways agree.

    Of ceph-iscsi also: the API has a login of its own and TLS, and trusts all gateways.

    Why: who reads these files can write to every guest's disk; gateways that differ show initiators different LUNs.
    """
    every = gateways(cloud, facts)
    bad = {name: problems for name, it in every.items() if (problems := list(_config_problems(cloud, facts, it)))}
    assert not bad, finding(
        "gateways",
        found=bad,
        expected="closed files, a cephx user of the gateways' own, and the API with a login of its own over TLS",
        remedy="chmod 600 what holds passwords; make a cephx user for the gateways, and name it in their configuration",
    )
    told = {name: _essence(cloud, gateway, name) for name, gateway in every.items()}
    assert len(set(told.values())) <= 1, finding(
        "gateways",
        found=sorted(told),
        expected="the same configuration on all",
        remedy="copy it from the gateway that is right, and start the services of the others anew",
    )


def _config_problems(cloud: Cloud, facts: Facts, gateway: Gateway) -> Iterator[str]:
    if section(cloud).served_by == "ceph-iscsi":
        yield from _cfg_problems(cloud, facts, need(gateway.config, "iscsi-gateway.cfg"))
        return
    holding = need(gateway.files, "files of targets")
    yield from (f"{it.path}: {it.owner} {it.mode:o}" for it in holding if it.owner != "root" or it.mode & 0o077)
    target = target_of(cloud, gateway.kept, "kept targets")
    luns = target.luns if target else ()
    yield from (f"{lun.image} is opened as client.admin" for lun in luns if lun.user == "admin")


def _cfg_problems(cloud: Cloud, facts: Facts, config: GatewayConfig) -> Iterator[str]:
    options, stat = config.options, config.stat
    if stat.owner != "root" or stat.mode & 0o077:
        yield f"{stat.path}: {stat.owner} {stat.mode:o}"
    if options.get("cluster_client_name", "client.admin") == "client.admin":
        yield "images are opened as client.admin"
    if config.example_login:
        yield "the API's login is admin, admin"
    if options.get("api_secure", "true").lower() != "true" or not all(file.exists for file in config.certificate):
        yield "the API is not secured by TLS"
    trusted = {one.strip() for one in options.get("trusted_ip_list", "").split(",")}
    for name in cloud.hosts_with("iscsi-gateway"):
        if not trusted & set(need(facts.host(name).addresses, f"{name}: addresses")):
            yield f"trusted_ip_list lacks {name}"
    pool = options.get("pool", "rbd")
    if facts.ceph.pool(pool) is None:
        yield f"there is no pool {pool} for gateway.conf"


def _essence(cloud: Cloud, gateway: Gateway, name: str) -> str:
    if section(cloud).served_by == "ceph-iscsi":
        return need(gateway.config, f"{name}: iscsi-gateway.cfg").text
    target = target_of(cloud, gateway.kept, f"{name}: kept targets")
    return target.model_dump_json(include={"luns", "users", "acl"}) if target else ""


@pytest.mark.check("iscsi.gw.target", severity="critical", source="S3 IT CATL")
@pytest.mark.applies_if(*IN_USE)
def test_target_exports_what_initiators_are_to_have(iscsi_gateway: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The target has each initiator's images as LUNs from RBD, lets in these initiators only, and by password.

    It is the same after the gateway's next start; each image exists, and a gateway has it open. Of ceph-iscsi, the
    target has two portals at least.

    Why: a LUN that is there by hand only is gone after a reboot; one without ACL is everybody's disk.
    """
    gateway = gateway_of(iscsi_gateway)
    states = {"now": gateway.live, "after the next start": gateway.kept}
    for when, told in states.items():
        _expect_whole(iscsi_gateway.name, when, target_of(cloud, told, f"{iscsi_gateway.name}: targets"), cloud)
    lacking = {image: why for image in section(cloud).images if (why := _not_open(cloud, facts, image))}
    assert not lacking, finding(
        iscsi_gateway.name,
        found=lacking,
        expected="images that exist, and that a gateway has open",
        remedy="rbd ls POOL, rbd status POOL/IMAGE; start the gateway anew where it lost the image",
    )


def _expect_whole(host: str, when: str, target: Target | None, cloud: Cloud) -> None:
    problems = list(_target_problems(target, cloud)) if target else ["not there"]
    assert not problems, finding(
        f"{host}: {section(cloud).target}, {when}",
        found=problems,
        expected="the images of all initiators, for these initiators only" + ", by password" * section(cloud).chap,
        remedy="complete it by gwcli"
        if section(cloud).served_by == "ceph-iscsi"
        else "complete it in /etc/tgt/conf.d; tgt-admin --update ALL where nobody is logged in",
    )


def _target_problems(target: Target, cloud: Cloud) -> Iterator[str]:
    served = exported(target)
    yield from (f"{image} is not exported" for image in section(cloud).images if image not in served)
    yield from access_problems(cloud, target)
    if section(cloud).chap and not target.users:
        yield "asks for no password"
    if section(cloud).served_by == "ceph-iscsi" and len({it for own in target.portals.values() for it in own}) < FEWEST:
        yield f"has {len(target.portals)} portals"
    for host, one in sorted(section(cloud).initiators.items()):
        if one.iqn in target.mapped:
            yield from (f"{host} is not given {it}" for it in one.images if it not in target.mapped[one.iqn])


def _not_open(cloud: Cloud, facts: Facts, image: str) -> str:
    told = facts.ceph.exported.get(image)
    if told is None:
        return "does not exist"
    addresses = {watcher.rpartition(":")[0].strip("[]") for watcher in need(told, image).watchers}
    return "" if addresses & addresses_of_gateways(cloud, facts) else "no gateway has it open"
