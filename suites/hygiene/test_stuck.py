"""Area hyg: what the APIs say is on its way, and has been for too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from fixtures.checks import finding, some
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.run import Facts

RESTING = {
    "volume": frozenset({"available", "in-use", "maintenance"}),
    "snapshot": frozenset({"available"}),
    "backup": frozenset({"available"}),
    "server": frozenset(
        {"ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED", "RESCUE", "SHELVED", "SHELVED_OFFLOADED", "SOFT_DELETED"}
        | {"VERIFY_RESIZE"}  # waits for its owner, not for the cloud
    ),
    "image": frozenset({"active", "deactivated", "deleted", "pending_delete"}),
}
"""States in which a thing may stay for ever."""


class _Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def created_at(self) -> str: ...
    @property
    def updated_at(self) -> str: ...


@pytest.mark.check("hyg.api.stuck", severity="minor", source="NPOA")
def test_nothing_is_stuck(facts: Facts, cloud: Cloud) -> None:
    """No volume, snapshot, backup, server or image is in error or on its way for long, or attached to a lost server.

    Why: what is stuck counts against quotas, and neither its owner nor the service can get it out of there.
    """
    apis = facts.openstack
    rows: list[tuple[str, _Row]] = [
        *(("volume", row) for row in need(apis.volumes, "volumes")),
        *(("snapshot", row) for row in need(apis.volume_snapshots, "snapshots")),
        *(("backup", row) for row in need(apis.backups, "backups")),
        *(("server", row) for row in need(apis.servers, "servers")),
        *(("image", row) for row in need(apis.images, "images")),
    ]
    found = [
        f"{kind} {row.id}: {row.status} for {facts.age(_since(row)) / 3600:.1f} h"
        for kind, row in rows
        if row.status not in RESTING[kind] and facts.age(_since(row)) > cloud.hygiene.stuck_after
    ]
    found += [*_busy(facts, cloud), *_attached_to_nobody(facts, cloud)]
    assert not found, finding(
        "APIs",
        found=some(found),
        expected=f"every change done within {cloud.hygiene.stuck_after} s",
        remedy="read the service's log for the id; then reset-state and delete, or delete the attachment",
    )


def _since(row: _Row) -> str:
    return row.updated_at or row.created_at


def _busy(facts: Facts, cloud: Cloud) -> Iterator[str]:
    """Servers whose task does not end; while they are built, their status says it already."""
    for row in need(facts.openstack.servers, "servers"):
        if row.task and row.status in RESTING["server"] and facts.age(_since(row)) > cloud.hygiene.stuck_after:
            yield f"server {row.id}: {row.task} for {facts.age(_since(row)) / 3600:.1f} h"


def _attached_to_nobody(facts: Facts, cloud: Cloud) -> Iterator[str]:
    """Young ones are left alone: a server may have been deleted between the two lists."""
    servers = {row.id for row in need(facts.openstack.servers, "servers")}
    for row in need(facts.openstack.volumes, "volumes"):
        if set(row.servers) - servers and facts.age(_since(row)) > cloud.hygiene.stuck_after:
            yield f"volume {row.id}: attached to {', '.join(sorted(set(row.servers) - servers))}, which is not there"
