"""The closing words on the terminal: counts by area, then what needs attention."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from reports.model import OUTCOMES, Entry, Outcome, Report, Run
from reports.nodeset import folded
from reports.pace import critical_path

_MARKUP: dict[Outcome, dict[str, bool]] = {
    "failed": {"red": True},
    "not measured": {"yellow": True},
    "needs operator": {"yellow": True},
    "waived": {"yellow": True},
    "healed": {"green": True},
    "passed": {"green": True},
}
_NAMED = 10
"""Most targets, or sets of them, that are named for one finding; the report has all."""
_LONG = 120
"""Most characters of a set of targets."""
_ADDRESS = re.compile(r"(?<![\w.])\d+\.\d+\.\d+\.\d+(?![\w.])")
_SEVERITIES = ("critical", "major", "minor", "info")


def write(terminal: pytest.TerminalReporter, report: Report, path: Path) -> None:
    """Write the summary of a run."""
    targets = Counter(entry.check for entry in report.entries if entry.outcome != "not applicable")
    terminal.section(f"{report.run.cloud}: checks by area")
    for row in area_table(report.entries):
        terminal.write_line(row)
    for group in grouped(attention(report.entries)):
        terminal.write(f"{group[0].outcome} {group[0].severity} ", **_MARKUP.get(group[0].outcome, {}))
        terminal.write_line(line(group, targets[group[0].check]))
    for figure in figures(report.entries):
        terminal.write_line(figure)
    pace = critical_path(report.entries)
    if pace:
        terminal.write_line(str(pace))
    for waiver in report.run.expired_waivers:
        terminal.write_line(f"expired waiver: {_named(waiver)}, {waiver['until']}")
    for waiver in report.run.unused_waivers:
        terminal.write_line(f"unused waiver: {_named(waiver)}: {waiver['why']}")
    for change in changes(report):
        terminal.write_line(change)
    terminal.write_line(verdict(report))
    if report.run.facts_recorded:
        terminal.write_line(
            f"judged by facts recorded at {report.run.facts_recorded}; the cloud itself was not looked at"
        )
    terminal.write_line(f"report: {path}")


def _named(waiver: dict[str, Any]) -> str:
    code = f" {waiver['code']}" if waiver["code"] else ""
    return f"{waiver['check']}{code} [{waiver['target']}] of {waiver['owner']}"


def areas(entries: Iterable[Entry]) -> dict[str, Counter[Outcome]]:
    """Return the counts of each outcome by area, in the areas' order."""
    found: dict[str, Counter[Outcome]] = {}
    for entry in entries:
        found.setdefault(entry.check.split(".")[0], Counter())[entry.outcome] += 1
    return dict(sorted(found.items()))


def area_table(entries: tuple[Entry, ...]) -> list[str]:
    """Return one line an area with the counts of each outcome."""
    found = areas(entries)
    shown = [outcome for outcome in OUTCOMES if any(counts[outcome] for counts in found.values())]
    head = f"{'area':<10}" + "".join(f"{outcome:>{len(outcome) + 3}}" for outcome in shown)
    rows = [
        f"{area:<10}" + "".join(f"{counts[outcome] or '.':>{len(outcome) + 3}}" for outcome in shown)
        for area, counts in found.items()
    ]
    return [head, *rows] if rows else ["no check was run"]


def attention(entries: tuple[Entry, ...]) -> list[Entry]:
    """Return what a person should look at, worst first."""
    wanted = [entry for entry in entries if entry.outcome not in ("passed", "not applicable", "healed")]
    return sorted(wanted, key=lambda entry: (OUTCOMES.index(entry.outcome), _SEVERITIES.index(entry.severity)))


