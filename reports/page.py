"""report.html: one file that needs no network, made from a report alone."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from reports.findings import BAD, Group, by_severity, groups, is_sound
from reports.model import OUTCOMES, Entry, Measurement, Outcome, Past, Place, Report
from reports.pace import critical_path
from reports.summary import areas, unreached, verdict
from reports.templating import environment
from reports.topology import BOX, TALL, WIDTH, make_map

_CODES: dict[Outcome, str] = {
    "failed": "F",
    "not measured": "N",
    "needs operator": "O",
    "healed": "H",
    "waived": "W",
    "passed": "P",
    "not applicable": "-",
}
_SHOWN = 1000
"""Most findings of an outcome on the page; all are in report.json."""
_TOLD: tuple[Outcome, ...] = ("failed", "needs operator", "not measured", "waived", "healed", "not applicable")


def render(report: Report) -> str:
    """Return the text of report.html."""
    told = {outcome: _anchored(groups(report, outcome)) for outcome in _TOLD}
    script, style = _asset("page.js"), _asset("page.css")
    return (
        environment()
        .get_template("page.html")
        .render(
            report=report,
            run=report.run,
            verdict=verdict(report),
            unreached=unreached(report.run),
            sound=is_sound(report),
            failed=by_severity(report, *BAD),
            blind=by_severity(report, "not measured"),
            first=(told["failed"] + told["needs operator"])[:5],
            told=told,
            reasons=_by_reason(told["not measured"]),
            shown=_SHOWN,
            areas=areas(report.entries),
            outcomes=OUTCOMES,
            map=make_map(report),
            box=BOX,
            tall=TALL,
            width=WIDTH,
            charts=charts(report.entries),
            pace=critical_path(report.entries),
            changes=_changes(report, told),
            trend=trend(report),
            data=_data(report, told),
            script=script,
            style=style,
            script_hash=_hash(script),
            style_hash=_hash(style),
        )
    )


def _asset(name: str) -> Markup:
    """Return a file of templates/ as it is: its braces are its own."""
    return Markup(importlib.resources.files("reports").joinpath("templates", name).read_text())


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True)
class Anchored:
    """A group and the name by which the page links to it, the same from run to run as far as can be."""

    group: Group
    anchor: str


def _anchored(found: list[Group]) -> list[Anchored]:
    numbers: dict[str, int] = defaultdict(int)
    made = []
    for group in found:
        numbers[group.first.check] += 1
        number = numbers[group.first.check]
        name = f"{group.first.check}.{number}" if number > 1 else group.first.check
        made.append(Anchored(group, f"{group.first.outcome.replace(' ', '-')}.{name}"))
    return made


def _by_reason(found: list[Anchored]) -> dict[str, list[Anchored]]:
    """One host that is down blinds many checks: told once."""
    reasons: dict[str, list[Anchored]] = defaultdict(list)
    for one in found:
        reasons[one.group.first.message].append(one)
    return dict(sorted(reasons.items(), key=lambda item: -len(item[1])))


# -- what changed


@dataclass(frozen=True)
class Change:
    """What changed in one way: each check and target, with the finding that tells of it, if any does."""

    word: str
    places: tuple[tuple[Place, str], ...]


def _changes(report: Report, told: dict[Outcome, list[Anchored]]) -> list[Change]:
    it = report.comparison
    if it is None:
        return []
    anchors = {
        (entry.check, entry.target): one.anchor
        for found in told.values()
        for one in found[:_SHOWN]
        for entry in one.group.entries
        if entry.outcome != "not applicable"
    }
    ways = {"new": it.new, "newly not measured": it.newly_not_measured, "fixed": it.fixed}
    ways |= {"still failing": it.still, "failed then, not judged now": it.not_judged}
    return [
        Change(word, tuple((place, anchors.get((place.check, place.target), "")) for place in places))
        for word, places in ways.items()
    ]


@dataclass(frozen=True)
class Column:
    """A run of the trend: shares of the tallest, of what failed and of what was not measured."""

    run: Past
    failed: int
    blind: int
    high: float
    dim: float
    href: str


def trend(report: Report) -> list[Column]:
    """Return this run and those before it, oldest first; empty where there was none."""
    run = report.run
    now = Past(folder="", started=run.started, duration=run.duration, exit_code=run.exit_code, counts=run.counts)
    runs = [*reversed(report.history), now] if report.history else []
    bad = [sum(one.counts.get(outcome, 0) for outcome in BAD) for one in runs]
    blind = [one.counts.get("not measured", 0) for one in runs]
    tallest = max((one + other for one, other in zip(bad, blind, strict=True)), default=0) or 1
    return [
        Column(
            one,
            failed,
            dim,
            failed / tallest,
            dim / tallest,
            f"../{quote(one.folder)}/report.html" if one.folder else "",
        )
        for one, failed, dim in zip(runs, bad, blind, strict=True)
    ]


# -- the matrix


def _data(report: Report, told: dict[Outcome, list[Anchored]]) -> Markup:
    targets = {name: number for number, name in enumerate(sorted({entry.target for entry in report.entries}))}
    rows: dict[str, list[str]] = {}
    first: dict[str, Entry] = {}
    for entry in report.entries:
        row = rows.setdefault(entry.check, ["."] * len(targets))
        row[targets[entry.target]] = _CODES[entry.outcome]
        first.setdefault(entry.check, entry)
    checks = [
        {
            "id": check,
            "kind": _kind(report, check),
            "severity": first[check].severity,
            "title": report.checks[check].title if check in report.checks else check,
            "cells": "".join(row),
        }
        for check, row in sorted(rows.items())
    ]
    anchors = [
        [one.anchor, one.group.first.check, [targets[target] for target in one.group.targets]]
        for outcome, found in told.items()
        if outcome != "not applicable"
        for one in found[:_SHOWN]
    ]
    known = {"codes": {code: outcome for outcome, code in _CODES.items()}, "targets": list(targets)}
    return _as_script({**known, "checks": checks, "anchors": anchors})


def _kind(report: Report, check: str) -> str:
    about = report.checks.get(check)
    kinds = about.asked_of if about else ()
    return " and ".join(kind.removesuffix("_name").replace("_", " ") for kind in kinds) or "the cloud"


def _as_script(data: object) -> Markup:
    """Return JSON that ends no script element early and starts none."""
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


# -- what journeys measured


@dataclass(frozen=True)
class Bar:
    """A figure of a chart, and its share of the longest."""

    name: str
    value: float
    share: float


@dataclass(frozen=True)
class Chart:
    """What one check measured in one unit."""

    check: str
    unit: str
    bars: tuple[Bar, ...]


def charts(entries: Sequence[Entry]) -> list[Chart]:
    """Return one chart per check and unit, in the order of the entries."""
    found: dict[tuple[str, str], list[tuple[Entry, Measurement]]] = defaultdict(list)
    for entry in entries:
        for figure in entry.measurements:
            found[entry.check, figure.unit].append((entry, figure))
    return [Chart(check, unit.removesuffix("1"), _bars(figures)) for (check, unit), figures in found.items()]


def _bars(figures: list[tuple[Entry, Measurement]]) -> tuple[Bar, ...]:
    longest = max((abs(figure.value) for _, figure in figures), default=0) or 1
    several = len({entry.target for entry, _ in figures}) > 1
    return tuple(
        Bar(f"{figure.name} ({entry.target})" if several else figure.name, figure.value, abs(figure.value) / longest)
        for entry, figure in figures
    )
