"""A fleet observed, beside what others need for as much or less: clush, Ansible, testinfra; in one run on one machine.

Needs `python -m lab fleet --hosts N` (OSC_LAB_STATE names its folder, else .../fleet). OSC_BENCH_HOSTS:
sizes, separated by commas; OSC_BENCH_FORKS: hosts at once, the same for all. Hosts and their sshd are on
this machine, and share its processors with what is measured.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from testinfra import get_host

from fixtures.cloud import Cloud, load_cloud
from fixtures.cloud.model import Reach
from fixtures.facts.host import HostFacts
from fixtures.observe.host import observe_hosts
from tests.bench.test_fleet import FORKS, SIZES, STATE, _load, _observed, _own_seconds

EQUAL_GATHER = Path(__file__).with_name("equal_gather.yml")
ASSERTIONS = 61
"""Static tests of one hypervisor."""
LOOKED_AT = 2
"""Hosts of which testinfra is asked: it takes one after another."""
GATHERED_AT = 10
"""Hosts, at most, of the equal gather: it takes minutes for as many."""


@pytest.fixture(params=SIZES)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """The fleet's first hosts."""
    path = STATE / "access" / "fleet.yaml"
    if not path.exists():
        pytest.skip(f"no fleet in {STATE}: python -m lab fleet")
    whole = load_cloud(path)
    if len(whole.hosts) < request.param:
        pytest.skip(f"the fleet has {len(whole.hosts)} hosts: python -m lab fleet --hosts {request.param}")
    names = sorted(whole.hosts)[: request.param]
    return whole.model_copy(update={"hosts": {name: whole.hosts[name] for name in names}})


def test_a_fleet_is_observed_beside_others(cloud: Cloud, tmp_path: Path) -> None:
    size = len(cloud.hosts)
    inventory, few = _inventory(cloud, tmp_path / "hosts", size), _inventory(cloud, tmp_path / "few", GATHERED_AT)
    took = {
        "clush, true": _timed(lambda: _clush(cloud, tmp_path)),
        "observation": _timed(lambda: _observed(cloud, tmp_path / "facts")),
        "observation by Ansible": _timed(lambda: _by_ansible(cloud, inventory)),
        "ansible -m ping": _timed(lambda: _ansible("ansible", "all", "-m", "ping", inventory=inventory)),
        "ansible -m setup": _timed(lambda: _ansible("ansible", "all", "-m", "setup", inventory=inventory)),
        "an equal gather": _timed(lambda: _ansible("ansible-playbook", str(EQUAL_GATHER), inventory=few)).times(
            size / min(size, GATHERED_AT)
        ),
        "testinfra": _timed(lambda: _testinfra(cloud)).times(size / LOOKED_AT),
    }
    _show(took, size)


def _inventory(cloud: Cloud, path: Path, size: int) -> Path:
    """Ansible's, of the first so many hosts."""
    rows = "".join(f"{host.address}\n" for host in list(cloud.hosts.values())[:size])
    path.write_text(f"{rows}[all:vars]\nansible_ssh_common_args=-F {cloud.reach.ssh_config}\n")
    return path


@dataclass(frozen=True)
class Took:
    """Seconds, and of them the runner's CPU: this process and what it started, not the hosts' sshd and collectors."""

    seconds: float
    own: float

    def times(self, factor: float) -> Took:
        """As if there were so many times as many hosts."""
        return Took(self.seconds * factor, self.own * factor)


def _timed(what: Callable[[], object]) -> Took:
    begun, own = time.monotonic(), _own_seconds()
    what()
    return Took(time.monotonic() - begun, _own_seconds() - own)


def _show(took: Mapping[str, Took], size: int) -> None:
    floor, ours = took["clush, true"], took["observation"]
    print(f"\n{size} hosts, {FORKS} at once, {_load()}; times of clush, times of the observation")
    for name, it in took.items():
        print(
            f"  {name:24}{it.seconds:8.1f} s{it.seconds / floor.seconds:8.2f}{it.seconds / ours.seconds:8.2f}"
            f"   runner's CPU{it.own:8.1f} s{it.own / floor.own:8.2f}{it.own / ours.own:8.2f}"
        )
    print(f"  testinfra: {ASSERTIONS} commands a host, of {LOOKED_AT} hosts, for {size} by the rule of three")
    if size > GATHERED_AT:
        print(f"  an equal gather: of {GATHERED_AT} hosts, for {size} by the rule of three")


def _clush(cloud: Cloud, folder: Path) -> None:
    names = folder / "nodes"
    names.write_text("".join(f"{host.address}\n" for host in cloud.hosts.values()))
    command = ["clush", "--hostfile", str(names), "-f", str(FORKS), "-o", f"-F {cloud.reach.ssh_config}", "-S", "true"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@contextmanager
def _new_connections() -> Iterator[None]:
    """Ansible keeps its connections for a minute: the next to be measured makes its own. Sockets want short paths."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", folder)
        yield


def _ansible(*words: str, inventory: Path) -> None:
    """With pipelining, which is its faster way."""
    command = [*words, "-i", str(inventory), "-f", str(FORKS)]
    with _new_connections():
        settings = {**os.environ, "ANSIBLE_PIPELINING": "1", "LC_ALL": "C.UTF-8"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=settings)


def _by_ansible(cloud: Cloud, inventory: Path) -> None:
    reach = Reach.model_validate({"engine": "ansible", "inventory": str(inventory)})
    with _new_connections():
        some = cloud.model_copy(update={"reach": reach})
        found = observe_hosts(some, b"salt", lambda line: None, ask_services=False, forks=FORKS)
    assert not [told for told in found.values() if not isinstance(told, HostFacts)]


def _testinfra(cloud: Cloud) -> None:
    """A command for each assertion, over a connection that is kept (which is its faster way)."""
    for host in list(cloud.hosts.values())[:LOOKED_AT]:
        way = get_host(f"ssh://{host.address}", ssh_config=str(cloud.reach.ssh_config), controlpersist=60)
        for _ in range(ASSERTIONS):
            assert way.run("true").rc == 0
