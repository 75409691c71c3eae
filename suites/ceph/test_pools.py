"""Area ceph.pool: the pools of the integration."""

from __future__ import annotations

import pytest

from fixtures import inventory
from fixtures.checks import applies, finding
from fixtures.clients import ORDINARY, client_option, features, pool_override, users_of_pool
from fixtures.cloud import Cloud
from fixtures.crush import domains, separated_by, size_of
from fixtures.facts.base import need
from fixtures.facts.ceph import Pool
from fixtures.facts.run import Facts
from fixtures.integration import pools_in_use, replicates
from fixtures.targets import clients
from fixtures.trash import pools_with_trash, why_not_purged

PGS_OF_AN_OSD = range(50, 251)
FULLEST_QUOTA = 0.8


@pytest.mark.check("ceph.pool.exists", severity="critical", source="S0 S1 S4 RO")
def test_pool_exists(pool_name: str, facts: Facts) -> None:
    """Each pool that the cloud file names exists under exactly that name.

    Why: a service that is pointed at a pool which is not there fails at the first write.
    """
    names = [pool.name for pool in facts.ceph.pools]
    assert pool_name in names, finding(
        f"pool {pool_name}",
        found=f"only {', '.join(names)}",
        expected="the pool",
        remedy=f"ceph osd pool create {pool_name}; rbd pool init {pool_name}",
    )


@pytest.mark.check("ceph.pool.separate", severity="major", source="S0 CD CK")
def test_services_use_distinct_pools(facts: Facts, cloud: Cloud) -> None:
    """The services' live configurations use distinct pools, none of them Ceph's default `rbd`.

    Why: rights are given by pool; what shares a pool can read and delete the other's data.
    """
    used = pools_in_use(cloud, facts)
    owners: dict[str, set[str]] = {}
    for service, pool in used.items():
        owners.setdefault(pool, set()).add(service)
    shared = {pool: services for pool, services in owners.items() if len(services) > 1 or pool == "rbd"}
    assert not shared, finding(
        "pools in use",
        found=shared,
        expected="one pool a service, none named rbd",
        remedy="give each service a pool and migrate its data",
    )


@pytest.mark.check("ceph.pool.application", severity="major", source="RO HC KA-CI")
def test_pool_is_tagged_for_rbd(pool: Pool) -> None:
    """Each pool of the integration carries the `rbd` application tag, and no other.

    Why: an untagged pool raises POOL_APP_NOT_ENABLED and hides later warnings behind it.
    """
    assert pool.applications == {"rbd"}, finding(
        f"pool {pool.name}",
        found=f"tagged with {', '.join(sorted(pool.applications)) or 'nothing'}",
        expected="tagged with rbd only",
        remedy=f"ceph osd pool application enable {pool.name} rbd (disable what does not belong)",
    )


@pytest.mark.check("ceph.pool.rbd_init", severity="minor", source="RO HC")
def test_pool_is_initialised_for_rbd(pool: Pool) -> None:
    """Each pool was initialised by `rbd pool init`.

    Why: without it the first image creation must validate snapshot support, and fails for users with narrow caps.
    """
    assert need(pool.rbd_initialised, f"pool {pool.name}: rbd_info"), finding(
        f"pool {pool.name}",
        found="no rbd_info object",
        expected="an initialised pool",
        remedy=f"rbd pool init {pool.name}",
    )


@pytest.mark.check("ceph.pool.type", severity="major", source="RC")
def test_pool_is_replicated(pool: Pool) -> None:
    """Each pool is replicated; erasure coding serves only as a data pool behind one.

    Why: RBD keeps headers in omap, which erasure-coded pools do not have.
    """
    assert pool.type == "replicated", finding(
        f"pool {pool.name}",
        found=pool.type,
        expected="replicated",
        remedy="make a replicated pool and migrate; the type cannot be changed",
    )


@pytest.mark.check("ceph.pool.size", severity="critical", source="HC S4")
def test_pool_keeps_enough_copies(pool: Pool, cloud: Cloud) -> None:
    """Each pool keeps at least as many copies as policy.size asks for (three).

    Why: with two copies a failure during recovery loses data.
    """
    assert pool.size >= cloud.policy.size, finding(
        f"pool {pool.name}",
        found=f"size {pool.size}",
        expected=f"at least {cloud.policy.size}",
        remedy=f"ceph osd pool set {pool.name} size {cloud.policy.size} (moves data)",
    )


