"""Outcomes, gates, waivers and the report, on the recorded facts of a real lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reports.model import Description, Report

PROJECT = Path(__file__).parents[2]
FACTS = PROJECT / "recorded/default/facts.json"

CONFTEST = f"""
import fixtures.observe.run
from pathlib import Path
from fixtures.facts.run import Facts

pytest_plugins = (
    "fixtures.targets", "fixtures.plugin", "fixtures.granularity", "fixtures.profiles", "fixtures.sources",
    "fixtures.outcomes", "fixtures.descriptions", "reports.plugin",
)
fixtures.observe.run.observe = lambda *_, **__: Facts.model_validate_json(Path({str(FACTS)!r}).read_text())
"""

CHECKS = '''
import pytest
from fixtures.checks import finding
from fixtures.facts.base import NotMeasured

@pytest.mark.check("a.passes", severity="minor", source="x")
def test_passes(facts): assert facts.ceph.fsid

@pytest.mark.check("a.fails", severity="critical", source="x")
def test_fails(pool):
    """It holds.

    Why: it matters.
    """
    assert pool.name != "volumes", finding(f"pool {pool.name}", found={"b", "a"}, expected=None, remedy="do it")

@pytest.mark.check("a.waived", severity="major", source="x")
def test_waived(hypervisor): assert not hypervisor, finding(hypervisor.name, found=1, expected=2, remedy="r")

@pytest.mark.check("a.expired", severity="major", source="x")
def test_expired(): assert not "still", finding("w", found=1, expected=2, remedy="r")

@pytest.mark.check("a.blind", severity="major", source="x")
def test_blind(): raise NotMeasured("host down")

@pytest.mark.check("a.broken", severity="major", source="x")
def test_broken(): raise KeyError("oops")

@pytest.mark.check("a.gated", severity="major", source="x")
@pytest.mark.applies_if(lambda cloud: cloud.name == "other", "the cloud is not called other")
def test_gated(): raise AssertionError

@pytest.mark.dynamic
@pytest.mark.check("a.measured", severity="info", source="x")
def test_measured(measure): measure("clone", 1.5, "s")

def test_ordinary(): pass
'''

WAIVERS = """
waivers:
  - {check: a.waived, target: "*1", owner: me, reason: why, until: 2999-01-01}
  - {check: a.expired, owner: me, reason: why, expires: 2020-01-01}
  - {check: a.passes, owner: me, reason: why, until: 2999-01-01}
  - {check: a.gone, owner: me, reason: why, until: 2999-01-01}
  - {check: a.waived, target: "nova*", owner: me, reason: why, until: 2999-01-01}
  - {check: a.blind, owner: me, reason: why, until: 2999-01-01}
