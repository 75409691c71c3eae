"""Whole runs with --remediate on a recorded lab that is pretended to be live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import recorded

PRETENCE = '''
"""Facts of the recorded lab with changes from a file; steps on the cluster change that file."""
import contextlib, json, os
from pathlib import Path
import fixtures.observe.run, recorded, remediate.plugin
from fixtures.facts.store import load_facts
from remediate import lock
from remediate.site import Preview, Site

STATE = Path(os.environ["PRETENDED"])

def observe(cloud, salt, progress, **options):
    told = json.loads(STATE.read_text())
    facts = load_facts(recorded.folder("default"))
    ceph = facts.ceph_cluster
    auth = tuple(it.model_copy(update={"caps": told["caps"].get(it.entity, it.caps)}) for it in ceph.auth)
    pools = tuple(
        it.model_copy(update={"applications": frozenset(told["applications"].get(it.name, it.applications))})
        for it in ceph.pools
    )
    return facts.model_copy(update={"ceph_cluster": ceph.model_copy(update={"auth": auth, "pools": pools})})

class Pretended(Site):
    def previews(self, steps):
        return [Preview({"is": "wrong"}, {"is": "right"}, (f"diff of {step}",)) for step in steps]
    def look(self, step):
        return {"is": "wrong"}
    def do(self, number, step):
        told = json.loads(STATE.read_text())
        if step.kind == "caps":
            told["caps"][step.entity] = told.get("halfway", step.caps)
        elif step.kind == "pool-application" and not told.get("stubborn"):
            told["applications"][step.pool] = ["rbd"]
        told["steps"] = told.get("steps", 0) + 1
        STATE.write_text(json.dumps(told))
        return {"is": "right"}

class Watch:
    def __init__(self, *args): pass

fixtures.observe.run.observe = observe
remediate.plugin.opened = lambda cloud, run: contextlib.nullcontext(Pretended({}, None, run))
remediate.plugin.Watch = Watch
remediate.plugin.SETTLING = (0, 0)
remediate.plugin.open_openstack = lambda cloud: None
lock.held = lambda *args: contextlib.nullcontext(frozenset())
'''
OLD_CAPS = {"mon": "allow r", "osd": "profile rbd pool=images", "mgr": "profile rbd pool=images"}


@dataclass
class Run:
    """What a run said, and left."""

    rc: int
    out: str
    report: dict[str, Any]
    state: dict[str, Any]
    folder: Path

    def outcomes(self) -> dict[str, str]:
        return {f"{it['check']}:{it['target']}": it["outcome"] for it in self.report["entries"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pretence.py").write_text(PRETENCE)
    return tmp_path


def run(folder: Path, *options: str, **state: Any) -> Run:
    told = folder / "state.json"
    told.write_text(json.dumps({"caps": {}, "applications": {}} | state))
    command = [sys.executable, "-m", "pytest", "--cloud", str(recorded.CLOUDS["default"])]
    command += ["-p", "pretence", "-p", "no:cacheprovider", "--reports", str(folder / "runs"), "-m", "static"]
    command += ["-k", "(ceph.pool.application or ceph.auth) and not login", *options]
    environment = os.environ | {
        "PYTHONPATH": f"{folder}:{recorded.PROJECT}",
        "OSC_LAB_STATE": "/nonexistent",
        "PRETENDED": str(told),
        "XDG_STATE_HOME": str(folder / "home"),
    }
    done = subprocess.run(command, cwd=recorded.PROJECT, env=environment, capture_output=True, text=True, check=False)
    latest = folder / "runs/latest"
    report = json.loads((latest / "report.json").read_text())
    return Run(done.returncode, done.stdout + done.stderr, report, json.loads(told.read_text()), latest.resolve())


def journals(folder: Path) -> list[Path]:
    return sorted((folder / "home").rglob("*.jsonl"))


def test_a_plan_is_shown_and_stored_and_nothing_is_done(folder: Path) -> None:
    seen = run(folder, "--remediate=plan", caps={"client.glance": OLD_CAPS})
    assert seen.rc == 1
    assert "steps" not in seen.state
    assert not journals(folder)
    assert "1. [safe] ceph auth caps client.glance mgr 'profile rbd pool=images'" in seen.out
    assert "for ceph.auth.glance.children_read [cloud], ceph.auth.mon_blocklist [client.glance]" in seen.out
    plan = json.loads((seen.folder / "plan.json").read_text())
    assert plan["rounds"][0]["steps"][0]["step"]["caps"]["mon"] == "allow r, profile rbd"
    assert "diff of ceph auth caps" in (seen.folder / "plan.txt").read_text()
    assert seen.outcomes()["ceph.auth.mon_blocklist:client.glance"] == "failed"


@pytest.mark.parametrize("granularity", ["host", "check"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_failed_is_repaired_and_proven(folder: Path, workers: str, granularity: str) -> None:
    options = ("--remediate", "-n", workers, "--granularity", granularity)
    seen = run(folder, *options, caps={"client.glance": OLD_CAPS}, applications={"vms": []})
    assert seen.rc == 0, seen.out
    assert seen.state["steps"] == 2
    assert seen.outcomes()["ceph.auth.mon_blocklist:client.glance"] == "healed"
    assert seen.outcomes()["ceph.pool.application:vms"] == "healed"
    assert seen.report["run"]["counts"]["healed"] == 3
    assert "failed" not in seen.report["run"]["counts"]
    assert "3 healed" in seen.out.splitlines()[-1]
    assert "failed" not in seen.out.splitlines()[-1]
    (journal,) = journals(folder)
    assert f"--rollback {journal.stem}" in seen.out


def test_a_sound_cloud_is_left_alone(folder: Path) -> None:
    seen = run(folder, "--remediate")
    assert seen.rc == 0
    assert "nothing to do" in seen.out
    assert "steps" not in seen.state
    assert not journals(folder)


def test_what_a_repair_does_not_heal_still_fails_and_is_not_tried_for_ever(folder: Path) -> None:
    seen = run(folder, "--remediate", applications={"vms": []}, stubborn=True)
    assert seen.rc == 1
    assert seen.state["steps"] == 1
    assert seen.outcomes()["ceph.pool.application:vms"] == "failed"


def test_what_still_fails_is_told_as_it_is_now(folder: Path) -> None:
    halfway = OLD_CAPS | {"mon": "allow rx"}
    seen = run(folder, "--remediate", caps={"client.glance": OLD_CAPS}, halfway=halfway)
    told = {f"{it['check']}:{it['target']}": it for it in seen.report["entries"]}
    assert seen.outcomes()["ceph.auth.mon_blocklist:client.glance"] == "failed"
    assert "allow rx" in told["ceph.auth.mon_blocklist:client.glance"]["message"]
    assert "allow rx" in told["ceph.auth.mon_blocklist:client.glance"]["found"]


def test_what_only_a_person_can_do_is_told_as_such(folder: Path) -> None:
    seen = run(folder, "--remediate", applications={"vms": ["rgw"]}, caps={"client.glance": OLD_CAPS})
    assert seen.rc == 1
    assert seen.outcomes()["ceph.pool.application:vms"] == "needs operator"
    assert seen.outcomes()["ceph.auth.mon_blocklist:client.glance"] == "healed"
    assert "left to the operator: ceph.pool.application [vms]: pool vms belongs to rgw" in seen.out
    assert "NOT PROVEN SOUND: 1 need an operator" in seen.out


def test_only_what_is_named_is_repaired(folder: Path) -> None:
    told = {"applications": {"vms": []}, "caps": {"client.glance": OLD_CAPS}}
    seen = run(folder, "--remediate", "--remediate-only=ceph.pool.*", **told)
    assert seen.outcomes()["ceph.pool.application:vms"] == "healed"
    assert seen.outcomes()["ceph.auth.mon_blocklist:client.glance"] == "failed"
    assert seen.rc == 1


@pytest.mark.parametrize("options", [("--remediate", "--facts", "x"), ("--rollback", "1", "--facts", "x")])
def test_recorded_facts_are_not_repaired(folder: Path, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", "--cloud", str(recorded.CLOUDS["default"])]
    command += options
    facts = [str(recorded.folder("default")) if word == "x" else word for word in command]
    done = subprocess.run(facts, cwd=recorded.PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "need the live cloud" in done.stderr
