"""--granularity: one item a check tells what one item a target tells, of each target."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import recorded
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.spread import Keeping
from fixtures.facts.store import load_facts, save_facts
from reports.model import Entry, Report
from reports.render import load

WAIVERS = """
waivers:
  - {check: lm.config.transport, target: compute1, owner: me, reason: known, until: 2999-01-01}
  - {check: lm.config.transport, target: "compute[3-9]", owner: me, reason: gone, until: 2999-01-01}
"""
WORKERS = ("-n", "2")
NODE = "suites/migration/test_config.py::test_hypervisors_migrate_over_one_transport[lm.config.transport:compute2]"


def _broken(folder: Path) -> None:
    """The recorded lab: two hypervisors of the wrong transport, and no answer from a host of Ceph."""
    facts = load_facts(recorded.folder("default"))
    text = facts.model_dump_json()
    changed, found = re.subn(r'("key":"live_migration_scheme","value":)"\w+"', r'\1"ssh"', text)
    assert found == 2
    broken = Facts.model_validate_json(changed)
    hosts = {**broken.hosts, "storage": Unreadable(unreadable="no route to host")}
    save_facts(broken.model_copy(update={"hosts": hosts}), folder)


def _run(folder: Path, *options: str, where: str = "runs") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--cloud", str(folder / "cloud.yaml"), "--facts", str(folder / "facts")]
    command += ["--reports", str(folder / where), "-o", f"cache_dir={folder}/cache"]
    command += ["--junitxml", f"{folder}/{where}.xml"]
    environment = os.environ | {"OSC_LAB_STATE": "/nonexistent"}
    return subprocess.run([*command, *options], cwd=recorded.PROJECT, env=environment, capture_output=True, text=True)


def _report(folder: Path, where: str = "runs") -> Report:
    return load(folder / where / "latest/report.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("broken")
    made.joinpath("cloud.yaml").write_text(recorded.CLOUDS["default"].read_text() + WAIVERS)
    _broken(made / "facts")
    return made


@pytest.fixture(scope="module")
def by_host(folder: Path) -> subprocess.CompletedProcess[str]:
    return _run(folder, "-m", "static", where="host")


def _told(entries: tuple[Entry, ...]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(it.check, it.target): it.model_dump(exclude={"seconds"}) for it in entries}


def _cases(path: Path) -> list[tuple[str | None, list[tuple[str, str | None]], list[tuple[str | None, str | None]]]]:
    return sorted(
        (
            case.get("name"),
            [(part.tag, part.get("message")) for part in case if part.tag != "properties"],
            [(it.get("name"), it.get("value")) for it in case.iter("property")],
        )
        for case in ElementTree.parse(path).getroot().iter("testcase")
    )


def _last_lines(out: str) -> list[str]:
    """What is said after the tests, without times and places; workers do not tell what they deselect."""
    lines = out[out.index("checks by area") :].splitlines()
    bare = (re.sub(r", \d+ deselected| in [\d.]+s.*", "", line).strip("= ") for line in lines)
    return sorted(line for line in bare if not line.startswith(("report:", "-")))


@pytest.mark.parametrize("workers", [(), WORKERS], ids=["alone", "workers"])
def test_both_tell_the_same(folder: Path, by_host: subprocess.CompletedProcess[str], workers: tuple[str, ...]) -> None:
    done = _run(folder, "-m", "static", "--granularity", "check", *workers, where="check")
    host, check = _report(folder, "host"), _report(folder, "check")
    assert _told(check.entries) == _told(host.entries), done.stdout
    assert {"passed", "failed", "not measured", "not applicable", "waived"} == set(host.run.counts)
    assert (done.returncode, check.run.exit_code) == (by_host.returncode, host.run.exit_code) == (1, 1)
    fields = ("counts", "collected", "unused_waivers", "expired_waivers", "unreached", "interrupted")
    assert all(getattr(check.run, field) == getattr(host.run, field) for field in fields)
    assert check.checks == host.checks
    assert _cases(folder / "check.xml") == _cases(folder / "host.xml")
    assert _last_lines(done.stdout) == _last_lines(by_host.stdout)


def test_an_item_stands_for_a_check(folder: Path) -> None:
    done = _run(folder, "-m", "static", "--granularity", "check", "--collect-only", "-q")
    names = [line.partition("[")[2] for line in done.stdout.splitlines() if "::" in line]
    checks = Counter(re.split("[]:]", name)[0] for name in names)
    assert "lm.config.transport:*]" in names
    assert set(checks.values()) == {1}


def test_a_test_that_was_judged_is_gone_without_a_search_for_circles(folder: Path) -> None:
    done = _run(folder, "-m", "static", "--granularity", "check", "-s", "-p", "tests.counting", where="alive")
    alive = re.search(r"alive (\d+)", done.stdout)
    assert alive, done.stdout
    judged = _report(folder, "alive").run.collected
    assert 0 < int(alive[1]) < judged


@pytest.mark.parametrize(
    "options",
    [
        ("-k", "nova.secret and not compute1", "-m", "static", "--profile", "smoke"),
        ("-k", "lm.config.transport or ceph.pool.size", "-x"),
        (NODE,),
        ("-k", "lm.config.transport", "--deselect", NODE),
    ],
    ids=" ".join,
)
def test_selection_means_single_targets(folder: Path, options: tuple[str, ...]) -> None:
    done = {way: _run(folder, *options, "--granularity", way, where=way) for way in ("host", "check")}
    host, check = _report(folder, "host"), _report(folder, "check")
    assert _told(check.entries) == _told(host.entries), done["check"].stdout
    assert host.entries
    assert host.run.collected == check.run.collected
    assert done["host"].returncode == done["check"].returncode


def test_what_failed_last_is_known_by_target_whoever_noted_it(folder: Path) -> None:
    asked = ("-k", "lm.config or nova.secret or ceph.mon")
    first = _run(folder, *asked, "--granularity", "check", *WORKERS)
    of_all = len(_report(folder).entries)
    failed = {(it.check, it.target) for it in _report(folder).entries if it.outcome in ("failed", "not measured")}
    assert failed, first.stdout
    for way in (("host",), ("check",), ("check", *WORKERS)):
        _run(folder, *asked, "--lf", "--granularity", *way)
        assert {(it.check, it.target) for it in _report(folder).entries} == failed
    _run(folder, *asked, "--ff", "--granularity", "check")
    assert len(_report(folder).entries) == of_all


def test_a_verbose_run_counts_tests(folder: Path) -> None:
    out = _run(folder, "-v", "-k", "lm.config.transport or ceph.pool.size", "--granularity", "check").stdout
    assert "[lm.config.transport:compute2] FAILED" in out
    assert out.count("[100%]") == 1


def _hosts(folder: Path, names: list[str]) -> Facts:
    facts = load_facts(recorded.folder("default"))
    keeping, pattern = Keeping.begin(folder, "lab"), facts.host("compute1").model_dump_json()
    for name in names:
        keeping.put(name, HostFacts.model_validate_json(pattern.replace("compute1", name)))
    return facts.model_copy(update={"hosts": keeping.hosts()})


def test_many_hosts_are_asked_once_for_what_each_check_compares(tmp_path: Path) -> None:
    names, asked = [f"compute{number}" for number in range(40)], []

    def read(host: HostFacts) -> list[str]:
        asked.append(host.name)
        return ["all", host.name]

    facts = _hosts(tmp_path, names)
    for _ in range(3):
        held = facts.holders([*names, "nobody"], read)
        assert (held["all"], held["compute7"]) == (tuple(sorted(names)), ("compute7",))
    assert asked == sorted(names)


def test_what_cannot_be_read_of_a_host_is_not_measured_for_all(tmp_path: Path) -> None:
    asked = []

    def read(host: HostFacts) -> list[str]:
        asked.append(host.name)
        raise NotMeasured("not told")

    facts = _hosts(tmp_path, ["compute1", "compute2"])
    for _ in range(2):
        with pytest.raises(NotMeasured, match="not told"):
            facts.holders(["compute1", "compute2"], read)
    assert asked == ["compute1"]
