"""A fleet: observed against the connections alone, and judged by generated facts, as it grows.

The figures are ratios and growth within one run; what they were measured under is printed with
them. The first needs `python -m lab fleet` (OSC_LAB_STATE names its folder, else .../fleet).
OSC_BENCH_HOSTS: sizes, separated by commas.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import recorded
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import CephFacts
from fixtures.facts.host import HostFacts
from fixtures.facts.spread import Keeping
from fixtures.facts.store import load_facts, save_facts
from fixtures.observe.fleet import observe_fleet
from fixtures.observe.host import turns_for
from fixtures.observe.turns import default_forks
from fixtures.reach import Hosts
from reports.render import load

PROJECT = Path(__file__).parents[2]
STATE = Path(os.environ.get("OSC_LAB_STATE", "/var/lib/ceph-osc-lab/fleet"))
SIZES = [int(size) for size in os.environ.get("OSC_BENCH_HOSTS", "10,100").split(",")]
FORKS = int(os.environ.get("OSC_BENCH_FORKS", default_forks()))


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def _own_seconds() -> float:
    """CPU of this process and of what it started: ssh."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def _floor(cloud: Cloud, names: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of CPU, of `ssh HOST true` for each host, in a connection of its own."""
    start, own = time.monotonic(), _own_seconds()

    def connect(name: str) -> None:
        command = ["ssh", "-F", str(cloud.reach.ssh_config), str(cloud.hosts[name].address), "true"]
        subprocess.run(command, check=True, timeout=120, stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(FORKS) as pool:
        list(pool.map(connect, names))
    return time.monotonic() - start, _own_seconds() - own


def _observed(cloud: Cloud, folder: Path) -> tuple[float, float]:
    on_ceph: Future[CephFacts | Unreadable] = Future()
    on_ceph.set_result(Unreadable(unreadable="not asked"))
    keeping = Keeping.begin(folder, cloud.name)
    start, own = time.monotonic(), _own_seconds()
    with Hosts(cloud) as hosts:
        observe_fleet(cloud, keeping, hosts, turns_for(cloud, FORKS), on_ceph, lambda line: None, ask_services=False)
    told = keeping.hosts()
    assert all(isinstance(told[name], HostFacts) for name in cloud.hosts)
    return time.monotonic() - start, _own_seconds() - own


@pytest.mark.parametrize("size", SIZES)
def test_a_fleet_is_observed_against_its_connections_alone(size: int, tmp_path: Path) -> None:
    path = STATE / "access" / "fleet.yaml"
    if not path.exists():
        pytest.skip(f"no fleet in {STATE}: python -m lab fleet")
    whole = load_cloud(path)
    if len(whole.hosts) < size:
        pytest.skip(f"the fleet has {len(whole.hosts)} hosts: python -m lab fleet --hosts {size}")
    names = sorted(whole.hosts)[:size]
    cloud = whole.model_copy(update={"hosts": {name: whole.hosts[name] for name in names}})
    floor, floor_own = _floor(cloud, names)
    took, took_own = _observed(cloud, tmp_path)
    print(f"\n{size} hosts, {FORKS} at once, {_load()}")
    print(f"  ssh true:    {floor:7.1f} s, {1000 * floor / size:5.0f} ms a host; runner's CPU {floor_own:.1f} s")
    print(f"  observation: {took:7.1f} s, {1000 * took / size:5.0f} ms a host; runner's CPU {took_own:.1f} s")
    print(f"  ratio: {took / floor:.2f}; of the runner's CPU: {took_own / floor_own:.2f}")


def _generated(size: int, folder: Path) -> Path:
    """Facts of the recorded lab with that many copies of its first hypervisor; the cloud file of them."""
    facts = load_facts(recorded.folder("default"))
    text = (PROJECT / "clouds/lab.yaml").read_text()
    names = [f"compute{number:05}" for number in range(1, size + 1)]
    rows = "".join(f"  {name}:\n    roles: [nova-compute]\n" for name in names)
    text, replaced = re.subn(r"(?m)^  compute1:\n    roles: .*\n  compute2:\n    roles: .*\n", rows, text)
    assert replaced == 1
    folder.joinpath("cloud.yaml").write_text(text.replace("  disruptive_on: [compute1, compute2]\n", ""))
    keeping = Keeping.begin(folder / "facts", "lab")
    keeping.put("controller", facts.host("controller"))
    keeping.put("storage", facts.host("storage"))
    pattern = facts.host("compute1").model_dump_json()
    for name in names:
        keeping.put(name, HostFacts.model_validate_json(pattern.replace("compute1", name)))
    save_facts(facts.model_copy(update={"hosts": keeping.hosts()}), folder / "facts")
    return folder / "cloud.yaml"


def _measured(command: list[str], folder: Path) -> tuple[list[str], str]:
    """Lines that a command wrote, and what it took."""
    start = time.monotonic()
    with folder.joinpath("out").open("w") as out:
        child = subprocess.Popen(command, cwd=PROJECT, stdout=out)
        _, status, used = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1)
    took = f"{time.monotonic() - start:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, "
    return folder.joinpath("out").read_text().splitlines(), f"{took}{used.ru_maxrss / 1024:.0f} MiB at most"


@pytest.mark.parametrize("granularity", ["host", "check"])
@pytest.mark.parametrize("size", SIZES)
def test_a_fleet_is_judged(size: int, granularity: str, tmp_path: Path) -> None:
    cloud = _generated(size, tmp_path)
    command = [sys.executable, "-m", "pytest", "--cloud", str(cloud), "--facts", str(tmp_path / "facts")]
    command += ["-m", "static", "--reports", str(tmp_path / "runs"), "-p", "no:cacheprovider", "-q", "--tb=no"]
    command += ["--granularity", granularity]
    told, collecting = _measured([*command, "--collect-only"], tmp_path)
    _, whole = _measured(command, tmp_path)
    report = load(tmp_path / "runs/latest/report.json")
    print(f"\n{size} hypervisors, {sum('::' in line for line in told)} items (--granularity {granularity}), {_load()}")
    print(f"  collected: {collecting}")
    print(f"  judged {len(report.entries)} tests: {whole}")
