"""How judging the hygiene of pools grows with what they hold, to a million images; and how listing rows does.

The first needs no lab: facts are the recorded lab's with generated images, volumes, snapshots and servers, of
which one in a thousand is an orphan or lost. OSC_BENCH_ROWS: how many images, separated by commas.
The second needs a running lab (OSC_LAB_STATE, else .../default): rows of volumes and images are put into the
services' databases, listed by the services, and removed. OSC_BENCH_LISTED: how many of each.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from openstack.connection import Connection

import recorded
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.base import need
from fixtures.facts.images import PoolContent
from fixtures.facts.openstack import Image, Server, Volume, VolumeSnapshot
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts, save_facts
from fixtures.inventory import content_of
from fixtures.observe.openstack import PAGE, open_openstack, read_some
from lab.lab import Lab
from lab.machine import Machine
from lab.state import State
from reports.render import load
from tests.bench.test_fleet import _load, _measured

T = TypeVar("T")
PROJECT = Path(__file__).parents[2]
STATE = Path(os.environ.get("OSC_LAB_STATE", "/var/lib/ceph-osc-lab/default"))
CLOUD = PROJECT / "clouds/lab.yaml"
ROWS = [int(size) for size in os.environ.get("OSC_BENCH_ROWS", "10000,100000").split(",")]
LISTED = [int(size) for size in os.environ.get("OSC_BENCH_LISTED", "1000,4000").split(",")]
ODD = 1000
"""Of so many images one has no row, and of so many rows one has no image."""
MADE = "2026-01-01T00:00:00Z"
DISCOVERED = 20
"""Requests at most by which services and their versions are found, and lists end."""


def _ids(kind: int, count: int) -> list[str]:
    """As many ids as wanted; no two kinds share one."""
    return [str(uuid.UUID(int=(kind << 96) + number)) for number in range(count)]


def _content(there: PoolContent, names: list[str], snapshots: dict[str, tuple[str, ...]]) -> PoolContent:
    kept = [name for number, name in enumerate(names) if number % ODD != 1]
    ids = {name: f"{number:x}" for number, name in enumerate(kept)}
    return there.model_copy(update={"names": there.names | ids, "snapshots": {**there.snapshots, **snapshots}})


def _generated(cloud: Cloud, size: int) -> Facts:
    """Of the images three quarters are volumes, a fifth disks of servers, the rest Glance's; a tenth has a snapshot."""
    facts = load_facts(recorded.folder("default"))
    pools = cloud.ceph.pools
    volumes, servers, images = _ids(1, size * 15 // 20), _ids(2, size * 4 // 20), _ids(3, size // 20)
    snapped = dict(zip(volumes[::10], _ids(4, size), strict=False))
    contents: dict[str, tuple[list[str], dict[str, tuple[str, ...]]]] = {
        pools.volumes: (
            [f"volume-{one}" for one in volumes],
            {f"volume-{volume}": (f"snapshot-{one}",) for volume, one in snapped.items()},
        ),
        str(pools.vms): ([f"{one}_disk" for one in servers], {}),
        pools.images: (images, dict.fromkeys(images, ("snap",))),
    }
    fsid, host = facts.ceph.fsid, f"controller@{cloud.cinder.backend}#pool"
    rows = {
        "volumes": tuple(
            Volume(id=one, status="available", host=host, created_at=MADE) for one in _without_some(volumes)
        ),
        "volume_snapshots": tuple(
            VolumeSnapshot(id=one, volume_id=volume, status="available", created_at=MADE)
            for volume, one in _without_some(snapped.items())
        ),
        "servers": tuple(
            Server(id=one, status="ACTIVE", host="compute1", from_image=True, created_at=MADE)
            for one in _without_some(servers)
        ),
        "images": tuple(_image(one, f"rbd://{fsid}/{pools.images}/{one}/snap") for one in _without_some(images)),
    }
    return facts.model_copy(
        update={
            "apis": facts.openstack.model_copy(update=rows),
            "contents": facts.contents
            | {pool: _content(content_of(facts, pool), *held) for pool, held in contents.items()},
        }
    )


def _without_some(every: Iterable[T]) -> Iterator[T]:
    return (one for number, one in enumerate(every) if number % ODD != 2)


def _image(image: str, url: str) -> Image:
    return Image(
        id=image,
        name="generated",
        status="active",
        disk_format="raw",
        container_format="bare",
        size=1 << 30,
        direct_url=url,
        stores=("rbd",),
        created_at=MADE,
    )


@pytest.mark.parametrize("size", ROWS)
def test_hygiene_is_judged_in_linear_time(size: int, tmp_path: Path) -> None:
    save_facts(_generated(load_cloud(CLOUD), size), tmp_path / "facts")
    command = [sys.executable, "-m", "pytest", "--cloud", str(CLOUD), "--facts", str(tmp_path / "facts"), "-q"]
    command += ["-m", "static", "-k", "hyg", "--reports", str(tmp_path / "runs"), "-p", "no:cacheprovider", "--tb=no"]
    _, took = _measured(command, tmp_path)
    entries = load(tmp_path / "runs/latest/report.json").entries
    judged = sum(entry.seconds for entry in entries)
    print(f"\n{size} images, {_load()}: {took}; of it judged in {judged:.2f} s, {1e6 * judged / size:.1f} us an image")
    wrong = {entry.check for entry in entries if entry.outcome == "failed"}
    assert wrong == {"hyg.volume.orphan", "hyg.snapshot.orphan", "hyg.vm.orphan_disk", "hyg.image.orphan"}


# ---------------------------------------------------------------------------- listed by the services

_DATABASES = {"volumes": "cinder", "images": "glance"}
_PUT = {
    "volumes": "INSERT INTO volumes (id, created_at, deleted, status, size, host, display_name, project_id, user_id,"
    " volume_type_id, use_quota, bootable, multiattach) SELECT {id}, NOW(), 0, 'available', 1,"
    " 'controller@bench#bench', 'generated', 'bench', 'bench', (SELECT id FROM volume_types WHERE deleted = 0 LIMIT 1),"
    " 0, 0, 0 FROM seq_1_to_{count}",
    "images": "INSERT INTO images (id, created_at, updated_at, deleted, name, status, visibility, size, min_disk,"
    " min_ram, protected, os_hidden, owner, disk_format, container_format) SELECT {id}, NOW(), NOW(), 0, 'generated',"
    " 'queued', 'private', 0, 0, 0, 0, 0, 'bench', 'raw', 'bare' FROM seq_1_to_{count}",
}
_ID = "CONCAT('ffffffff-0000-4000-8000-', LPAD(HEX(seq), 12, '0'))"
_TAKE = {
    "volumes": "DELETE FROM volumes WHERE id LIKE 'ffffffff-0000-4000-8000-%'",
    "images": "DELETE FROM images WHERE id LIKE 'ffffffff-0000-4000-8000-%'",
}


def _sql(controller: Machine, kind: str, statement: str) -> None:
    controller.run(f'mysql {_DATABASES[kind]} -e "{statement}"')


@contextmanager
def _rows(controller: Machine, kind: str, count: int) -> Iterator[None]:
    _sql(controller, kind, _PUT[kind].format(count=count, id=_ID))
    try:
        yield
    finally:
        _sql(controller, kind, _TAKE[kind])


@pytest.mark.parametrize("kind", list(_PUT))
def test_rows_are_listed_by_pages(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (STATE / "access" / "ssh_config").exists():
        pytest.skip(f"no lab in {STATE}: python -m lab up")
    controller = Lab.recorded(State(STATE)).plan.machines["controller"]
    for count in LISTED:
        with _rows(controller, kind, count), open_openstack(load_cloud(CLOUD)) as connection:
            connection.authorize()
            asked = _requests(connection, monkeypatch)
            started = time.monotonic()
            told = need(read_some(connection, kind)[kind], kind)
            took = time.monotonic() - started
        print(f"\n{count} more {kind}: {len(told)} listed in {took:.1f} s, {len(asked)} requests, {_load()}")
        assert len(told) >= count
        assert len(asked) <= DISCOVERED + -(-len(told) // PAGE)


def _requests(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that are asked from now on."""
    asked: list[str] = []
    request = connection.session.request

    def noted(url: str, *words: Any, **options: Any) -> Any:
        asked.append(url)
        return request(url, *words, **options)

    monkeypatch.setattr(connection.session, "request", noted)
    return asked
