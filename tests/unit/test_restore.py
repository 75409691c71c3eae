"""The trial of the database's dumps: what its host answers, and what is missed in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import recorded
from fixtures.cloud import Cloud, load_cloud
from fixtures.dumps import newest_of_each
from fixtures.facts.base import NotMeasured
from fixtures.facts.files import File
from fixtures.facts.openstack import OpenStackFacts
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts
from fixtures.facts.system import Dump
from fixtures.reach import Hosts, Reach
from fixtures.scratch.restore import restore
from suites.recovery.test_restore import test_database_dumps_can_be_restored as check

HOUR = 3600.0


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")
    return load_cloud(recorded.CLOUDS["default"])


class Answering:
    """A host that answers so, and keeps what it was asked."""

    host = "storage"

    def __init__(self, stdout: str = "", stderr: str = "", rc: int = 0) -> None:
        self._answer = stdout, stderr, rc
        self.asked: tuple[str, ...] = ()

    def run(self, command: str, *args: str, **_: Any) -> SimpleNamespace:
        self.asked = args
        stdout, stderr, rc = self._answer
        return SimpleNamespace(rc=rc, stdout=stdout, stderr=stderr)


def _facts(age: float) -> Facts:
    """The recorded cloud, as if its dump were of `age` seconds before it was looked at."""
    facts = load_facts(recorded.folder("default"))
    host = facts.host("storage")
    (dump,) = cast(tuple[Dump, ...], host.system.dumps)
    older = dump.model_copy(update={"stat": dump.stat.model_copy(update={"mtime": host.collected_at - age})})
    system = host.system.model_copy(update={"dumps": (older,)})
    return facts.model_copy(update={"hosts": {**facts.hosts, "storage": host.model_copy(update={"system": system})}})


def _image(facts: Facts) -> str:
    (image,) = cast(Any, cast(OpenStackFacts, facts.apis).images)
    return str(image.id)


def _told(images: str) -> str:
    return f"instances\nvolumes\nimages\n{images}endpoint\nendpoint 8d1f\n"


def _judge(facts: Facts, cloud: Cloud, host: Answering) -> None:
    check(cloud, facts, cast(Hosts, {"storage": host}), lambda name, value, unit: None)


def test_a_dump_that_holds_all_is_good(cloud: Cloud) -> None:
    facts = _facts(0)
    host = Answering(_told(f"images {_image(facts)}\n"))
    _judge(facts, cloud, host)
    assert host.asked[1:] == ("/var/backups/openstack/database.sql.gz",)


def test_what_was_there_before_the_dump_is_missed_in_it(cloud: Cloud) -> None:
    facts = _facts(0)
    ago = 5 * HOUR + facts.observed_at - facts.host("storage").collected_at
    (image,) = cast(Any, cast(OpenStackFacts, facts.apis).images)
    made = facts.now.timestamp() - ago
    old = image.model_copy(update={"created_at": datetime.fromtimestamp(made, UTC).isoformat()})
    apis = cast(OpenStackFacts, facts.apis).model_copy(update={"images": (old,)})
    with pytest.raises(AssertionError, match=f"1 of 1 images missing: {image.id}"):
        _judge(facts.model_copy(update={"apis": apis}), cloud, Answering(_told("")))
    _judge(_facts(6 * HOUR).model_copy(update={"apis": apis}), cloud, Answering(_told("")))


def test_what_no_schema_has_is_told(cloud: Cloud) -> None:
    with pytest.raises(AssertionError, match="no endpoint of Keystone's catalog, no table volumes"):
        _judge(_facts(0), cloud, Answering("instances\nimages\n"))


@pytest.mark.parametrize(
    ("rc", "stderr", "said"),
    [
        (2, "no mariadbd or mysqld here", "not restored here: no mariadbd or mysqld here"),
        (124, "", "not restored within 5 s"),
        (127, "", "exit code 127"),
    ],
)
def test_what_cannot_be_tried_is_not_measured(rc: int, stderr: str, said: str) -> None:
    with pytest.raises(NotMeasured, match=said):
        restore(cast(Reach, Answering(stderr=stderr, rc=rc)), ["/a.sql"], 5, "dump anew")


def test_a_dump_that_is_not_taken_fails(cloud: Cloud) -> None:
    host = Answering(stderr="/a.sql.gz: ERROR 1064 (42000) at line 29", rc=3)
    with pytest.raises(AssertionError, match=r"found /a.sql.gz: ERROR 1064 \(42000\) at line 29"):
        restore(cast(Reach, host), ["/a.sql.gz"], 5, "dump anew")


def test_of_each_kind_the_newest_is_tried() -> None:
    def dump(name: str, mtime: float) -> Dump:
        stat = File(path=name, kind="file", mtime=mtime)
        return Dump(stat=stat, content="sql")

    found = newest_of_each([dump("/b/nova-20261102.sql", 2), dump("/b/nova-20261101.sql", 1), dump("/b/glance.sql", 1)])
    assert [Path(one.stat.path).name for one in found] == ["glance.sql", "nova-20261102.sql"]
