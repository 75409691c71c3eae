"""Area iscsi: units, files, who may log in, and libvirt's pools. Passwords and LUNs are for people to say."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.files import File
from fixtures.facts.iscsi import Target
from fixtures.facts.run import Facts
from fixtures.iscsi import (
    EVERYBODY,
    access_problems,
    addresses_of_gateways,
    existing_pool,
    exported,
    gateway_of,
    gateways,
    initiator_of,
    is_a_name,
    passwords,
    pool_of,
    section,
    target_of,
    wanted,
)
from fixtures.units import ENABLED, unit_problem
from remediate.model import Attributes, NeedsOperator, Restart, StoragePool, TgtAccess, Unit
from remediate.registry import manual, repairs

LOCAL = ("127.", "::1", "fe80:")
"""How addresses begin by which no other host comes."""

manual(
    "whether and when guests' disks move to librbd or NVMe-oF is yours to say; waive it until then",
    "iscsi.gw.maintenance",
)
manual(
    "a person carries the gateways' password to other hosts: virsh secret-define FILE (usage iscsi, private), "
    "then virsh secret-set-value UUID --file FILE --plain, and remove the file",
    "iscsi.secret",
)
manual(
    "who else is logged in, and with what right, is to be looked at: tgtadm --lld iscsi --op show --mode target, "
    "iscsiadm -m session; log that one out (iscsiadm -m node -T IQN -u, -o delete), then virsh pool-start",
    "iscsi.pool.session_conflict",
)
manual(
    "login and address of the gateways' API are yours to say: rbd_iscsi_api_user, rbd_iscsi_api_password, "
    "rbd_iscsi_api_url, rbd_iscsi_target_iqn in the back end's section; restart cinder-volume",
    "iscsi.cinder_driver",
)
manual(
    "which image a LUN is to show is yours to say: compare rbd info with the target's LUNs and virsh vol-list; where "
    "they differ by an old look only, virsh pool-refresh POOL",
    "iscsi.vol.inventory",
)


manual(
    "it shows what iscsi.gw.*, iscsi.secret and iscsi.pool.* explain: their repairs heal it; else read QEMU's log",
    "iscsi.vm.boot",
)


@repairs("iscsi.gw.services", disruption="safe")
def run_the_gateway(facts: Facts, iscsi_gateway: str) -> Iterator[Unit]:
    """Enable and start what is not."""
    stopped = [unit for unit in gateway_of(facts.host(iscsi_gateway)).units if unit_problem(unit)]
    if not stopped or any(unit.load != "loaded" for unit in stopped):
        raise NeedsOperator(
            f"{iscsi_gateway}: what is installed runs: another gateway, its portal or its name is yours to set up",
            "apt install tgt tgt-rbd, or ceph-iscsi and tcmu-runner",
            "gwcli, /iscsi-targets/IQN/gateways create NAME IP",
        )
    for unit in stopped:
        yield Unit(host=iscsi_gateway, unit=unit.name, enable=unit.enabled not in ENABLED)


@repairs("iscsi.gw.config", disruption="safe")
def close_files_with_passwords(cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Give them to root alone; logins, cephx users and what gateways differ in are a person's."""
    found = False
    for name, gateway in gateways(cloud, facts).items():
        config = need(gateway.config, f"{name}: iscsi-gateway.cfg") if gateway.config else None
        held = (config.stat,) if config else need(gateway.files, f"{name}: files of targets")
        for file in held:
            if file.owner != "root" or file.mode & 0o077:
                found = True
                yield _closed(name, file)
    if not found:
        raise NeedsOperator(
            "the gateways' cephx user, the API's login and certificate, and which gateway is right are yours to say",
            "ceph auth get-or-create client.igw mon 'profile rbd' osd 'profile rbd pool=POOL'",
            "tgt: bsopts id=igw; ceph-iscsi: cluster_client_name = client.igw",
        )


def _closed(host: str, file: File) -> Attributes:
    return Attributes(host=host, path=file.path, owner="root", mode=0o600)


@repairs("iscsi.gw.target", disruption="safe")
def let_in_the_initiators_only(cloud: Cloud, facts: Facts, iscsi_gateway: str) -> Iterator[TgtAccess | Restart]:
    """Of tgt: name the initiators in the target's access lists, and have it as it is kept; LUNs are a person's.

    It is only started anew where all that initiators are to have comes back with it.
    """
    gateway, told = gateway_of(facts.host(iscsi_gateway)), section(cloud)
    kept = None if told.served_by == "ceph-iscsi" else target_of(cloud, gateway.kept, "kept targets")
    live = target_of(cloud, gateway.live, "targets")
    if kept is None or not _is_whole(cloud, kept):
        raise NeedsOperator(
            f"{iscsi_gateway}: what the target exports, and by what password, is yours to say",
            "gwcli, or /etc/tgt/conf.d and tgt-admin -e",
        )
    if live is None or not _is_whole(cloud, live):
        yield Restart(host=iscsi_gateway, role=None, unit=gateway.units[0].name, disruption="disruptive")
    if live is not None and any(list(access_problems(cloud, one)) for one in (kept, live)):
        names = tuple(sorted(one.iqn for one in told.initiators.values()))
        yield TgtAccess(host=iscsi_gateway, target=told.target, names=names, addresses=_let_in(cloud, facts, kept))


