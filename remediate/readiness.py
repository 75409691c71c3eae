"""Whether a service that opens RBD images would come back from a restart, as far as Ceph is concerned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fixtures.cloud import Cloud, Role
from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts, Keyring
from fixtures.facts.network import Reached
from fixtures.facts.run import Facts
from fixtures.roles import role_on
from remediate.model import NeedsOperator


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
