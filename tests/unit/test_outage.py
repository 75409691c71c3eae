"""Hypervisors that are taken away are given back, in the one order in which Nova takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from fixtures.cloud import load_cloud
from fixtures.facts.base import NotMeasured
from fixtures.scratch.ledger import Record
from fixtures.scratch.outage import Outages
from fixtures.scratch.site import CloudSite, Found, RefusedError, is_removable

CLOUD = load_cloud(Path(__file__).parents[2] / "clouds" / "lab.yaml")
NAME = "ceph-osc-0123456789abcdef-main-outage-1"
RECORD = Record(1, "outage", NAME, "", frozenset(), 0.0, id="s1")


@dataclass
class Nova:
    """One nova-compute, and what is asked of it."""

    asked: list[str] = field(default_factory=list)
    disabled_reason: str | None = NAME
    is_forced_down: bool = True
    state: str = "down"
    id: str = "s1"
    host: str = "compute1"

    def services(self, binary: str) -> list[Nova]:
        return [self]

    def update_service_forced_down(self, service: str, host: str, binary: str, *, forced: bool) -> None:
        self.asked.append(f"forced down: {forced}")
        self.is_forced_down = forced

    def enable_service(self, service: str, host: str, binary: str) -> None:
        self.asked.append("enabled")
        self.disabled_reason = None


def _outages(nova: Nova) -> Outages:
    def run(command: str, *args: str, timeout: float = 0) -> Any:
        nova.asked.extend(args)
        return SimpleNamespace(rc=0, stdout="compute1\n", stderr="")

    hosts = {name: SimpleNamespace(run=run) for name in CLOUD.hosts}
    return Outages(CLOUD, cast(Any, SimpleNamespace(compute=nova)), cast(Any, hosts))


def _site(nova: Nova) -> CloudSite:
    return CloudSite(MagicMock(), {}, None, outages=_outages(nova))


def test_a_hypervisor_is_started_then_declared_alive_and_open_to_servers_last() -> None:
    nova = Nova()
    site = _site(nova)
    found = site.look(RECORD)
    assert found == Found("outage", "s1", NAME, "") and is_removable(found)
    with pytest.raises(RefusedError, match="compute1 is down"):
        site.remove(found)
    assert nova.asked[1:] == ["start", "forced down: False"] and "nova-compute" in nova.asked[0].split()
    with pytest.raises(RefusedError):
        site.remove(found)
    nova.state = "up"
    site.remove(found)
    assert nova.asked[-1] == "enabled" and "enabled" not in nova.asked[:-1]
    assert site.look(RECORD) is None


def test_what_somebody_else_disabled_is_left_alone() -> None:
    assert _site(Nova(disabled_reason="disk is being changed")).look(RECORD) is None
    assert _site(Nova(disabled_reason=None)).look(RECORD) is None


def test_nothing_is_started_where_the_cloud_file_releases_nothing() -> None:
    nova = Nova(host="compute9")
    with pytest.raises(NotMeasured, match="disruptive_on"):
        _site(nova).remove(Found("outage", "s1", NAME, ""))
    assert nova.asked == []
