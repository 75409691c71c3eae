"""Area nv: Nova's own services, what they lean on, and what is particular to each host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

import pytest

from fixtures import releases
from fixtures.backing import CONTROL, backing_of, leaning_roles
from fixtures.checks import applies, finding, shown, some
from fixtures.cloud import Cloud
from fixtures.cloud.model import Role
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.openstack import ServiceState
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.roles import role_on
from fixtures.targets import libvirt_of, service_of
from fixtures.units import unit_problem

REPORTING: Final[tuple[Role, ...]] = ("nova-conductor", "nova-scheduler")
"""Those that Nova's own list of services has."""
CONSOLEAUTH = "nova-consoleauth"
LOGGED: Final[tuple[Role, ...]] = (
    *CONTROL,
    "nova-compute",
    *("cinder-api", "cinder-scheduler", "cinder-volume", "cinder-backup"),
)
OWN_ADDRESSES = {"DEFAULT.my_ip": "my_ip", "vnc.server_proxyclient_address": "server_proxyclient_address"}
KVM = "/dev/kvm"
CONNECTIONS = re.compile(r"(oslo[._]messaging\._drivers|oslo_db|sqlalchemy|amqp)(\.|$)")
"""Loggers of what tries again by itself."""


@pytest.mark.check("nv.services.expected", severity="critical", source="S2 NR")
@pytest.mark.applies_if(lambda cloud: bool(cloud.hosts_with("nova-control")), "no host of the cloud file runs Nova")
def test_control_services_run(cloud: Cloud, facts: Facts) -> None:
    """Nova's API, conductor, scheduler, console proxy and Placement run and are enabled, and Nova sees them up.

    Before Train nova-consoleauth has to report as well; before Ocata there is no Placement. What runs on hypervisors
    is judged by nova.compute.up.

    Why: a service that is not enabled is gone after the next reboot; one that Nova sees down gets no work.
    """
    wanted = _wanted(cloud, facts)
    bad = [*_unit_problems(cloud, facts, wanted), *_row_problems(cloud, facts)]
    assert not bad, finding(
        "control services of Nova",
        found=sorted(bad),
        expected="each active, enabled and up",
        remedy="systemctl enable --now; openstack compute service set --enable; delete rows of hosts that are gone",
    )
    unnamed = [role for role in wanted if not cloud.hosts_with(role)]
    if unnamed:
        raise NotMeasured(f"the cloud file does not say which host runs {', '.join(unnamed)}; the others are well")


def _wanted(cloud: Cloud, facts: Facts) -> tuple[Role, ...]:
    host = cloud.hosts_with("nova-control")[0]
    has_placement = releases.PLACEMENT.reached(cloud, facts, host)
    return tuple(role for role in CONTROL if has_placement or role != "placement-api")


def _unit_problems(cloud: Cloud, facts: Facts, wanted: tuple[Role, ...]) -> Iterator[str]:
    for role in wanted:
        for name in cloud.hosts_with(role):
            unit = service_of(facts.host(name), role).unit
            if problem := unit_problem(unit):
                yield f"{name}:{unit.name} {problem}"


def _row_problems(cloud: Cloud, facts: Facts) -> Iterator[str]:
    rows = need(facts.openstack.compute_services, "compute services")
    host = cloud.hosts_with("nova-control")[0]
    old = () if releases.CONSOLEAUTH_GONE.reached(cloud, facts, host) else (CONSOLEAUTH,)
    for binary in (*REPORTING, *old):
        own = [row for row in rows if row.binary == binary]
        yield from (f"{row.binary} on {row.host}: {row.status}, {row.state}" for row in own if not _is_well(row))
        if not own:
            yield f"{binary}: on no host"


def _is_well(row: ServiceState) -> bool:
    return (row.status, row.state) == ("enabled", "up")


