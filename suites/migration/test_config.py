"""Area lm: what live migration needs of the hypervisors."""

from __future__ import annotations

import ipaddress

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import by_hypervisor, config_of
from fixtures.oslo import OsloConfig
from fixtures.targets import libvirt_of, service_of

pytestmark = [
    pytest.mark.applies_if(lambda cloud: cloud.policy.live_migration, "policy.live_migration is off"),
    pytest.mark.applies_if(
        lambda cloud: len(cloud.hosts_with("nova-compute")) != 1, "one hypervisor: nowhere to migrate to"
    ),
]
PORTS = {"tls": 16514, "tcp": 16509, "ssh": 22}
INBOUND = "libvirt.live_migration_inbound_addr"
CPU_OPTIONS = ("virt_type", "cpu_mode", "cpu_models", "cpu_model", "cpu_model_extra_flags")


@pytest.mark.check("lm.config.transport", severity="critical", source="NC NM")
def test_hypervisors_migrate_over_one_transport(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The scheme is the policy's, live_migration_uri is unset, and live_migration_inbound_addr is this host's own.

    Why: hypervisors that disagree migrate in one direction only; without an address a hostname decides the network.
    """
    config = config_of(hypervisor, "nova-compute")
    found = {
        name: config.get("libvirt", name, "unset")
        for name in ("live_migration_scheme", "live_migration_uri", "live_migration_inbound_addr")
    }
    scheme = found["live_migration_scheme"]
    agreed = scheme == cloud.policy.migration_transport or (
        scheme == "unset" and cloud.policy.migration_transport == "tcp"
    )
    assert agreed and found["live_migration_uri"] == "unset" and found["live_migration_inbound_addr"] != "unset", (
        finding(
            f"{hypervisor.name}: [libvirt]",
            found=found,
            expected=f"scheme {cloud.policy.migration_transport}, no uri, an address on the migration network",
            remedy="set them alike on all hypervisors, restart nova-compute",
        )
    )
    where = f"{hypervisor.name}:{config.where('libvirt', 'live_migration_inbound_addr')}"
    remedy = "set it to this host's address on the migration network, restart nova-compute"
    address = found["live_migration_inbound_addr"]
    answer = service_of(hypervisor, "nova-compute").addresses.get(INBOUND)
    assert not isinstance(answer, Unreadable), finding(
        where, found=f"{address} {answer.unreadable}", expected="a host's name or address", remedy=remedy
    )
    meant = _others_view(need(answer, f"{hypervisor.name}: {INBOUND}"))
    own = _others_view(need(hypervisor.addresses, f"{hypervisor.name}: addresses"))
    assert (meant and meant <= own) or _is_name_of(hypervisor, address), finding(
        where,
        found=f"{address}{_in_numbers(address, answer)}, which is not an address of this host that others reach",
        expected=f"one of {', '.join(sorted(own))}",
        remedy=remedy,
    )
    hosts = by_hypervisor(cloud, facts)
    same = [name for name, host in hosts.items() if name != hypervisor.name and meant & _inbound(host)]
    assert not same, finding(
        where, found=f"{address}, as on {', '.join(same)}", expected="an address of its own", remedy=remedy
    )


def _is_name_of(host: HostFacts, name: str) -> bool:
    """Whether it is the host's own name, which the host itself may know as a loopback address."""
    return name.split(".")[0] == host.hostname.split(".")[0]


def _inbound(host: HostFacts) -> set[str]:
    """Addresses that a hypervisor names and has; one that it does not have is a finding there, not elsewhere."""
    answer = service_of(host, "nova-compute").addresses.get(INBOUND, ())
    named = () if isinstance(answer, Unreadable) else answer
    return _others_view(named) & set(need(host.addresses, f"{host.name}: addresses"))


def _others_view(addresses: tuple[str, ...]) -> set[str]:
    return {address for address in addresses if _from_outside(address)}


def _from_outside(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_unspecified)


def _in_numbers(name: str, addresses: tuple[str, ...] | None) -> str:
    return f" ({', '.join(addresses)})" if addresses and name not in addresses else ""


@pytest.mark.check("lm.libvirt.listen", severity="critical", source="NT NM")
def test_hypervisor_reaches_every_peers_libvirt(hypervisor: HostFacts, cloud: Cloud) -> None:
    """This hypervisor's libvirt listens, and it reaches every other's over the migration transport.

    Peers are tried by their names, else addresses, of the cloud file. Whether they are reached at their
    live_migration_inbound_addr, where that is another, is left to the live migration itself to show.
    Over plain TCP, libvirt must ask who connects.

    Why: sockets, certificates and firewalls are per pair; the first to notice is an evacuation at night.
    """
    port = PORTS[cloud.policy.migration_transport]
    listening = {listener.port for listener in need(hypervisor.listening, f"{hypervisor.name}: sockets")}
    assert port in listening, finding(
        hypervisor.name,
        found=f"nothing listens on {port}",
        expected=f"libvirt ({cloud.policy.migration_transport})",
        remedy="enable libvirt's socket for it",
    )
    if cloud.policy.migration_transport == "tcp":
        auth = need(libvirt_of(hypervisor).tcp_auth, f"{hypervisor.name}: auth_tcp")
        assert auth != "none", finding(
            f"{hypervisor.name}: libvirt on {port}",
            found='auth_tcp = "none": whoever connects is root here',
            expected="sasl, or policy.migration_transport: tls",
            remedy='migrate over TLS; else set auth_tcp = "sasl" in libvirtd.conf or virtproxyd.conf, and restart it',
        )
    peers = libvirt_of(hypervisor).peers
    failed = {name: answer.unreadable for name, answer in peers.items() if isinstance(answer, Unreadable)}
    silent = set(cloud.hosts_with("nova-compute")) - {hypervisor.name} - set(peers)
    assert not failed and not silent, finding(
        hypervisor.name,
        found=failed or f"not tried: {', '.join(sorted(silent))}",
        expected="an answer of every peer",
        remedy="look at the peer's libvirt socket, certificates and firewall",
    )


@pytest.mark.check("lm.parity", severity="critical", source="NM S1")
def test_hypervisors_are_alike(facts: Facts, cloud: Cloud) -> None:
    """Hypervisors have the same cluster, secrets, disk back end, instance path, CPU model, libvirt and QEMU.

    Why: live migration moves a definition; what differs on the other side stops it or breaks the guest there.
    """
    aspects = {name: _aspects(host) for name, host in by_hypervisor(cloud, facts).items()}
    names = sorted({aspect for found in aspects.values() for aspect in found})
    differing = {
        aspect: {name: found[aspect] for name, found in aspects.items()}
        for aspect in names
        if len({found[aspect] for found in aspects.values()}) > 1
    }
    assert not differing, finding(
        "hypervisors", found=differing, expected="the same on all", remedy="bring the odd ones in line with the rest"
    )


def _aspects(host: HostFacts) -> dict[str, str]:
    config, libvirt = config_of(host, "nova-compute"), libvirt_of(host)
    conf = need(host.ceph_conf, f"{host.name}: ceph.conf")
    fsid = [entry.value for entry in conf.entries if entry.section == "global" and entry.key == "fsid"]
    return {
        "cluster": fsid[-1] if fsid else "none",
        "secrets": ", ".join(sorted(secret.uuid for secret in libvirt.secrets)),
        "images_type": config.get("libvirt", "images_type", "default"),
        "images_rbd_pool": config.get("libvirt", "images_rbd_pool", "rbd"),
        "instances_path": _instances_path(config),
        **{name: config.get("libvirt", name, "default") for name in CPU_OPTIONS},
        # guests of a model by name do not see the host's
        "cpu": f"{libvirt.cpu_vendor} {'' if config.get('libvirt', 'cpu_mode') == 'custom' else libvirt.cpu_model}",
        "libvirt": libvirt.libvirt_version,
        "qemu": libvirt.qemu_version,
    }


def _instances_path(config: OsloConfig) -> str:
    state = config.get("DEFAULT", "state_path", "/var/lib/nova")
    return config.get("DEFAULT", "instances_path", "$state_path/instances").replace("$state_path", state)
