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
from fixtures.roles import role_on
from fixtures.targets import Client, clients, secret_uses

PROJECT = Path(__file__).parents[2]
STATE = Path(os.environ.get("OSC_LAB_STATE", "/var/lib/ceph-osc-lab/default"))
Command = tuple[str, str, tuple[str, ...]]
"""Host, command, arguments."""

OPTIONS = {"glance-api": 8, "cinder-volume": 7, "cinder-backup": 2, "nova-compute": 12}
"""How many checks judge an option, by the role whose configuration it stands in."""


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    if not (STATE / "access" / "ssh_config").exists():
        pytest.skip(f"no lab in {STATE}: python -m lab up")
    return load_cloud(PROJECT / "clouds/lab.yaml")


def _one_command_each(cloud: Cloud) -> Iterator[Command]:
    """What each host-side assertion of the static checks would run by itself."""
    for client in clients(cloud):
        yield from _of_client(cloud, client)
    for role, options in OPTIONS.items():
        config = f"/etc/{role.split('-')[0]}/{'glance-api' if role == 'glance-api' else role.split('-')[0]}.conf"
        for host in cloud.hosts_with(role):  # type: ignore[arg-type]
            yield from ((host, "cat %s", (config,)) for _ in range(options))
            yield host, "systemctl show -p ActiveState,UnitFileState %s", (role,)
            yield host, "python3 -c %s", ("import rados, rbd",)
            yield from ((host, "cat %s", (cloud.ceph.conf,)) for _ in range(3))
    for use in secret_uses(cloud):
        yield from ((use.host, "virsh -q secret-list", ()) for _ in range(3))
        yield use.host, "ls -l /etc/libvirt/secrets", ()
    for host in cloud.hosts_with("nova-compute"):
        yield host, "qemu-img --help", ()
        yield host, "ss -ltn", ()
        yield from ((host, "virsh -q -c qemu+tls://%s/system hostname", (p,)) for p in _peers(cloud, host))


def _peers(cloud: Cloud, host: str) -> list[str]:
    return [peer for peer in cloud.hosts_with("nova-compute") if peer != host]


def _of_client(cloud: Cloud, client: Client) -> Iterator[Command]:
    path, account = cloud.ceph.keyring(client.user), role_on(cloud, client.host, client.role).account
    yield client.host, "test -f %s", (path,)
    yield client.host, "stat -c %%U:%%G:%%a %s", (path,)
    yield client.host, "runuser -u %s -- head -c0 %s", (account, path)
    yield client.host, "sha256sum %s", (path,)
    for asked in ("-s", "mon dump", "df"):
        yield client.host, f"runuser -u %s -- ceph --id %s {asked}", (account, client.user)


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
