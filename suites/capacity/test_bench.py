"""Area cap: what Ceph gives to its clients, against what it gave when all was well."""

from __future__ import annotations

import re

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.host import HostFacts
from fixtures.reach import Hosts, Reach
from fixtures.rights import written_pools
from fixtures.scratch.plugin import Run
from fixtures.scratch.removal import expect_none, remove_all
from fixtures.scratch.timing import Measure
from fixtures.targets import cephx_users, clients

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.applies_if(
        lambda cloud: cloud.journeys.baseline_iops is not None,
        "the cloud file has no journeys.baseline_iops to compare with",
    ),
    pytest.mark.xdist_group("bench"),
]

SHARE = 0.5
SIZE_MIB, WRITTEN_MIB = 64, 16
WRITES = WRITTEN_MIB * 1024 // 4
START_SECONDS = 5.0
TIMED_OUT = 124
REMOVAL_SECONDS = 90.0
"""The watch of a bench that was cut off has to time out first."""
BENCH = (
    "timeout %s rbd -c %s --id %s bench --io-type write --io-size 4K --io-total %s --io-pattern rand --rbd-cache=false "
    "%s/%s"
)


@pytest.mark.check("cap.bench", severity="info", source="practice")
def test_host_writes_as_fast_as_it_did(
    client_host: HostFacts, cloud: Cloud, hosts: Hosts, scratch_run: Run, measure: Measure
) -> None:
    """A host that opens RBD images writes 4 KiB at random at least half as often a second as journeys.baseline_iops.

    Why: a link at a tenth of its speed, a wrong MTU or a slow disk raises no health warning; guests feel it first.
    """
    name = client_host.name
    pool, user = _place(cloud, name)
    wanted = SHARE * float(cloud.journeys.baseline_iops or 0)
    seconds = START_SECONDS + WRITES / wanted
    disk = scratch_run.ledger.intend("disk", pool)
    try:
        rate = _rate(hosts[name], (cloud.ceph.conf, user), pool, disk.name, seconds)
    finally:
        left = remove_all(scratch_run.site, scratch_run.ledger, (disk,), REMOVAL_SECONDS)
    measure("random writes of 4 KiB", round(rate), "1/s")
    assert rate >= wanted, finding(
        f"{name}, client.{user} in pool {pool}",
        found=f"no more than {rate:.0f} writes of 4 KiB a second",
        expected=f"at least {wanted:g}, half of journeys.baseline_iops",
        remedy="compare with the other hosts; `ip -s link`, the MTU on the way, `ceph osd perf` show where it is slow",
    )
    expect_none(left, f"image {pool}/{disk.name}")


def _place(cloud: Cloud, host: str) -> tuple[str, str]:
    """Return a pool that the host's services write, that of the volumes if they do, and the user who does."""
    users = {user.id: user for user in cephx_users(cloud)}
    places = [
        (pool, client.user)
        for client in clients(cloud)
        if client.host == host
        for pool in written_pools(users[client.user], cloud)
    ]
    return min(places, key=lambda place: (place[0] != cloud.ceph.pools.volumes, place))


def _rate(host: Reach, login: tuple[str, str], pool: str, image: str, seconds: float) -> float:
    """Return how many writes a second a new image took; where they were not done in time, what it took at most."""
    made = host.run("rbd -c %s --id %s create --size %s %s/%s", *login, f"{SIZE_MIB}M", pool, image)
    if made.rc:
        raise NotMeasured(f"{host.host}: no image in pool {pool} (see ceph.auth.pool_rw): {made.stderr.strip()}")
    done = host.run(BENCH, f"{seconds:.0f}", *login, f"{WRITTEN_MIB}M", pool, image, timeout=seconds + REMOVAL_SECONDS)
    if done.rc == TIMED_OUT:
        return WRITES / seconds
    told = re.search(r"ops/sec:\s*([\d.]+)", done.stdout)
    if done.rc or not told:
        raise NotMeasured(f"{host.host}: rbd bench in pool {pool}: {done.stderr.strip() or done.stdout.strip()}")
    return float(told[1])