def grouped(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return entries of one check together that say the same of different targets, in the given order."""
    found: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.check, entry.outcome, entry.severity, _same(entry)), []).append(entry)
    return list(found.values())


def _same(entry: Entry) -> str:
    """What an entry says, without the names of its own target; of what could not be measured, without addresses too."""
    text = f"{entry.found}; {entry.expected}" if entry.found else entry.message
    text = _without(entry.target.split("/"), text)
    return _ADDRESS.sub("…", text) if entry.outcome == "not measured" else text


def _without(names: Sequence[str], text: str) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "…", text)
    return text


def unreached(run: Run) -> list[tuple[tuple[str, ...], str]]:
    """Return the hosts that were not reached, folded, by the reason of the first of them."""
    found: dict[str, list[str]] = {}
    for host, why in run.unreached.items():
        found.setdefault(_ADDRESS.sub("…", _without([host], why)), []).append(host)
    return [(folded(hosts), run.unreached[hosts[0]]) for hosts in found.values()]


def line(group: Sequence[Entry], of: int) -> str:
    """Return what a group says, with the targets that it says it of.

    Args:
        group: Entries that say the same.
        of: How many targets the check was asked of.
    """
    first = group[0]
    if len(group) == 1:
        return f"{first.check} [{first.target}] {first.message}"
    names = listed([entry.target for entry in group])
    return f"{first.check} [{first.target}] {first.message} (the same on {len(group)} of {of}: {names})"


def figures(entries: tuple[Entry, ...]) -> list[str]:
    """Return one line a measurement; one that a check has of several rounds or targets is told by its distribution."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for entry in entries:
        for figure in entry.measurements:
            values.setdefault((entry.check, figure.name, figure.unit), []).append(figure.value)
    return [_figure(name, unit, found) for (_, name, unit), found in values.items()]


def _figure(name: str, unit: str, values: list[float]) -> str:
    unit = "" if unit == "1" else f" {unit}"
    middle = f"measured {name}: {median(values):g}{unit}"
    if len(values) == 1:
        return middle
    most = round(quantiles(values, n=20, method="inclusive")[-1], 2)
    return f"{middle} ({min(values):g} to {max(values):g}, 95 % up to {most:g}, {len(values)} times)"


def _since(report: Report) -> str:
    return report.comparison.started if report.comparison else "the baseline"


def changes(report: Report) -> list[str]:
    """Return what changed since the baseline: the counts, then what is new and what was fixed, by check."""
    since = report.comparison
    if since is None:
        return []
    counted = {"new": since.new, "fixed": since.fixed, "still failing": since.still}
    counted |= {"newly not measured": since.newly_not_measured, "failed then, not judged now": since.not_judged}
    numbers = ", ".join(f"{len(places)} {word}" for word, places in counted.items() if places) or "nothing changed"
    lines = [f"since {since.started} ({since.baseline}): {numbers}"]
    for word in ("new", "newly not measured", "fixed"):
        targets: dict[str, list[str]] = {}
        for place in counted[word]:
            targets.setdefault(place.check, []).append(place.target)
        told = [f"  {word}: {check} [{listed(them)}]" for check, them in targets.items()]
        lines += told[:_NAMED]
        lines += [f"  {word}: {len(told) - _NAMED} more checks, in the report"] * (len(told) > _NAMED)
    return lines


def listed(names: Iterable[str], most: int = _NAMED) -> str:
    """Return names as a nodeset, cut where it is long: the report has all."""
    parts = folded(names)
    shown = [part if len(part) <= _LONG else f"{part[:_LONG]}…" for part in parts[:most]]
    return ", ".join(shown) + (f" and {len(parts) - most} more" if len(parts) > most else "")


def verdict(report: Report) -> str:
    """Return the answer in one sentence."""
    counts = report.run.counts
    failed, blind = counts.get("failed", 0), counts.get("not measured", 0)
    if failed and report.run.exit_code == 0 and not report.run.fail_on_new:
        return f"{report.run.cloud}: {failed} failed, all below --fail-on {report.run.fail_on}; else sound"
    unfinished = report.run.collected - len(report.entries)
    operator = counts.get("needs operator", 0)
    if report.run.fail_on_new and report.run.exit_code == 0 and (failed or blind or operator):
        return (
            f"{report.run.cloud}: nothing new since {_since(report)}: "
            f"{failed + operator} known failures, {blind} still not measured of {report.run.collected}"
        )
    parts = [f"{failed} failed"] * bool(failed) + [f"{operator} need an operator"] * bool(operator)
    parts += [f"{blind} not measured"] * bool(blind)
    parts += [f"{unfinished} not run"] * (unfinished > 0)
    parts += [f"{len(report.run.not_collected)} files not collected"] * bool(report.run.not_collected)
    healed = f"{counts['healed']} healed, " if "healed" in counts else ""
    if parts:
        return f"{report.run.cloud}: NOT PROVEN SOUND: {', '.join(parts)} of {report.run.collected}"
    return (
        f"{report.run.cloud}: sound: {counts.get('passed', 0)} passed, {healed}"
        f"{counts.get('not applicable', 0)} not applicable"
    )
