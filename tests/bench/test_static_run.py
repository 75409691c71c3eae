"""The static run against the same assertions made with one testinfra command each.

Both use the same ssh connections with reuse, one after the other in one run; the figures are
a ratio and counts, so they do not hang on the machine. Needs a running lab (python -m lab up).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.cloud import Cloud, load_cloud
from fixtures.observe.host import observe_hosts
from fixtures.reach import Hosts
from fixtures.targets import clients, secret_uses

PROJECT = Path(__file__).parents[2]
STATE = Path(os.environ.get("OSC_LAB_STATE", "/var/lib/ceph-osc-lab/default"))
SERVICES = {"glance-api": 8, "cinder-volume": 7, "cinder-backup": 3, "nova-compute": 9}
"""Options and unit states that the static checks judge, by role of a host."""


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    if not (STATE / "access" / "ssh_config").exists():
        pytest.skip(f"no lab in {STATE}: python -m lab up")
    return load_cloud(PROJECT / "clouds/lab.yaml")


def _one_command_each(cloud: Cloud) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The host-side assertions of the static checks as (host, command, arguments)."""
    for client in clients(cloud):
        path = cloud.ceph.keyring(client.user)
        yield client.host, "test -f %s", (path,)
        yield client.host, "stat -c %%U:%%G:%%a %s", (path,)
        yield client.host, "head -c0 %s", (path,)
        yield client.host, "sha256sum %s", (path,)
        yield client.host, "ceph --version", ()
    for role, options in SERVICES.items():
        for host in cloud.hosts_with(role):  # type: ignore[arg-type]
            yield from ((host, "cat %s", ("/etc/hostname",)) for _ in range(options))
            yield host, "systemctl is-active ssh", ()
            yield host, "stat -c %%U:%%G:%%a %s", (cloud.ceph.conf,)
            yield host, "cat %s", (cloud.ceph.conf,)
    for use in secret_uses(cloud):
        yield from ((use.host, "virsh -q secret-list", ()) for _ in range(3))


def _timed_commands(cloud: Cloud, hosts: Hosts) -> tuple[int, float]:
    commands = list(_one_command_each(cloud))
    start = time.perf_counter()
    for host, command, arguments in commands:
        hosts[host].run(command, *arguments)
    return len(commands), time.perf_counter() - start


def test_one_observation_against_one_command_an_assertion(cloud: Cloud) -> None:
    with Hosts(cloud) as hosts:
        for name in hosts:
            hosts[name].run("true")
        connected = hosts.round_trips
        start = time.perf_counter()
        observe_hosts(cloud, b"bench", lambda line: None, hosts)
        once = time.perf_counter() - start
        trips = hosts.round_trips - connected
        count, each = _timed_commands(cloud, hosts)
    print(f"\nobservation: {trips} round trips to {len(cloud.hosts)} hosts, {once:.2f} s")
    print(f"one command an assertion: {count} round trips, {each:.2f} s")
    print(f"ratio: {each / once:.1f} in time, {count / trips:.1f} in round trips")
    assert trips <= len(cloud.hosts)
