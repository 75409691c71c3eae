"""Recorded labs, judged as `--facts` does: nothing is reached, and the outcomes are those of the live run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import recorded
from fixtures.facts.store import load_facts, moment, save_facts
from lab.cli import CANNOT_HOST
from recorded import demo
from recorded.__main__ import outcomes
from reports.model import Report

PROFILES = sorted(path.parent.name for path in Path(recorded.__file__).parent.glob("*/facts.json"))

# A plugin that forbids whatever could reach a cloud, and hides the distribution's modules for Ceph.
NO_REACH = """
import socket, subprocess, sys

def refused(*arguments, **options):
    raise SystemExit(f"something was reached for: {arguments}")

sys.modules["rados"] = sys.modules["rbd"] = None
socket.socket.connect = socket.getaddrinfo = subprocess.Popen.__init__ = refused
"""


def _judge(
    profile: str, folder: Path, *options: str, facts: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], Path]:
    command = [sys.executable, "-m", "pytest", "--cloud", str(recorded.CLOUDS[profile]), "-p", "no:cacheprovider"]
    command += ["--facts", str(facts or recorded.folder(profile)), "--reports", str(folder / "runs"), *options]
    environment = os.environ | {"PYTHONPATH": f"{folder}:{recorded.PROJECT}", "OSC_LAB_STATE": "/nonexistent"}
    done = subprocess.run(command, cwd=recorded.PROJECT, env=environment, capture_output=True, text=True)
    return done, folder / "runs/latest/report.json"


def _report(path: Path) -> Report:
    return Report.model_validate_json(path.read_text())


@pytest.mark.parametrize("profile", PROFILES)
def test_recorded_facts_give_the_outcomes_of_the_live_run(profile: str, tmp_path: Path) -> None:
    (tmp_path / "no_reach.py").write_text(NO_REACH)
    done, path = _judge(profile, tmp_path, "-p", "no_reach", "-m", "static")
    assert path.exists(), done.stdout + done.stderr
    now = set(outcomes(_report(path)).splitlines())
    live = set(recorded.outcomes_file(profile).read_text().splitlines())
    # What is newer than the recording is not in it; `tox -e record` makes it anew.
    asked = {line.rpartition("\t")[0] for line in now}
    assert {line for line in live if line.rpartition("\t")[0] in asked} - now == set()
    assert {line.rpartition("\t")[2] for line in live} <= {"passed", "not applicable"}
    assert len(live & now) > 100


def test_journeys_do_not_apply_and_recorded_facts_are_named_first_and_last(tmp_path: Path) -> None:
    done, path = _judge("default", tmp_path, "-m", "dynamic")
    report = _report(path)
    facts = load_facts(recorded.folder("default"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {entry.outcome for entry in report.entries} == {"not applicable"}
    assert {entry.message for entry in report.entries} == {"recorded facts are judged: a journey needs the live cloud"}
    assert f"RECORDED FACTS of {moment(facts)} are judged" in done.stdout
    assert report.run.facts_recorded == facts.now.isoformat(timespec="seconds")
    assert f"judged by facts recorded at {report.run.facts_recorded}" in done.stdout.splitlines()[-3]


def test_workers_share_recorded_facts(tmp_path: Path) -> None:
    done, path = _judge("default", tmp_path, "-n", "2", "-k", "ceph.pool.exists")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [entry.outcome for entry in _report(path).entries] == ["passed"] * 4


def test_a_folder_of_facts_runs_no_code(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    save_facts(load_facts(recorded.folder("default")), folder)
    (folder / "conftest.py").write_text("raise SystemExit('run')\n")
    done, _ = _judge("default", tmp_path, "-k", "ceph.pool.exists", facts=folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--facts", "{}/none"], "none/facts.json: is not there"),
        (["--facts", "{}", "--save-facts", "{}/more"], "--facts and --save-facts do not go together"),
        (["--facts", "{}", "--sweep"], "--sweep needs the live cloud"),
    ],
)
def test_what_cannot_be_is_a_usage_error(options: list[str], said: str, tmp_path: Path) -> None:
    save_facts(load_facts(recorded.folder("default")), tmp_path)
    done, _ = _judge("default", tmp_path, *(option.format(tmp_path) for option in options))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr


def test_facts_of_another_cloud_are_refused(tmp_path: Path) -> None:
    done, _ = _judge("full", tmp_path, facts=recorded.folder("default"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "facts of the cloud 'lab'; the cloud file is of 'lab-full'" in done.stderr


def test_a_folder_that_facts_cannot_be_kept_in_is_told_before_observing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "pytest", "--cloud", "clouds/lab.yaml", "--save-facts", f"{tmp_path}/file/x"]
    done = subprocess.run(command, cwd=recorded.PROJECT, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "facts cannot be stored here: Not a directory" in done.stderr
    assert "observed" not in done.stdout


class _Machine:
    """Stands for subprocess.run: a `lab up` that ends as told, and pytest that ends with 1."""

    def __init__(self, up: int) -> None:
        self.up, self.commands = up, list[list[str]]()

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if "lab" in command:
            return subprocess.CompletedProcess(command, self.up, stderr="lab: this machine cannot run it:\n  - x\n")
        return subprocess.CompletedProcess(command, 1)


@pytest.mark.parametrize(
    ("up", "code", "judged"),
    [(0, 1, "live"), (CANNOT_HOST, 1, "recorded"), (1, 1, "nothing"), (130, 130, "nothing")],
)
def test_the_demo_judges_a_recorded_lab_where_none_can_be_started(
    up: int, code: int, judged: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = _Machine(up)
    monkeypatch.setattr(subprocess, "run", machine.run)
    monkeypatch.setattr(sys, "argv", ["demo"])
    assert demo.main() == code
    _, *judging = machine.commands
    assert ["recorded" if "--facts" in command else "live" for command in judging] == [judged] * (judged != "nothing")
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line for line in (*lines[:1], *lines[-1:]) if line.startswith("NO LAB")] == lines[:1] + lines[-1:]
