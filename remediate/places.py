"""Where a host's files are ours to change, and what is started anew after it."""

from __future__ import annotations

from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from remediate.model import NeedsOperator


def on_host(place: str, facts: Facts, *lines: str) -> HostFacts:
    """Return the host of a target "HOST" or "HOST/CONTAINER".

    Raises:
        NeedsOperator: it is a container, whose files its deployment tool writes anew.
    """
    host, _, container = place.partition("/")
    if container:
        raise NeedsOperator(f"{host}: the files of the container {container} are its deployment tool's", *lines)
    return facts.host(host)


def clients_on(host: HostFacts, cloud: Cloud) -> tuple[Role, ...]:
    """Return the roles whose service on a host opens RBD images."""
    return tuple(role for role in CLIENT_ROLES if role in cloud.hosts[host.name].roles)