@pytest.mark.asks_services
@pytest.mark.check("nv.mq_db", severity="critical", source="S2")
def test_what_nova_leans_on_answers(nova_host: HostFacts, cloud: Cloud) -> None:
    """Message bus and databases take Nova's configured logins, schemas are current, cells lead to all hypervisors.

    Tried on this host as Nova's account. Its state_path and lock_path are its own.

    Why: a service that was started before a password was changed works on until its next restart; a hypervisor that
    no cell leads to gets no server; locks in a folder that cannot be written fail one request after the other.
    """
    bad = [
        problem
        for role in leaning_roles(cloud, nova_host.name)
        for problem in _backing_problems(cloud, nova_host, role)
    ]
    assert not bad, finding(
        f"{nova_host.name}: what Nova leans on",
        found=bad,
        expected="logins taken, schemas current, hypervisors mapped, folders Nova's own",
        remedy="mend transport_url or [database] connection; nova-manage api_db sync, db sync with a dump at hand; "
        "nova-manage cell_v2 discover_hosts; chown nova",
    )


def _backing_problems(cloud: Cloud, host: HostFacts, role: Role) -> Iterator[str]:
    account = role_on(cloud, host.name, role).account
    for one in backing_of(host, role):
        if one.problem:
            yield one.problem
        elif one.is_folder_of_another(account):
            yield f"{one.name} {one.path}: {one.owner}'s, not {account}'s"
        elif one.what == "cells" and one.count < 2:
            yield f"{one.count} cells: one beside cell0 is the least"


