"""What a report's entries come to: what they say of one another's targets, and what is to be done first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.model import Description, Entry, Outcome, Report
from reports.nodeset import folded
from reports.summary import attention, grouped

BAD: tuple[Outcome, ...] = ("failed", "needs operator")
SEVERITIES = ("critical", "major", "minor", "info")


@dataclass(frozen=True)
class Group:
    """Entries of one check that say the same of different targets."""

    entries: tuple[Entry, ...]
    of: int
    about: Description | None

    @property
    def first(self) -> Entry:
        """The entry that speaks for all."""
        return self.entries[0]

    @property
    def targets(self) -> tuple[str, ...]:
        """What it is said of."""
        return tuple(entry.target for entry in self.entries)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The targets in few words: those that differ by numbers only as one, compute[001-412]."""
        return folded(self.targets)

    @property
    def title(self) -> str:
        """The check's sentence; its id where the report does not tell."""
        return self.about.title if self.about else self.first.check


def groups(report: Report, *outcomes: Outcome) -> list[Group]:
    """Return what the entries of these outcomes say, worst first, then what is said of the most targets."""
    asked = Counter(entry.check for entry in report.entries if entry.outcome != "not applicable")
    wanted = (entry for entry in _in_order(report.entries) if entry.outcome in outcomes)
    found = [_group(group, report, asked[group[0].check]) for group in grouped(wanted)]
    return sorted(found, key=lambda it: (SEVERITIES.index(it.first.severity), -len(it.entries)))


def _in_order(entries: tuple[Entry, ...]) -> Iterable[Entry]:
    rest = (entry for entry in entries if entry.outcome in ("healed", "not applicable"))
    return (*attention(entries), *rest)


def _group(entries: Sequence[Entry], report: Report, of: int) -> Group:
    return Group(tuple(entries), of, report.checks.get(entries[0].check))


def by_severity(report: Report, *outcomes: Outcome) -> dict[str, int]:
    """Return how many entries of these outcomes there are, by severity, worst first, none left out."""
    counts = Counter(entry.severity for entry in report.entries if entry.outcome in outcomes)
    return {severity: counts[severity] for severity in SEVERITIES}  # type: ignore[index]


def is_sound(report: Report) -> bool:
    """Whether the run proves the integration sound: all was asked, and nothing failed or could not be measured."""
    counts, run = report.run.counts, report.run
    open_ends = sum(counts.get(outcome, 0) for outcome in (*BAD, "not measured"))
    return not open_ends and not run.not_collected and run.collected <= len(report.entries)
