"""Repairs in batches: which hosts are next, when it stops, and whole runs on a recorded lab that is pretended live."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import recorded
from remediate.model import Option, PoolApplication, Step
from remediate.plan import Failure, Left, Plan, Planned
from remediate.rolling import Rolling, Serial, asked_on, folded, unwell
from tests.unit.test_remediate_run import Run, journals


def step(host: str, *failures: Failure) -> Planned:
    what: Step = Option(host=host, path="/etc/x", section="a", key="b", value="c")
    return planned(what, *failures)


def planned(what: Step, *failures: Failure) -> Planned:
    return Planned(step=what, failures=failures, disruption="safe", before={}, after={}, diff=("+",))


def failure(target: str, check: str = "some.check") -> Failure:
    return Failure(check=check, target=target)


@pytest.mark.parametrize(
    ("text", "hosts", "size"), [("1", 50, 1), ("10", 4, 10), ("10%", 50, 5), ("10%", 3, 1), ("100%", 7, 7)]
)
def test_a_batch_is_a_number_or_a_part(text: str, hosts: int, size: int) -> None:
    assert Serial.parse(text).of(hosts) == size


@pytest.mark.parametrize("text", ["0", "-1", "101%", "a", "", "%", "1.5"])
def test_what_is_no_size_of_a_batch_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        Serial.parse(text)


def test_each_host_has_its_turn_once_in_the_order_of_the_plan() -> None:
    plan = Plan(steps=tuple(step(host) for host in ("d", "a", "d", "c", "b")))
    rolling = Rolling(Serial.parse("50%"), 0)
    assert rolling.next(plan) == ("d", "a")
    assert rolling.next(plan) == ("c", "b")
    assert rolling.next(plan) == ()


def test_a_canary_always_stops_and_others_when_they_are_too_many() -> None:
    plan = Plan(steps=tuple(step(host) for host in "abcd"))
    rolling = Rolling(Serial.parse("1"), 1)
    first = rolling.next(plan)
    assert not rolling.stops(first)
    rolling.failed["a"] = "no"
    assert rolling.stops(first)
    second = rolling.next(plan)
    assert not rolling.stops(second)
    rolling.failed["b"] = "no"
    assert rolling.stops(second)


def test_the_part_of_a_plan_for_some_hosts_is_the_clusters_too() -> None:
    pool = planned(PoolApplication(pool="p", application="rbd"), failure("p"))
    left = Left(failure=failure("b/x"), reason="r")
    plan = Plan(steps=(pool, step("a"), step("b")), withheld=(step("a"),), left=(left,))
    assert plan.of(["b"]) == Plan(steps=(pool, step("b")), left=(left,))
    assert plan.hosts == ("a", "b")


def test_what_a_batch_was_to_heal_and_did_not_is_told_by_host() -> None:
    both, mine = failure("cloud"), failure("a/x")
    asked = asked_on([Plan(steps=(step("a", both, mine), step("b", both)))])
    assert asked == {both: {"a", "b"}, mine: {"a"}}
    now = {both: "failed", mine: "not measured"}
    assert unwell(["a", "b"], asked, frozenset(), now, now, frozenset()) == {
        "a": "some.check [a/x], some.check [cloud]",
        "b": "some.check [cloud]",
    }


def test_what_later_hosts_are_repaired_for_does_not_stop_earlier_ones() -> None:
    both = failure("cloud")
    asked = asked_on([Plan(steps=(step("a", both),))])
    assert unwell(["a"], asked, {both}, {both: "failed"}, {both: "failed"}, frozenset()) == {}


def test_what_was_spoilt_is_blamed_on_what_was_changed_meanwhile() -> None:
    other, old, alike = failure("z"), failure("a", "old.check"), failure("", "alike.check")
    was = {other: "passed", old: "failed", alike: "passed"}
    now = {other: "failed", old: "failed", alike: "failed"}
    told = unwell(["a", "b"], {}, frozenset(), was, now, {"alike.check"})
    assert told == {"a": "some.check [z]", "b": "some.check [z]"}


def test_hosts_are_told_in_few_words() -> None:
    assert folded({"compute3", "compute1", "compute2"}) == "compute[1-3]"


# ---------------------------------------------------------------------------- whole runs


PRETENCE = '''
"""Two hypervisors with a wrong owner of a keyring; what is done on each is noted in a file."""
import contextlib, json, os
from pathlib import Path
import fixtures.observe.run, recorded, remediate.plugin
from fixtures.facts.store import load_facts
from remediate import lock
from remediate.site import Preview, Site, StepFailed

STATE = Path(os.environ["PRETENDED"])

def _broken(host):
    loose = {"mode": 0o644}
    keyrings = {
        path: it.model_copy(update={"stat": it.stat.model_copy(update=loose)}) for path, it in host.keyrings.items()
    }
    return host.model_copy(update={"keyrings": keyrings})

def observe(cloud, salt, progress, **options):
    facts, told = load_facts(recorded.folder("default")), json.loads(STATE.read_text())
    healed = [host for host in told["done"] if host not in told["stubborn"]]
    wrong = [host for host in ("compute1", "compute2") if host not in healed]
    return facts.model_copy(update={"hosts": {**facts.hosts, **{name: _broken(facts.host(name)) for name in wrong}}})

class Pretended(Site):
    def previews(self, steps):
        return [Preview({"is": "wrong"}, {"is": "right"}, (f"diff of {step}",)) for step in steps]
    def look(self, step):
        return {"is": "wrong"}
    def undo(self, number, step, before):
        return before
    def do(self, number, step):
        told = json.loads(STATE.read_text())
        if step.host in told["refusing"]:
            raise StepFailed(f"{step.host}: read-only file system")
        told["done"].append(step.host)
        STATE.write_text(json.dumps(told))
        return {"is": "right"}

class Watch:
    def __init__(self, *args): pass
    def before(self, role): return {}
    def until_up(self, *args): pass

fixtures.observe.run.observe = observe
remediate.plugin.opened = lambda cloud, run: contextlib.nullcontext(Pretended({}, None, run))
remediate.plugin.Watch = Watch
remediate.plugin.SETTLING = (0, 0)
remediate.plugin.open_openstack = lambda cloud: None
lock.held = lambda *args: contextlib.nullcontext(frozenset())
'''


def run(folder: Path, *options: str, stubborn: tuple[str, ...] = (), refusing: tuple[str, ...] = ()) -> Run:
    (folder / "pretence.py").write_text(PRETENCE)
    told = folder / "state.json"
    told.write_text(json.dumps({"done": [], "stubborn": stubborn, "refusing": refusing}))
    command = [sys.executable, "-m", "pytest", "--cloud", str(recorded.CLOUDS["default"]), "-p", "pretence"]
    command += ["-p", "no:cacheprovider", "--reports", str(folder / "runs"), "-m", "static"]
    command += ["-k", "host.keyring.owner_mode and compute", *options]
    environment = os.environ | {
        "PYTHONPATH": f"{folder}:{recorded.PROJECT}",
        "OSC_LAB_STATE": "/nonexistent",
        "PRETENDED": str(told),
        "XDG_STATE_HOME": str(folder / "home"),
    }
    done = subprocess.run(command, cwd=recorded.PROJECT, env=environment, capture_output=True, text=True, check=False)
    latest = folder / "runs/latest"
    report = json.loads((latest / "report.json").read_text()) if latest.exists() else {}
    return Run(done.returncode, done.stdout + done.stderr, report, json.loads(told.read_text()), latest.resolve())


def test_hosts_are_repaired_one_after_another(tmp_path: Path) -> None:
    seen = run(tmp_path, "--remediate", "--serial=1")
    assert seen.rc == 0, seen.out
    assert list(dict.fromkeys(seen.state["done"])) == ["compute1", "compute2"]
    assert seen.out.index("canary: compute1") < seen.out.index("looking again") < seen.out.index("batch: compute2")
    assert set(seen.outcomes().values()) == {"healed"}


@pytest.mark.parametrize("wrong", ["stubborn", "refusing"])
def test_a_canary_that_is_not_well_stops_the_rest(tmp_path: Path, wrong: str) -> None:
    seen = run(tmp_path, "--remediate", "--serial=1", "--max-fail=5", **{wrong: ("compute1",)})
    assert seen.rc == 1
    assert "compute2" not in seen.state["done"]
    assert "no further host is repaired: compute1: " in seen.out
    assert "not begun: compute2" in seen.out
    again = run(tmp_path, "--remediate", "--serial=1")
    assert again.rc == 0, again.out
    assert bool(journals(tmp_path))


def test_both_at_once_are_a_canary_of_two(tmp_path: Path) -> None:
    seen = run(tmp_path, "--remediate", "--serial=100%", refusing=("compute1",))
    assert seen.rc == 1
    assert "canary: compute[1-2]" in seen.out
    assert "compute2" not in seen.state["done"]


@pytest.mark.parametrize("options", [("--serial=1",), ("--remediate", "--max-fail=1")])
def test_options_that_mean_nothing_alone_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    seen = run(tmp_path, *options)
    assert seen.rc == pytest.ExitCode.USAGE_ERROR
    assert "--serial goes with --remediate, and --max-fail with --serial" in seen.out
