"""report.prom: for node_exporter's textfile collector, one gauge a check and target."""

from __future__ import annotations

import datetime as dt
import math

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from reports.model import OUTCOMES, Outcome, Report

_VALUES: dict[Outcome, float] = {
    "passed": 1,
    "healed": 1,
    "waived": 1,
    "failed": 0,
    "needs operator": 0,
    "not measured": math.nan,
}
_PREFIX = "ceph_openstack_conformance"


def render(report: Report) -> str:
    """Return the text of report.prom."""
    registry = CollectorRegistry()
    _checks(registry, report)
    _measurements(registry, report)
    _run(registry, report)
    return generate_latest(registry).decode()


def _checks(registry: CollectorRegistry, report: Report) -> None:
    text = "1: holds, was healed or is waived; 0: failed; NaN: could not be measured. What does not apply is left out"
    gauge = _gauge(registry, "check", text, "check", "target", "severity")
    for entry in report.entries:
        if entry.outcome in _VALUES:
            labels = (report.run.cloud, entry.check, entry.target, entry.severity)
            gauge.labels(*labels).set(_VALUES[entry.outcome])


def _measurements(registry: CollectorRegistry, report: Report) -> None:
    gauge = _gauge(registry, "measurement", "What journeys measured", "check", "target", "name", "unit")
    for entry in report.entries:
        for figure in entry.measurements:
            gauge.labels(report.run.cloud, entry.check, entry.target, figure.name, figure.unit).set(figure.value)


def _run(registry: CollectorRegistry, report: Report) -> None:
    run = report.run
    counts = _gauge(registry, "outcomes", "Checks and targets by outcome", "outcome")
    for outcome in OUTCOMES:
        counts.labels(run.cloud, outcome).set(run.counts.get(outcome, 0))
    started = dt.datetime.fromisoformat(run.started).timestamp()
    single = {
        "run_duration_seconds": ("How long the run took", run.duration),
        "run_timestamp_seconds": ("When the run ended; its age is time() less this", started + run.duration),
        "run_exit_code": ("pytest's exit code", run.exit_code),
        "run_collected": ("Checks and targets that were selected", run.collected),
    }
    for name, (text, value) in single.items():
        _gauge(registry, name, text).labels(run.cloud).set(value)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"{_PREFIX}_{name}", text, ("cloud", *labels), registry=registry)
