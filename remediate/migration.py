"""Area migration: what live migration needs of the hypervisors."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from fixtures import releases
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.files import File
from fixtures.facts.host import Certificate, HostFacts
from fixtures.facts.run import Facts
from fixtures.targets import libvirt_of, service_of
from remediate.libvirt import libvirt_options
from remediate.model import Attributes, NeedsOperator, Option, Restart, Unit
from remediate.options import Configuration, refuse_container
from remediate.registry import manual, repairs

PORTS = {"tls": 16514, "tcp": 16509, "ssh": 22}
INBOUND = "libvirt.live_migration_inbound_addr"
LISTEN = "vnc.server_listen"
FORMER_LISTEN = (("DEFAULT", "vncserver_listen"), ("vnc", "vncserver_listen"))
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})
FLAG_OPTIONS = ("live_migration_flag", "block_migration_flag")
FLAGS = ("VIR_MIGRATE_UNDEFINE_SOURCE", "VIR_MIGRATE_PEER2PEER", "VIR_MIGRATE_LIVE")
MONTH = 30 * 86400


def _files(hypervisor: str, cloud: Cloud, facts: Facts) -> Configuration:
    return Configuration(cloud, facts, hypervisor, "nova-compute")


@repairs("lm.config.transport", disruption="safe")
def migrate_over_one_transport(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set the policy's scheme, take the old uri out, name the host's own address."""
    files = _files(hypervisor, cloud, facts)
    transport = cloud.policy.migration_transport
    if files.now.get("libvirt", "live_migration_scheme", "tcp") != transport:
        yield from files.set("libvirt", "live_migration_scheme", transport)
    yield from files.unset("libvirt", "live_migration_uri")
    if not _takes_migrations(facts.host(hypervisor), cloud, facts):
        address = own_address(facts.host(hypervisor), cloud, facts)
        yield from files.set("libvirt", "live_migration_inbound_addr", address)


def _takes_migrations(host: HostFacts, cloud: Cloud, facts: Facts) -> bool:
    """Whether the host names an address of its own that no other hypervisor has."""
    answer = service_of(host, "nova-compute").addresses.get(INBOUND, ())
    if isinstance(answer, Unreadable):
        return False
    meant = {address for address in answer if _from_outside(address)}
    return bool(meant) and meant <= _own(host) - _of_others(host, cloud, facts)


def own_address(host: HostFacts, cloud: Cloud, facts: Facts) -> str:
    """Return the address by which other hypervisors reach a host.

    Raises:
        NeedsOperator: it has several, and nothing tells which.
    """
    own = sorted(_own(host) - _of_others(host, cloud, facts))
    named = cloud.hosts[host.name].address
    of_four = [address for address in own if ":" not in address]
    for candidates in (own, of_four, [address for address in own if address == named]):
        if len(candidates) == 1:
            return candidates[0]
    raise NeedsOperator(
        f"{host.name} has several addresses, and which is on the migration network is yours to say",
        *("[libvirt]", *(f"live_migration_inbound_addr = {address}" for address in own)),
    )


def _own(host: HostFacts) -> set[str]:
    return {address for address in need(host.addresses, f"{host.name}: addresses") if _from_outside(address)}


def _of_others(host: HostFacts, cloud: Cloud, facts: Facts) -> set[str]:
    """As those of libvirt's own bridge, which each hypervisor has."""
    others = (facts.host(name) for name in cloud.hosts_with("nova-compute") if name != host.name)
    return {address for other in others for address in _own(other)}


def _from_outside(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)


