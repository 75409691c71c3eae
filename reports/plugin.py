"""The pytest plugin that gathers outcomes and writes them: report.json, further formats, a closing summary."""

from __future__ import annotations

import datetime as dt
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from reports import hookspecs, summary
from reports.compare import LATEST, Baseline, runs_of
from reports.model import Effort, Entry, Measurement, Outcome, Past, Report, Run
from reports.progress import Progress, bare, tests_of, wants_progress
from reports.render import FORMATS, ReportError, load, write_formats
from reports.store import new_run_folder, replace, write_report

RUNS = Path(__file__).parent / "runs"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hook by which the run tells about itself."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where reports go."""
    group = parser.getgroup("cloud")
    group.addoption(
        "--reports",
        type=Path,
        default=RUNS,
        metavar="DIR",
        help="folder of the runs' reports (default: reports/runs); each run has a folder in it, which `latest` points "
        f"to, with report.json and, rendered from it, {', '.join(FORMATS)}",
    )
    group.addoption(
        "--report-from",
        type=Path,
        metavar="REPORT.json",
        help="render that report again, beside it or into --reports DIR, and stop; needs no cloud",
    )
    group.addoption(
        "--baseline",
        metavar="REPORT.json|latest",
        help="say what is new, fixed, still failing and newly not measured since that run; latest: the last of this "
        "cloud in --reports",
    )
    group.addoption(
        "--fail-on-new",
        action="store_true",
        help="with --baseline: only what is new since then, a failure or what cannot be measured any more, makes "
        "the exit code non-zero; without an earlier run all of it is new",
    )
    group.addoption(
        "--history",
        type=int,
        default=20,
        metavar="N",
        help="how many earlier runs of this cloud in --reports the report shows (default: 20)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Render a report instead of a run if asked."""
    if config.option.fail_on_new and not config.option.baseline:
        raise pytest.UsageError("--fail-on-new needs --baseline REPORT.json|latest to know what is new")
    return _again(config) if config.option.report_from else None


def _again(config: pytest.Config) -> int:
    options, path = config.option, config.option.report_from
    report = _loaded(path)
    if options.baseline:
        base = path.resolve().parent.parent if options.reports == RUNS else options.reports
        baseline = _baseline(options.baseline, base, report.run.cloud, but=path.parent)
        report = report.model_copy(update={"comparison": baseline.compared(report.entries) if baseline else None})
    folder = path.parent if options.reports == RUNS else options.reports
    _refuse_a_closed_folder(folder)
    for written in write_formats(report, folder):
        print(written)
    for line in summary.changes(report):
        print(line)
    told = report.comparison
    new = options.fail_on_new and (told is None or told.new or told.newly_not_measured)
    return int(pytest.ExitCode.TESTS_FAILED if new else pytest.ExitCode.OK)


def _loaded(path: Path) -> Report:
    try:
        return load(path)
    except ReportError as error:
        raise pytest.UsageError(str(error)) from None


def _baseline(named: str, base: Path, cloud: str, but: Path | None = None) -> Baseline | None:
    """Return the baseline that is named, None where `latest` is and there is no earlier run."""
    if named != LATEST:
        return Baseline(_loaded(Path(named)), Path(named))
    earlier = (path for path, _ in runs_of(base, cloud) if but is None or path.parent.resolve() != but.resolve())
    path = next(earlier, None)
    return Baseline(_loaded(path), path) if path else None


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Gather outcomes where they come together: not in a worker."""
    if config.getoption("cloud", None) and not hasattr(config, "workerinput"):
        _refuse_a_closed_folder(config.option.reports)
        config.pluginmanager.register(Gatherer(config), "conformance-report")
        if wants_progress(config):
            config.pluginmanager.register(Progress(config, lambda: _last_run(config)), "conformance-progress")


def _last_run(config: pytest.Config) -> tuple[Entry, ...]:
    """What became of each check in this cloud's last run, nothing where there is none that can be read."""
    told = config.hook.pytest_conformance_run(config=config) or {}
    path = next((path for path, _ in runs_of(config.option.reports, told.get("cloud", ""))), None)
    with suppress(ReportError):
        return load(path).entries if path else ()
    return ()


def _refuse_a_closed_folder(folder: Path) -> None:
    """A run whose report cannot be written would be in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise pytest.UsageError(f"{folder}: reports cannot be written here: {error.strerror} (--reports DIR)") from None


class Gatherer:
    """Collects the phases of each test and writes the report when the session ends."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = dt.datetime.now(dt.UTC)
        self._clock = time.monotonic()
        self._phases: dict[str, list[pytest.TestReport]] = {}
        """Of tests that are under way: of those that ended, what the report says is kept, and no more."""
        self._ended: dict[str, Entry] = {}
        self._collected = 0
        self._not_collected: dict[str, None] = {}
        self._report: Report | None = None
        self._path: Path | None = None
        self._settled: dict[tuple[str, str], dict[str, str]] = {}
        if config.option.baseline not in (None, LATEST):
            # A baseline that cannot be read is told before the run, not after it.
            _loaded(Path(config.option.baseline))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count what was selected."""
        self._collected = max(self._collected, sum(tests_of(item) for item in session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Count what was selected, as a worker tells it."""
        self._collected = len(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Count the tests of items that stand for several, as a worker tells at its end (xdist)."""
        self._collected = max(self._collected, getattr(node, "workeroutput", {}).get("asked", 0))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file of checks that cannot be read: its checks are nobody's green."""
        if report.failed:
            self._not_collected[report.nodeid] = None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a phase of a check until it is through."""
        if "check" not in dict(report.user_properties):
            return
        phases = self._phases.setdefault(report.nodeid, [])
        phases.append(report)
        if report.when == "teardown" and (entry := entry_of(phases)):
            self._ended[report.nodeid] = entry
            del self._phases[report.nodeid]
            self._forget_quiet_phases()

    def _forget_quiet_phases(self) -> None:
        """Have pytest's reporter keep no setup and teardown that nothing came of: two of three reports of each test."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter and not self._config.option.durations:
            reporter.stats[""] = [phase for phase in reporter.stats.get("", ()) if phase.sections]

    def pytest_conformance_settled(
        self, check: str, target: str, outcome: str, message: str, parts: dict[str, str]
    ) -> None:
        """Keep what became of a failed check after its repair."""
        self._settled[check, target] = {"outcome": outcome, "message": message, **parts}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, also after an interrupt."""
        if self._config.option.collectonly:
            return
        self._report = self._whole(int(session.exitstatus))
        folder = new_run_folder(self._config.option.reports, self._started, self._report.run.cloud)
        for files in self._config.hook.pytest_conformance_files():
            for name, text in files.items():
                replace(folder / name, text)
        self._path = write_report(self._report, folder)
        write_formats(self._report, folder)

    @cached_property
    def _past(self) -> Baseline | None:
        options, told = self._config.option, self._told
        return _baseline(options.baseline, options.reports, told["cloud"]) if options.baseline else None

    @cached_property
    def _told(self) -> dict[str, Any]:
        return self._config.hook.pytest_conformance_run(config=self._config) or {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_conformance_tolerated(self, check: str, target: str, outcome: str) -> bool:
        """Whether it was as bad in the baseline, if only what is new is to count."""
        return bool(self._config.option.fail_on_new and self._past and self._past.is_known(check, target, outcome))

    def _whole(self, exit_code: int) -> Report:
        entries = self._entries()
        known = self._config.hook.pytest_conformance_checks() or {}
        return Report.model_validate(
            {
                "run": self._finished(exit_code, entries),
                "entries": entries,
                "checks": {check: known[check] for check in sorted({entry.check for entry in entries} & set(known))},
                "remediation": self._config.hook.pytest_conformance_remediation(),
                "comparison": self._past.compared(entries) if self._past else None,
                "history": [past for _, past in islice(self._earlier(), self._config.option.history)],
            }
        )

    def _earlier(self) -> Iterator[tuple[Path, Past]]:
        return runs_of(self._config.option.reports, self._told["cloud"])

    def _entries(self) -> tuple[Entry, ...]:
        under_way = (entry for phases in self._phases.values() if (entry := entry_of(phases)))
        settled = (self._as_settled(entry) for entry in (*self._ended.values(), *under_way))
        return tuple(sorted(settled, key=lambda entry: (entry.check, entry.target)))

    def _as_settled(self, entry: Entry) -> Entry:
        settled = self._settled.get((entry.check, entry.target))
        return entry.model_copy(update=settled) if settled else entry

    def _finished(self, exit_code: int, entries: Iterable[Entry]) -> Run:
        counts: Counter[Outcome] = Counter(entry.outcome for entry in entries)
        return Run(
            **self._told,
            fail_on_new=self._config.option.fail_on_new,
            started=self._started.isoformat(timespec="seconds"),
            duration=round(time.monotonic() - self._clock, 3),
            command_line=tuple(sys.argv),
            exit_code=exit_code,
            interrupted=exit_code == pytest.ExitCode.INTERRUPTED,
            suite_version=_version(),
            python_version=platform.python_version(),
            counts=dict(counts),
            collected=self._collected,
            not_collected=tuple(self._not_collected),
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Close with the counts by area, what needs attention, and where the report is."""
        if self._report and self._path:
            summary.write(terminalreporter, self._report, self._path)


def _version() -> str:
    try:
        return metadata.version("ceph-openstack-conformance")
    except metadata.PackageNotFoundError:
        return "checkout"


_RANK: dict[str, int] = {"passed": 0, "not applicable": 1, "waived": 2, "not measured": 3, "failed": 4}


def entry_of(phases: list[pytest.TestReport]) -> Entry | None:
    """Return what became of a check, from the reports of its phases; None if it never came to an outcome."""
    spoken = [report for report in phases if "outcome" in dict(report.user_properties)]
    if not spoken:
        return None
    worst = max(spoken, key=lambda report: _RANK[str(dict(report.user_properties)["outcome"])])
    told: dict[str, Any] = dict(worst.user_properties)
    return Entry(
        **{key: told[key] for key in ("check", "target", "outcome", "severity")},
        **{key: told.get(key, "") for key in ("message", "where", "found", "expected", "remedy")},
        seconds=round(sum(report.duration for report in phases), 3),
        measurements=_measurements(phases),
        effort=_effort(phases),
        waiver=json.loads(told["waiver"]) if "waiver" in told else None,
        nodeid=bare(worst.nodeid),
    )


def _measurements(phases: list[pytest.TestReport]) -> tuple[Measurement, ...]:
    figures = [str(value) for name, value in phases[-1].user_properties if name == "measurement"]
    return tuple(Measurement.model_validate_json(figure) for figure in dict.fromkeys(figures))


def _effort(phases: list[pytest.TestReport]) -> Effort | None:
    told = dict(phases[-1].user_properties).get("effort")
    return Effort.model_validate_json(str(told)) if told else None