"""


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_inner.py").write_text(CHECKS)
    (tmp_path / "cloud.yaml").write_text((PROJECT / "clouds/lab.yaml").read_text() + WAIVERS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\ncache_dir = cache\n")
    return tmp_path


def _run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "pytest.ini",
        "--cloud",
        "cloud.yaml",
        "--reports",
        "runs",
        "--junitxml",
        "out.xml",
        *options,
    ]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def _report(folder: Path) -> Report:
    return Report.model_validate_json((folder / "runs/latest/report.json").read_text())


EXPECTED = {
    ("a.passes", "cloud"): "passed",
    ("a.fails", "images"): "passed",
    ("a.fails", "volumes"): "failed",
    ("a.fails", "vms"): "passed",
    ("a.fails", "backups"): "passed",
    ("a.waived", "compute1"): "waived",
    ("a.waived", "compute2"): "failed",
    ("a.expired", "cloud"): "failed",
    ("a.blind", "cloud"): "not measured",
    ("a.broken", "cloud"): "not measured",
    ("a.gated", "cloud"): "not applicable",
    ("a.measured", "cloud"): "passed",
}


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_each_outcome_reaches_the_report(inner: Path, options: tuple[str, ...]) -> None:
    done = _run(inner, *options)
    report = _report(inner)
    assert {(entry.check, entry.target): entry.outcome for entry in report.entries} == EXPECTED
    assert done.returncode == report.run.exit_code == pytest.ExitCode.TESTS_FAILED
    assert report.run.collected == len(EXPECTED) + 1
    assert [waiver["check"] for waiver in report.run.expired_waivers] == ["a.expired"]
    assert report.checks["a.fails"] == Description(
        title="fails", holds="It holds.", why="it matters.", source="x", dynamic=False, asked_of=("pool_name",)
    )
    assert [joint.pool for joint in report.run.joints if joint.role == "cinder-backup"] == ["volumes", "backups"]


UNUSED = {
    ("a.passes", "*"): "nothing failed there",
    ("a.gone", "*"): "no check of that id has such a target on this cloud",
    ("a.waived", "nova*"): "no check of that id has such a target on this cloud",
}


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_waivers_of_no_use_are_told(inner: Path, options: tuple[str, ...]) -> None:
    out = _run(inner, *options).stdout
    unused = _report(inner).run.unused_waivers
    assert {(waiver["check"], waiver["target"]): waiver["why"] for waiver in unused} == UNUSED
    assert "unused waiver: a.passes [*] of me: nothing failed there" in out


def test_a_waiver_of_what_was_not_selected_may_be_of_use(inner: Path) -> None:
    _run(inner, "-k", "a.gated")
    assert {waiver["check"] for waiver in _report(inner).run.unused_waivers} == {"a.gone", "a.waived"}


def test_a_failure_says_that_its_waiver_expired(inner: Path) -> None:
    _run(inner, "-k", "a.expired")
    (entry,) = _report(inner).entries
    assert entry.message.endswith("(no longer waived: me's waiver was until 2020-01-01)")


@pytest.mark.parametrize(
    ("selected", "threshold", "code"),
    [
        ("a.expired", "major", 1),
        ("a.expired", "critical", 0),
        ("a.expired or a.passes", "critical", 0),
        ("a.fails or a.expired", "critical", 1),
        ("a.expired or a.blind", "critical", 1),
        ("a.blind", "critical", 1),
    ],
)
def test_what_failed_below_the_threshold_leaves_the_exit_code(
    inner: Path, selected: str, threshold: str, code: int
) -> None:
    done = _run(inner, "-k", selected, "--fail-on", threshold)
    report = _report(inner)
    assert done.returncode == report.run.exit_code == code, done.stdout
    assert report.run.fail_on == threshold
    if "a.expired" in selected:
        assert "failed" in {entry.outcome for entry in report.entries}
    assert ("lab: 1 failed, all below --fail-on critical; else sound" in done.stdout) is (code == 0)


def test_the_threshold_holds_with_workers(inner: Path) -> None:
    assert _run(inner, "-k", "a.expired", "-n", "2", "--fail-on", "critical").returncode == 0


def test_a_run_cut_short_is_never_sound(inner: Path) -> None:
    assert _run(inner, "-k", "a.expired or a.passes", "-x", "--fail-on", "critical").returncode == 1


def test_an_ordinary_test_that_fails_always_counts(inner: Path) -> None:
    (inner / "test_inner.py").write_text(CHECKS.replace("def test_ordinary(): pass", "def test_ordinary(): assert 0"))
    assert _run(inner, "-k", "a.expired or ordinary", "--fail-on", "critical").returncode == 1


def test_a_finding_is_taken_apart(inner: Path) -> None:
    _run(inner)
    entry = next(entry for entry in _report(inner).entries if entry.outcome == "failed" and entry.check == "a.fails")
    assert (entry.where, entry.found, entry.expected, entry.remedy) == ("pool volumes", "a, b", "nothing", "do it")
    assert entry.nodeid == "test_inner.py::test_fails[a.fails:volumes]"
    assert entry.severity == "critical"


def test_measurements_carry_their_unit(inner: Path) -> None:
    _run(inner, "-m", "dynamic")
    (entry,) = _report(inner).entries
    assert [figure.model_dump() for figure in entry.measurements] == [{"name": "clone", "value": 1.5, "unit": "s"}]


def test_junit_carries_id_severity_and_target(inner: Path) -> None:
    _run(inner)
    cases = ElementTree.parse(inner / "out.xml").getroot().iter("testcase")
    told = {case.get("name"): {p.get("name"): p.get("value") for p in case.iter("property")} for case in cases}
    case = told["test_fails[a.fails:volumes]"]
    assert (case["check"], case["severity"], case["target"]) == ("a.fails", "critical", "volumes")


def test_not_measured_is_an_error_of_pytest_too(inner: Path) -> None:
    done = _run(inner, "-k", "a.blind")
    assert "1 error" in done.stdout.splitlines()[-1]
    assert "host down" in done.stdout


LEFT_BEHIND = """

@pytest.fixture(scope="session")
def run_of_it():
    yield
    raise NotMeasured("run: the cloud could not be asked")

@pytest.fixture
def things(run_of_it):
    yield
    raise {}

