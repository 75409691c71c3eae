"""Area lm: what live migration needs of the hypervisors."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import by_hypervisor, config_of
from fixtures.targets import libvirt_of

pytestmark = [
    pytest.mark.applies_if(lambda cloud: cloud.policy.live_migration, "policy.live_migration is off"),
    pytest.mark.applies_if(
        lambda cloud: len(cloud.hosts_with("nova-compute")) != 1, "one hypervisor: nowhere to migrate to"
    ),
]
PORTS = {"tls": 16514, "tcp": 16509, "ssh": 22}


@pytest.mark.check("lm.config.transport", severity="critical", source="NC NM")
def test_hypervisors_migrate_over_one_transport(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The scheme is the policy's, live_migration_uri is unset, and live_migration_inbound_addr is set.

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
    address = found["live_migration_inbound_addr"]
    same = [
        name
        for name, host in by_hypervisor(cloud, facts).items()
        if _inbound(host) == address and name != hypervisor.name
    ]
    assert not same, finding(
        f"{hypervisor.name}:{config.where('libvirt', 'live_migration_inbound_addr')}",
        found=f"{address}, as on {', '.join(same)}",
        expected="an address of its own",
        remedy="set it to this host's address on the migration network, restart nova-compute",
    )


def _inbound(host: HostFacts) -> str:
    return config_of(host, "nova-compute").get("libvirt", "live_migration_inbound_addr", "unset")


@pytest.mark.check("lm.libvirt.listen", severity="critical", source="NT NM")
def test_hypervisor_reaches_every_peers_libvirt(hypervisor: HostFacts, cloud: Cloud) -> None:
    """This hypervisor's libvirt listens, and it reaches every other's over the migration transport.

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
        "instances_path": config.get("DEFAULT", "instances_path", "$state_path/instances"),
        "cpu_mode": config.get("libvirt", "cpu_mode", "default"),
        "cpu": config.get("libvirt", "cpu_models", libvirt.cpu_model),
        "libvirt": libvirt.libvirt_version,
        "qemu": libvirt.qemu_version,
    }