@pytest.mark.check("ceph.pool.min_size", severity="critical", source="practice")
def test_pool_accepts_writes_only_with_two_copies(pool: Pool, cloud: Cloud) -> None:
    """min_size is a majority of size, and never below policy.min_size (two).

    Why: a write acknowledged on a single copy is lost with that disk.
    """
    expected = max(pool.size // 2 + 1, cloud.policy.min_size)
    assert pool.min_size == expected, finding(
        f"pool {pool.name}",
        found=f"min_size {pool.min_size}",
        expected=expected,
        remedy=f"ceph osd pool set {pool.name} min_size {expected}",
    )


@pytest.mark.check("ceph.pool.autoscale", severity="minor", source="HC")
def test_pool_is_sized_by_the_autoscaler(pool: Pool, facts: Facts) -> None:
    """The autoscaler is on (or warns and has nothing to warn of), with one kind of target size.

    Why: hand-picked PG numbers are right for the day on which they were picked.
    """
    too_few_or_many = {c.code for c in facts.ceph.health_checks} & {"POOL_TOO_FEW_PGS", "POOL_TOO_MANY_PGS"}
    content = pool.autoscale_mode == "on" or (pool.autoscale_mode == "warn" and not too_few_or_many)
    assert content, finding(
        f"pool {pool.name}",
        found=f"pg_autoscale_mode {pool.autoscale_mode}",
        expected="on",
        remedy=f"ceph osd pool set {pool.name} pg_autoscale_mode on",
    )
    assert not (pool.target_size_ratio and pool.target_size_bytes), finding(
        f"pool {pool.name}",
        found="both target_size_ratio and target_size_bytes",
        expected="one of them",
        remedy=f"ceph osd pool set {pool.name} target_size_bytes 0",
    )


@pytest.mark.check("ceph.pool.pg_num", severity="minor", source="S0 S1 S4 HC")
def test_placement_groups_chosen_by_hand_are_chosen_well(pool: Pool, facts: Facts) -> None:
    """Where the autoscaler is off, pg_num is a power of two, pgp_num equal, and an OSD holds 50 to 250 of them.

    Why: uneven groups make uneven OSDs; too many cost memory, too few make a recovery slow.
    """
    applies(pool.autoscale_mode != "on", f"pool {pool.name}: the autoscaler is on")
    assert pool.pg_num.bit_count() == 1 and pool.pgp_num == pool.pg_num, finding(
        f"pool {pool.name}",
        found=f"pg_num {pool.pg_num}, pgp_num {pool.pgp_num}",
        expected="one power of two for both",
        remedy=f"ceph osd pool set {pool.name} pg_num N (moves data)",
    )
    osds = need(facts.ceph.osd_use, "ceph osd df")
    held = sum(osd.pgs for osd in osds) // max(1, sum(osd.weight > 0 for osd in osds))
    assert held in PGS_OF_AN_OSD, finding(
        f"pool {pool.name}",
        found=f"{held} placement groups on an OSD, of all pools",
        expected=f"{PGS_OF_AN_OSD[0]} to {PGS_OF_AN_OSD[-1]}",
        remedy=f"ceph osd pool set {pool.name} pg_num N (moves data), or pg_autoscale_mode on",
    )


@pytest.mark.check("ceph.crush.failure_domain", severity="major", source="practice S4")
def test_copies_lie_in_distinct_failure_domains(pool: Pool, facts: Facts, cloud: Cloud) -> None:
    """The pool's CRUSH rule puts each copy into another policy.failure_domain (host), of which there are enough.

    Why: copies that share a host are lost with it.
    """
    rule = next((r for r in need(facts.ceph.crush_rules, "CRUSH rules") if r.id == pool.crush_rule), None)
    assert rule is not None, finding(
        f"pool {pool.name}",
        found=f"rule {pool.crush_rule}, which is not there",
        expected="a rule",
        remedy="ceph osd pool set",
    )
    domain, separates = cloud.policy.failure_domain, separated_by(rule)
    assert size_of(separates) >= size_of(domain), finding(
        f"pool {pool.name}",
        found=f"rule {rule.name}, which separates copies by {separates or 'nothing'}",
        expected=f"by {domain}",
        remedy=f"ceph osd crush rule create-replicated NAME ROOT {domain}; "
        f"ceph osd pool set {pool.name} crush_rule NAME (moves data)",
    )
    there = domains(rule, domain, need(facts.ceph.osd_use, "ceph osd df"))
    assert len(there) >= pool.size, finding(
        f"pool {pool.name}",
        found=f"{len(there)} of kind {domain} that take data: {', '.join(sorted(there))}",
        expected=f"{pool.size} or more, a copy for each",
        remedy=f"add a {domain}, or give its OSDs their CRUSH weight back",
    )


@pytest.mark.check("ceph.pool.quota_full", severity="critical", source="HC CR")
def test_pool_is_not_near_its_quota(pool: Pool, facts: Facts) -> None:
    """No pool is full or near its quota, which is of client bytes, by 80 %.

    Why: at the quota every write fails, and guests see broken disks.
    """
    codes = [c for c in facts.ceph.health_checks if c.code in ("POOL_FULL", "POOL_NEAR_FULL")]
    assert not codes, finding(
        "pools",
        found=[c.message for c in codes],
        expected="none full",
        remedy="ceph health detail; raise quotas or add OSDs",
    )
    used = need(facts.ceph.usage, "ceph df").get(pool.name)
    parts = {
        "bytes": (used.stored if used else 0, pool.quota_bytes),
        "objects": (used.objects if used else 0, pool.quota_objects),
    }
    bad = {what: f"{has} of {quota}" for what, (has, quota) in parts.items() if quota and has >= quota * FULLEST_QUOTA}
    assert not bad, finding(
        f"pool {pool.name}",
        found=bad,
        expected=f"under {FULLEST_QUOTA:.0%} of its quota",
        remedy=f"ceph osd pool set-quota {pool.name} max_bytes N (0: none)",
    )


@pytest.mark.check("ceph.pool.snapmode", severity="major", source="practice")
def test_pool_has_no_snapshots_of_its_own(pool: Pool) -> None:
    """No pool has snapshots of the pool as a whole.

    Why: a pool has either those or snapshots of images; each snapshot of a volume or image then fails with EINVAL.
    """
    assert not pool.snapshots and "pool_snaps" not in pool.flags, finding(
        f"pool {pool.name}",
        found=f"pool snapshots: {', '.join(pool.snapshots) or 'the mode, by one that is gone'}",
        expected="none ever",
        remedy=f"rados -p {pool.name} rmsnap NAME (what it held is gone); a pool once in this mode is to be made anew",
    )


@pytest.mark.check("ceph.pool.default_features", severity="major", source="RC GS CR NR S1")
def test_new_images_have_all_features(pool: Pool, facts: Facts, cloud: Cloud) -> None:
    """New images get layering, exclusive-lock, object-map, fast-diff and deep-flatten, alike everywhere.

    The pool's newest image has them.

    Why: Glance, Cinder and Nova pass rbd_default_features on as it is; what it lacks no image has.
    """
    users = users_of_pool(cloud, pool.name)
    told = {
        f"{it.host}: client.{it.user}": client_option(facts, it, "rbd_default_features")
        for it in clients(cloud)
        if it.user in users
    }
    override = pool_override(facts.ceph, pool.name, "rbd_default_features")
    told |= {f"pool {pool.name}": override} if override is not None else {}
    found = {where: features(text) for where, text in told.items()}
    usual = max(found.values(), key=list(found.values()).count, default=ORDINARY)
    bad = {where: sorted(has) for where, has in found.items() if has != usual or not has >= ORDINARY}
    assert not bad, finding(
        f"clients of pool {pool.name}",
        found=bad,
        expected=f"{', '.join(sorted(ORDINARY | usual))} everywhere",
        remedy="ceph config rm client rbd_default_features; drop it from ceph.conf; rbd config pool rm",
    )
    if pool.name != cloud.ceph.pools.backups:  # whose service chooses features by itself
        _expect_all_features_of_the_newest(pool, facts)


def _expect_all_features_of_the_newest(pool: Pool, facts: Facts) -> None:
    content = inventory.content_of(facts, pool.name)
    newest = need(content.newest, f"newest image of pool {pool.name}") if content.newest else None
    lacking = ORDINARY - newest.features if newest else frozenset()
    assert newest is None or not lacking, finding(
        f"pool {pool.name}: {newest.name}, the newest image, of {newest.created}",
        found=f"without {', '.join(sorted(lacking))}",
        expected=", ".join(sorted(ORDINARY)),
        remedy="find the client that made it and has another ceph.conf; rbd feature enable "
        f"{pool.name}/{newest.name} exclusive-lock object-map fast-diff (deep-flatten has none but a new image)",
    )


@pytest.mark.check("ceph.pool.trash_purge", severity="major", source="LP1941815 LP1969643 LP1959186")
def test_trash_is_emptied_by_somebody(facts: Facts, cloud: Cloud) -> None:
    """Each pool whose service moves images to the trash has a purge schedule, which the manager has planned.

    Why: what users deleted takes its room for ever; nothing tells before the pool is full.
    """
    pools = pools_with_trash(facts, cloud)
    applies(bool(pools), "neither Cinder nor Glance moves images to the trash in these releases")
    schedules = need(facts.ceph.purge_schedules, "rbd trash purge schedule ls")
    bad = {f"pool {pool}": why for pool in sorted(pools) if (why := why_not_purged(pool, schedules))}
    assert not bad, finding(
        "trash",
        found=bad,
        expected="a schedule each",
        remedy="; ".join(f"rbd trash purge schedule add --pool {pool} 1d" for pool in sorted(pools)),
    )


@pytest.mark.check("ceph.pool.mirror_mode", severity="major", source="CD CR")
def test_volumes_are_mirrored_by_image(facts: Facts, cloud: Cloud) -> None:
    """Where Cinder replicates, the volumes pool is mirrored by image, to a peer, with every image in order.

    Why: Cinder switches mirroring on for each volume; in mode pool it is refused, without a peer nothing is copied.
    """
    applies(replicates(facts, cloud), "no replication_device in cinder.conf: Cinder does not replicate")
    name = cloud.ceph.pools.volumes
    pool = facts.ceph.pool(name)
    mirror = need(pool.mirror if pool else None, f"mirroring of pool {name}")
    wrong = {
        state: count
        for state, count in mirror.states.items()
        if state not in ("replaying", "stopped", "syncing") and count
    }
    assert mirror.mode == "image" and mirror.peers and not wrong, finding(
        f"pool {name}",
        found={"mode": mirror.mode, "peers": mirror.peers or "none", "images": wrong or "in order"},
        expected="mode image, a peer, images replaying (or stopped, where they are primary)",
        remedy=f"rbd mirror pool enable {name} image; rbd mirror pool status {name} --verbose",
    )
