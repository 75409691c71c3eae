"""The one observation against one command for each assertion, and a static run against all of these commands.

Both use the same ssh connections with reuse, one after the other in one run; the figures are
a ratio and counts, so they do not hang on the machine. Needs a running lab (python -m lab up).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fixtures.cloud import Cloud, load_cloud
from fixtures.observe.host import observe_hosts
from fixtures.reach import Hosts, Reach

PROJECT = Path(__file__).parents[2]
STATE = Path(os.environ.get("OSC_LAB_STATE", "/var/lib/ceph-osc-lab/default"))
COMMANDS = {
    "ceph.auth.login": "ceph --id %s --connect-timeout 8 status",
    "*.service.*": "systemctl show -p ActiveState,UnitFileState ssh",
    "pkg.*": "dpkg-query -W -f '${Version}' librbd1",
    "nova.secret.*": "virsh -q secret-list",
    "nova.domain.*": "virsh -q list --all",
    "lm.*": "virsh -q -r -c qemu:///system version",
    "*.config.*": "grep -n rbd -r /etc/glance /etc/cinder /etc/nova",
    "*": "stat -c %U:%G:%a /etc/ceph/ceph.conf",
}
"""Checks to what one assertion of them about a host would ask by itself; the first that fits."""
SAMPLES = 5
"""Commands to Ceph and to the APIs that are timed; all others are taken to be as long."""
STATIC = "static and not asks_services"

_ASKED = '''
import json, os
import pytest
from fixtures.facts.run import Facts
from fixtures.stash import FACTS

class Told(dict):
    """Hosts' facts that note which check, of which target, looks at them."""

    item, asked = "", set()

    def __getitem__(self, host):
        self.asked.add((self.item, host))
        return super().__getitem__(host)

    def get(self, host, default=None):
        return self[host] if host in self else default

    def items(self):
        return [(host, self[host]) for host in self]

def noted(name, read):
    def look(facts):
        Told.asked.add((Told.item, name))
        return read(facts)
    return property(look)

Facts.ceph = noted("Ceph", Facts.ceph.fget)
Facts.openstack = noted("OpenStack", Facts.openstack.fget)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    facts = item.config.stash[FACTS]
    if not isinstance(facts.hosts, Told):
        item.config.stash[FACTS] = facts.model_copy(update={"hosts": Told(facts.hosts)})
    Told.item = getattr(getattr(item, "callspec", None), "id", item.nodeid)

def pytest_sessionfinish():
    with open(os.environ["ASKED"], "w") as file:
        json.dump(sorted(Told.asked), file)
'''


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    if not (STATE / "access" / "ssh_config").exists():
        pytest.skip(f"no lab in {STATE}: python -m lab up")
    return load_cloud(PROJECT / "clouds/lab.yaml")


def _assertions(folder: Path) -> list[tuple[str, str]]:
    """CHECK:TARGET of each assertion, and whose facts it looks at: a host's, Ceph's or OpenStack's."""
    folder.joinpath("asked.py").write_text(_ASKED)
    command = [sys.executable, "-m", "pytest", "-p", "asked", "-p", "no:cacheprovider", "-q", "--reports", str(folder)]
    command += ["--cloud", "clouds/lab.yaml", "--facts", "recorded/default", "-m", STATIC]
    told = folder / "asked.json"
    environment = os.environ | {"PYTHONPATH": f"{folder}:{PROJECT}", "ASKED": str(told)}
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return [(what, host) for what, host in json.loads(told.read_text())]


def _command(what: str) -> str:
    check, _, target = what.partition(":")
    command = next(command for pattern, command in COMMANDS.items() if fnmatchcase(check, pattern))
    return command.replace("%s", target.rpartition("client.")[2]) if check == "ceph.auth.login" else command


def _seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _asked_of_ceph(monitor: Reach) -> float:
    start = time.perf_counter()
    for _ in range(SAMPLES):
        assert monitor.run("ceph status -f json").rc == 0
    return (time.perf_counter() - start) / SAMPLES


def _asked_of_openstack(cloud: Cloud) -> float:
    words = [str(Path(sys.executable).with_name("openstack")), "--os-cloud", cloud.openstack.cloud]
    environment = os.environ | {"OS_CLIENT_CONFIG_FILE": str(cloud.openstack.clouds_yaml)}
    return sum(_seconds([*words, "image", "list", "-f", "json"], environment) for _ in range(SAMPLES)) / SAMPLES


def test_one_observation_against_one_command_an_assertion(cloud: Cloud, tmp_path: Path) -> None:
    assertions = _assertions(tmp_path)
    of_hosts = [(what, whose) for what, whose in assertions if whose in cloud.hosts]
    of_ceph, of_apis = (sum(whose == name for _, whose in assertions) for name in ("Ceph", "OpenStack"))
    with Hosts(cloud) as hosts:
        for name in hosts:
            hosts[name].run("true")
        connected = hosts.round_trips
        start = time.perf_counter()
        observe_hosts(cloud, b"bench", lambda line: None, hosts, ask_services=False)
        once = time.perf_counter() - start
        trips = hosts.round_trips - connected
        start = time.perf_counter()
        for what, host in of_hosts:
            hosts[host].run(_command(what))
        each = time.perf_counter() - start
        ceph = _asked_of_ceph(hosts[cloud.hosts_with("ceph-mon")[0]])
    run = _seconds([sys.executable, "-m", "pytest", "--cloud", "clouds/lab.yaml", "-m", STATIC, "-q"])
    apis = _asked_of_openstack(cloud)
    whole = each + of_ceph * ceph + of_apis * apis
    print(f"\nobservation of hosts: {trips} round trips to {len(cloud.hosts)} hosts, {once:.2f} s")
    print(f"one command an assertion: {len(of_hosts)} round trips, {each:.2f} s; ratio {each / once:.1f}")
    print(f"static run, of start to report: {run:.2f} s")
    print(f"one command an assertion: {whole:.0f} s")
    print(f"  of it {of_ceph} to Ceph, {ceph:.2f} s each, and {of_apis} to the APIs, {apis:.2f} s each")
    print(f"ratio: {whole / run:.1f}")
    assert trips <= len(cloud.hosts)
