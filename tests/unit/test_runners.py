"""Several runners: what they observe and judge is what one machine does, and what becomes of one that is lost."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import recorded
from fixtures.cloud import load_cloud
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import CephFacts
from fixtures.facts.host import HostFacts
from fixtures.facts.spread import HeldHosts, Keeping, NotOfShare
from fixtures.facts.store import load_facts
from fixtures.runners import runner as runners
from fixtures.runners.crew import Crew
from fixtures.runners.plugin import _names
from fixtures.runners.runner import Runner, RunnerLost, divided
from fixtures.runners.wire import Wire, version
from reports.model import Entry, Report
from reports.render import load
from tests.collecting import PROJECT
from tests.unit.test_host_observation import cloud

FACTS = load_facts(recorded.folder("default"))
COMPUTE = FACTS.host("compute1")
BLIND = Unreadable(unreadable="down")
SSH = """#!/bin/sh
# Each machine is this one, but for those whose names begin with "down".
for word; do name=$command; command=$word; done
case "$* " in *" -O exit "*) exit 0;; esac
case $name in down*) echo "connect to host $name port 22: Connection refused" >&2; exit 255;; esac
exec sh -c "$command"
"""
CLOUD = """
name: trial
hosts:
  compute1: {roles: [nova-compute]}
  compute2: {roles: [nova-compute]}
  ctl: {roles: [cinder-volume]}
  down3: {roles: [nova-compute]}
ceph:
  pools: {images: images, volumes: volumes, vms: vms, backups: backups}
  users: {glance: glance, cinder: cinder, nova: cinder, backup: cinder-backup}
cinder: {backend: rbd, volume_type: ceph}
openstack: {cloud: trial}
policy: {kind: lab, live_migration: false, min_host_memory: 100000}
waivers:
  - {check: cap.host_minimum, target: compute1, owner: me, reason: known, until: 2999-01-01}
