"""Area dr.db: dumps of the database."""

from __future__ import annotations

import re

import pytest

from fixtures.around import each_host
from fixtures.checks import finding
from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import Dumps
from fixtures.dumps import kind_of
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.facts.run import Facts
from fixtures.facts.system import Dump
from fixtures.integration import config_of

DATABASE_ROLES: tuple[Role, ...] = ("keystone", "glance-api", "cinder-api", "cinder-scheduler", "nova-control")
DATABASE_ROLES += ("neutron-server",)
SMALLEST = 1024
SHRUNK = 0.5


@pytest.mark.check("dr.db.dump_fresh", severity="critical", source="S4")
@pytest.mark.applies_if(
    lambda cloud: cloud.recovery.database is not None or cloud.policy.kind == "production",
    "a lab whose cloud file names no dumps (recovery.database)",
)
def test_database_dumps_are_fresh_and_whole(cloud: Cloud, facts: Facts) -> None:
    """Every schema that services use has a dump: fresh, whole, encrypted, on another host than the database.

    Why: images and volumes without the database are a heap of names; Ceph keeps data, not what it belongs to.
    """
    wanted = cloud.recovery.database
    assert wanted is not None, finding(
        "cloud file",
        found="recovery.database is not set",
        expected="where the database's dumps are",
        remedy="dump all schemas daily to another host, and name host and path under recovery.database",
    )
    host = facts.host(wanted.host)
    dumps = need(host.system.dumps, f"{wanted.host}:{wanted.path}")
    where = f"{wanted.host}:{wanted.path}"
    assert dumps, finding(where, found="no file", expected="dumps", remedy="look at the timer that makes them")
    newest = _newest(dumps, host.collected_at, wanted)
    assert newest, finding(
        where,
        found=f"the newest is {_hours(dumps[0], host.collected_at):.0f} hours old",
        expected=f"under {wanted.max_age:g}",
        remedy="look at the timer that makes them",
    )
    bad = {dump.stat.path: told for dump in newest if (told := _problem(dump, dumps, wanted))}
    assert not bad, finding(
        where, found=bad, expected="whole dumps, closed to others", remedy="dump anew and look at what it says"
    )
    _covers_all(cloud, facts, where, newest)
    served = [name for name, it in each_host(cloud, facts).items() if _serves_database(it.system.database)]
    assert wanted.host not in served, finding(
        where, found="on the database's own host", expected="another host", remedy="copy the dumps elsewhere"
    )


def _hours(dump: Dump, now: float) -> float:
    return (now - dump.stat.mtime) / 3600


def _newest(dumps: tuple[Dump, ...], now: float, wanted: Dumps) -> list[Dump]:
    return [dump for dump in dumps if _hours(dump, now) < wanted.max_age]


def _problem(dump: Dump, dumps: tuple[Dump, ...], wanted: Dumps) -> str:
    if dump.stat.mode & 0o007:
        return f"mode {dump.stat.mode:04o}"
    if wanted.encrypted and dump.content != "encrypted":
        return "not encrypted"
    if dump.complete is False:
        return "does not end with `Dump completed`"
    alike = [other.stat.size for other in dumps if kind_of(other) == kind_of(dump)]
    if dump.stat.size < max(SMALLEST, SHRUNK * sorted(alike)[len(alike) // 2]):
        return f"only {dump.stat.size} bytes"
    return ""


def _covers_all(cloud: Cloud, facts: Facts, where: str, newest: list[Dump]) -> None:
    covered = {schema for dump in newest for schema in dump.schemas}
    names = " ".join(dump.stat.path for dump in newest)
    used = _schemas(cloud, facts)
    if all(dump.complete is None for dump in newest) and not any(_named(schema, names) for schema in used):
        raise NotMeasured(f"{where}: neither names nor contents tell of which schemas the dumps are")
    missing = {schema for schema in used if schema not in covered and not _named(schema, names)}
    assert not missing, finding(
        where,
        found=f"no dump of {', '.join(sorted(missing))}",
        expected=f"all of {', '.join(sorted(used))}",
        remedy="mysqldump --single-transaction --routines --triggers --databases …, all of them",
    )


def _named(schema: str, names: str) -> bool:
    return re.search(rf"(?<![a-z_]){re.escape(schema)}(?![a-z_])", names) is not None


def _schemas(cloud: Cloud, facts: Facts) -> set[str]:
    """The schemas that the services' live configurations name, and Nova's cell0 beside nova_api."""
    found: set[str] = set()
    for name, host in each_host(cloud, facts, cloud.hosts_with(*DATABASE_ROLES)).items():
        for role in set(DATABASE_ROLES) & set(cloud.hosts[name].roles):
            config = config_of(host, role)
            for section in ("database", "api_database"):
                url = config.get(section, "connection", "")
                schema = re.search(r"@[^/]+/([\w-]+)", url)
                found |= {schema[1]} if schema else set()
                found |= {"nova_cell0"} if schema and section == "api_database" else set()
    if not found:
        raise NotMeasured("no service's configuration names a database")
    return found


def _serves_database(database: object) -> bool:
    return database is not None and not isinstance(database, Unreadable)
