"""report.sarif: SARIF 2.1.0, for tools that show findings of many kinds in one place.

What passed or does not apply is left out. A result lies in the cloud file, the one file that a reader's
repository has; which host, pool or user it is about is its logical location.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from reports.model import Entry, Outcome, Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_KINDS: dict[Outcome, str] = {
    "failed": "fail",
    "needs operator": "fail",
    "waived": "fail",
    "not measured": "open",
    "healed": "pass",
}
_LEVELS = {"critical": "error", "major": "error", "minor": "warning", "info": "note"}


def render(report: Report) -> str:
    """Return the text of report.sarif."""
    told = [entry for entry in report.entries if entry.outcome in _KINDS]
    rules = {check: number for number, check in enumerate(sorted({entry.check for entry in told}))}
    run = {
        "tool": {"driver": _driver(report, told, rules)},
        "invocations": [_invocation(report)],
        "automationDetails": {"id": f"ceph-openstack-conformance/{report.run.cloud}/"},
        "columnKind": "unicodeCodePoints",
        "results": [_result(entry, rules, report) for entry in told],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _driver(report: Report, told: list[Entry], rules: dict[str, int]) -> dict[str, Any]:
    severities = {entry.check: entry.severity for entry in told}
    return {
        "name": "ceph-openstack-conformance",
        "version": report.run.suite_version,
        "rules": [_rule(report, check, severities[check]) for check in rules],
    }


def _rule(report: Report, check: str, severity: str) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": check,
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {"severity": severity, "tags": [check.split(".")[0]]},
    }
    about = report.checks.get(check)
    if about:
        rule["shortDescription"] = {"text": about.title}
        rule["fullDescription"] = {"text": about.holds or about.title}
        rule["help"] = {"text": "\n\n".join(filter(None, (about.why, f"Source: {about.source}")))}
    return rule


def _invocation(report: Report) -> dict[str, Any]:
    run = report.run
    return {
        "executionSuccessful": not (run.interrupted or run.not_collected),
        "exitCode": run.exit_code,
        "startTimeUtc": run.started.replace("+00:00", "Z"),
        "toolExecutionNotifications": [
            {"level": "error", "message": {"text": f"{host} could not be observed: {why}"}}
            for host, why in run.unreached.items()
        ]
        + [{"level": "error", "message": {"text": f"{name} could not be collected"}} for name in run.not_collected],
    }


def _result(entry: Entry, rules: dict[str, int], report: Report) -> dict[str, Any]:
    kind = _KINDS[entry.outcome]
    result: dict[str, Any] = {
        "ruleId": entry.check,
        "ruleIndex": rules[entry.check],
        "kind": kind,
        "level": _LEVELS[entry.severity] if kind == "fail" else "none",
        "message": {"text": entry.message or f"{entry.check} [{entry.target}]: {entry.outcome}"},
        "locations": [_location(entry, report.run.cloud_file)],
        "partialFingerprints": {"checkAndTarget/v1": fingerprint(entry, report.run.cloud)},
        "properties": {"outcome": entry.outcome, "severity": entry.severity, "remedy": entry.remedy},
    }
    if entry.waiver:
        result["suppressions"] = [_suppression(entry.waiver)]
    return result


def _suppression(waiver: dict[str, Any]) -> dict[str, Any]:
    told = f"{waiver['reason']} ({waiver['owner']}, until {waiver['until']})"
    return {"kind": "external", "status": "accepted", "justification": told}


def _location(entry: Entry, cloud_file: str) -> dict[str, Any]:
    path = PurePath(cloud_file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {
        "physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}},
        "logicalLocations": [{"name": entry.target, "kind": "resource"}],
    }


def fingerprint(entry: Entry, cloud: str) -> str:
    """Return what stays the same of a finding from run to run."""
    return hashlib.sha256("\0".join((cloud, entry.check, entry.target)).encode()).hexdigest()
