"""Whether a service would come back from a restart, and would be the same to what it has stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from fixtures.backing import CONTROL, backing_of
from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.host import HostFacts, Keyring, Service
from fixtures.facts.images import PoolContent
from fixtures.facts.network import Reached
from fixtures.facts.openstack import Server
from fixtures.facts.run import Facts
from fixtures.integration import config_of, has_local_locks, volume_host_name
from fixtures.keystone import TOKENS, unknown_login
from fixtures.oslo import OsloConfig
from fixtures.roles import role_on
from remediate.model import NeedsOperator

WITH_DATABASE: Final[tuple[Role, ...]] = (
    "glance-api",
    "cinder-api",
    "cinder-scheduler",
    "cinder-volume",
    "cinder-backup",
)
"""Roles whose service finds what it has stored by [database] connection."""
CHECK_TOKENS: Final[tuple[Role, ...]] = ("glance-api", "cinder-api", "nova-control", "neutron-server", "placement-api")
"""Roles whose service asks Keystone about each of its callers."""

TRIED_BY: Final[Mapping[Role, Role]] = {
    "nova-compute": "nova-compute",
    **{role: "nova-control" for role in CONTROL if role != "placement-api"},
}
"""Roles of Nova to those that try bus and databases by the same nova.conf."""


def refuse_unready(cloud: Cloud, facts: Facts, host: str, role: Role, *lines: str) -> None:
    """Leave a service as it is until what it needs of Ceph is there: pool, user, ceph.conf, keyring.

    Raises:
        NeedsOperator: something is missing; it is repaired first, and the next round goes on.
    """
    missing = list(_missing(cloud, facts, host, role))
    if missing:
        reason = f"{host}: {role} would not come back from a restart yet: {', '.join(missing)}"
        raise NeedsOperator(reason, *lines)


def cut_off(facts: Facts, host: str) -> str:
    """Return what of Ceph a host tried in vain, so that no service there would come back; "" where it got through."""
    told = facts.hosts.get(host)
    if isinstance(facts.ceph_cluster, Unreadable) or not isinstance(told, HostFacts):
        return ""
    if not isinstance(told.reached, Reached):
        return ""
    monitors = [monitor.addresses for monitor in facts.ceph_cluster.monitors]
    if monitors and all(_unreached(addresses, told.reached) for addresses in monitors):
        return "no monitor"
    osds = facts.ceph_cluster.osds.addresses
    lost = [f"osd.{number}" for number, addresses in sorted(osds.items()) if _unreached(addresses, told.reached)]
    return f"not {', '.join(lost)}" if lost else ""


def refuse_lost(cloud: Cloud, facts: Facts, host: str, role: Role) -> None:
    """Leave a service running that would not come back, or would then serve nobody, or not find what is its own.

    It runs with what its files said when it was started; what somebody changed in them since takes effect with
    whatever restart comes next, ours included.

    Raises:
        NeedsOperator: the way to Ceph is barred, or its files name another database, another service, or a login that
            Keystone, the message bus or a database refuses.
    """
    barred = cut_off(facts, host) if role in CLIENT_ROLES else ""
    if barred:
        raise NeedsOperator(
            f"{host} reaches {barred}, and a service that is started anew there would not come back: the network first"
        )
    other = _other_than_before(cloud, facts, host, role) or _disks_left_behind(cloud, facts, host, role)
    if other:
        raise NeedsOperator(f"{host}: {role} would not find its own when it is started anew: {other}")
    refused = _login_refused(facts, host, role)
    if refused:
        raise NeedsOperator(f"{host}: {role} would let nobody in once it is started anew: {refused}")
    lost = _leans_on_nothing(facts, host, role)
    if lost:
        raise NeedsOperator(f"{host}: {role} would not come back from a restart: {lost}")


def guests_of(host: HostFacts, servers: Sequence[Server]) -> list[Server]:
    """Return a hypervisor's servers whose first disk is Nova's own, and not a volume."""
    return [server for server in servers if host.is_called(server.host) and server.from_image]


def _login_refused(facts: Facts, host: str, role: Role) -> str:
    """Why Keystone would not answer the service, as far as that was seen."""
    told = facts.hosts.get(host)
    if role not in CHECK_TOKENS or not isinstance(told, HostFacts) or not _is_read(told, role):
        return ""
    config = config_of(told, role)
    section = config.get(TOKENS, "auth_section", TOKENS)
    tried = () if isinstance(told.tokens, Unreadable) else told.tokens or ()
    for login in tried:
        if f"{role}: [{section}]" in login.places and login.status == HTTPStatus.UNAUTHORIZED:
            return f"Keystone refuses {login.user} in {login.project}"
    try:
        return unknown_login(config, section, facts)
    except NotMeasured:
        return ""


def _leans_on_nothing(facts: Facts, host: str, role: Role) -> str:
    """Which of bus and databases a service of Nova's would not get into with what its files say, as far as tried."""
    told, tries = facts.hosts.get(host), TRIED_BY.get(role)
    if tries is None or not isinstance(told, HostFacts):
        return ""
    try:
        return ", ".join(one.problem for one in backing_of(told, tries) if one.is_out_of_reach)
    except NotMeasured:
        return ""


