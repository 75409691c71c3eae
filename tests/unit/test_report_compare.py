"""What is new, fixed, still failing and newly not measured since an earlier run, and what of it fails the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports import markdown, page
from reports.compare import Baseline, runs_of
from reports.model import Comparison, Place, Report
from reports.render import load
from reports.summary import changes, verdict
from tests.reporting import WAIVER, entry, report

BEFORE = report(
    entry("ceph.pool.size", "images", "failed"),
    entry("ceph.pool.size", "vms", "failed"),
    entry("ceph.pool.size", "backups", "needs operator"),
    entry("ceph.pool.size", "volumes", "failed"),
    entry("nova.config.discard", "hv1", "not measured"),
    entry("gone.check", "cloud", "failed"),
    started="2026-11-19T02:00:00+00:00",
)
NOW = report(
    entry("ceph.pool.size", "vms", "failed"),
    entry("ceph.pool.size", "backups", "waived", waiver=WAIVER | {"until": "2027-01-31"}),
    entry("ceph.pool.size", "volumes", "not measured"),
    entry("nova.config.discard", "hv1", "not measured"),
    entry("nova.config.discard", "hv2", "failed"),
    entry("ceph.health.status", "cloud", "healed"),
)


def _compared() -> Comparison:
    return Baseline(BEFORE, Path("runs/a/report.json")).compared(NOW.entries)


def _places(*told: str) -> tuple[Place, ...]:
    return tuple(Place(check=check, target=target) for check, target in (one.split() for one in told))


def test_each_kind_of_change_is_told() -> None:
    told = _compared()
    assert told.new == _places("nova.config.discard hv2")
    assert told.fixed == _places("ceph.pool.size images")
    assert told.still == _places("ceph.pool.size vms")
    assert told.newly_not_measured == _places("ceph.pool.size volumes")
    assert told.not_judged == _places("ceph.pool.size backups", "gone.check cloud")


@pytest.mark.parametrize(
    ("check", "target", "outcome", "known"),
    [
        ("ceph.pool.size", "vms", "failed", True),
        ("ceph.pool.size", "backups", "failed", True),
        ("ceph.pool.size", "volumes", "not measured", False),
        ("nova.config.discard", "hv1", "not measured", True),
        ("nova.config.discard", "hv1", "failed", False),
        ("nova.config.discard", "hv2", "failed", False),
        ("other.check", "hv2", "failed", False),
    ],
)
def test_only_what_was_as_bad_is_known(check: str, target: str, outcome: str, known: bool) -> None:
    assert Baseline(BEFORE, Path()).is_known(check, target, outcome) is known


def _with(comparison: Comparison) -> Report:
    return NOW.model_copy(update={"comparison": comparison})


def test_changes_are_on_the_terminal_in_markdown_and_on_the_page() -> None:
    made = _with(_compared())
    lines = changes(made)
    assert lines == [
        "since 2026-11-19T02:00:00+00:00 (runs/a/report.json): 1 new, 1 fixed, 1 still failing, 1 newly not measured, "
        "2 failed then, not judged now",
        "  new: nova.config.discard [hv2]",
        "  newly not measured: ceph.pool.size [volumes]",
        "  fixed: ceph.pool.size [images]",
    ]
    assert "  - new: nova.config.discard \\[hv2\\]\n" in markdown.render(made)
    assert '<a href="#failed.nova.config.discard"><code>nova.config.discard</code></a>' in page.render(made)


def test_known_failures_alone_are_never_called_sound() -> None:
    run = NOW.run.model_copy(update={"fail_on_new": True, "exit_code": 0})
    told = verdict(_with(_compared()).model_copy(update={"run": run}))
    assert told == "prod: nothing new since 2026-11-19T02:00:00+00:00: 2 known failures, 2 still not measured of 17"


def _saved(base: Path, name: str, made: Report) -> Path:
    (base / name).mkdir(parents=True)
    path = base / name / "report.json"
    path.write_text(made.model_dump_json())
    return path


def test_runs_are_found_newest_first_and_of_one_cloud(tmp_path: Path) -> None:
    older = _saved(tmp_path, "20261119T020000Z-prod", BEFORE)
    newer = _saved(tmp_path, "20261120T020000Z-prod", NOW)
    other = NOW.model_copy(update={"run": NOW.run.model_copy(update={"cloud": "test"})})
    _saved(tmp_path, "20261121T020000Z-test", other)
    (tmp_path / "20261122T020000Z-prod").mkdir()
    (tmp_path / "latest").symlink_to("20261120T020000Z-prod")
    assert [path for path, _ in runs_of(tmp_path, "prod")] == [newer, older]
    (_, past) = next(runs_of(tmp_path, "prod"))
    assert (past.folder, past.counts) == ("20261120T020000Z-prod", load(newer).run.counts)


def test_the_trend_ends_with_this_run_and_links_to_those_before(tmp_path: Path) -> None:
    _saved(tmp_path, "20261119T020000Z-prod", BEFORE)
    made = NOW.model_copy(update={"history": tuple(past for _, past in runs_of(tmp_path, "prod"))})
    before, now = page.trend(made)
    assert (before.failed, before.blind, now.failed, now.blind) == (5, 1, 2, 2)
    assert '<a href="../20261119T020000Z-prod/report.html"' in page.render(made)
