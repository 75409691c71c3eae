"""Area cap: room in Ceph, what is promised of it, and what the hosts keep for it."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.integration import OSD_RESERVE, backend_option, config_of, memory_of_osds
from fixtures.inventory import content_of
from remediate.ceph_pools import raise_the_quota
from remediate.model import Balancer, NeedsOperator, ObjectMap, Option, PoolQuota
from remediate.options import Configuration
from remediate.registry import manual, repairs

manual(
    "a fuller cluster than the policy wants needs OSDs, or less in it (`ceph osd df tree`, `ceph df detail`); where "
    "one OSD is fuller than the others, `ceph balancer on`",
    "cap.osd_fullness",
)
manual(
    "where writes got slow is found by comparing: one host or all (its link, MTU, switch port), one OSD or all (`ceph "
    "osd perf`, the disk's own errors), scrubs and recovery under way (`ceph -s`)",
    "cap.bench",
)


RESERVED = 5
"""Percent of the pool that Cinder keeps back."""


@repairs("cap.overcommit", disruption="safe")
def promise_what_the_policy_says(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """State the policy's ratio where the back end states none, and keep some percent back."""
    ratio, backend = cloud.policy.volumes_overcommit, cloud.cinder.backend
    steps: list[Option] = []
    for name in cloud.hosts_with("cinder-volume"):
        files = Configuration(cloud, facts, name, "cinder-volume")
        if not backend_option(files.now, cloud, "max_over_subscription_ratio") and ratio:
            steps += files.set(backend, "max_over_subscription_ratio", f"{ratio:g}")
        if int(backend_option(files.now, cloud, "reserved_percentage", "0")) <= 0 and ratio:
            steps += files.set(backend, "reserved_percentage", str(RESERVED))
    if not steps:
        raise NeedsOperator(
            "how much of a pool is promised is a decision: say so (policy.volumes_overcommit, policy.vms_overcommit), "
            "or add OSDs",
            f"[{backend}]",
            "max_over_subscription_ratio = …",
            f"reserved_percentage = {RESERVED}",
        )
    yield from steps


@repairs("cap.pool_headroom", disruption="disruptive", lags=True)
def make_room_in_the_pool(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[PoolQuota]:
    """Raise the quota, where it is that which leaves too little room."""
    yield from raise_the_quota(pool_name, facts, cloud)


@repairs("cap.balance", disruption="disruptive")
def switch_the_balancer_on(facts: Facts) -> Iterator[Balancer]:
    """Have the manager fill the OSDs alike; data moves."""
    if facts.ceph.min_client < "luminous":
        raise NeedsOperator(
            "the balancer's mode upmap needs clients of luminous at the least (see ceph.compat.min_client)",
            "ceph balancer mode upmap; ceph balancer on",
        )
    if not need(facts.ceph.balancer, "ceph balancer status").active:
        yield Balancer(mode="upmap")


@repairs("cap.object_map", disruption="disruptive")
def rebuild_object_maps(pool_name: str, facts: Facts) -> Iterator[ObjectMap]:
    """Make invalid maps anew, of images that nobody has open."""
    content = content_of(facts, pool_name)
    watchers = need(content.watchers, f"watchers of images in {pool_name}")
    invalid = sorted(content.invalid or ())
    idle = [name for name in invalid if name not in watchers and name not in content.lockers]
    if invalid and not idle:
        raise NeedsOperator(
            "the images are in use; while they are not:",
            *(f"rbd object-map rebuild {pool_name}/{name}" for name in invalid),
        )
    for name in idle:
        yield ObjectMap(pool=pool_name, image=name, image_id=content.names[name])


@repairs("cap.host_minimum", disruption="safe")
def reserve_memory_for_osds(openstack_host: str, facts: Facts, cloud: Cloud) -> Iterator[Option]:
    """Have Nova leave alone what the host's OSDs take; memory and processors are bought."""
    host, roles = facts.host(openstack_host), cloud.hosts[openstack_host].roles
    if "nova-compute" in roles and "ceph-osd" in roles:
        wanted = -(-int(memory_of_osds(facts, host) * OSD_RESERVE) // (1 << 20))
        key = "reserved_host_memory_mb"
        if config_of(host, "nova-compute").integer("DEFAULT", key, 512) < wanted:
            yield from Configuration(cloud, facts, openstack_host, "nova-compute").set("DEFAULT", key, str(wanted))
            return
    raise NeedsOperator(f"{openstack_host} has less memory or fewer processors than policy.min_host_… asks for")