def _is_whole(cloud: Cloud, target: Target) -> bool:
    """Whether it exports all that initiators are given, and asks for a password where it should."""
    return set(section(cloud).images) <= exported(target) and bool(target.users or not section(cloud).chap)


def _let_in(cloud: Cloud, facts: Facts, kept: Target) -> tuple[str, ...]:
    """Addresses and networks that stand there stay; those of all the initiators take the place of everybody's."""
    found = {one for one in kept.acl if not is_a_name(one)} - {EVERYBODY}
    if EVERYBODY in kept.acl or not found:
        every = (need(facts.host(name).addresses, f"{name}: addresses") for name in section(cloud).initiators)
        found |= {one for own in every for one in own if not one.startswith(LOCAL)}
    return tuple(sorted(found))


@repairs("iscsi.init.setup", "iscsi.init.multipath", disruption="safe")
def run_the_kernels_initiator(facts: Facts, iscsi_initiator: str) -> Iterator[Unit | Attributes]:
    """Enable and start iscsid and multipathd, and close iscsid.conf; names, paths and their options are a person's."""
    kernel = need(initiator_of(facts.host(iscsi_initiator)).kernel, f"{iscsi_initiator}: the kernel's initiator")
    stopped = [unit for unit in kernel.units if unit.load == "loaded" and unit_problem(unit)]
    for unit in stopped:
        yield Unit(host=iscsi_initiator, unit=unit.name, enable=unit.enabled not in ENABLED)
    conf = kernel.conf
    closed = isinstance(conf, File) and conf.exists and conf.mode & 0o077
    if isinstance(conf, File) and closed:
        yield _closed(iscsi_initiator, conf)
    if not stopped and not closed:
        raise NeedsOperator(
            f"{iscsi_initiator}: sessions of running guests hang on the name and on multipath's options",
            "/etc/iscsi/initiatorname.iscsi: the name that the gateways let in; restart iscsid",
            "/etc/multipath.conf: the section for LIO-ORG; multipathd reconfigure",
        )


@repairs("iscsi.pool.state", disruption="safe")
def run_the_pool(cloud: Cloud, facts: Facts, iscsi_initiator: str) -> Iterator[StoragePool]:
    """Define the pool where there is none, start it, and have libvirt start it."""
    name = wanted(cloud, iscsi_initiator).pool
    if pool_of(cloud, facts.host(iscsi_initiator)) is not None:
        yield StoragePool(host=iscsi_initiator, name=name)
    else:
        yield _leading(cloud, facts, iscsi_initiator)


@repairs("iscsi.pool.xml", "iscsi.direct", disruption="safe")
def lead_the_pool_to_the_target(cloud: Cloud, facts: Facts, iscsi_initiator: str) -> Iterator[StoragePool]:
    """Define the pool anew as it is to be after its next start; guests that run are not touched."""
    here = facts.host(iscsi_initiator)
    step, pool = _leading(cloud, facts, iscsi_initiator), existing_pool(cloud, here)
    is_so = {key: str(getattr(pool, key)) for key in step.source} == step.source and pool.type == step.type
    if is_so:
        raise NeedsOperator(
            f"{iscsi_initiator}: a second pool on the target, paths, and packages are yours to see to",
            "virsh pool-destroy POOL; virsh pool-undefine POOL",
            "apt install libvirt-daemon-driver-storage-iscsi-direct qemu-block-extra",
        )
    yield step


def _portal(cloud: Cloud, facts: Facts) -> str:
    """A portal's address: as ceph-iscsi tells them; of tgt, which listens at all, that of a gateway with but one."""
    told = (target_of(cloud, it.live, f"{name}: targets") for name, it in gateways(cloud, facts).items())
    portals = {one for target in told if target for of_one in target.portals.values() for one in of_one}
    if not portals:
        every = (need(facts.host(name).addresses, f"{name}: addresses") for name in cloud.hosts_with("iscsi-gateway"))
        usable = ([one for one in own if not one.startswith(LOCAL)] for own in every)
        portals = {own[0] for own in usable if len(own) == 1}
    if not portals:
        raise NeedsOperator("by which of the gateways' addresses initiators come to them is yours to say")
    return min(portals)


def _leading(cloud: Cloud, facts: Facts, host: str) -> StoragePool:
    """The pool as the cloud file has it; at the gateway that it leads to, else at a portal, its user as it is."""
    mine, told = wanted(cloud, host), section(cloud)
    pool = pool_of(cloud, facts.host(host))
    own = addresses_of_gateways(cloud, facts)
    resolved = pool.addresses if pool and isinstance(pool.addresses, tuple) else ()
    where = pool.host if pool and set(resolved) & own else _portal(cloud, facts)
    source = {"host": where, "port": str(told.port), "target": told.target}
    if mine.direct:
        source["initiator"] = mine.iqn
    if told.chap:
        known = sorted(passwords(cloud, facts))
        users = [pool.user] if pool and pool.user in known else known
        if len(users) != 1:
            raise NeedsOperator(f"{host}: which of the gateways' users ({', '.join(users) or 'none'}) is yours to say")
        source |= {"user": users[0], "secret": told.secret}
    return StoragePool(host=host, name=mine.pool, type="iscsi-direct" if mine.direct else "iscsi", source=source)