"""
ASKED = (
    "cap.host_minimum or pkg.cve_floor or nova.secret or lm.parity or nova.config.images or pkg.version or ceph.health"
)
"""Of the cloud, of a host, of hosts beside others; few, for the machine is asked for real."""


# -- the wire, a session


def _wires() -> tuple[Wire, Wire]:
    (hears, speaks), (other_hears, other_speaks) = os.pipe(), os.pipe()
    return Wire(hears, other_speaks), Wire(other_hears, speaks)


def test_messages_arrive_in_order_until_one_end_closes() -> None:
    one, other = _wires()
    one.send("first", text="ä\n")
    one.send("second", number=1)
    one.close()
    assert [*other.messages()] == [{"kind": "first", "text": "ä\n"}, {"kind": "second", "number": 1}]


@pytest.mark.parametrize("line", [b"{half", b"[]\n", b"{}\n", b"\xff\n"])
def test_what_is_no_message_ends_the_talk(line: bytes) -> None:
    hears, speaks = os.pipe()
    os.write(speaks, b'{"kind": "well"}\n' + line)
    os.close(speaks)
    assert [*Wire(hears, os.open(os.devnull, os.O_WRONLY)).messages()] == [{"kind": "well"}]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("echo 'no route' >&2; exit 255", "runner r1 was not reached, or was lost: ssh: no route"),
        ("echo one >&2; echo two >&2; exit 3", "runner r1 ended with 3: one; two"),
        ("""echo '{"kind": "refused", "why": "too old"}'""", "runner r1: too old"),
        ("echo 'ssh: no such name' >&2; exit 255", "runner r1 was not reached, or was lost: ssh: no such name"),
        ("exec sleep 60", "runner r1 said nothing in time"),
        (
            "echo 'Welcome!'; exec sleep 60",
            "runner r1 said 'Welcome!', which is no message: a login there has to print",
        ),
    ],
)
def test_a_lost_runner_is_told_with_its_last_words(line: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_ENDING_SECONDS", 0.2)
    with pytest.raises(RunnerLost, match=re.escape(told)):
        Runner("r1", ["a"], line).answer(2.0 if "sleep" not in line else 0.5)


def test_a_runner_that_takes_no_orders_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_ENDING_SECONDS", 0.2)
    runner = Runner("r1", ["a"], "exec sleep 60")
    began = time.monotonic()
    runner.order("ceph", facts="more than a pipe holds" * 10_000)
    assert time.monotonic() - began < 5
    with pytest.raises(RunnerLost, match="said nothing in time"):
        runner.answer(0.1)
    assert not any(thread.is_alive() for thread in runner._talking)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 9])
def test_each_host_is_of_one_share(of: int) -> None:
    names = [f"compute{number}" for number in range(7)]
    shares = divided(names, [f"r{number}" for number in range(of)])
    assert [name for share in shares.values() for name in share] == names


@pytest.mark.parametrize("text", ["", "a,", "a,,b", "a,a"])
def test_what_names_no_different_runners_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        _names(text)


def test_a_version_is_that_of_the_text() -> None:
    assert version() == version()
    assert re.fullmatch("[0-9a-f]{64}", version())


# -- a share's facts


def test_a_share_knows_of_its_own_hosts_only() -> None:
    hosts = HeldHosts()
    hosts.put("compute1", COMPUTE)
    hosts.put("compute2", BLIND)
    facts = FACTS.model_copy(update={"hosts": hosts})
    assert facts.host("compute1") == COMPUTE
    assert hosts.get("compute2") == BLIND
    for ask in (
        lambda: facts.host("compute3"),
        lambda: hosts.get("compute3"),
        lambda: "compute3" in hosts,
        lambda: facts.reached,
        lambda: facts.holders(["compute1", "compute3"], lambda host: [host.name]),
        lambda: len(hosts),
    ):
        with pytest.raises(NotOfShare):
            ask()


def test_what_a_host_told_anew_takes_the_place_of_what_it_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hosts = HeldHosts()
    hosts.put("compute1", COMPUTE.model_copy(update={"reached": None}))
    hosts.put("compute2", BLIND)
    assert hosts["compute1"] != COMPUTE and hosts["compute2"] == BLIND
    hosts.put("compute1", COMPUTE)
    assert hosts["compute1"] == COMPUTE
    assert [*tmp_path.iterdir()] == []


# -- a crew


class _Scripted(Crew):
    """A crew whose runners are scripts of this machine's shell."""

    def __init__(self, lines: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runners, "_ENDING_SECONDS", 0.5)
        monkeypatch.setattr("fixtures.reach.Hosts.session_with", lambda self, name, command: lines[name])
        self.said: list[str] = []
        some = cloud(hosts={f"compute{number}": {"roles": ["nova-compute"]} for number in (1, 2, 3, 4)})
        super().__init__(some, [*lines], self.said.append)


def _saying(*messages: str, then: str = "cat >/dev/null") -> str:
    return f"printf '%s\\n' {shlex.join(messages)}; {then}"


def _host(name: str, facts: HostFacts | Unreadable) -> str:
    return f'{{"kind": "host", "name": "{name}", "facts": {facts.model_dump_json()}}}'


def _unasked() -> Future[CephFacts | Unreadable]:
    future: Future[CephFacts | Unreadable] = Future()
    future.set_result(BLIND)
    return future


def test_what_a_lost_runner_did_not_tell_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well = _saying(_host("compute1", COMPUTE), _host("compute2", BLIND), '{"kind": "observed"}')
    dies = _saying(_host("compute3", COMPUTE), _host("../compute4", COMPUTE), then="exit 9")
    crew = _Scripted({"r1": well, "r2": dies}, monkeypatch)
    keeping = Keeping.begin(tmp_path, "test")
    crew.observe(keeping, _unasked(), ask_services=False, forks=None)
    crew.close()
    hosts = keeping.hosts()
    assert hosts["compute1"] == hosts["compute3"] == COMPUTE
    assert hosts["compute2"] == BLIND
    assert hosts["compute4"] == Unreadable(unreadable="compute4: runner r2 ended with 9")
    assert crew.said == ["runner r2 ended with 9: 1 hosts of its share are not measured"]
    assert [*tmp_path.parent.glob("compute4*")] == []