@pytest.mark.dynamic
@pytest.mark.check("a.leaves", severity="major", source="x")
def test_leaves(things): pass
"""


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        ('NotMeasured("things: the cloud could not be asked")', "not measured", "run: the cloud could not be asked"),
        ('AssertionError("things: left")', "failed", "things: left"),
    ],
)
def test_of_several_ends_that_go_wrong_the_gravest_decides(inner: Path, error: str, outcome: str, message: str) -> None:
    (inner / "test_inner.py").write_text(CHECKS + LEFT_BEHIND.format(error))
    _run(inner, "-k", "a.leaves")
    (entry,) = _report(inner).entries
    assert (entry.outcome, entry.message) == (outcome, message)


def test_the_summary_says_where_and_what_to_do(inner: Path) -> None:
    out = _run(inner).stdout
    assert "failed critical a.fails [volumes] pool volumes: found a, b; expected nothing. Remedy: do it" in out
    assert "expired waiver: a.expired [*] of me, 2020-01-01" in out
    assert "lab: NOT PROVEN SOUND: 3 failed, 2 not measured" in out


def test_selection_works_as_everywhere(inner: Path) -> None:
    done = _run(inner, "-k", "a.fails and volumes")
    assert "1 failed" in done.stdout.splitlines()[-1]
    assert "1 failed" in _run(inner, "--lf").stdout.splitlines()[-1]
    assert "1 failed" in _run(inner, "-x").stdout.splitlines()[-1]


def test_an_interrupted_run_leaves_its_report(inner: Path) -> None:
    text = CHECKS.replace("def test_broken(): raise KeyError", "def test_broken(): raise KeyboardInterrupt")
    (inner / "test_inner.py").write_text(text)
    done = _run(inner)
    report = _report(inner)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert report.run.interrupted
    assert len(report.entries) < report.run.collected


def test_the_report_is_its_owners_alone(inner: Path) -> None:
    _run(inner, "-k", "a.passes")
    path = inner / "runs/latest/report.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["version"] == 1


def _asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=PROJECT, capture_output=True, text=True)


def test_without_a_cloud_one_line_says_what_to_do() -> None:
    done = _asked()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    lines = done.stderr.strip().splitlines()
    assert lines == [
        "ERROR: say which cloud to judge: pytest --cloud FILE (try clouds/lab.yaml; clouds/example.yaml explains)"
    ]


def test_a_bad_cloud_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\nhots: {}\n")
    done = _asked("--cloud", str(path))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{path}:2: hots: unknown key; did you mean 'hosts'?" in done.stderr


@pytest.mark.parametrize(
    "given", [["--cloud", "{}"], ["--cloud={}"], ["--reports", "runs", "--cloud", "{}", "-k", "pool"]]
)
def test_a_cloud_file_may_lie_anywhere(tmp_path: Path, given: list[str]) -> None:
    cloud = tmp_path / "prod.yaml"
    cloud.write_text((PROJECT / "clouds/example.yaml").read_text())
    arguments = [argument.format(cloud) for argument in given]
    command = [sys.executable, "-m", "pytest", *arguments, "--collect-only", "-q"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "test_pool_exists[ceph.pool.exists:images]" in done.stdout, done.stdout + done.stderr


def test_collecting_touches_no_cloud() -> None:
    done = _asked("--cloud", "clouds/example.yaml", "--collect-only", "-q")
    assert done.returncode == pytest.ExitCode.OK
    assert "[nova.secret.value:cmp1/volumes]" in done.stdout


def test_a_file_that_cannot_be_read_is_never_sound(inner: Path) -> None:
    (inner / "test_inner.py").write_text(CHECKS.split("@pytest.mark.check")[0] + "def test_x(): pass\n")
    (inner / "test_other.py").write_text("import nothing_of_that_name\n")
    done = _run(inner, "--continue-on-collection-errors")
    assert "1 files not collected" in done.stdout
    assert _report(inner).run.not_collected == ("test_other.py",)


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_only_what_is_new_fails_the_run_if_so_asked(inner: Path, options: tuple[str, ...]) -> None:
    since = ("--baseline", "latest", "--fail-on-new")
    first = _run(inner, "-k", "a.expired or a.blind", *since)
    assert first.returncode == 1
    second = _run(inner, "-k", "a.expired or a.blind", *since, *options)
    assert second.returncode == 0, second.stdout
    assert "nothing new since" in second.stdout
    third = _run(inner, "-k", "a.expired or a.blind or a.fails", *since, *options)
    assert third.returncode == 1
    assert "  new: a.fails [volumes]" in third.stdout
    assert len(_report(inner).history) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fail-on-new",), "--fail-on-new needs --baseline"),
        (("--baseline", "none.json"), "none.json: No such file or directory"),
    ],
)
def test_a_baseline_that_is_none_stops_the_run_before_it_starts(
    inner: Path, options: tuple[str, ...], said: str
) -> None:
    done = _run(inner, *options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr
