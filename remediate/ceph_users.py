"""Area ceph.auth, sec.caps: the cephx users."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from fixtures.caps import OSD_PROFILES, CapsSyntaxError, MgrCaps, MonCaps, OsdCaps, OsdGrant, OsdProfile
from fixtures.caps import Caps as Parsed
from fixtures.clients import client_option, pool_override, users_of_pool
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.ceph import AuthEntity
from fixtures.facts.run import Facts
from fixtures.integration import volumes_user
from fixtures.rights import caps_of, read_pools, tags, written_pools
from fixtures.targets import CephxUser, auth_of, cephx_users, clients, pools
from remediate.client_options import unset_for
from remediate.model import Caps, ClusterOption, NeedsOperator, Option, PoolOverride, caps_line
from remediate.registry import manual, repairs

manual(
    "key, keyring, caps and ceph.conf have checks, and so repairs, of their own; where those pass, it is the network "
    "or the account: `runuser -u ACCOUNT -- ceph --id USER -s` on that host says which",
    "ceph.auth.login",
)

BREAKS_LOCKS = {"rbd_blocklist_on_break_lock": "true", "rbd_blocklist_expire_seconds": "0"}
MISSPELT = 0.8
"""How alike a profile must be to one that there is."""

# Caps: what is there stays, what is missing is added, all is written at once.


def full_caps(entity: AuthEntity, user: CephxUser, facts: Facts, cloud: Cloud) -> dict[str, str]:
    """Return all caps of a user: those that it has, without what grants nothing, and what its services lack.

    Raises:
        NeedsOperator: what it has does not parse, so that nothing can be added to it without a guess.
    """
    try:
        has = Parsed.of(entity.caps)
    except CapsSyntaxError as error:
        wanted = caps_line(needed_caps(user, facts, cloud))
        raise NeedsOperator(
            f"{error}: rights that cannot be read are not overwritten", f"ceph auth caps {entity.entity} {wanted}"
        ) from None
    has, entity = _without_the_void(has, entity, facts, cloud)
    added = {
        "mon": _lacking_mon(has, facts),
        "osd": _lacking_osd(has, user, facts, cloud),
        "mgr": _lacking_mgr(has, user, cloud),
    }
    services = dict.fromkeys([*entity.caps, *added])
    texts = {
        name: ", ".join(
            [entity.caps.get(name, "").strip().rstrip(",")] * bool(entity.caps.get(name)) + added.get(name, [])
        )
        for name in services
    }
    return {name: text for name, text in texts.items() if text}


def _without_the_void(has: Parsed, entity: AuthEntity, facts: Facts, cloud: Cloud) -> tuple[Parsed, AuthEntity]:
    """Leave out grants in pools that are gone, and by misspelt profiles; what is only not understood stays."""
    gone = {name for name in has.pools_named if not facts.ceph.pool(name)} - set(pools(cloud))
    osd = tuple(grant for grant in has.osd.grants if not _is_void(grant, gone))
    mgr = tuple(grant for grant in has.mgr.grants if not MgrCaps((grant,)).pools_named & gone)
    texts = dict(entity.caps)
    if osd != has.osd.grants:
        texts["osd"] = str(OsdCaps(osd))
    if mgr != has.mgr.grants:
        texts["mgr"] = str(MgrCaps(mgr))
    return Parsed.of(texts), entity.model_copy(update={"caps": texts})


def _is_void(grant: OsdGrant | OsdProfile, gone: set[str]) -> bool:
    if OsdCaps((grant,)).pools_named & gone:
        return True
    known = list(OSD_PROFILES)
    if not isinstance(grant, OsdProfile) or grant.name in known:
        return False
    return bool(get_close_matches(grant.name, known, n=1, cutoff=MISSPELT))


def needed_caps(user: CephxUser, facts: Facts, cloud: Cloud) -> dict[str, str]:
    """Return what the services of a user need, and no more."""
    written = written_pools(user, cloud)
    read = read_pools(user, facts, cloud) - written
    osd = [f"profile rbd pool={pool}" for pool in sorted(written)]
    osd += [f"profile rbd-read-only pool={pool}" for pool in sorted(read)]
    mgr = [f"profile rbd pool={pool}" for pool in sorted(written)]
    return {"mon": "profile rbd", "osd": ", ".join(osd), "mgr": ", ".join(mgr)}


def _lacking_mon(has: Parsed, facts: Facts) -> list[str]:
    complete = len(has.mon.blocklist_commands()) != 1 and all(has.mon.can_blocklist(major) for major in (15, 17))
    return [] if complete else ["profile rbd"]


def _lacking_osd(has: Parsed, user: CephxUser, facts: Facts, cloud: Cloud) -> list[str]:
    written = set(written_pools(user, cloud))
    if user.id == _volumes_user(cloud, facts):
        written.add(cloud.ceph.pools.volumes)
    if "nova" in user.uses and cloud.policy.fast_snapshot:
        written.add(cloud.ceph.pools.images)
    found = {
        pool: has.osd.access(pool, applications=tags(facts, pool)) for pool in written | read_pools(user, facts, cloud)
    }
    writes = [f"profile rbd pool={pool}" for pool in sorted(written) if not found[pool].rbd_read_write]
    reads = sorted(read_pools(user, facts, cloud) - written)
    return writes + [
        f"profile rbd-read-only pool={pool}"
        for pool in reads
        if not (found[pool].can_clone_from and found[pool].rbd_read_only)
    ]


def _lacking_mgr(has: Parsed, user: CephxUser, cloud: Cloud) -> list[str]:
    written = written_pools(user, cloud)
    return [f"profile rbd pool={pool}" for pool in sorted(written - has.mgr.rbd_pools(written))]


def _volumes_user(cloud: Cloud, facts: Facts) -> str:
    """As configured, where the cloud file has that user for volumes; a name that is wrong there gets no rights."""
    users = cloud.ceph.users
    try:
        named = volumes_user(cloud, facts)
    except NotMeasured:
        return users.cinder
    return named if named in (users.cinder, users.nova) else users.cinder


def _complete(user: CephxUser, facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    entity = auth_of(facts, user.entity)
    caps = full_caps(entity, user, facts, cloud)
    if caps != entity.caps:
        yield Caps(entity=user.entity, caps=caps)


@repairs("ceph.auth.mon_blocklist", "ceph.auth.blocklist_cmd_names", "ceph.auth.mgr_profile", disruption="safe")
def complete_the_users_caps(cephx_user: CephxUser, facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Add what is missing to all that is there."""
    yield from _complete(cephx_user, facts, cloud)