@repairs("lm.libvirt.listen", disruption="disruptive")
def open_libvirts_socket(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Unit]:
    """Open the socket here; what else bars the way to a peer is a person's. Guests run on meanwhile."""
    transport = cloud.policy.migration_transport
    libvirt = libvirt_of(facts.host(hypervisor))
    ports = {one.port for one in need(facts.host(hypervisor).listening, f"{hypervisor}: sockets")}
    if PORTS[transport] not in ports:
        yield _socket(hypervisor, transport, facts)
        return
    if transport == "tcp" and libvirt.tcp_auth == "none":
        raise NeedsOperator(
            f"{hypervisor}: whoever connects is root here; TLS, or SASL with accounts, is a choice of yours",
            'auth_tcp = "sasl"  # in libvirtd.conf or virtproxyd.conf',
        )
    failed = {name: answer.unreadable for name, answer in libvirt.peers.items() if isinstance(answer, Unreadable)}
    raise NeedsOperator(
        "certificates, names and firewalls between hypervisors are not this suite's: "
        + "; ".join(f"{name}: {why}" for name, why in failed.items()),
        *(f"virsh -c qemu+{transport}://{name}/system hostname  # on {hypervisor}" for name in failed),
    )


def _socket(hypervisor: str, transport: str, facts: Facts) -> Unit:
    libvirt = libvirt_of(facts.host(hypervisor))
    modular = need(libvirt.daemon, f"{hypervisor}: libvirt's daemon").name != "libvirtd"
    daemon = "virtproxyd" if modular else "libvirtd"
    lines = (
        f"systemctl stop {daemon}.service",
        f"systemctl enable --now {daemon}-{transport}.socket",
        f"systemctl start {daemon}.service",
    )
    refuse_container(facts, hypervisor, "libvirt", *lines)
    if transport == "ssh":
        raise NeedsOperator(f"{hypervisor}: nothing takes ssh, by which guests would migrate", "systemctl start ssh")
    if transport == "tcp" and libvirt.tcp_auth == "none":
        raise NeedsOperator(f"{hypervisor}: whoever connects would be root here; ask for SASL or TLS first", *lines)
    socket = f"{daemon}-{transport}.socket"
    return Unit(host=hypervisor, unit=socket, behind=f"{daemon}.service", restarts=("nova-compute",))


