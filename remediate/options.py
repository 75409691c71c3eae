"""Where an option of an OpenStack service is to be edited, and where nothing of it is ours to edit."""

from __future__ import annotations

from fixtures.cloud import Role
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.oslo import ENVIRONMENT
from fixtures.targets import service_of
from remediate.model import NeedsOperator, Option


def set_option(facts: Facts, host: str, role: Role, section: str, key: str, value: str | None, *also: Role) -> Option:
    """Return the step that sets an option in the file which has the last word on it.

    Args:
        facts: The run's.
        host: The host of the cloud file.
        role: The service that reads it.
        section: The section.
        key: The option.
        value: What it is to be; None: unset, so that the default holds.
        also: Further roles on that host that read the same file and must be restarted.

    Raises:
        NeedsOperator: the environment has the last word, the service reads no file, or it runs in a container.
    """
    refuse_container(facts, host, role, f"[{section}]", f"{key} = {value}")
    entry = config_of(facts.host(host), role).entry(section, key)
    if entry is not None and entry.file == ENVIRONMENT:
        raise NeedsOperator(
            f"{host}: [{section}] {key} comes from the environment of {role}: OS_{section}__{key}".upper(),
            f"[{section}]",
            f"{key} = {value}",
        )
    path = entry.file if entry else _file_for(facts, host, role, section)
    return Option(host=host, path=path, section=section, key=key, value=value, restarts=(role, *also))


def refuse_container(facts: Facts, host: str, role: str, *lines: str) -> None:
    """Leave a service in a container to the tool that deployed it: it would write the files anew.

    Raises:
        NeedsOperator: it runs in one.
    """
    container = facts.host(host).inside.get(role)
    if container:
        raise NeedsOperator(
            f"{host}: {role} runs in the container {container}, whose files are its deployment tool's", *lines
        )


def _file_for(facts: Facts, host: str, role: Role, section: str) -> str:
    """The last file that has the section, else the first that is there."""
    service = service_of(facts.host(host), role)
    entries = need(service.entries, f"{host}: configuration of {role}")
    having = [entry.file for entry in entries if entry.section == section and entry.file != ENVIRONMENT]
    every = [entry.file for entry in entries if entry.file != ENVIRONMENT]
    if not every:
        raise NeedsOperator(f"{host}: {role} reads no file")
    return (having or every[:1])[-1]