def _disks_left_behind(cloud: Cloud, facts: Facts, host: str, role: Role) -> str:
    """What nobody repairs: files name other disks than guests have in the pool, and some guests' are not there."""
    told, pool = facts.hosts.get(host), str(cloud.ceph.pools.vms)
    if role != "nova-compute" or not isinstance(told, HostFacts) or not _is_read(told, role):
        return ""
    config, stored = config_of(told, role), facts.contents.get(pool)
    place = config.get("libvirt", "images_type", "default"), config.get("libvirt", "images_rbd_pool", "rbd")
    servers = () if isinstance(facts.apis, Unreadable) else facts.apis.servers
    if place == ("rbd", pool) or not isinstance(stored, PoolContent) or isinstance(servers, Unreadable):
        return ""
    guests = guests_of(told, servers)
    inside = [guest.id for guest in guests if f"{guest.id}_disk" in stored.names]
    if not inside or len(inside) == len(guests):
        return ""
    return f"its files name other disks, and in {pool} are those of {len(inside)} of its {len(guests)} guests"


def _other_than_before(cloud: Cloud, facts: Facts, host: str, role: Role) -> str:
    told = facts.hosts.get(host)
    if role not in WITH_DATABASE or not isinstance(told, HostFacts):
        return ""
    if not _is_read(told, role):
        return ""
    config = config_of(told, role)
    if not config.get("database", "connection", "", ("DEFAULT", "sql_connection")):
        return "[database] connection is set nowhere, and it would begin with an empty file"
    return _other_volume_service(cloud, facts, told, config) if role == "cinder-volume" else ""


def _is_read(told: HostFacts, role: Role) -> bool:
    """Whether the service runs, and what its files say is known."""
    service = told.services.get(role)
    if not isinstance(service, Service) or service.unit.active != "active":
        return False
    return not isinstance(service.entries, Unreadable)


def _other_volume_service(cloud: Cloud, facts: Facts, told: HostFacts, config: OsloConfig) -> str:
    cluster = config.get("DEFAULT", "cluster", "")
    if cluster and has_local_locks(config):
        return f"[DEFAULT] cluster is {cluster}, with locks that only this host sees"
    if isinstance(facts.apis, Unreadable) or isinstance(facts.apis.volume_services, Unreadable):
        return ""
    known = {row.host for row in facts.apis.volume_services if row.host.endswith(f"@{cloud.cinder.backend}")}
    name = f"{volume_host_name(told, config, cloud)}@{cloud.cinder.backend}"
    if not known or name in known:
        return ""
    return f"its files name it {name}, and volumes are of {', '.join(sorted(known))}"


def _unreached(addresses: Sequence[str], reached: Reached) -> bool:
    tried = [reached.ports[address] for address in addresses if address in reached.ports]
    return bool(tried) and all(tried)


def _missing(cloud: Cloud, facts: Facts, host: str, role: Role) -> Iterator[str]:
    pools = cloud.ceph.pools
    by_role = {"glance-api": pools.images, "cinder-volume": pools.volumes, "nova-compute": pools.vms}
    pool = by_role.get(role, pools.backups)
    if pool and facts.ceph.pool(pool) is None:
        yield f"there is no pool {pool}"
    place = facts.host(host).of(role)
    if not isinstance(place.ceph_conf, Unreadable) and not place.ceph_conf.stat.exists:
        yield f"there is no {cloud.ceph.conf}"
    for user in cloud.users_of(role):
        yield from _missing_of(user, cloud, facts, place.keyrings.get(cloud.ceph.keyring(user)), host, role)


def _missing_of(
    user: str, cloud: Cloud, facts: Facts, keyring: Keyring | Unreadable | None, host: str, role: Role
) -> Iterator[str]:
    entity = f"client.{user}"
    auth = () if isinstance(facts.ceph.auth, Unreadable) else facts.ceph.auth
    known = {one.entity: one.key for one in auth}
    if known and entity not in known:
        yield f"there is no {entity}"
    elif isinstance(keyring, Keyring):
        account = role_on(cloud, host, role).account
        if not keyring.stat.exists:
            yield f"no keyring of {entity}"
        elif keyring.readable_by.get(account) is False:
            yield f"{account} may not read the keyring of {entity}"
        elif known and keyring.keys.get(entity) != known[entity]:
            yield f"the keyring of {entity} has another key than Ceph"
