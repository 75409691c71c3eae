"""Area dr: a dump is worth what can be restored from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import Dumps
from fixtures.dumps import newest_of_each
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.openstack import Image, Server, Volume
from fixtures.facts.run import Facts
from fixtures.reach import Hosts
from fixtures.scratch.restore import Restored, restore
from fixtures.scratch.timing import Measure, timed

LONGEST_DUMP = 3600.0
"""Seconds that a dump may take: what was made meanwhile is in it or not."""
SHOWN = 5
REMEDY = "make the dump anew (mysqldump --single-transaction --databases …), and restore one by hand before you need it"


@pytest.mark.dynamic
@pytest.mark.applies_if(
    lambda cloud: cloud.recovery.database is not None and cloud.recovery.database.restore,
    "the cloud file does not have dumps restored as a trial (recovery.database.restore)",
)
@pytest.mark.check("dr.db.restore_test", severity="major", source="S4")
def test_database_dumps_can_be_restored(cloud: Cloud, facts: Facts, hosts: Hosts, measure: Measure) -> None:
    """The newest dumps restore into an empty server, and hold every server, volume and image that is older than they.

    Why: a dump that nobody ever restored is a hope; that it is fresh and ends well does not say that it is taken.
    """
    wanted = _named(cloud)
    dumps = need(facts.host(wanted.host).system.dumps, f"{wanted.host}:{wanted.path}")
    newest = newest_of_each(dumps)
    sealed = [dump.stat.path for dump in newest if dump.content == "encrypted"]
    applies(not sealed, f"encrypted, and the key is not on its host: {', '.join(sealed)}")
    if not newest:
        raise NotMeasured(f"{wanted.host}:{wanted.path}: there is no dump (see dr.db.dump_fresh)")
    paths = [dump.stat.path for dump in newest]
    with timed(measure, "restore of the database's dumps"):
        restored = restore(hosts[wanted.host], paths, float(cloud.journeys.timeout), REMEDY)
    age = facts.host(wanted.host).collected_at - min(dump.stat.mtime for dump in newest)
    problems = list(_missing(restored, facts, age + LONGEST_DUMP))
    assert not problems, finding(
        f"{wanted.host}: {', '.join(paths)}", found=problems, expected="all that is older than the dump", remedy=REMEDY
    )


def _named(cloud: Cloud) -> Dumps:
    if cloud.recovery.database is None:
        raise NotMeasured("the cloud file names no dumps (recovery.database)")
    return cloud.recovery.database


def _missing(restored: Restored, facts: Facts, age: float) -> Iterator[str]:
    """What is older than `age` seconds and not in the dumps."""
    told = facts.openstack
    yield from _not_in(restored, "instances", need(told.servers, "servers"), facts, age)
    yield from _not_in(restored, "volumes", need(told.volumes, "volumes"), facts, age)
    yield from _not_in(restored, "images", need(told.images, "images"), facts, age)
    if not restored.of("endpoint"):
        yield "no endpoint of Keystone's catalog"


def _not_in(
    restored: Restored,
    table: str,
    rows: Sequence[Server] | Sequence[Volume] | Sequence[Image],
    facts: Facts,
    age: float,
) -> Iterator[str]:
    if table not in restored.rows:
        yield f"no table {table}"
        return
    lost = [row.id for row in rows if row.id not in restored.of(table) and facts.age(row.created_at) > age]
    if lost:
        yield f"{len(lost)} of {len(rows)} {table} missing: {', '.join(lost[:SHOWN])}"
