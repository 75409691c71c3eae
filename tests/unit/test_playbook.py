"""Hosts asked by Ansible: a real run of it over an inventory of this machine under several names."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import CephFacts
from fixtures.facts.host import HostFacts
from fixtures.facts.network import Reached
from fixtures.facts.spread import Keeping
from fixtures.observe import fleet, host, reachability
from fixtures.observe.host import observe_hosts
from fixtures.observe.playbook import Answer, Keep, ask, by_ansible
from fixtures.observe.turns import Turns
from fixtures.reach import Hosts, Unreachable
from tests.unit.test_fleet_observation import COMPUTE, FACTS
from tests.unit.test_reach import cloud

INVENTORY = """
[here]
one
two ansible_become=true ansible_become_user=nobody ansible_become_exe=/nonexistent/sudo
hung
[here:vars]
ansible_connection=local
[other]
refusing ansible_host=127.0.0.1 ansible_port=9
pod ansible_connection=paramiko_ssh
"""
SECRET = "canary-of-the-salt"
ECHO = f"import sys; print('said', '{SECRET}'); sys.stderr.buffer.write(b'\\xff'); sys.exit(3)".encode()


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANSIBLE_LOG_PATH", str(tmp_path / "log"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    path = tmp_path / "hosts"
    path.write_text(INVENTORY)
    return path


def _asked(some: Cloud, programs: dict[str, bytes], **options: Any) -> dict[str, Answer | Unreachable]:
    found: dict[str, Answer | Unreachable] = {}

    def keep(name: str, told: Answer | Unreachable, seconds: float) -> None:
        assert name not in found
        found[name] = told

    ask(some, programs.items(), keep, **{"each": 4, "whole": 120, "forks": 5, **options})
    return found


def _why(told: Answer | Unreachable) -> str:
    assert isinstance(told, Unreachable)
    return str(told)


def test_each_host_is_told_with_its_own_answer_or_ansibles_own_reason(inventory: Path) -> None:
    names = {"a": {"address": "one"}, **{name: {} for name in ("two", "hung", "refusing", "nobody")}}
    some = cloud(names, engine="ansible", inventory=str(inventory))
    programs = dict.fromkeys(names, ECHO) | {"hung": b"import time; time.sleep(60)"}
    found = _asked(some, programs)
    assert found["a"] == Answer(3, f"said {SECRET}\n".encode(), "\ufffd")
    assert "/nonexistent/sudo: not found" in str(found["two"])  # older ones hand on how it ended
    assert "Timed out after 4 second" in _why(found["hung"])
    assert _why(found["refusing"]).startswith("refusing: ansible: ")
    assert "Connection refused" in _why(found["refusing"])
    assert f"{inventory} has no host nobody" in _why(found["nobody"])
    assert SECRET not in (inventory.parent / "log").read_text()
    assert not list(inventory.parent.glob("osc-ansible-*"))


def test_a_connection_that_takes_no_input_is_told(inventory: Path) -> None:
    some = cloud({"pod": {}}, engine="ansible", inventory=str(inventory))
    assert "pod: ansible: " in _why(_asked(some, {"pod": ECHO})["pod"])


def test_the_time_for_all_hosts_ends_ansible_and_what_it_started(inventory: Path) -> None:
    some = cloud({"hung": {}, "one": {}}, engine="ansible", inventory=str(inventory))
    late = inventory.parent / "late"
    program = f"import pathlib, time; time.sleep(8); pathlib.Path({str(late)!r}).touch()".encode()
    found = _asked(some, {"hung": program, "one": program}, each=60, whole=3)
    assert "the time for all hosts (raise reach.observe_all_timeout" in _why(found["hung"])
    assert set(found) == {"hung", "one"}


def test_ansible_must_be_there(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert shutil.which("ansible-playbook") is None
    some = cloud({"one": {}}, engine="ansible", inventory=str(inventory))
    assert "needs ansible-playbook on the PATH" in _why(_asked(some, {"one": ECHO})["one"])


def test_an_inventory_that_is_none_is_told(inventory: Path) -> None:
    some = cloud({"one": {}}, engine="ansible", inventory=str(inventory.parent / "absent"))
    assert "has no host one" in _why(_asked(some, {"one": ECHO})["one"])


def test_a_host_with_a_way_of_its_own_is_not_ansibles() -> None:
    names: dict[str, dict[str, Any]] = {"a": {}, "b": {"reach": "ssh"}, "c": {"reach": "ansible"}}
    some = cloud(names, engine="ansible", inventory="/i")
    assert by_ansible(some) == {"a", "c"}
    assert some.reach.via == "ansible"
    assert by_ansible(cloud(names, via="ansible", inventory="/i")) == frozenset()
    assert cloud(names, engine="ansible", via="ssh", inventory="/i").reach.via == "ssh"


def test_a_host_is_observed_by_ansible(inventory: Path) -> None:
    some = cloud({"one": {}}, engine="ansible", inventory=str(inventory), observe_timeout=60)
    found = observe_hosts(some, b"salt", lambda line: None, ask_services=False)["one"]
    assert isinstance(found, HostFacts), found
    assert found.hostname == os.uname().nodename


def test_a_fleet_tries_ceph_in_a_second_run_and_also_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = cloud({"one": {}, "two": {}, "down": {}}, engine="ansible", inventory="/i")
    sent: list[str] = []

    def pretended(cloud: Cloud, programs: Any, keep: Keep, **_: Any) -> None:
        for name, _program in programs:
            sent.append(name)
            keep(name, Answer(0, b"", "") if name != "down" else Unreachable(name, "no"), 0.1)

    monkeypatch.setattr(host, "ask", pretended)
    monkeypatch.setattr(reachability, "ask", pretended)
    monkeypatch.setattr(host, "decode", lambda *_: COMPUTE.model_copy(update={"reached": None}))
    monkeypatch.setattr(reachability, "_typed", lambda *_: Reached(ports={}))
    keeping = Keeping.begin(tmp_path, some.name)
    keeping.put("one", COMPUTE.model_copy(update={"reached": None}))
    ceph: Future[CephFacts | Unreadable] = Future()
    ceph.set_result(FACTS.ceph_cluster)
    with Hosts(some) as hosts:
        fleet.observe_fleet(some, keeping, hosts, Turns(3, 4, 60), ceph, lambda line: None, ask_services=False)
    assert sent == ["down", "two", "one", "two"]
    told = keeping.hosts()
    assert all(isinstance(it := told[name], HostFacts) and it.reached == Reached(ports={}) for name in ("one", "two"))
    assert isinstance(told["down"], Unreadable)