@pytest.mark.check("nv.host.per_node", severity="major", source="S2")
def test_host_names_its_own_addresses(nova_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """On a hypervisor my_ip and [vnc] server_proxyclient_address are its own, and no other hypervisor's.

    A host that is no hypervisor of the cloud file and has nova-compute nevertheless has it disabled, with a reason.

    Why: with a neighbour's address, copied along with nova.conf, consoles open on another host's guest or not at all.
    """
    if "nova-compute" not in cloud.hosts[nova_host.name].roles:
        _expect_disabled(nova_host, facts)
        return
    config = config_of(nova_host, "nova-compute")
    for name, option in OWN_ADDRESSES.items():
        section = name.partition(".")[0]
        if (section == "vnc" and not config.boolean("vnc", "enabled", True)) or (
            section == "DEFAULT" and (section, option) not in config
        ):
            continue
        problem = _address_problem(nova_host, cloud, facts, name, config.get(section, option, "127.0.0.1"))
        assert not problem, finding(
            f"{nova_host.name}:{config.where(section, option)}",
            found=f"[{section}] {option} = {problem}",
            expected="an address of this host that others reach, and of no other hypervisor",
            remedy=f"set [{section}] {option}, restart nova-compute; reboot guests hard whose consoles are wrong",
        )


def _expect_disabled(host: HostFacts, facts: Facts) -> None:
    rows = need(facts.openstack.compute_services, "compute services")
    own = [row for row in rows if row.binary == "nova-compute" and host.is_called(row.host)]
    bad = [row for row in own if row.status != "disabled" or not row.disabled_reason]
    assert not bad, finding(
        f"{host.name}: nova-compute",
        found=[f"{row.status}, {row.disabled_reason or 'no reason given'}" for row in bad],
        expected="disabled, with a reason: the cloud file names no hypervisor here",
        remedy="openstack compute service set --disable --disable-reason …; or name the role nova-compute",
    )


def _address_problem(host: HostFacts, cloud: Cloud, facts: Facts, name: str, value: str) -> str:
    meant = _addresses(host, name, value)
    own = set(need(host.addresses, f"{host.name}: addresses"))
    outside = {address for address in meant if _from_outside(address)}
    lonely = len(cloud.hosts_with("nova-compute")) == 1
    if not (outside or lonely) or not meant <= own:
        return f"{value}, which is not an address of this host that others reach"
    holders = facts.holders(cloud.hosts_with("nova-compute"), _taken)
    having = {one for address in outside for one in holders.get(_taking(name, address), ())} | {host.name}
    return f"{value}, which {shown(some(having, 5))} have" if len(having) > 1 else ""


def _taken(host: HostFacts) -> list[str]:
    """What its options give that is really this host's."""
    own = set(need(host.addresses, host.name))
    return [_taking(name, address) for name in OWN_ADDRESSES for address in own & set(_named(host, name))]


def _taking(option: str, address: str) -> str:
    return f"{option} {address}"


def _addresses(host: HostFacts, name: str, value: str) -> set[str]:
    """As this host resolves them; an address that is nothing else needs no resolving."""
    try:
        return {str(ipaddress.ip_address(value))}
    except ValueError:
        return set(_named(host, name))


def _named(host: HostFacts, name: str) -> tuple[str, ...]:
    answer = service_of(host, "nova-compute").addresses.get(name, ())
    return () if isinstance(answer, Unreadable) else answer


def _from_outside(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_unspecified)


@pytest.mark.check("nv.host.virt", severity="major", source="S2")
def test_guests_run_on_the_processor(hypervisor: HostFacts, cloud: Cloud) -> None:
    """virt_type is kvm, and /dev/kvm is there and open to QEMU's group; a lab may emulate (policy.kind).

    Why: an emulated guest is ten times slower; without /dev/kvm none starts at all.
    """
    config = config_of(hypervisor, "nova-compute")
    found = config.get("libvirt", "virt_type", "kvm")
    where = f"{hypervisor.name}:{config.where('libvirt', 'virt_type')}"
    allowed = ("kvm", "qemu") if cloud.policy.kind == "lab" else ("kvm",)
    assert found in allowed, finding(
        where,
        found=f"virt_type = {found}",
        expected=" or ".join(allowed),
        remedy="set [libvirt] virt_type = kvm, restart nova-compute, reboot guests hard",
    )
    if found == "kvm":
        problem = _kvm_problem(hypervisor)
        assert not problem, finding(
            where,
            found=f"virt_type = kvm, and {problem}",
            expected=f"{KVM} that QEMU may use",
            remedy="switch virtualization on in the firmware, load kvm_intel or kvm_amd; in a lab virt_type = qemu",
        )


def _kvm_problem(host: HostFacts) -> str:
    stat = need(host.files.get(KVM), f"{host.name}:{KVM}")
    if not stat.exists:
        machine = host.system.machine
        flags = "" if machine is None or isinstance(machine, Unreadable) else machine.virtualization
        return f"no {KVM}" + (f", though its processors have {flags}" if flags else "")
    opened = stat.mode & 0o006 == 0o006 or (stat.group != "root" and stat.mode & 0o060 == 0o060)
    return "" if opened else f"{KVM} is {stat.owner}:{stat.group} {stat.mode:04o}"


@pytest.mark.asks_services
@pytest.mark.check("nv.log.clean", severity="minor", source="S2 LP2158515")
def test_services_log_no_error(openstack_host: HostFacts, cloud: Cloud) -> None:
    """Logs of Nova, Placement, Cinder and libvirt have no error since their last start, but for accepted ones.

    Of libvirt these are clients that were cut off, and clients that waited (policy.accepted_errors names what counts
    for nothing). Connections to message bus and database that broke are left to nv.mq_db, Glance's and Keystone's logs
    to glance.service.active and ks.service.up.

    Why: what fails now and then is told nowhere but in the log, weeks before it fails always.
    """
    roles = [role for role in LOGGED if role in cloud.hosts[openstack_host.name].roles]
    applies(bool(roles), f"{openstack_host.name}: neither Nova nor Cinder runs here")
    accepted = [re.compile(pattern) for pattern in cloud.policy.accepted_errors]
    told = [(where, text) for role in roles for where, text in _errors(openstack_host, role)]
    told += _libvirt_errors(openstack_host) if "nova-compute" in roles else []
    bad = {where: text for where, text in told if not any(pattern.search(f"{where}: {text}") for pattern in accepted)}
    assert not bad, finding(
        f"{openstack_host.name}: logs",
        found=bad,
        expected="no error since each service's last start",
        remedy="mend what it tells, then restart the service; what is of no concern belongs in policy.accepted_errors",
    )


def _errors(host: HostFacts, role: Role) -> Iterator[tuple[str, str]]:
    """The last lines of each logger; nothing where the service does not run, which others judge."""
    log = service_of(host, role).errors
    if log is None:
        return
    for logger, logged in need(log, f"{host.name}: log of {role}").loggers.items():
        if not CONNECTIONS.match(logger):
            yield from ((f"{role} {logger}", line) for line in logged.last)


def _libvirt_errors(host: HostFacts) -> list[tuple[str, str]]:
    told = need(libvirt_of(host).complaints, f"{host.name}: log of libvirt")
    return [("libvirt", line) for line in told]
