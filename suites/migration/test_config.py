"""Area lm: what live migration needs of the hypervisors."""

from __future__ import annotations

import ipaddress

import pytest

from fixtures import neighbours, releases
from fixtures.checks import applies, finding, shown, some
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import Certificate, HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import by_hypervisor, config_of, disk_monitors, monitor_hosts
from fixtures.oslo import OsloConfig
from fixtures.parity import odd_ones
from fixtures.targets import libvirt_of, service_of

pytestmark = [
    pytest.mark.applies_if(lambda cloud: cloud.policy.live_migration, "policy.live_migration is off"),
    pytest.mark.applies_if(
        lambda cloud: len(cloud.hosts_with("nova-compute")) != 1, "one hypervisor: nowhere to migrate to"
    ),
]
PORTS = {"tls": 16514, "tcp": 16509, "ssh": 22}
INBOUND = "libvirt.live_migration_inbound_addr"
LISTEN = "vnc.server_listen"
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})
FLAG_OPTIONS = ("live_migration_flag", "block_migration_flag")
NEEDED_FLAGS = ("VIR_MIGRATE_UNDEFINE_SOURCE", "VIR_MIGRATE_PEER2PEER", "VIR_MIGRATE_LIVE")
HAVANA_FLAGS = NEEDED_FLAGS[:2]
JUNO_FLAGS = NEEDED_FLAGS
"""What holds where live_migration_flag is unset (from Juno on with VIR_MIGRATE_TUNNELLED besides)."""
LEAST_DAYS = 30
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
    # Its own name a host itself may know as a loopback address.
    assert (meant and meant <= own) or hypervisor.is_called(address), finding(
        where,
        found=f"{address}{_in_numbers(address, answer)}, which is not an address of this host that others reach",
        expected=f"one of {', '.join(sorted(own))}",
        remedy=remedy,
    )
    holders = facts.holders(cloud.hosts_with("nova-compute"), _inbound)
    having = {name for one in meant for name in holders.get(one, ())} | {hypervisor.name}
    assert len(having) == 1, finding(
        where, found=f"{address}, which {shown(some(having, 5))} have", expected="an address of its own", remedy=remedy
    )


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

    In a cloud of more than 33 hypervisors it tries the eight that follow it in the order of their names.
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
    silent = set(neighbours.peers(cloud, hypervisor.name)) - set(peers)
    assert not failed and not silent, finding(
        hypervisor.name,
        found=failed or f"not tried: {', '.join(sorted(silent))}",
        expected="an answer of every peer",
        remedy="look at the peer's libvirt socket, certificates and firewall",
    )


@pytest.mark.check("lm.parity", severity="critical", source="NM S1")
@pytest.mark.compares_hosts
def test_hypervisors_are_alike(facts: Facts, cloud: Cloud) -> None:
    """Hypervisors have the same cluster, secrets, disk back end, instance path, CPU model, libvirt and QEMU.

    Why: live migration moves a definition; what differs on the other side stops it or breaks the guest there.
    """
    aspects = {name: _aspects(host) for name, host in by_hypervisor(cloud, facts).items()}
    names = sorted({aspect for found in aspects.values() for aspect in found})
    spread = {aspect: odd_ones({name: found[aspect] for name, found in aspects.items()}) for aspect in names}
    differing = {aspect: odd for aspect, odd in spread.items() if odd}
    assert not differing, finding(
        "hypervisors", found=differing, expected="the same on all", remedy="bring the odd ones in line with the rest"
    )