def test_a_runner_that_never_begins_is_not_waited_for_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fixtures.runners.crew.SILENT_SECONDS", 0.2)
    crew = _Scripted({"r1": "exec sleep 60"}, monkeypatch)
    keeping = Keeping.begin(tmp_path, "test")
    crew.observe(keeping, _unasked(), ask_services=False, forks=None)
    crew.close()
    assert crew.said == ["runner r1 said nothing in time: 4 hosts of its share are not measured"]


def test_runners_that_hang_are_ended_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = _Scripted({f"r{number}": "exec sleep 60" for number in range(4)}, monkeypatch)
    monkeypatch.setattr(runners, "_ENDING_SECONDS", 2.0)
    began = time.monotonic()
    crew.close()
    assert time.monotonic() - began < 6


def test_what_are_no_facts_blinds_their_host_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [_host("compute1", COMPUTE), '{"kind": "host", "name": "compute2", "facts": {"name": "CANARY"}}']
    crew = _Scripted({"r1": _saying(*lines, _host("compute3", COMPUTE), '{"kind": "observed"}')}, monkeypatch)
    keeping = Keeping.begin(tmp_path, "test")
    crew.observe(keeping, _unasked(), ask_services=False, forks=None)
    crew.close()
    told = keeping.hosts()["compute2"]
    assert isinstance(told, Unreadable)
    assert "what runner r1 told is no facts of a host" in told.unreadable and "CANARY" not in told.unreadable
    assert keeping.hosts()["compute4"] == Unreadable(unreadable="compute4: runner r1 did not tell of it")


def test_what_a_runner_does_not_judge_is_judged_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    report = pytest.TestReport(
        nodeid="one", location=("x", 1, "y"), keywords={}, outcome="skipped", longrepr=("x", 1, "why"), when="call"
    )
    data = pytestconfig.hook.pytest_report_to_serializable(config=pytestconfig, report=report)
    one = f'{{"kind": "judged", "test": "one", "reports": [{json.dumps(data)}]}}'
    back = '{"kind": "judged", "test": "two", "reports": null}'
    crew = _Scripted({"r1": _saying(one, back, then="exit 1")}, monkeypatch)
    tests = {"one": "compute1", "two": "compute2", "three": "compute3", "other": ""}
    crew.judge(FACTS, tests, dt.date.today())
    found = crew.reports_of("one", pytestconfig)
    assert found and found[0].longrepr == report.longrepr and found[0].outcome == "skipped"
    for name in ("two", "three", "other", "one"):
        assert crew.reports_of(name, pytestconfig) is None
    crew.close()
    assert crew.said == ["runner r1 ended with 1: what is left of its share is judged here"]


def recorded_json(data: Mapping[str, Any]) -> str:

    return json.dumps(data)


# -- whole runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("trial")
    (made / "bin").mkdir()
    (made / "bin/ssh").write_text(SSH)
    (made / "bin/ssh").chmod(0o755)
    (made / "cloud.yaml").write_text(CLOUD)
    return made


