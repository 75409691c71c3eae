"""Area ceph.pool: the pools of the integration."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.clients import ORDINARY, client_option, features, pool_override, users_of_pool
from fixtures.cloud import Cloud
from fixtures.crush import domains, separated_by, size_of
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.ceph import CrushRule, Pool
from fixtures.facts.images import PoolContent
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.targets import clients, pools
from fixtures.trash import pools_with_trash, why_not_purged
from remediate.client_options import unset_for
from remediate.model import (
    ClusterOption,
    NeedsOperator,
    NewPool,
    Option,
    PoolApplication,
    PoolInit,
    PoolMirror,
    PoolOption,
    PoolOverride,
    PoolQuota,
    TrashSchedule,
)
from remediate.registry import manual, repairs

manual(
    "two services that share a pool are told apart by moving data: make a pool of its own for one of them, migrate "
    "(cinder migrate, rbd migration), then change its configuration and caps",
    "ceph.pool.separate",
)
manual(
    "a pool's type cannot be changed: make a replicated one under another name, move the images (rbd migration, or "
    "rbd deep cp), then rename both",
    "ceph.pool.type",
)
manual(
    "what the pool's snapshots hold is gone with them (rados -p POOL rmsnap NAME), and the pool refuses snapshots of "
    "images all the same: make a new pool under another name, move the images, then rename both",
    "ceph.pool.snapmode",
)

FULLEST_QUOTA = 0.8
ROOM_OVER_QUOTA = 0.6
"""To what part a raised quota is used, so that it is not full again soon."""
INTERVAL = "1d"


def _pool(facts: Facts, name: str) -> Pool:
    found = facts.ceph.pool(name)
    if found is None:
        raise NotMeasured(f"pool {name} does not exist (see ceph.pool.exists)")
    return found


# Making


@repairs("ceph.pool.exists", disruption="safe")
def make_the_pool(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[NewPool]:
    """Make an empty pool; never where data may lie under another name."""
    ceph, size = facts.ceph, cloud.policy.size
    if ceph.pool(pool_name):
        return
    _refuse_if_data_is_missed(pool_name, facts, cloud)
    _refuse_if_it_may_be_renamed(pool_name, facts, cloud)
    if ceph.require_osd_release < "octopus":
        line = f"ceph osd pool create {pool_name} PGS PGS replicated"
        raise NeedsOperator(f"how many placement groups it has is to be chosen in {ceph.require_osd_release}", line)
    if ceph.osds.up < size:
        raise NeedsOperator(f"{size} copies need {size} OSDs, and {ceph.osds.up} are up")
    least = max(size // 2 + 1, cloud.policy.min_size)
    yield NewPool(pool=pool_name, size=size, min_size=least, rule=_rule(facts, cloud, size).name)


def _refuse_if_data_is_missed(pool: str, facts: Facts, cloud: Cloud) -> None:
    missed = [f"{count} {kind}" for kind, count in _promised(pool, facts, cloud).items() if count]
    if missed:
        raise NeedsOperator(
            f"OpenStack has {' and '.join(missed)} that were in pool {pool}: find out where they are before an empty "
            "pool takes its place",
            "ceph osd pool ls detail",
            f"ceph osd pool rename NAME {pool}",
        )


def _promised(pool: str, facts: Facts, cloud: Cloud) -> dict[str, int]:
    """What rows of the APIs say to be in a pool."""
    named, apis, found = cloud.ceph.pools, facts.openstack, {}
    if pool == named.images:
        place = f"rbd://{facts.ceph.fsid}/{pool}/"
        found["images"] = sum(row.direct_url.startswith(place) for row in need(apis.images, "images"))
    if pool == named.volumes:
        rows = need(apis.volumes, "volumes")
        found["volumes"] = sum(row.backend == cloud.cinder.backend for row in rows)
    if pool == named.vms and _keeps_disks_on_rbd(facts, cloud):
        found["servers"] = sum(row.from_image for row in need(apis.servers, "servers"))
    if pool == named.backups:
        found["backups"] = len(need(apis.backups, "backups"))
    return found


def _keeps_disks_on_rbd(facts: Facts, cloud: Cloud) -> bool:
    configs = (config_of(facts.host(name), "nova-compute") for name in cloud.hosts_with("nova-compute"))
    return any(config.get("libvirt", "images_type") == "rbd" for config in configs)


def _refuse_if_it_may_be_renamed(pool: str, facts: Facts, cloud: Cloud) -> None:
    """In a cluster where nothing is integrated yet, pools of others are no sign of that."""
    ours = set(pools(cloud))
    there = {found.name for found in facts.ceph.pools}
    others = sorted(found.name for found in facts.ceph.pools if "rbd" in found.applications and found.name not in ours)
    if others and ours & there:
        raise NeedsOperator(
            f"the other pools are there, and {', '.join(others)} may be this one under another name",
            *(f"ceph osd pool rename {name} {pool}" for name in others),
            f"ceph osd pool create {pool}; rbd pool init {pool}",
        )


def _rule(facts: Facts, cloud: Cloud, copies: int) -> CrushRule:
    """The first rule that keeps as many copies apart as the policy says."""
    for rule in sorted(need(facts.ceph.crush_rules, "CRUSH rules"), key=lambda rule: rule.id):
        if _is_replicated(rule) and _keeps_apart(rule, facts, cloud, copies):
            return rule
    domain = cloud.policy.failure_domain
    raise NeedsOperator(
        f"no rule puts {copies} copies into distinct buckets of kind {domain} (policy.failure_domain)",
        f"ceph osd crush rule create-replicated NAME default {domain}",
    )


def _is_replicated(rule: CrushRule) -> bool:
    return any(step.startswith(("choose_firstn", "chooseleaf_firstn")) for step in rule.steps)


def _keeps_apart(rule: CrushRule, facts: Facts, cloud: Cloud, copies: int) -> bool:
    domain = cloud.policy.failure_domain
    there = domains(rule, domain, need(facts.ceph.osd_use, "ceph osd df"))
    return size_of(separated_by(rule)) >= size_of(domain) and len(there) >= copies


@repairs("ceph.pool.rbd_init", disruption="safe")
def initialise_the_pool(pool_name: str, facts: Facts) -> Iterator[PoolInit]:
    """Initialise it for RBD."""
    pool = _pool(facts, pool_name)
    if pool.type != "replicated" or pool.applications - {"rbd"}:
        raise NeedsOperator(f"pool {pool_name} is not one for RBD alone (see ceph.pool.type, ceph.pool.application)")
    if not need(pool.rbd_initialised, f"pool {pool_name}: rbd_info"):
        yield PoolInit(pool=pool_name)


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


# Copies and where they lie


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


@repairs("ceph.crush.failure_domain", disruption="disruptive")
def keep_copies_apart(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[PoolOption]:
    """Give the pool a rule that is there and keeps its copies apart; data moves."""
    pool = _pool(facts, pool_name)
    rule = _rule(facts, cloud, pool.size)
    if rule.id != pool.crush_rule:
        yield PoolOption(pool=pool_name, option="crush_rule", value=rule.name)


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


@repairs("ceph.pool.pg_num", disruption="disruptive", lags=True)
def leave_the_number_to_the_autoscaler(pool_name: str, facts: Facts) -> Iterator[PoolOption]:
    """Round the number, for the autoscaler leaves what is less than three times off, and switch that on.

    Where it only warns, somebody wants to choose.
    """
    pool = _pool(facts, pool_name)
    near = 1 << max(0, (pool.pg_num - 1).bit_length())
    if pool.autoscale_mode == "warn":
        raise NeedsOperator(
            f"pool {pool_name} is sized by hand (pg_autoscale_mode warn); groups that are split or merged move data",
            f"ceph osd pool set {pool_name} pg_num {near}",
            f"ceph osd pool set {pool_name} pg_autoscale_mode on",
        )
    yield from let_the_autoscaler_size_it(pool_name, facts)
    if pool.pg_num.bit_count() != 1:
        yield PoolOption(pool=pool_name, option="pg_num", value=str(near))


# Room


@repairs("ceph.pool.quota_full", disruption="disruptive")
def raise_the_quota(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[PoolQuota]:
    """Raise a quota that leaves too little, as far as the cluster has the room; a quota of none is none."""
    pool, used = _pool(facts, pool_name), need(facts.ceph.usage, "ceph df").get(pool_name)
    if used is None:
        raise NotMeasured(f"ceph df does not list pool {pool_name}")
    wanted = _wanted_room(used.stored, facts, pool_name, cloud)
    if pool.quota_bytes and _is_tight(used.stored, pool.quota_bytes, wanted):
        quota = max(int(used.stored / ROOM_OVER_QUOTA), used.stored + wanted + wanted // 10)
        if quota - used.stored > used.max_avail:
            raise NeedsOperator(f"pool {pool_name} would be promised what the cluster does not have: add OSDs first")
        yield PoolQuota(pool=pool_name, quota="max_bytes", value=quota)
    elif used.max_avail <= wanted:
        raise NeedsOperator("the cluster itself is short of room: add OSDs, or delete what can go", "ceph df detail")
    if pool.quota_objects and used.objects >= pool.quota_objects * FULLEST_QUOTA:
        yield PoolQuota(pool=pool_name, quota="max_objects", value=int(used.objects / ROOM_OVER_QUOTA) + 1)


def _wanted_room(stored: int, facts: Facts, pool: str, cloud: Cloud) -> int:
    content: PoolContent = need(facts.contents.get(pool), f"images of pool {pool}")
    return max(int(stored * cloud.policy.pool_headroom), content.largest)


def _is_tight(stored: int, quota: int, wanted: int) -> bool:
    return stored >= quota * FULLEST_QUOTA or quota - stored <= wanted


# What clients make in it


@repairs(
    "ceph.pool.default_features",
    disruption="safe",
    otherwise="clients that give new images more than Ceph's default were told so by somebody (rbd_default_features); "
    "an image that has less is its owner's: `rbd feature enable POOL/IMAGE exclusive-lock object-map fast-diff`; "
    "deep-flatten is had by a new image only",
)
def make_images_with_all_features(
    pool_name: str, facts: Facts, cloud: Cloud
) -> Iterator[Option | ClusterOption | PoolOverride]:
    """Take out what gives new images fewer features than Ceph's default; images that are there stay as they are."""
    option, users = "rbd_default_features", users_of_pool(cloud, pool_name)
    override = pool_override(facts.ceph, pool_name, option)
    if override is not None and not features(override) >= ORDINARY:
        yield PoolOverride(pool=pool_name, option=option, value=None)
    for client in clients(cloud):
        if client.user in users and not features(client_option(facts, client, option)) >= ORDINARY:
            yield from unset_for(client, option, facts, cloud)