def _aspects(host: HostFacts) -> dict[str, str]:
    config, libvirt = config_of(host, "nova-compute"), libvirt_of(host)
    conf = need(host.ceph_conf, f"{host.name}: ceph.conf")
    fsid = [entry.value for entry in conf.entries if entry.section == "global" and entry.key == "fsid"]
    return {
        "cluster": fsid[-1] if fsid else "none",
        # Those of other uses (LUKS, iSCSI) are where a guest with such a disk is.
        "secrets": ", ".join(sorted(secret.uuid for secret in libvirt.secrets if secret.usage_type == "ceph")),
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


@pytest.mark.check("lm.config.flags", severity="major", source="S0 RO NREL-flags")
def test_migration_flags_are_those_of_the_release(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """From Newton on live_migration_flag and block_migration_flag are gone; before, the first makes a live migration.

    Why: once removed they are ignored without a word; before, a flag that is missing leaves the guest on both sides.
    """
    config = config_of(hypervisor, "nova-compute")
    set_ = [name for name in FLAG_OPTIONS if ("libvirt", name) in config]
    if releases.MIGRATION_FLAGS_GONE.reached(cloud, facts, hypervisor.name):
        assert not set_, finding(
            f"{hypervisor.name}: [libvirt]", found=set_, expected="neither option", remedy="remove them"
        )
        return
    default = JUNO_FLAGS if releases.LIBVIRT_SECTION.reached(cloud, facts, hypervisor.name) else HAVANA_FLAGS
    flags = config.items("libvirt", FLAG_OPTIONS[0], default, ("DEFAULT", FLAG_OPTIONS[0]))
    missing = [flag for flag in NEEDED_FLAGS if flag not in flags]
    assert not missing, finding(
        f"{hypervisor.name}:{config.where('libvirt', FLAG_OPTIONS[0], ('DEFAULT', FLAG_OPTIONS[0]))}",
        found=f"{FLAG_OPTIONS[0]} without {', '.join(missing)}",
        expected=NEEDED_FLAGS,
        remedy="add them, restart nova-compute",
    )


@pytest.mark.check("lm.config.tunnelled", severity="major", source="NC NREL-tun")
def test_migrations_are_not_tunnelled(hypervisor: HostFacts) -> None:
    """live_migration_tunnelled is off or unset.

    Why: through libvirt's tunnel no local disk can be moved and native TLS is not used; it is deprecated since Wallaby.
    """
    config = config_of(hypervisor, "nova-compute")
    assert not config.boolean("libvirt", "live_migration_tunnelled", False), finding(
        f"{hypervisor.name}:{config.where('libvirt', 'live_migration_tunnelled')}",
        found="live_migration_tunnelled on",
        expected="off",
        remedy="remove it, restart nova-compute; encrypt with live_migration_with_native_tls",
    )


@pytest.mark.applies_if(
    lambda cloud: cloud.policy.migration_transport == "tls", "policy.migration_transport is not tls"
)
@pytest.mark.check("lm.config.native_tls", severity="major", source="NT")
def test_migrations_are_encrypted_by_qemu(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """live_migration_with_native_tls is on with scheme tls, and QEMU has certificates and asks for its peer's.

    They are good for another month, and the keys belong to QEMU's group alone.

    Why: with one of the two options alone a guest's memory goes over the wire in the clear, and nothing says so.
    """
    releases.NATIVE_TLS.required(cloud, facts, hypervisor.name)
    config = config_of(hypervisor, "nova-compute")
    found = {
        "live_migration_with_native_tls": config.boolean("libvirt", "live_migration_with_native_tls", False),
        "live_migration_scheme": config.get("libvirt", "live_migration_scheme", "unset"),
    }
    assert found == {"live_migration_with_native_tls": True, "live_migration_scheme": "tls"}, finding(
        f"{hypervisor.name}: [libvirt]", found=found, expected="True, tls", remedy="set both, restart nova-compute"
    )
    libvirt = libvirt_of(hypervisor)
    conf = need(libvirt.qemu_conf, f"{hypervisor.name}: qemu.conf")
    verify = conf.get("migrate_tls_x509_verify", conf.get("default_tls_x509_verify", "1"))
    assert verify == "1", finding(
        f"{hypervisor.name}: qemu.conf",
        found=f"tls_x509_verify {verify}",
        expected="1",
        remedy="set default_tls_x509_verify = 1, restart libvirt",
    )
    certificates = need(libvirt.migration_certificates, f"{hypervisor.name}: certificates of QEMU")
    wrong = [f"{path}: {problem}" for path, told in certificates.items() if (problem := _wrong(path, told, hypervisor))]
    assert not wrong, finding(
        hypervisor.name,
        found=wrong,
        expected="certificates for another month; keys 0640, of QEMU's group",
        remedy="issue them anew for this host; chgrp to QEMU's group, chmod 0640",
    )


def _wrong(path: str, told: Certificate | Unreadable, host: HostFacts) -> str:
    certificate = need(told, f"{host.name}:{path}")
    stat = certificate.stat
    if stat.kind != "file":
        return stat.kind
    if path.endswith("-key.pem"):
        theirs = (stat.mode & 0o040 and stat.group != "root") or (stat.mode & 0o400 and stat.owner != "root")
        return "" if theirs and not stat.mode & 0o007 else f"{stat.owner}:{stat.group} {stat.mode:04o}"
    left = (need(certificate.expires, f"{host.name}:{path}") - host.collected_at) / 86400
    return "" if left >= LEAST_DAYS else f"expires in {left:.0f} days"


@pytest.mark.check("lm.vnc_listen", severity="major", source="NM S2")
def test_consoles_can_move_with_their_guests(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """[vnc] server_listen is every address, or one that this host has; so it is for the guests that run.

    Before Juno only every address will do, since a guest's console kept the source's address.

    Why: QEMU on the target must listen on it; an address that it does not have ends the migration.
    """
    config = config_of(hypervisor, "nova-compute")
    if not config.boolean("vnc", "enabled", True, ("DEFAULT", "vnc_enabled")):
        applies(False, f"{hypervisor.name}: [vnc] is not enabled")
    former = ("DEFAULT", "vncserver_listen"), ("vnc", "vncserver_listen")
    listen = config.get("vnc", "server_listen", "127.0.0.1", *former)
    answer = service_of(hypervisor, "nova-compute").addresses.get(LISTEN, (listen,))
    remedy = "set it to 0.0.0.0 or this host's own address, restart nova-compute"
    where = f"{hypervisor.name}:{config.where('vnc', 'server_listen', *former)}"
    assert not isinstance(answer, Unreadable), finding(
        where, found=f"{listen} {answer.unreadable}", expected="an address", remedy=remedy
    )
    own = set(need(hypervisor.addresses, f"{hypervisor.name}: addresses"))
    rewritten = releases.LISTEN_ADDRESS_REWRITTEN.reached(cloud, facts, hypervisor.name)
    allowed = ANY_ADDRESS | own if rewritten else ANY_ADDRESS
    expected = "0.0.0.0, :: or an address of this host" if rewritten else "0.0.0.0 or ::"
    assert set(answer) <= allowed, finding(where, found=f"server_listen = {listen}", expected=expected, remedy=remedy)
    graphics = need(libvirt_of(hypervisor).graphics, f"{hypervisor.name}: consoles of running guests")
    wrong = [f"{one.domain}: {one.kind} on {one.listen}" for one in graphics if one.listen not in allowed]
    assert not wrong, finding(
        f"{hypervisor.name}: running guests", found=wrong, expected=expected, remedy="hard-reboot these guests"
    )


@pytest.mark.applies_if(lambda cloud: cloud.ceph.pools.vms is not None, "the cloud file names no vms pool")
@pytest.mark.check("lm.mon_change", severity="major", source="LP1741364 NREL-1761361")
def test_guests_know_all_monitors(hypervisor: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The ephemeral disks of running guests name just the monitors that there are.

    Volumes are left aside: Cinder gives the present monitors at each migration.

    Why: before 2026.2 a migration takes the monitors along that the guest was started with; once all of them
    have been replaced, the guest does not start on the target.
    """
    releases.MIGRATION_REFRESHES_MONITORS.not_yet(cloud, facts, hypervisor.name)
    disks = need(libvirt_of(hypervisor).disks, f"{hypervisor.name}: disks of running guests")
    present = monitor_hosts(facts)
    ephemeral = [
        disk for disk in disks if disk.protocol == "rbd" and disk.source.startswith(f"{cloud.ceph.pools.vms}/")
    ]
    stale = {
        f"{disk.domain} {disk.target}": disk_monitors(disk) for disk in ephemeral if disk_monitors(disk) != present
    }
    assert not stale, finding(
        f"{hypervisor.name}: running guests",
        found=stale,
        expected=present,
        remedy="hard-reboot or cold-migrate these guests before the last old monitor goes",
    )
