"""The machinery of journeys: files that they upload, disks that no API knows, rounds and their figures."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from fixtures import blocklist
from fixtures.ceph import CephError, Change
from fixtures.cloud import load_cloud
from fixtures.cloud.model import Journeys
from fixtures.facts.base import NotMeasured
from fixtures.scratch.gates import RELEASES_A_HYPERVISOR, hosts_for_crashes
from fixtures.scratch.guest import Guest
from fixtures.scratch.ledger import Record
from fixtures.scratch.names import PREFIX, new_run_id
from fixtures.scratch.qcow2 import CLUSTER, write_qcow2
from fixtures.scratch.site import CloudSite, Found
from fixtures.scratch.truth import Disk
from reports.model import Entry, Measurement
from reports.summary import figures

PROJECT = Path(__file__).parents[2]
NAME = f"{PREFIX}-{new_run_id()}-main-disk-1"


def test_a_qcow2_file_says_where_its_content_is(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    path = tmp_path / "disk.qcow2"
    write_qcow2(path, content)
    raw = path.read_bytes()
    magic, version = struct.unpack_from(">4sI", raw)
    bits, size = struct.unpack_from(">IQ", raw, 20)
    (l1,) = struct.unpack_from(">Q", raw, 40)
    (l2,) = struct.unpack_from(">Q", raw, l1)
    clusters = -(-len(content) // CLUSTER)
    entries = struct.unpack_from(f">{clusters}Q", raw, l2 & ~(1 << 63))
    data = b"".join(raw[entry & ~(1 << 63) :][:CLUSTER] for entry in entries)
    assert (magic, version, 1 << bits, size) == (b"QFI\xfb", 2, CLUSTER, clusters * CLUSTER)
    assert data == content.ljust(size, b"\0")
    assert len(raw) % CLUSTER == 0


def test_a_qcow2_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="L2"):
        write_qcow2(tmp_path / "disk.qcow2", bytes((CLUSTER // 8 + 1) * CLUSTER))


@dataclass
class Pools:
    """Ceph as removal sees it: pools by name, and what was changed in them."""

    images: dict[str, list[str]]
    changes: list[Change] = field(default_factory=list)
    waiting: tuple[Any, ...] = ()

    def image_names(self, pool: str) -> tuple[str, ...]:
        if pool not in self.images:
            raise CephError("librados", f"rbd ls {pool}", errno.ENOENT, "no")
        return tuple(self.images[pool])

    def trash(self, pool: str) -> tuple[Any, ...]:
        return self.waiting

    def change(self, change: Change) -> None:
        self.changes.append(change)


def _site(ceph: Pools | None) -> CloudSite:
    return CloudSite(cast(Any, MagicMock()), {"volume": "volumes", "image": "images"}, cast(Any, ceph))


def _record(pool: str = "volumes") -> Record:
    return Record(1, "disk", NAME, pool, frozenset(), 0.0, id=NAME)


def test_a_disk_is_found_by_its_name_in_its_pool() -> None:
    site = _site(Pools({"volumes": [NAME, "volume-1"], "images": [NAME]}))
    assert site.look(_record()) == Found("disk", NAME, NAME, "volumes")
    assert [found.project for found in site.all("disk")] == ["images", "volumes"]


def test_a_disk_is_not_sought_elsewhere() -> None:
    site = _site(Pools({"volumes": ["volume-1"], "images": [NAME]}))
    assert site.look(_record()) is None
    assert site.look(_record("gone")) is None


def test_without_ceph_nobody_says_that_a_disk_is_gone() -> None:
    with pytest.raises(NotMeasured, match="no access to Ceph"):
        _site(None).look(_record())


def test_a_disk_goes_with_its_snapshots() -> None:
    ceph = Pools({"volumes": [NAME]})
    _site(ceph).remove(Found("disk", NAME, NAME, "volumes"))
    assert [change.does for change in ceph.changes] == ["remove-snapshots", "remove-image"]
    assert {(change.pool, change.words) for change in ceph.changes} == {("volumes", (NAME,))}


def test_only_what_carries_the_name_is_taken_out_of_the_trash() -> None:
    ceph = Pools({}, waiting=(SimpleNamespace(id="a1", name="mine"), SimpleNamespace(id="b2", name="mine-too")))
    Disk(cast(Any, ceph), "images", "mine").purge()
    assert ceph.changes == [Change("remove-from-trash", "images", ("a1",))]


@pytest.mark.parametrize("told", [[{"addr": "192.0.2.1:0/5"}], '[{"addr":"192.0.2.1:0/5"}][]'])
def test_blocked_addresses_are_read_as_each_release_tells_them(told: object) -> None:
    facts = SimpleNamespace(ceph=SimpleNamespace(versions={"ceph version 16.2.15 (x) pacific (stable)": 5}))
    ceph = SimpleNamespace(mon=lambda prefix: told if prefix == "osd blocklist ls" else None)
    assert blocklist.blocked(cast(Any, ceph), cast(Any, facts)) == {"192.0.2.1:0/5"}


def _entry(target: str, seconds: float) -> Entry:
    figure = Measurement(name="boot", value=seconds, unit="s")
    told: dict[str, Any] = {"check": "fn.x", "target": target, "outcome": "passed", "severity": "major"}
    return Entry(**told, seconds=1, nodeid="x", measurements=(figure,))


def test_figures_of_several_rounds_are_told_by_their_distribution() -> None:
    assert figures((_entry("cloud", 5.0),)) == ["measured boot: 5 s"]
    rounds = tuple(_entry(f"cloud#{number}", seconds) for number, seconds in enumerate((5.0, 9.0, 6.5), 1))
    assert figures(rounds) == ["measured boot: 6.5 s (5 to 9, 95 % up to 8.75, 3 times)"]


def _collected(*options: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--cloud", "clouds/lab.yaml", "--collect-only", "-q", *options, "suites"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return [line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if "::" in line] or [done.stderr]


def test_journeys_are_repeated_and_nothing_else_is() -> None:
    chosen = ("-k", "fn.volume.create or ceph.auth.negative or hyg.suite_residue or ceph.pool.exists")
    found = _collected("--journey-repeat", "2", *chosen)
    assert [name for name in found if name.startswith("fn.")] == ["fn.volume.create#1", "fn.volume.create#2"]
    assert "ceph.auth.negative:client.glance#2" in found
    assert "hyg.suite_residue" in found
    assert not [name for name in found if name.startswith("ceph.pool") and "#" in name]


def test_no_times_is_refused() -> None:
    assert "not a number of times" in _collected("--journey-repeat", "0")[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ()),
        ({"disruptive_on": ("compute2",)}, ("compute2",)),
        ({"hypervisors": ("compute1",), "disruptive_on": ("compute2",)}, ()),
    ],
)
def test_a_qemu_is_killed_only_where_the_cloud_file_releases_a_host_for_tests(
    given: dict[str, Any], expected: tuple[str, ...]
) -> None:
    cloud = load_cloud(PROJECT / "clouds" / "lab.yaml")
    released = cloud.model_copy(update={"journeys": Journeys(**given)})
    assert hosts_for_crashes(released) == expected
    assert RELEASES_A_HYPERVISOR[0](released) == bool(expected)


BOOTED = """\
osc-guest boot id=0123abcd uptime=1.00 root=vda last=0 end
osc-disk add name=vda bytes=1073741824 end
osc-disk add name=vdb bytes=1073741824 end
"""


@dataclass
class Ordered:
    """A guest's root disk: the order that stands there is done at once."""

    order: str = ""

    def write(self, offset: int, data: bytes) -> None:
        self.order = data.decode().split("\n")[1].removeprefix("id=")

    def read(self, offset: int, length: int) -> bytes:
        lines = ["OSC-RES 1", f"id={self.order}", "op=verify", "state=done", "pass=1", "sha256=none", "why=", "ms=5"]
        return "\n".join([*lines, "end", ""]).encode().ljust(length)


