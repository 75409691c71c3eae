"""Taking an option of Ceph's clients out of wherever it is set, so that Ceph's own default holds."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.clients import plain
from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import need
from fixtures.facts.host import ConfigEntry
from fixtures.facts.run import Facts
from fixtures.targets import Client
from remediate.model import ClusterOption, Option
from remediate.options import refuse_container


def unset_for(client: Client, option: str, facts: Facts, cloud: Cloud) -> Iterator[Option | ClusterOption]:
    """Take an option out of the ceph.conf of a client's host; where it is not there, out of the monitors' keeping.

    Raises:
        NeedsOperator: the client runs in a container.
    """
    entity = f"client.{client.user}"
    conf = need(facts.host(client.host).of(client.role).ceph_conf, f"{client.host}: ceph.conf")
    sections = (entity, "client", "global")
    found = [entry for entry in conf.entries if entry.section in sections and plain(entry.key) == option]
    for entry in found:
        refuse_container(facts, client.host, client.role, f"# take {entry.key} out of {entry.file}")
        yield without_entry(client.host, entry, cloud)
    if not found:
        yield from (ClusterOption(who=who, option=option, value=None) for who in sections)


def without_entry(host: str, entry: ConfigEntry, cloud: Cloud) -> Option:
    """Return the step that takes an entry out of a host's ceph.conf; services of Ceph's clients there start anew."""
    restarts = tuple(role for role in CLIENT_ROLES if role in cloud.hosts[host].roles)
    return Option(
        host=host,
        path=entry.file,
        section=entry.section,
        key=entry.key,
        value=None,
        reader="ceph",
        restarts=restarts,
    )
