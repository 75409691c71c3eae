"""The suite against a healthy lab: all green, nothing left behind, no secret anywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

import recorded
from recorded.__main__ import outcomes
from tests.lab.harness import PROFILES, PROJECT, LabUnderTest, SuiteRun


@pytest.fixture(scope="module")
def whole(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> SuiteRun:
    """The whole suite, journeys included, on two workers."""
    junit = tmp_path_factory.mktemp("junit") / "out.xml"
    run = lab.suite("-n", "2", f"--junitxml={junit}", "-vv", "--tb=long", facts=True)
    (run.folder / "out.xml").write_text(junit.read_text())
    return run


def test_the_healthy_lab_is_green(whole: SuiteRun) -> None:
    assert whole.exit_code == pytest.ExitCode.OK, whole.story
    assert whole.ids("failed", "not measured", "waived") == set()
    assert whole.report.run.collected == len(whole.report.entries)
    assert all(entry.message for entry in whole.entries("not applicable"))


def test_every_check_of_the_catalogue_page_ran(whole: SuiteRun) -> None:
    documented = {
        line.removeprefix("### ")
        for line in (PROJECT / "docs/checks.md").read_text().splitlines()
        if line.startswith("### ")
    }
    assert whole.ids("passed", "not applicable") == documented


def test_journeys_measured_what_they_judge(whole: SuiteRun) -> None:
    figures = {figure.name for entry in whole.report.entries for figure in entry.measurements}
    assert any("gap" in name for name in figures), figures
    assert any(name.startswith("volume from large image") for name in figures), figures


def _cephx_keys(lab: LabUnderTest) -> set[str]:
    dump = json.loads(lab.machine("storage").run("ceph auth ls -f json").stdout)
    return {entity["key"] for entity in dump["auth_dump"]}


def test_no_secret_is_in_any_output(lab: LabUnderTest, whole: SuiteRun) -> None:
    public = ("uuid", "fsid")
    secrets = {value for name, value in lab.secrets().items() if not name.endswith(public)} | _cephx_keys(lab)
    assert len(secrets) > 10
    secrets |= {base64.b64encode(secret.encode()).decode() for secret in secrets}
    texts = {"terminal": whole.output} | {
        str(path): path.read_text() for path in whole.folder.rglob("*") if path.is_file()
    }
    assert {"out.xml", "facts.json", "report.json"} <= {Path(name).name for name in texts}
    leaks = [name for name, text in texts.items() for secret in secrets if secret in text]
    assert leaks == []


def test_smoke_is_green_within_half_a_minute(lab: LabUnderTest) -> None:
    smoke = lab.suite("--profile", "smoke")
    assert smoke.exit_code == pytest.ExitCode.OK, smoke.story
    assert smoke.report.run.duration < 30


def _outcomes(run: SuiteRun) -> dict[tuple[str, str], str]:
    return {(entry.check, entry.target): entry.outcome for entry in run.report.entries}


def test_stored_facts_give_the_same_outcomes_elsewhere(lab: LabUnderTest, whole: SuiteRun) -> None:
    stored = lab.suite("--facts", str(whole.folder / "facts"), elsewhere=True)
    journeys = {(e.check, e.target) for e in stored.entries("not applicable") if "journey" in e.message}
    live = _outcomes(whole)
    assert _outcomes(stored) == {key: "not applicable" if key in journeys else told for key, told in live.items()}
    assert journeys
    assert stored.exit_code == pytest.ExitCode.OK


def test_the_recording_is_of_these_checks(lab: LabUnderTest) -> None:
    judged = lab.suite("-m", "static", "--facts", str(recorded.folder(lab.profile)), elsewhere=True)
    assert outcomes(judged.report) == recorded.outcomes_file(lab.profile).read_text(), "record anew: tox -e record"
    assert judged.exit_code == pytest.ExitCode.OK


def test_ceph_through_a_host_gives_the_same_outcomes(lab: LabUnderTest, whole: SuiteRun, tmp_path: Path) -> None:
    text = (PROJECT / lab.cloud_file).read_text()
    lines = [line for line in text.splitlines() if "access/ceph" not in line]
    cloud = tmp_path / "through-host.yaml"
    cloud.write_text("\n".join(lines))
    run = lab.suite("-m", "static", cloud_file=str(cloud))
    static = _outcomes(run)
    assert static == {key: outcome for key, outcome in _outcomes(whole).items() if key in static}
    assert len(static) > 100


def test_a_host_behind_a_jump_host_is_observed(lab: LabUnderTest, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    known = (lab.state.access / "ssh_config").read_text()
    config.write_text(known.replace("Host compute2\n", "Host compute2\n    ProxyJump controller\n"))
    cloud = tmp_path / "jump.yaml"
    cloud.write_text(re.sub(r"ssh_config: .*", f"ssh_config: {config}", (PROJECT / lab.cloud_file).read_text()))
    run = lab.suite("-m", "static", "-k", "compute2", cloud_file=str(cloud))
    assert run.exit_code == pytest.ExitCode.OK, run.story
    assert len(run.entries("passed")) > 20


def test_a_host_that_is_down_is_not_measured(lab: LabUnderTest) -> None:
    machine = lab.machine("compute2")
    machine.run("systemctl stop ssh.socket ssh.service")
    try:
        run = lab.suite("-m", "static")
    finally:
        machine.run("systemctl start ssh.service")
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED
    assert run.entries("failed") == []
    blind = run.entries("not measured")
    assert blind
    assert all("compute2" in entry.message for entry in blind)
    assert "compute2" in run.report.run.unreached


def test_a_killed_run_is_swept(lab: LabUnderTest) -> None:
    with lab.started("-m", "dynamic", "-k", "fn.server.attach_io") as process:
        lab.wait_for_scratch("server")
        os.killpg(process.pid, signal.SIGKILL)
    assert lab.scratch_names()
    swept = lab.python("-m", "pytest", "--cloud", lab.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
    assert lab.scratch_names() == []


def test_starting_a_running_lab_changes_nothing(lab: LabUnderTest) -> None:
    before = _start_times(lab)
    done = lab.python("-m", "lab", "up")
    assert done.returncode == 0
    assert "nothing was changed" in done.stdout
    assert _start_times(lab) == before
    assert lab.python("-m", "lab", "status").returncode == 0


def _start_times(lab: LabUnderTest) -> list[str]:
    show = "systemctl list-units --type=service --state=running -o json; systemctl show -p UserspaceTimestampMonotonic"
    return [lab.machine(name).run(show).stdout for name in ("controller", "compute1", "compute2", "storage")]


@pytest.mark.parametrize("lab", PROFILES[:1], indirect=True)
def test_reset_takes_back_what_was_done(lab: LabUnderTest) -> None:
    lab.machine("controller").run("rm -r /etc/cinder; systemctl disable --now mariadb")
    lab.machine("storage").run(
        "ceph osd pool application disable $(ceph osd pool ls | tail -1) rbd --yes-i-really-mean-it"
    )
    start = time.monotonic()
    lab.word("reset")
    print(f"reset took {time.monotonic() - start:.0f} s", file=sys.stderr)
    assert lab.suite("-m", "static").exit_code == pytest.ExitCode.OK
