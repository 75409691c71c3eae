"""Area ceph.pool: the pools of the integration."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.ceph import Pool
from fixtures.facts.run import Facts
from fixtures.integration import pools_in_use


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