@repairs("ceph.pool.trash_purge", disruption="safe")
def have_the_trash_purged(facts: Facts, cloud: Cloud) -> Iterator[TrashSchedule]:
    """Have the manager purge, once a day, what is past its deferment."""
    schedules = need(facts.ceph.purge_schedules, "rbd trash purge schedule ls")
    why = {pool: why_not_purged(pool, schedules) for pool in sorted(pools_with_trash(facts, cloud))}
    missing = [_pool(facts, pool).name for pool, reason in why.items() if reason == "no schedule"]
    if not missing and any(why.values()):
        raise NeedsOperator("the manager has schedules that it does not follow: rbd_support hangs", "ceph mgr fail")
    for pool in missing:
        yield TrashSchedule(pool=pool, interval=INTERVAL)


@repairs("ceph.pool.mirror_mode", disruption="disruptive")
def mirror_volumes_by_image(facts: Facts, cloud: Cloud) -> Iterator[PoolMirror]:
    """Mirror by image, as Cinder does it; the peer is another team's."""
    name = cloud.ceph.pools.volumes
    mirror = need(_pool(facts, name).mirror, f"mirroring of pool {name}")
    if not mirror.peers:
        raise NeedsOperator(
            f"pool {name} has no peer, which takes a token of the other cluster",
            f"rbd mirror pool enable {name} image",
            f"rbd mirror pool peer bootstrap create --site-name SITE {name}  # there",
            f"rbd mirror pool peer bootstrap import --site-name SITE {name} TOKEN-FILE",
        )
    if mirror.mode == "image":
        raise NeedsOperator("images are not in order", f"rbd mirror pool status {name} --verbose")
    yield PoolMirror(pool=name, mode="image")
