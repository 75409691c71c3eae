"""How reading a pool grows with its images: reads, seconds, memory; and what opening each would cost.

Needs a running lab (python -m lab up). Makes thousands of small images in a pool of its own, and
removes it. OSC_BENCH_IMAGES names the sizes, e.g. "1000 2000 4000 20000".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fixtures.ceph import CephAccess, open_ceph
from fixtures.cloud import Cloud, load_cloud
from fixtures.observe.images import PAGE, read_pool
from fixtures.reach import Hosts

rados = pytest.importorskip("rados", reason="python3-rados is not installed: no pool can be filled from here")
rbd = pytest.importorskip("rbd", reason="python3-rbd is not installed: no pool can be filled from here")

PROJECT = Path(__file__).parents[2]
STATE = Path(os.environ.get("OSC_LAB_STATE", "/var/lib/ceph-osc-lab/default"))
SIZES = tuple(map(int, os.environ.get("OSC_BENCH_IMAGES", "1000 2000 4000").split()))
POOL = "bench"
OPENED = 500
"""Images that are opened to see what that costs."""

_READ = """
import json, re, sys, time
from pathlib import Path
from fixtures.ceph import open_ceph
from fixtures.cloud import load_cloud
from fixtures.observe.images import read_pool

with open_ceph(load_cloud(Path(sys.argv[1])), {}) as ceph:
    def memory():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    before, started = memory(), time.perf_counter()
    content = read_pool(ceph, sys.argv[2], {})
    seconds = time.perf_counter() - started
    print(json.dumps({"images": len(content.names), "seconds": seconds, "kib": memory() - before, "total_kib": memory(),
                      "facts": len(content.model_dump_json())}))
"""
"""In a process of its own, whose peak memory is then the reading's."""


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    if not (STATE / "access" / "ssh_config").exists():
        pytest.skip(f"no lab in {STATE}: python -m lab up")
    return load_cloud(PROJECT / "clouds/lab.yaml")


@pytest.fixture(scope="module")
def pool(cloud: Cloud) -> Iterator[Any]:
    """An ioctx of a pool of its own, removed at the end."""
    access = cloud.ceph.access
    options = {"keyring": str(access.keyring), "admin_socket": ""}
    with rados.Rados(conffile=str(access.conf), rados_id=access.id, conf=options) as cluster:
        cluster.create_pool(POOL)
        try:
            with cluster.open_ioctx(POOL) as io:
                io.application_enable("rbd", True)
                yield io
        finally:
            _remove(cluster)


def _remove(cluster: Any) -> None:
    option = {"who": "mon", "name": "mon_allow_pool_delete"}
    cluster.mon_command(json.dumps({"prefix": "config set", "value": "true", **option}), b"")
    try:
        cluster.delete_pool(POOL)
    finally:
        cluster.mon_command(json.dumps({"prefix": "config rm", **option}), b"")


def _fill(io: Any, total: int) -> None:
    there = rbd.RBD().list(io)

    def make(nth: int) -> None:
        rbd.RBD().create(io, f"volume-{nth:08x}-0000-4000-8000-000000000000", 4 << 20)

    with ThreadPoolExecutor(16) as workers:
        list(workers.map(make, range(len(there), total)))


def _read(cloud: Cloud) -> dict[str, Any]:
    command = [sys.executable, "-c", _READ, str(PROJECT / "clouds/lab.yaml"), POOL]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _through_the_host(cloud: Cloud) -> Cloud:
    access = cloud.ceph.access.model_copy(update={"conf": None})
    return cloud.model_copy(update={"ceph": cloud.ceph.model_copy(update={"access": access})})


def _counted(ceph: CephAccess) -> tuple[int, float]:
    before, started = ceph.calls, time.perf_counter()
    read_pool(ceph, POOL, {})
    return ceph.calls - before, time.perf_counter() - started


def test_reading_a_pool_grows_with_its_images(cloud: Cloud, pool: Any) -> None:
    print(f"\n{'images':>8}{'seconds':>9}{'ms each':>9}{'KiB each':>10}{'peak MiB':>10}{'facts MiB':>11}")
    told = []
    for size in SIZES:
        _fill(pool, size)
        told.append(_read(cloud))
        _show(told[-1])
    assert [one["images"] for one in told] == list(SIZES)
    each = [one["seconds"] / one["images"] for one in told]
    assert each[-1] < 3 * min(each), "reading an image takes longer the more there are"
    with Hosts(cloud) as hosts, open_ceph(_through_the_host(cloud), hosts) as ceph:
        trips, seconds = _counted(ceph)
    print(f"through a host: {trips} round trips, {seconds:.1f} s for {SIZES[-1]} images")
    assert trips <= 3 + -(-SIZES[-1] // PAGE)
    _opened(cloud, pool)


def _show(one: dict[str, Any]) -> None:
    each = one["seconds"] / one["images"] * 1000
    print(
        f"{one['images']:>8}{one['seconds']:>9.2f}{each:>9.2f}{one['kib'] / one['images']:>10.2f}"
        f"{one['total_kib'] / 1024:>10.0f}{one['facts'] / (1 << 20):>11.2f}"
    )


def _opened(cloud: Cloud, pool: Any) -> None:
    names = list(rbd.RBD().list(pool))[:OPENED]
    with open_ceph(cloud, {}) as ceph:
        started = time.perf_counter()
        ceph.looks(POOL, names)
        print(f"opening each instead: {(time.perf_counter() - started) / len(names) * 1000:.2f} ms each")