def _guest(root: Ordered, console: Callable[[], str]) -> Guest:
    compute = SimpleNamespace(get_server_console_output=lambda *_, **__: {"output": console()})
    scratch = SimpleNamespace(tenant=SimpleNamespace(connection=SimpleNamespace(compute=compute)), where=str)
    return Guest(cast(Any, scratch), cast(Any, SimpleNamespace(id="s1")), cast(Any, root), 0.2)


@pytest.mark.parametrize("after", ["", "osc-disk remove name=vdb end\nosc-disk add name=vdb bytes=5 end\n"])
def test_a_guest_names_the_disk_that_it_was_given(after: str) -> None:
    assert _guest(Ordered(), lambda: BOOTED + after).await_disk() == "vdb"


def test_a_guest_without_another_disk_is_told() -> None:
    with pytest.raises(AssertionError, match="no disk but its first"):
        _guest(Ordered(), lambda: BOOTED + "osc-disk remove name=vdb end\n").await_disk()


@pytest.mark.parametrize(("dev", "known"), [("vdb", True), ("vda", False)])
def test_a_guest_that_takes_an_order_for_its_own_disk_is_too_old(dev: str, known: bool) -> None:
    root = Ordered()
    done = f"osc-io done op=verify dev={dev} id={{}} pass=1 mib=1 offset=64 ms=5 sha256=none why=none end\n"
    guest = _guest(root, lambda: BOOTED + done.format(root.order))
    with nullcontext() if known else pytest.raises(NotMeasured, match="build it anew"):
        assert guest.obey_on("vdb", "verify", seed="s", mib=1, offset=64).state == "done"
