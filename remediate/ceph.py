"""Area ceph: pools and cephx users."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.caps import Caps as Parsed
from fixtures.caps import CapsSyntaxError
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.ceph import AuthEntity, Pool
from fixtures.facts.run import Facts
from fixtures.integration import volumes_user
from fixtures.rights import read_pools, tags, written_pools
from fixtures.targets import CephxUser, auth_of, cephx_users
from remediate.model import Caps, NeedsOperator, OsdFlag, PoolApplication, PoolOption
from remediate.registry import repairs


def _pool(facts: Facts, name: str) -> Pool:
    found = facts.ceph.pool(name)
    if found is None:
        raise NotMeasured(f"pool {name} does not exist (see ceph.pool.exists)")
    return found


@repairs("ceph.pool.application", disruption="safe")
def tag_pool_for_rbd(pool_name: str, facts: Facts) -> Iterator[PoolApplication]:
    """Add the tag; a pool of another application is left alone."""
    others = _pool(facts, pool_name).applications - {"rbd"}
    if others:
        raise NeedsOperator(
            f"pool {pool_name} belongs to {', '.join(sorted(others))}: taking that tag away could stop its users",
            *(
                f"ceph osd pool application disable {pool_name} {name} --yes-i-really-mean-it"
                for name in sorted(others)
            ),
        )
    yield PoolApplication(pool=pool_name, application="rbd")


@repairs("ceph.pool.size", disruption="disruptive")
def keep_more_copies(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[PoolOption]:
    """Raise the number of copies, where there are OSDs for it; data moves."""
    wanted = cloud.policy.size
    if facts.ceph.osds.up < wanted:
        raise NeedsOperator(f"{wanted} copies need {wanted} OSDs, and {facts.ceph.osds.up} are up")
    if _pool(facts, pool_name).size < wanted:
        yield PoolOption(pool=pool_name, option="size", value=str(wanted))


@repairs("ceph.pool.min_size", disruption="disruptive")
def demand_a_majority(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[PoolOption]:
    """Set min_size to a majority of size, while all copies are there; I/O stops below it."""
    pool = _pool(facts, pool_name)
    wanted = max(max(pool.size, cloud.policy.size) // 2 + 1, cloud.policy.min_size)
    unclean = {state: count for state, count in facts.ceph.pg_states.items() if "degraded" in state or "down" in state}
    if unclean:
        raise NeedsOperator(
            f"placement groups are degraded ({unclean}): a higher min_size now would stop I/O",
            f"ceph osd pool set {pool_name} min_size {wanted}",
        )
    if pool.min_size != wanted:
        yield PoolOption(pool=pool_name, option="min_size", value=str(wanted))


@repairs("ceph.pool.autoscale", disruption="disruptive")
def let_the_autoscaler_size_it(pool_name: str, facts: Facts) -> Iterator[PoolOption]:
    """Switch the autoscaler on; data may move."""
    pool = _pool(facts, pool_name)
    if pool.target_size_ratio and pool.target_size_bytes:
        raise NeedsOperator(
            f"pool {pool_name} has two kinds of target size, and which one is meant is yours to say",
            f"ceph osd pool set {pool_name} target_size_bytes 0",
            f"ceph osd pool set {pool_name} target_size_ratio 0",
        )
    yield PoolOption(pool=pool_name, option="pg_autoscale_mode", value="on")


FORGOTTEN_FLAGS = frozenset({"noout", "norebalance", "norecover", "nobackfill", "noscrub", "nodeep-scrub"})
"""Set for a maintenance; those that stop clients or OSDs were set for a reason that is worth a look."""


@repairs("ceph.osdmap.flags", disruption="disruptive")
def take_back_forgotten_flags(facts: Facts) -> Iterator[OsdFlag]:
    """Unset what maintenance leaves behind; recovery may begin."""
    for flag in sorted(facts.ceph.osd_flags & FORGOTTEN_FLAGS):
        yield OsdFlag(flag=flag, on=False)


# Caps: what is there stays, what is missing is added, all is written at once.


def full_caps(entity: AuthEntity, user: CephxUser, facts: Facts, cloud: Cloud) -> dict[str, str]:
    """Return all caps of a user: those that it has and what its services lack.

    Raises:
        NeedsOperator: what it has does not parse, so that nothing can be added to it without a guess.
    """
    try:
        has = Parsed.of(entity.caps)
    except CapsSyntaxError as error:
        wanted = needed_caps(user, facts, cloud)
        raise NeedsOperator(
            f"{error}: rights that cannot be read are not overwritten",
            f"ceph auth caps {entity.entity} " + " ".join(f"{name} '{text}'" for name, text in wanted.items()),
        ) from None
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
    try:
        return volumes_user(cloud, facts)
    except NotMeasured:
        return cloud.ceph.users.cinder


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
    name = volumes_user(cloud, facts)
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