def _run(folder: Path, *options: str, where: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--cloud", str(folder / "cloud.yaml"), "--reports", str(folder / where)]
    command += ["-o", f"cache_dir={folder}/cache", "-m", "static and not asks_services", "-k", ASKED]
    command += ["--junitxml", str(folder / f"{where}.xml"), *options]
    environment = os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def _report(folder: Path, where: str) -> Report:
    return load(folder / where / "latest/report.json")


def _told(entries: tuple[Entry, ...]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(it.check, it.target): it.model_dump(exclude={"seconds"}) for it in entries}


@pytest.fixture(scope="module")
def alone(folder: Path) -> subprocess.CompletedProcess[str]:
    return _run(folder, where="alone")


@pytest.mark.parametrize("granularity", ["host", "check"])
def test_two_runners_tell_what_one_machine_does(
    folder: Path, alone: subprocess.CompletedProcess[str], granularity: str
) -> None:
    done = _run(folder, "--runners", "r1,r2", "--granularity", granularity, where="two")
    one, two = _report(folder, "alone"), _report(folder, "two")
    assert _told(two.entries) == _told(one.entries), done.stdout
    assert {"failed", "not measured", "not applicable", "waived"} <= set(one.run.counts)
    assert done.returncode == alone.returncode == 1
    fields = ("counts", "collected", "unused_waivers", "unreached", "packages")
    assert {field: getattr(two.run, field) for field in fields} == {field: getattr(one.run, field) for field in fields}
    assert "runners: r1 (2 hosts), r2 (2 hosts)" in done.stdout
    assert re.search(r"^r1: [1-9]\d* tests judged; [1-9]\d* more", done.stdout, re.M), done.stdout
    assert re.search(r"^r2: [1-9]\d* tests judged", done.stdout, re.M), done.stdout
    names = [
        re.findall(r'<testcase [^>]*name="([^"]+)"', (folder / f"{it}.xml").read_text()) for it in ("alone", "two")
    ]
    assert sorted(names[0]) == sorted(names[1])


def test_hosts_of_a_runner_that_is_not_reached_are_not_measured(folder: Path) -> None:
    done = _run(folder, "--runners", "r1,down", "-k", "cap.host_minimum", where="lost")
    told = "runner down was not reached, or was lost: ssh: connect to host down port 22: Connection refused"
    assert done.stdout.count(f"{told}: 2 hosts of its share are not measured") == 1
    report = _report(folder, "lost")
    outcomes = {(entry.target, entry.outcome) for entry in report.entries}
    assert {place for place, outcome in outcomes if outcome != "not measured"} == {"compute1", "compute2"}
    assert report.run.unreached == {name: f"{name}: {told}" for name in ("ctl", "down3")}


ELSEWHERE = """
import itertools
import pytest
from fixtures import granularity

@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    turns = itertools.cycle(([], None))
    session.config.stash[granularity.ELSEWHERE] = lambda test: next(turns)
"""


@pytest.mark.parametrize("granularity", ["host", "check"])
def test_what_is_judged_elsewhere_leaves_nothing_behind_for_what_is_judged_here(
    tmp_path: Path, granularity: str
) -> None:
    (tmp_path / "every_second.py").write_text(ELSEWHERE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "every_second", "--granularity", granularity]
    command += ["--cloud", "clouds/lab.yaml", "--facts", str(recorded.folder("default")), "-m", "static"]
    command += ["--reports", str(tmp_path / "reports"), "-o", f"cache_dir={tmp_path}/cache"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert re.search(r"^\d+ passed", done.stdout, re.M) and "error" not in done.stdout, done.stdout[-3000:]


def test_the_first_failure_ends_a_run_with_runners(folder: Path) -> None:
    done = _run(folder, "--runners", "r1,r2", "-x", where="first")
    assert "stopping after 1 failures" in done.stdout
    assert len([entry for entry in _report(folder, "first").entries if entry.outcome == "failed"]) <= 1


@pytest.mark.parametrize(
    ("options", "other"),
    [
        (("-n", "2"), "-n"),
        (("--facts", "absent"), "--facts"),
        (("--sweep",), "--sweep"),
        (("--rollback", "run"), "--rollback"),
        (("--check-cloud", "absent"), "--check-cloud"),
    ],
)
def test_runners_do_not_go_with_everything(folder: Path, options: tuple[str, ...], other: str) -> None:
    done = _run(folder, "--runners", "r1", *options, where="refused")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--runners and {other} do not go together" in done.stderr


def test_a_runner_of_another_version_refuses() -> None:
    session = Runner("r1", ["a"], runners.serving("auto"))
    session.order("begin", version="another", cloud={})
    with pytest.raises(RunnerLost, match=r"runner r1: its checkout is of another version than the controller's"):
        session.answer(60)
    session.close()


def test_a_runner_ends_when_nobody_is_there(folder: Path) -> None:
    told = load_cloud(folder / "cloud.yaml").model_dump(mode="json", exclude_unset=True)
    begin = json.dumps({"kind": "begin", "version": version(), "cloud": told})
    done = subprocess.run(
        runners.serving("auto"), shell=True, input=f"{begin}\n", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (pytest.ExitCode.INTERRUPTED, "")