def _of_use(use: str, facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    for user in cephx_users(cloud):
        if use in user.uses:
            yield from _complete(user, facts, cloud)


@repairs("ceph.auth.glance.osd", "ceph.auth.glance.children_read", disruption="safe")
def complete_glances_caps(facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Add what Glance's user lacks."""
    yield from _of_use("glance", facts, cloud)


@repairs("ceph.auth.cinder.osd", disruption="safe")
def complete_cinders_caps(facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Add what Cinder's user lacks."""
    yield from _of_use("cinder", facts, cloud)


@repairs("ceph.auth.nova.osd", "ceph.auth.nova.images_write", disruption="safe")
def complete_novas_caps(facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Add what Nova's user lacks."""
    yield from _of_use("nova", facts, cloud)


@repairs("ceph.auth.nova.volumes", disruption="safe")
def complete_the_volumes_users_caps(facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Add what the user lacks as whom guests open volumes."""
    name = _volumes_user(cloud, facts)
    if name != volumes_user(cloud, facts):
        raise NeedsOperator(
            f"cinder.conf names client.{volumes_user(cloud, facts)} for volumes and the cloud file client.{name}: "
            "that is repaired first (see cinder.config.rbd_user)"
        )
    for user in cephx_users(cloud):
        if user.id == name:
            yield from _complete(user, facts, cloud)


@repairs("ceph.auth.backup.osd", disruption="safe")
def complete_the_backup_users_caps(facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Add what the backup user lacks."""
    yield from _of_use("backup", facts, cloud)


@repairs("ceph.auth.user_exists", disruption="safe")
def make_the_user(cephx_user: CephxUser, facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Make the user, with what its services need; its keyrings and secrets follow in the next round."""
    yield Caps(entity=cephx_user.entity, caps=needed_caps(cephx_user, facts, cloud))


@repairs("ceph.auth.caps_valid", disruption="safe")
def leave_out_what_grants_nothing(cephx_user: CephxUser, facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Leave out what names a pool that is gone or misspells a profile, and add what was meant."""
    missing = sorted(name for name in pools(cloud) if not facts.ceph.pool(name))
    steps = list(_complete(cephx_user, facts, cloud))
    if not steps:
        raise NeedsOperator(
            f"a pool of the integration is missing ({', '.join(missing)}), see ceph.pool.exists"
            if missing
            else "the caps name a profile that is like none known: whether it is of a newer Ceph is yours to know",
            f"ceph auth get {cephx_user.entity}",
        )
    yield from steps


@repairs("ceph.auth.blocklist_expire", disruption="safe")
def blocklist_for_as_long_as_ceph_does(facts: Facts, cloud: Cloud) -> Iterator[Option | ClusterOption | PoolOverride]:
    """Take the options out of ceph.conf, of the monitors' keeping and of pools; guests follow at their next start."""
    for option, wanted in BREAKS_LOCKS.items():
        for client in clients(cloud):
            if client_option(facts, client, option) != wanted:
                yield from unset_for(client, option, facts, cloud)
        for pool in facts.ceph.pools:
            ours = bool(users_of_pool(cloud, pool.name))
            if ours and (pool_override(facts.ceph, pool.name, option) or wanted) != wanted:
                yield PoolOverride(pool=pool.name, option=option, value=None)


# Rights that go too far: taken away only where nothing else can hang on them.


@repairs("sec.caps.least_privilege", disruption="disruptive")
def leave_only_what_is_needed(cephx_user: CephxUser, facts: Facts, cloud: Cloud) -> Iterator[Caps]:
    """Take away rights that no service of the user needs; sessions that are open keep theirs until they end.

    What a user lacks comes with it; where a check misses that, it is added first, and this follows in the next round.
    """
    if cephx_user.id in ("admin", cloud.ceph.access.id):
        raise NeedsOperator(f"{cephx_user} is an administrator's: give the services users of their own")
    entity = auth_of(facts, cephx_user.entity)
    narrow = _narrow(entity, cephx_user, facts, cloud)
    foreign = _foreign_rbd_pools(entity, facts, cloud)
    if foreign:
        raise NeedsOperator(
            f"its rights reach {', '.join(foreign)}, which the cloud file does not name: a service of yours may use "
            "that (another back end of Cinder's, say)",
            f"ceph auth caps {entity.entity} {caps_line(narrow)}",
        )
    if narrow != entity.caps:
        yield Caps(entity=entity.entity, caps=narrow)


def _foreign_rbd_pools(entity: AuthEntity, facts: Facts, cloud: Cloud) -> list[str]:
    """Pools of others that the user can use: those that it is given by name, else those for RBD."""
    osd, ours = Parsed.of(entity.caps).osd, set(pools(cloud))
    there = [pool for pool in facts.ceph.pools if pool.name not in ours]
    return [
        pool.name
        for pool in there
        if pool.name in osd.pools_named
        or ("rbd" in pool.applications and osd.reaches(pool.name, tags(facts, pool.name)))
    ]


def _narrow(entity: AuthEntity, user: CephxUser, facts: Facts, cloud: Cloud) -> dict[str, str]:
    """Return the caps without what goes too far, and with what is lacking then."""
    has = caps_of(entity)
    kept = {
        "mon": str(MonCaps(tuple(one for one in has.mon.grants if not MonCaps((one,)).can_change_cluster))),
        "osd": str(OsdCaps(tuple(one for one in has.osd.grants if not _goes_too_far(one, user, facts, cloud)))),
        "mgr": str(MgrCaps(tuple(one for one in has.mgr.grants if not MgrCaps((one,)).reaches_every_pool))),
    }
    texts = {service: text for service, text in kept.items() if text}
    return full_caps(entity.model_copy(update={"caps": texts}), user, facts, cloud)


def _goes_too_far(grant: OsdGrant | OsdProfile, user: CephxUser, facts: Facts, cloud: Cloud) -> bool:
    osd = OsdCaps((grant,))
    written = written_pools(user, cloud)
    read = read_pools(user, facts, cloud) - written
    foreign = {pool.name for pool in facts.ceph.pools} - written - read
    # Nova writes images for its fast snapshots; Glance and backups write nobody else's pool.
    only_read = read if user.uses <= {"glance", "backup"} else frozenset()
    return (
        osd.reaches_every_pool
        or any(osd.reaches(pool, tags(facts, pool)) for pool in foreign)
        or any(osd.access(pool, applications=tags(facts, pool)).write for pool in only_read)
    )
