"""Hypervisors that are taken away are given back, in the one order in which Nova takes them."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from fixtures.cloud import load_cloud
from fixtures.facts.base import NotMeasured
from fixtures.scratch import outage
from fixtures.scratch.ledger import Record
from fixtures.scratch.outage import Outages
from fixtures.scratch.site import CloudSite, Found, RefusedError, is_removable

CLOUD = load_cloud(Path(__file__).parents[2] / "clouds" / "lab.yaml")
NAME = "ceph-osc-0123456789abcdef-main-outage-1"
RECORD = Record(1, "outage", NAME, "", frozenset(), 0.0, id="s1")
FOUND = Found("outage", "s1", NAME, "")
RUNNING = {"nova-compute", "virtqemud", "virtqemud.socket", "virtlogd"}
SYSTEMCTL = """#!/bin/sh
cd "$STATE/active"
case $1 in
-q) test -e "$3"; exit ;;
cat) test "$2" = nova-compute; exit ;;
show)
    case $3-$5 in
    TriggeredBy-*) echo "$5.socket $5-tls.socket" ;;
    Triggers-*.socket) echo "${5%.socket}" ;;
    esac
    exit ;;
reset-failed) exit ;;
start) touch "$2" ;;
stop) [ "$2" != --job-mode ] || shift 2; shift; rm -f "$@"; set -- stop "$@" ;;
esac
echo "$@" >>"$STATE/told"
"""


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


@dataclass
class Machine:
    """A hypervisor whose systemd is made up."""

    folder: Path

    def __post_init__(self) -> None:
        for name, text in {"systemctl": SYSTEMCTL, "hostname": "#!/bin/sh\necho compute1\n"}.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        (self.folder / "active").mkdir()
        for unit in RUNNING:
            (self.folder / "active" / unit).touch()

    def run(self, command: str, *args: str, timeout: float = 0) -> Any:
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "STATE": str(self.folder)}
        line = command % tuple(map(shlex.quote, args)) if args else command
        done = subprocess.run(["sh", "-c", line], env=environment, text=True, capture_output=True)
        return SimpleNamespace(rc=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []

    def running(self) -> set[str]:
        return {path.name for path in (self.folder / "active").iterdir()}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(outage, "_NOTES", str(tmp_path / "notes"))
    return Machine(tmp_path)


def _outages(nova: Nova, machine: Machine) -> Outages:
    hosts = {name: SimpleNamespace(run=machine.run) for name in CLOUD.hosts}
    return Outages(CLOUD, cast(Any, SimpleNamespace(compute=nova)), cast(Any, hosts))


def _site(nova: Nova, machine: Machine) -> CloudSite:
    return CloudSite(MagicMock(), {}, None, outages=_outages(nova, machine))


def test_what_starts_guests_is_killed_and_what_they_need_is_let_be(machine: Machine) -> None:
    nova = Nova()
    _outages(nova, machine).take(cast(Any, nova))
    assert machine.told() == [
        "stop virtqemud.socket",
        "kill --signal KILL nova-compute",
        "kill --signal KILL --kill-who main virtqemud",
        "stop virtqemud.socket virtqemud nova-compute",
    ]
    assert machine.running() == {"virtlogd"}


def test_nothing_is_killed_where_nova_compute_does_not_run(machine: Machine) -> None:
    (machine.folder / "active/nova-compute").unlink()
    nova = Nova()
    with pytest.raises(NotMeasured, match="no unit of it runs"):
        _outages(nova, machine).take(cast(Any, nova))
    assert machine.told() == []


def test_a_hypervisor_is_started_then_declared_alive_and_open_to_servers_last(machine: Machine) -> None:
    nova = Nova()
    site = _site(nova, machine)
    _outages(nova, machine).take(cast(Any, nova))
    assert site.look(RECORD) == FOUND and is_removable(FOUND)
    with pytest.raises(RefusedError, match="compute1 is down"):
        site.remove(FOUND)
    assert machine.running() == RUNNING and nova.asked == ["forced down: False"]
    with pytest.raises(RefusedError):
        site.remove(FOUND)
    nova.state = "up"
    site.remove(FOUND)
    assert nova.asked == ["forced down: False", "enabled"]
    assert site.look(RECORD) is None
    assert list((machine.folder / "notes").iterdir()) == []


def test_a_socket_is_opened_before_the_daemon_that_came_back_without_it(machine: Machine) -> None:
    nova = Nova()
    _outages(nova, machine).take(cast(Any, nova))
    (machine.folder / "active/virtqemud").touch()
    before = len(machine.told())
    with pytest.raises(RefusedError):
        _site(nova, machine).remove(FOUND)
    started = ["stop virtqemud", "start virtqemud.socket", "start virtqemud", "start nova-compute"]
    assert machine.told()[before:] == started


def test_a_hypervisor_that_was_rebooted_meanwhile_has_nova_compute_started(machine: Machine) -> None:
    (machine.folder / "active/nova-compute").unlink()
    with pytest.raises(RefusedError):
        _site(Nova(), machine).remove(FOUND)
    assert machine.told() == ["start nova-compute"]


def test_what_somebody_else_disabled_is_left_alone(machine: Machine) -> None:
    assert _site(Nova(disabled_reason="disk is being changed"), machine).look(RECORD) is None
    assert _site(Nova(disabled_reason=None), machine).look(RECORD) is None


def test_nothing_is_started_where_the_cloud_file_releases_nothing(machine: Machine) -> None:
    nova = Nova(host="compute9")
    with pytest.raises(NotMeasured, match="disruptive_on"):
        _site(nova, machine).remove(FOUND)
    assert machine.told() == []
