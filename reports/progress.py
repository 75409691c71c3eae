"""How far a run is: a live line on a terminal, else a plain line now and then; no more dots."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Any, Final, cast

import pytest

from reports.model import Entry

LIVE_SECONDS: Final = 0.1
PLAIN_SECONDS: Final = 10.0
"""Least time between two lines."""


def wants_progress(config: pytest.Config) -> bool:
    """Whether lines of our own take the place of pytest's dots: not with -v, -q or -s, nor where nothing is run."""
    if not config.pluginmanager.has_plugin("terminalreporter"):
        return False
    options = config.option
    idle = options.collectonly or options.setupplan or options.setupshow or options.setuponly
    return options.verbose == 0 and options.capture != "no" and not options.usepdb and not idle


class Progress:
    """Counts outcomes, and tells the area, the counts, the time that passed and the likely end."""

    def __init__(self, config: pytest.Config, last_run: Callable[[], Iterable[Entry]]) -> None:
        """Take over from pytest's dots; the last run tells how long each check may take."""
        self._reporter = cast(Any, config.pluginmanager.get_plugin("terminalreporter"))
        self._live = self._reporter.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
        self._reporter.showfspath = False
        self._reporter._show_progress_info = False
        self._workers = max(1, len(getattr(config.option, "tx", None) or ()))
        self._last_run = last_run
        self._seconds: dict[str, float] = {}
        self._left = Counter[str]()
        self._whole: dict[str, int] = {}
        self._total = 0
        self._worst: dict[str, str] = {}
        self._began = self._told = time.monotonic()
        self._area = ""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what will be run."""
        self._expect({item.nodeid: tests_of(item) for item in session.items})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Collection[str]) -> None:
        """Note what will be run, as each worker tells it."""
        if not self._total:
            self._expect(dict.fromkeys(ids, 1))

    def _expect(self, tests: Mapping[str, int]) -> None:
        self._left = Counter({bare(nodeid): number for nodeid, number in tests.items()})
        self._whole = dict(self._left)
        self._total = self._left.total()
        self._seconds = {}
        for entry in self._last_run():
            for item in {entry.nodeid, _shared(entry.nodeid)}:
                self._seconds[item] = self._seconds.get(item, 0) + entry.seconds
        self._began = self._told = time.monotonic()

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self) -> Generator[None, tuple[Any, ...], tuple[Any, ...]]:
        """Leave out the letter of each test."""
        category, _, word = yield
        return category, "", word

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Show which area is asked."""
        self._area = _area(nodeid)
        self._tell()

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what became of a check."""
        outcome = str(dict(report.user_properties).get("outcome", ""))
        nodeid = bare(report.nodeid)
        if outcome and self._worst.get(nodeid) in (None, "passed"):
            self._worst[nodeid] = outcome
        if report.when == "teardown":
            self._done(nodeid if nodeid in self._left else _shared(nodeid))
        self._tell()

    def _done(self, item: str) -> None:
        self._left[item] -= 1
        if self._left[item] < 1:
            del self._left[item]

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Close with a line of the whole."""
        result = yield
        if self._total:
            self._told = 0.0
            self._tell()
            self._reporter.ensure_newline()
        return result

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < (LIVE_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._told = now
        line = self._line(now - self._began)
        if not self._live:
            self._reporter.write_line(line)
            return
        self._reporter.rewrite(line[: self._reporter._tw.fullwidth - 1], erase=True)
        self._reporter.flush()
        self._reporter.currentfspath = self  # what is written next begins a new line

    def _line(self, elapsed: float) -> str:
        counts = Counter(self._worst.values())
        told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items(), key=_by_weight))
        done = f"{self._total - self._left.total()} of {self._total}"
        parts = [done, told, clock(elapsed), self._end() if self._left else ""]
        return f"{self._area:<8} " + "; ".join(part for part in parts if part)

    def _end(self) -> str:
        rest = self._rest()
        if rest is None:
            return ""
        return f"ends about {dt.datetime.now() + dt.timedelta(seconds=rest):%H:%M:%S}"

    def _rest(self) -> float | None:
        """Seconds that are left if each check takes as long as in the last run; None where that knows none of them."""
        known = [
            self._seconds[item] * number / self._whole[item]
            for item, number in self._left.items()
            if item in self._seconds
        ]
        return sum(known) * len(self._left) / len(known) / self._workers if known else None


_WEIGHT: Final = ("failed", "not measured", "waived", "passed", "not applicable")


def _by_weight(counted: tuple[str, int]) -> int:
    return _WEIGHT.index(counted[0])


def tests_of(item: pytest.Item) -> int:
    """Return how many tests an item stands for."""
    return int(str(dict(item.user_properties).get("targets", 1)))


def _shared(nodeid: str) -> str:
    """The item that stands for a test and others of its check, if there is one."""
    return f"{nodeid.rpartition(':')[0]}:*]"


def bare(nodeid: str) -> str:
    """Return a node id without the group that xdist adds."""
    return nodeid.split("@")[0]


def _area(nodeid: str) -> str:
    """The first part of the check's id: ceph."""
    return nodeid.rpartition("[")[2].split(".")[0]


def clock(seconds: float) -> str:
    """Return a time that passed as minutes and seconds: 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
