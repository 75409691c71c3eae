"""Area sec.caps: cephx users have no more rights than they need."""

from __future__ import annotations

import pytest

from fixtures.caps import Caps
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.ceph import AuthEntity
from fixtures.facts.run import Facts
from fixtures.rights import caps_of, how_to_write, read_pools, tags, written_pools
from fixtures.targets import CephxUser


@pytest.mark.check("sec.caps.least_privilege", severity="critical", source="UM")
def test_user_has_no_more_rights_than_it_needs(
    auth: AuthEntity, cephx_user: CephxUser, facts: Facts, cloud: Cloud
) -> None:
    """No user has `allow *`, rights in every pool, the right to change the cluster, or rights in a foreign pool.

    Why: a hypervisor holds these keys; who breaks out of a guest has what they allow.
    """
    caps = caps_of(auth)
    problems = [f"everything on {service}" for service in caps.allows_all]
    problems += ["osd rights without a pool"] if caps.osd.reaches_every_pool else []
    problems += ["mgr rights without a pool"] if caps.mgr.reaches_every_pool and "mgr" not in caps.allows_all else []
    problems += ["may change the cluster"] if caps.mon.can_change_cluster else []
    problems += [f"mds {caps.mds}"] if caps.mds else []
    problems += [f"rights in pool {pool}" for pool in _foreign(caps, cephx_user, facts, cloud)]
    assert not problems, finding(
        auth.entity, found=problems, expected="only what its services need", remedy=how_to_write(auth)
    )


def _foreign(caps: Caps, user: CephxUser, facts: Facts, cloud: Cloud) -> list[str]:
    needed = written_pools(user, cloud) | read_pools(user, facts, cloud)
    every = [pool.name for pool in facts.ceph.pools if pool.name not in needed]
    foreign = [pool for pool in every if caps.osd.reaches(pool, tags(facts, pool))]
    # Nova needs to write images for its fast snapshots; Glance and backups write nobody else's pool.
    only_read = read_pools(user, facts, cloud) - written_pools(user, cloud) if user.uses <= {"glance", "backup"} else ()
    return foreign + [f"{pool} (to write)" for pool in sorted(only_read) if caps.osd.access(pool).write]
