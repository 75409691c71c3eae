"""When the schema of a service's database may be upgraded: a dump is at hand, and nobody else uses it meanwhile."""

from __future__ import annotations

import re

from fixtures.cloud import Cloud, Role
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from remediate.model import NeedsOperator


def refuse_upgrade(cloud: Cloud, facts: Facts, host: str, role: Role, *lines: str) -> None:
    """Raise NeedsOperator, with what a person would do, where a schema is not to be upgraded."""
    others = [name for name in cloud.hosts_with(role) if name != host]
    if others:
        raise NeedsOperator(f"{role} runs on {', '.join(others)} too: stop it everywhere, or upgrade by steps", *lines)
    address = config_of(facts.host(host), role).get("database", "connection", "")
    schema = re.search(r"@[^/]+/([\w-]+)", address)
    if schema is None or not _is_dumped(schema[1], cloud, facts):
        raise NeedsOperator("there is no fresh and whole dump to go back to (see dr.db.dump_fresh)", *lines)


def _is_dumped(schema: str, cloud: Cloud, facts: Facts) -> bool:
    """Whether a dump that the cloud file names is young enough, ends as it should, and begins this schema."""
    wanted = cloud.recovery.database
    if wanted is None:
        return False
    host = facts.host(wanted.host)
    oldest = host.collected_at - wanted.max_age * 3600
    dumps = need(host.system.dumps, f"{wanted.host}:{wanted.path}")
    return any(dump.stat.mtime > oldest and dump.complete and schema in dump.schemas for dump in dumps)