@repairs("lm.config.flags", disruption="safe")
def set_the_flags_of_the_release(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """From Newton on take both out; before, add what makes a live migration."""
    files = _files(hypervisor, cloud, facts)
    if releases.MIGRATION_FLAGS_GONE.reached(cloud, facts, hypervisor):
        for key in FLAG_OPTIONS:
            yield from files.unset("libvirt", key)
        return
    in_section = releases.LIBVIRT_SECTION.reached(cloud, facts, hypervisor)
    section, key = ("libvirt" if in_section else "DEFAULT"), FLAG_OPTIONS[0]
    listed = files.now.items(section, key)
    yield from files.set(section, key, ",".join((*listed, *(flag for flag in FLAGS if flag not in listed))))


@repairs("lm.config.tunnelled", disruption="safe")
def do_not_tunnel(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take the option out: its default is off."""
    yield from _files(hypervisor, cloud, facts).unset("libvirt", "live_migration_tunnelled", "False")


@repairs("lm.config.native_tls", disruption="safe")
def encrypt_migrations(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Restart | Attributes]:
    """Open keys to QEMU as on other hypervisors, let QEMU ask for certificates, and switch it on."""
    yield from _opened_keys(hypervisor, cloud, facts)
    libvirt = libvirt_of(facts.host(hypervisor))
    conf = need(libvirt.qemu_conf, f"{hypervisor}: qemu.conf")
    keys = ("default_tls_x509_verify", "migrate_tls_x509_verify")
    wrong = [key for key in keys if conf.get(key, "1") != "1"]
    yield from libvirt_options(facts, hypervisor, {("qemu.conf", key): "1" for key in wrong})
    wanted = {"live_migration_scheme": "tls"}
    files = _files(hypervisor, cloud, facts)
    if not files.now.boolean("libvirt", "live_migration_with_native_tls", False):
        wanted["live_migration_with_native_tls"] = "True"
    yield from files.ensure("libvirt", wanted)


def _opened_keys(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Owner, group and mode of keys as a peer has them; what is absent or expires is to be issued.

    Raises:
        NeedsOperator: certificates are missing, or no peer shows how keys are.
    """
    host = facts.host(hypervisor)
    for path, told in _certificates(host).items():
        if not isinstance(told, Certificate) or told.stat.kind != "file" or _expires(told, host):
            raise NeedsOperator(
                f"{hypervisor}:{path}: a certificate is your authority's to issue; without it no migration works",
                f"openssl x509 -noout -enddate -in {path}",
            )
        if path.endswith("-key.pem") and not _is_qemus(told.stat):
            good = _as_peers_have_it(path, hypervisor, cloud, facts)
            yield Attributes(host=hypervisor, path=path, owner=good.owner, group=good.group, mode=good.mode)


def _certificates(host: HostFacts) -> dict[str, Certificate | Unreadable]:
    return need(libvirt_of(host).migration_certificates, f"{host.name}: certificates of QEMU")


def _expires(certificate: Certificate, host: HostFacts) -> bool:
    return certificate.expires is not None and certificate.expires < host.collected_at + MONTH


def _is_qemus(stat: File) -> bool:
    theirs = (stat.mode & 0o040 and stat.group != "root") or (stat.mode & 0o400 and stat.owner != "root")
    return bool(theirs) and not stat.mode & 0o007


def _as_peers_have_it(path: str, hypervisor: str, cloud: Cloud, facts: Facts) -> File:
    for name in cloud.hosts_with("nova-compute"):
        told = _certificates(facts.host(name)).get(path) if name != hypervisor else None
        if isinstance(told, Certificate) and told.stat.kind == "file" and _is_qemus(told.stat):
            return told.stat
    raise NeedsOperator(f"{hypervisor}: as whom QEMU reads {path} no other hypervisor shows", f"chmod 0640 {path}")


@repairs("lm.vnc_listen", disruption="safe")
def let_consoles_move(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Listen on every address, or where networks are told apart on the management's; guests keep theirs."""
    files = _files(hypervisor, cloud, facts)
    listen = files.now.get("vnc", "server_listen", "127.0.0.1", *FORMER_LISTEN)
    answer = service_of(facts.host(hypervisor), "nova-compute").addresses.get(LISTEN, (listen,))
    allowed = ANY_ADDRESS
    if releases.LISTEN_ADDRESS_REWRITTEN.reached(cloud, facts, hypervisor):
        allowed |= set(need(facts.host(hypervisor).addresses, f"{hypervisor}: addresses"))
    if not isinstance(answer, Unreadable) and set(answer) <= allowed:
        consoles = need(libvirt_of(facts.host(hypervisor)).graphics, f"{hypervisor}: consoles of running guests")
        raise NeedsOperator(
            "the option is right; guests keep the address that they were started with until they are rebooted hard",
            *(f"# domain {it.domain}: openstack server reboot --hard" for it in consoles if it.listen not in allowed),
        )
    yield from files.set("vnc", "server_listen", _console_address(hypervisor, cloud, facts), *FORMER_LISTEN)


def _console_address(hypervisor: str, cloud: Cloud, facts: Facts) -> str:
    networks = cloud.policy.management_networks
    if not networks:
        return "0.0.0.0"
    own = _own(facts.host(hypervisor))
    inside = sorted(it for it in own if any(ipaddress.ip_address(it) in network for network in networks))
    if len(inside) != 1:
        raise NeedsOperator(f"{hypervisor} has {inside or 'no address'} in policy.management_networks: which is it?")
    return inside[0]


manual(
    "what differs may have guests that rely on it: bring the odd hypervisor in line once it is empty; secrets and "
    "disks are healed by nova.secret.uniform and nova.config.images_type",
    "lm.parity",
)
manual(
    "a guest keeps the monitors that it was started with: reboot it hard or migrate it cold, before the last old "
    "monitor goes",
    "lm.mon_change",
)
manual(
    "it shows what lm.config.transport, lm.libvirt.listen, lm.parity and nova.secret.* explain: their repairs heal it; "
    "else read both hypervisors' nova-compute logs",
    "lm.ephemeral",
)
