"""Many hosts: turns, facts in files of their own, going on after an interruption, names in few words."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import recorded
from fixtures.cloud import Cloud
from fixtures.facts import spread
from fixtures.facts.base import Unreadable, need
from fixtures.facts.ceph import CephFacts
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.shared import Shared
from fixtures.facts.spread import FOLDER, UNFINISHED, CannotResume, Keeping, SpreadHosts
from fixtures.facts.store import load_facts, save_facts
from fixtures.neighbours import ALL, TRIED, names_for, peers
from fixtures.observe import fleet, turns
from fixtures.observe.host import each_in_turn
from fixtures.observe.turns import Turns
from fixtures.reach import Hosts
from fixtures.sources import ANEW, look_again, pytest_sessionfinish
from fixtures.stash import CLOUD
from fixtures.stash import FACTS as FACTS_KEPT
from lab import fleet as lab_fleet
from reports.summary import unreached
from tests.collecting import PROJECT
from tests.reporting import report
from tests.unit.test_host_observation import cloud

FACTS = load_facts(recorded.folder("default"))
COMPUTE = FACTS.host("compute1")
BLIND = Unreadable(unreadable="down")


def _cloud(size: int) -> Cloud:
    hosts = {f"compute{number:03}": {"roles": ["nova-compute"]} for number in range(1, size + 1)}
    return cloud(hosts={"ctl": {"roles": ["glance-api", "cinder-volume", "cinder-backup"]}, **hosts})


# -- turns


def test_no_more_hosts_are_asked_at_once_than_are_to_be() -> None:
    guard, running, most = threading.Lock(), set[str](), 0

    def ask(name: str, seconds: float) -> HostFacts | Unreadable:
        nonlocal most
        with guard:
            running.add(name)
            most = max(most, len(running))
        time.sleep(0.01)
        with guard:
            running.remove(name)
        return BLIND

    found: dict[str, Any] = {}
    names = [str(number) for number in range(20)]
    each_in_turn(names, ask, lambda name, facts, seconds: found.update({name: facts}), Turns(20, 3, 60))
    assert most == 3
    assert sorted(found) == sorted(names)


def test_hung_hosts_give_their_turns_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    monkeypatch.setattr(turns, "_LOOK_AGAIN", 0.02)
    over = threading.Event()

    def ask(name: str, seconds: float) -> HostFacts | Unreadable:
        if name.startswith("hung"):
            over.wait(10)
            return BLIND
        return COMPUTE

    names = ["well0", "hung1", "hung2", *(f"well{number}" for number in range(1, 21))]
    left = {name for name in names if name.startswith("well")}

    def keep(name: str, facts: object, seconds: float) -> None:
        left.discard(name)
        if not left:
            over.set()

    start = time.monotonic()
    each_in_turn(names, ask, keep, Turns(len(names), 2, 60))
    assert time.monotonic() - start < 5


def test_where_all_are_slow_nobody_gives_a_turn_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.0)
    some = Turns(80, 1, 60)
    assert some.take("one")
    time.sleep(0.2)
    some.give_back("one", answered=True)
    assert some.take("two")
    assert some._taken() == 1
    time.sleep(0.3)
    assert some._taken() == 1


def test_what_is_not_asked_in_time_is_told() -> None:
    found: dict[str, HostFacts | Unreadable] = {}
    each_in_turn(
        ["a", "b"], lambda name, seconds: COMPUTE, lambda name, facts, took: found.update({name: facts}), Turns(2, 1, 0)
    )
    told = found["b"]
    assert isinstance(told, Unreadable)
    assert "the time for all hosts was over" in told.unreadable


def test_open_files_bound_how_many_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (turns._in_use() + 64 + 8 * 5, 4096))
    assert Turns(1000, 500, 60).forks in (4, 5)


# -- facts on disk


def test_facts_of_hosts_are_read_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "HELD", 32 * spread.HOST_BYTES)
    keeping = Keeping.begin(tmp_path, "test")
    for number in range(42):
        keeping.put(f"host{number:03}", COMPUTE.model_copy(update={"name": f"host{number:03}"}))
    keeping.put("down", BLIND)
    hosts = keeping.hosts()
    assert len(hosts) == 43
    assert [host.name for host in hosts.values() if isinstance(host, HostFacts)] == list(hosts)[1:]
    assert 0 < len(hosts._held) < 32
    assert hosts["down"] == BLIND
    assert "other" not in hosts
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / FOLDER).iterdir())


def test_what_hosts_have_in_common_is_held_once(tmp_path: Path) -> None:
    keeping = Keeping.begin(tmp_path, "test")
    options = need(COMPUTE.system.clock), COMPUTE.packages
    twin = COMPUTE.model_copy(update={"name": "twin", "commands": {**COMPUTE.commands, "odd": True}})
    for host in (COMPUTE, twin):
        keeping.put(host.name, host)
    hosts = keeping.hosts()
    one, other = (hosts[name] for name in (COMPUTE.name, "twin"))
    assert (one, other) == (COMPUTE, twin)
    assert isinstance(one, HostFacts) and isinstance(other, HostFacts)
    assert (need(one.system.clock), one.packages) == options
    assert one.packages is other.packages and one.services is other.services
    assert one.commands is not other.commands


def test_parts_that_are_equal_only_by_python_stay_what_they_are() -> None:
    shared = Shared()
    told = [shared.of(part) for part in (1, True, 1.0, (1,), (True,), {"a": 1}, {"a": True}, [1], [1])]
    assert list(map(repr, told)) == ["1", "True", "1.0", "(1,)", "(True,)", "{'a': 1}", "{'a': True}", "[1]", "[1]"]


def test_spread_facts_are_stored_and_read_again(tmp_path: Path) -> None:
    keeping = Keeping.begin(tmp_path, "lab")
    keeping.put("compute1", COMPUTE)
    save_facts(FACTS.model_copy(update={"hosts": keeping.hosts()}), tmp_path)
    again = load_facts(tmp_path)
    assert isinstance(again.hosts, SpreadHosts)
    assert again.host("compute1") == COMPUTE
    assert again.reached == ("compute1",)
    assert again.ceph_cluster == FACTS.ceph_cluster


def test_a_torn_file_blinds_its_own_host_only(tmp_path: Path) -> None:
    keeping = Keeping.begin(tmp_path, "lab")
    keeping.put("one", COMPUTE)
    keeping.put("two", COMPUTE)
    (tmp_path / FOLDER / "one.json").write_text('{"name": "CANARY')
    hosts = keeping.hosts()
    assert isinstance(hosts["two"], HostFacts)
    torn = hosts["one"]
    assert isinstance(torn, Unreadable)
    assert "one.json" in torn.unreadable and "CANARY" not in torn.unreadable


def test_an_interrupted_observation_goes_on_with_the_same_salt(tmp_path: Path) -> None:
    first = Keeping.begin(tmp_path, "lab")
    first.put("one", COMPUTE)
    first.put("two", BLIND)
    second = Keeping.resume(tmp_path, "lab")
    assert (second.salt, second.began) == (first.salt, first.began)
    assert second.kept() == {"one"}
    second.finish()
    assert not (tmp_path / UNFINISHED).exists()
    with pytest.raises(CannotResume, match="no observation of more than 64 hosts was interrupted"):
        Keeping.resume(tmp_path, "lab")


def test_an_observation_of_another_cloud_does_not_go_on(tmp_path: Path) -> None:
    Keeping.begin(tmp_path, "lab")
    with pytest.raises(CannotResume, match="of the cloud 'lab'"):
        Keeping.resume(tmp_path, "other")
    (tmp_path / UNFINISHED).write_text("{")
    with pytest.raises(CannotResume, match="is not whole"):
        Keeping.resume(tmp_path, "lab")


def test_to_begin_anew_forgets_what_was(tmp_path: Path) -> None:
    Keeping.begin(tmp_path, "lab").put("old", COMPUTE)
    assert list(Keeping.begin(tmp_path, "lab").hosts()) == []


# -- a whole fleet


class _Told(Hosts):
    """Hosts of which nothing but the hanging up is real."""

    def __init__(self, some: Cloud) -> None:
        super().__init__(some)
        self.ended: list[str] = []

    def hang_up(self, name: str) -> None:
        self.ended.append(name)


def _unasked() -> Future[CephFacts | Unreadable]:
    future: Future[CephFacts | Unreadable] = Future()
    future.set_result(BLIND)
    return future


def test_a_fleet_is_observed_and_the_reasons_are_told_by_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = _cloud(70)
    asked: list[str] = []

    def look(cloud: Cloud, name: str, *_: Any) -> HostFacts | Unreadable:
        asked.append(name)
        down = name in ("compute003", "compute004")
        return Unreadable(unreadable=f"{name}: ssh: 10.0.0.{name[-1]}: refused") if down else COMPUTE

    monkeypatch.setattr(fleet, "observe_host", look)
    keeping = Keeping.begin(tmp_path, some.name)
    keeping.put("compute001", COMPUTE)
    lines: list[str] = []
    with _Told(some) as hosts:
        fleet.observe_fleet(some, keeping, hosts, Turns(71, 4, 60), _unasked(), lines.append, ask_services=False)
        assert sorted(hosts.ended) == sorted(asked)
    assert "compute001" not in asked
    assert len(keeping.hosts()) == 71
    assert lines[0] == "hosts: 71, 1 of them before; 4 at once"
    assert lines[-1] == "not observed: compute[003-004]: ssh: ADDRESS: refused"


def test_a_later_look_at_many_hosts_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(cloud: Cloud, keeping: Keeping, *_: Any, **options: Any) -> Facts:
        assert not [*(keeping.hosts()._folder.parent).glob(UNFINISHED)]
        keeping.put("compute001", COMPUTE)
        return FACTS.model_copy(update={"hosts": keeping.hosts()})

    monkeypatch.setattr("fixtures.observe.run.observe_many", look)
    config: Any = SimpleNamespace(stash=pytest.Stash(), option=SimpleNamespace(forks=None))
    config.stash[CLOUD] = _cloud(70)
    look_again(config, ask_services=False)
    (folder,) = config.stash[ANEW]
    assert isinstance(config.stash[FACTS_KEPT].hosts, SpreadHosts)
    assert config.stash[FACTS_KEPT].host("compute001") == COMPUTE
    assert not (folder / UNFINISHED).exists()
    pytest_sessionfinish(SimpleNamespace(config=config))  # type: ignore[arg-type]
    assert not folder.exists()


def test_a_reason_is_told_without_what_is_the_hosts_own() -> None:
    banner = (
        "one: ssh: remove with:; Host key for 10.0.0.1 has changed; Host key verification failed. (see; known_hosts)"
    )
    assert fleet.reason("one", banner) == "Host key verification failed. (see; known_hosts)"


def test_many_hosts_are_judged_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text(lab_fleet.cloud_file(lab_fleet.Fleet.of(70, {}), tmp_path))
    command = [sys.executable, "-m", "pytest", "--cloud", str(path), "-m", "static", "--collect-only", "-q", "suites"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    hosts = [found[1] for line in done.stdout.splitlines() if (found := re.search(r":(compute\d+)[/\]]", line))]
    assert len(hosts) > 70 * 40
    assert [host for host, _ in groupby(hosts)] == sorted(set(hosts))


def test_hosts_that_are_down_for_one_reason_are_told_once() -> None:
    down = {f"compute{number}": f"compute{number}: ssh: connect to 10.0.0.{number}: refused" for number in range(1, 9)}
    told = unreached(report(unreached=down | {"ctl": "ctl: no answer"}).run)
    assert told == [(("compute[1-8]",), down["compute1"]), (("ctl",), "ctl: no answer")]


def test_in_a_large_cloud_each_hypervisor_is_tried_by_some() -> None:
    small, large = _cloud(ALL + 1), _cloud(1000)
    assert len(peers(small, "compute001")) == ALL
    assert peers(large, "compute500") == [f"compute{number}" for number in range(501, 501 + TRIED)]
    tried = [peer for name in large.hosts_with("nova-compute") for peer in peers(large, name)]
    assert all(tried.count(name) == TRIED for name in ("compute001", "compute500", "compute999"))
    assert "ctl" in names_for(large, "compute500")
    assert len(names_for(large, "compute500")) == TRIED + 2
    assert names_for(small, "ctl") == sorted(small.hosts)
