"""The pytest plugin: after the checks, plan what failed, carry it out if asked, look again, and say what was healed."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Generator, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest

from fixtures.checks import Finding
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.granularity import judged
from fixtures.observe.openstack import open_openstack
from fixtures.plugin import cloud_of
from fixtures.records import RecordError
from fixtures.scratch.names import new_run_id
from fixtures.sources import look_again
from fixtures.stash import CHECK, CLOUD, FACTS
from remediate import lock
from remediate.converge import Applied, apply
from remediate.journal import Journal, Taken, journals, left_by_runs
from remediate.model import DISRUPTIONS
from remediate.plan import Failure, Plan, make_plan
from remediate.registry import known
from remediate.restarts import owed
from remediate.rollback import roll_back
from remediate.rolling import BAD, Rolling, Serial, asked_on, folded, unwell
from remediate.site import Site, StepFailed, host_of, opened
from remediate.watch import Watch

ROUNDS = 6
"""One repair uncovers the next: a user, then its keyring, then the service; more means going in circles."""
SETTLING = (0, 5, 10, 20, 30)
"""Seconds of pause before each look: a warning of Ceph's goes within 15, what services say of room is a minute old."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what is to be done about checks that fail."""
    group = parser.getgroup("cloud")
    group.addoption(
        "--remediate",
        nargs="?",
        const="apply",
        choices=("plan", "apply"),
        help="repair what failed, and prove it; =plan: only show what would be done, and change nothing",
    )
    group.addoption(
        "--remediate-allow",
        choices=DISRUPTIONS,
        default="safe",
        help="the most that a repair may disturb (default: safe, no running guest or tenant's I/O)",
    )
    group.addoption(
        "--remediate-only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="repair only checks whose id fits, with * ? [] as in file names; may be given more than once",
    )
    group.addoption(
        "--serial",
        type=Serial.parse,
        metavar="N|P%",
        help="with --remediate: repair so many hosts, or such a part of those to be repaired, look at all again, "
        "and go on only if they are well; the first such batch is a canary",
    )
    group.addoption(
        "--max-fail",
        type=int,
        default=0,
        metavar="N",
        help="with --serial: go on while no more than N hosts are not well after their repair (default: 0; a canary's "
        "always stops)",
    )
    group.addoption("--rollback", metavar="RUN", help="undo what a remediating run changed, judge nothing, and stop")
    group.addoption("--force", action="store_true", help="with --rollback: also where somebody changed it since")
    group.addoption("--break-lock", metavar="RUN", default="", help="break the lock of a remediating run that is dead")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Do a rollback instead of a run if asked."""
    options = config.option
    if (options.remediate or options.rollback) and options.facts:
        raise pytest.UsageError("--remediate and --rollback need the live cloud: they do not go with --facts")
    if (options.serial and not options.remediate) or (options.max_fail and not options.serial):
        raise pytest.UsageError("--serial goes with --remediate, and --max-fail with --serial")
    if not options.rollback:
        return None
    cloud = cloud_of(config, "--rollback")
    return roll_back(cloud, options.rollback, force=options.force, breaking=options.break_lock)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Repair in the controller only."""
    if CLOUD in config.stash and config.option.remediate and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Remediation(config), "conformance-remediation")


@dataclass
class _Seen:
    """What became of a check: its outcome, severity, and how pytest calls it."""

    outcome: str
    severity: str
    nodeid: str
    message: str = ""
    reports: list[pytest.TestReport] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    """Of what was found, for the report."""


_RANK = ("passed", "not applicable", "waived", "not measured", "failed")


class Remediation:
    """Gathers what failed, and repairs it when the checks are through."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seen: dict[Failure, _Seen] = {}
        self._plans: list[Plan] = []
        self._said: list[str] = []
        self._journeys: set[str] = set()
        self._run = new_run_id()
        self._earlier: dict[str, list[Taken]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of a check."""
        _note(self._seen, report)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Repair when all checks have been judged; a run that was cut short repairs nothing."""
        result = yield
        if not self._config.option.collectonly:
            try:
                self._remediate(session)
            except (NotMeasured, StepFailed, RecordError, lock.Locked) as error:
                self._tell(f"nothing is repaired: {error}")
                session.testsfailed += 1
        return result

    @pytest.hookimpl(optionalhook=True)
    def pytest_conformance_files(self) -> dict[str, str]:
        """Give the plan to the report's folder."""
        if not self._plans:
            return {}
        told = {"run": self._run, "rounds": [plan.model_dump(mode="json") for plan in self._plans]}
        return {"plan.txt": "\n".join(self._said) + "\n", "plan.json": json.dumps(told, indent=2) + "\n"}

    @pytest.hookimpl(optionalhook=True)
    def pytest_conformance_remediation(self) -> dict[str, Any] | None:
        """Give plan and result to the report."""
        if not self._plans:
            return None
        return {
            "run": self._run,
            "applied": self._config.option.remediate == "apply",
            "rounds": [_told(plan) for plan in self._plans],
            "told": self._said,
        }

    # ------------------------------------------------------------------ the run

    def _remediate(self, session: pytest.Session) -> None:
        cloud, folder = self._config.stash[CLOUD], journals(self._config.stash[CLOUD].name)
        self._earlier = left_by_runs(folder, self._facts.fsid)
        with ExitStack() as stack:
            site = stack.enter_context(opened(cloud, self._run))
            if self._config.option.remediate == "plan":
                self._show(self._planned(site), "plan: nothing is changed")
                return
            journal = stack.enter_context(closing(Journal.create(folder, self._run, self._facts.fsid)))
            dead = stack.enter_context(
                lock.held(site, self._run, self._facts.reached, folder, self._config.option.break_lock)
            )
            self._converge(session, site, journal, dead)

    def _converge(self, session: pytest.Session, site: Site, journal: Journal, dead: Set[str]) -> None:
        first = dict(self._seen)
        if dead:  # which may have been at work while facts were read
            self._tell(f"taken over from {', '.join(sorted(dead))}, which was cut short")
            self._look_again(session)
        checks = [item.stash.get(CHECK, None) for item in _items(session)]
        self._journeys = {check.id for check in checks if check and check.dynamic}
        try:
            if self._config.option.serial:
                self._roll(session, site, journal)
            else:
                self._rounds(session, site, journal)
            self._look_again(session, dynamic=True)
        finally:
            if journal.taken():
                self._tell(f"undo all of it: pytest --cloud {self._config.option.cloud} --rollback {self._run}")
        left = self._planned(site)
        if left.failures and left != self._plans[-1]:
            self._show(left, "what is left")
        self._settle(session, first, left)

    def _rounds(
        self, session: pytest.Session, site: Site, journal: Journal, hosts: Collection[str] | None = None
    ) -> Applied:
        """Repair as long as that gets on; journeys are not asked before its end, and have no repair of their own.

        Returns what became of the last round; where hosts are given, only they and the cluster are changed.
        """
        plan, applied = self._part(site, hosts), Applied()
        for number in range(1, ROUNDS + 1):
            self._show(plan, f"round {number}")
            if not plan.steps:
                break
            api = partial(open_openstack, self._config.stash[CLOUD])
            applied = apply(plan, site, Watch(api, self._facts), journal, self._tell)
            before, plan = plan, self._settled_plan(session, site, plan, applied, hosts)
            if not self._advanced(applied, before, plan):
                break
        return applied

    def _part(self, site: Site, hosts: Collection[str] | None) -> Plan:
        plan = self._planned(site, but=self._journeys)
        return plan if hosts is None else plan.of(hosts)

    # ------------------------------------------------------------------ in batches

    def _roll(self, session: pytest.Session, site: Site, journal: Journal) -> None:
        """Repair batch by batch, as long as those before are well."""
        rolling = Rolling(self._config.option.serial, self._config.option.max_fail)
        plan = self._part(site, None)
        while batch := rolling.next(plan):
            self._tell("")
            self._tell(f"{'canary' if rolling.begun == [*batch] else 'batch'}: {folded(batch)}")
            self._batch(session, site, journal, rolling, batch)
            plan = self._part(site, None)
            if rolling.stops(batch):
                self._tell(f"no further host is repaired: {rolling.told()}")
                self._tell(f"not begun: {folded(set(plan.hosts) - set(rolling.begun)) or 'none'}")
                return
        if not rolling.begun:
            self._rounds(session, site, journal)

    def _batch(
        self, session: pytest.Session, site: Site, journal: Journal, rolling: Rolling, batch: Sequence[str]
    ) -> None:
        """Repair a batch, and note which of its hosts are not well."""
        was = {failure: seen.outcome for failure, seen in self._seen.items()}
        told = len(self._plans)
        while todo := [host for host in batch if host not in rolling.failed]:
            applied = self._rounds(session, site, journal, todo)
            if not applied.stopped:
                break
            rolling.failed |= dict.fromkeys([applied.host] if applied.host else todo, applied.stopped)
            if rolling.stops(batch):
                return
        rolling.failed = self._unwell(session, site, batch, was, self._plans[told:]) | rolling.failed

    def _unwell(
        self,
        session: pytest.Session,
        site: Site,
        batch: Sequence[str],
        was: Mapping[Failure, str],
        plans: Sequence[Plan],
    ) -> dict[str, str]:
        """Look until a batch is well, or it will not be: what was started anew takes a moment to tell."""
        comparing = {it.stash[CHECK].id for it in _items(session) if it.get_closest_marker("compares_hosts")}
        for pause in SETTLING:
            if pause:
                time.sleep(pause)
                self._look_again(session)
            plan = self._part(site, None)
            later = [one for one in plan.steps if host_of(one.step) not in batch]
            ahead = {failure for one in (*later, *plan.withheld) for failure in one.failures}
            now = {failure: seen.outcome for failure, seen in self._seen.items()}
            found = unwell(batch, asked_on(plans), ahead, was, now, comparing)
            if not found:
                break
        return found

    def _settled_plan(
        self, session: pytest.Session, site: Site, before: Plan, applied: Applied, hosts: Collection[str] | None
    ) -> Plan:
        """Look again until all is well or a repair uncovers the next; health and services take a moment to tell."""
        for pause in SETTLING if applied.taken and not applied.stopped else (0,):
            time.sleep(pause)
            self._look_again(session)
            plan = self._part(site, hosts)
            passing = _passing(before, plan)
            if not passing or self._advanced(applied, before, plan):
                break
            self._tell(f"{len(passing)} still fail, which may be but of the moment")
        return plan

    def _advanced(self, applied: Applied, before: Plan, after: Plan) -> bool:
        """Whether the round changed something, and there is more to do than the same again."""
        same = [one.step for one in before.steps] == [one.step for one in after.steps]
        return bool(applied.taken and after.steps) and not same and not applied.stopped

    @property
    def _facts(self) -> Facts:
        return self._config.stash[FACTS]

    def _planned(self, site: Site, but: Set[str] = frozenset()) -> Plan:
        options, cloud = self._config.option, self._config.stash[CLOUD]
        patterns: Sequence[str] = options.remediate_only or ("*",)
        failed = sorted((it for it, seen in self._seen.items() if seen.outcome == "failed"), key=str)
        asked = (it for it in failed if it.check not in but)
        wanted = [it for it in asked if any(fnmatchcase(it.check, pattern) for pattern in patterns)]
        restarts = owed(self._earlier, cloud, self._facts)
        return make_plan(wanted, known(), cloud, self._facts, site, options.remediate_allow, restarts)

    def _show(self, plan: Plan, title: str) -> None:
        self._plans.append(plan)
        self._tell("")
        self._tell(f"remediation, {title}")
        for line in plan.lines():
            self._tell(f"  {line}")

    def _tell(self, line: str) -> None:
        self._said.append(line)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.ensure_newline()
            reporter.write_line(line)

    # ------------------------------------------------------------------ proof

    def _look_again(self, session: pytest.Session, *, dynamic: bool = False) -> None:
        """Read anew and judge all static checks, for a repair may also spoil; or, dynamic, what failed."""
        bad = {seen.nodeid for seen in self._seen.values() if seen.outcome in BAD}
        items = [item for item in _items(session) if _is_wanted(item, bad if dynamic else None)]
        if not dynamic:
            asked = any(item.get_closest_marker("asks_services") for item in items)
            self._tell("looking again")
            look_again(self._config, ask_services=asked)
        fresh: dict[Failure, _Seen] = {}
        for report in judged(items, log=False):
            _note(fresh, report)
        self._seen |= fresh

    def _settle(self, session: pytest.Session, first: dict[Failure, _Seen], plan: Plan) -> None:
        """Tell the report and pytest's own counts what was healed, what was spoilt, and what is a person's."""
        reasons = {left.failure: left.reason for left in plan.left}
        healed: list[pytest.TestReport] = []
        for failure, now in self._seen.items():
            was = first.get(failure, now)
            if was.outcome in BAD and now.outcome not in BAD:
                self._settled(failure, "healed", f"was: {was.message}")
                healed += [report for report in was.reports if report.failed]
            elif was.outcome not in BAD and now.outcome in BAD:
                self._spoilt(session, failure, was, now)
            elif now.outcome == "failed" and failure in reasons:
                message = f"{now.message.rstrip('. ')}. Needs an operator: {reasons[failure]}"
                self._settled(failure, "needs operator", message, now.parts)
            elif now.outcome in BAD and now is not was:
                self._settled(failure, now.outcome, now.message, now.parts)
        self._recount(session, healed)

    def _settled(self, failure: Failure, outcome: str, message: str, parts: Mapping[str, str] | None = None) -> None:
        self._config.hook.pytest_conformance_settled(
            check=failure.check, target=failure.target, outcome=outcome, message=message, parts=dict(parts or {})
        )

    def _spoilt(self, session: pytest.Session, failure: Failure, was: _Seen, now: _Seen) -> None:
        self._tell(f"{failure} was {was.outcome} before the repairs, and is not any more: {now.message}")
        self._settled(failure, now.outcome, f"{now.message} (it was {was.outcome} before the repairs)", now.parts)
        bad = [report for report in now.reports if report.failed]
        session.testsfailed += len(bad)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter._add_stats("failed", bad)

    def _recount(self, session: pytest.Session, healed: Sequence[pytest.TestReport]) -> None:
        """What was healed is no failure any more."""
        session.testsfailed -= len(healed)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not healed:
            return
        those = {id(report) for report in healed}
        for kind in ("failed", "error"):
            reporter.stats[kind] = [it for it in reporter.stats.get(kind, ()) if id(it) not in those]
        reporter._add_stats("healed", healed)


def _passing(before: Plan, after: Plan) -> set[Failure]:
    """Failures that may go by themselves: what was just repaired, what is new, what sums up others."""
    repaired = {failure for one in before.steps for failure in one.failures}
    lagging = {check for check, repair in known().items() if repair.lags}
    return {it for it in after.failures if it in repaired or it not in before.failures or it.check in lagging}


def _told(plan: Plan) -> dict[str, Any]:
    steps = [(one, False) for one in plan.steps] + [(one, True) for one in plan.withheld]
    repairs = [
        {
            "what": str(one.step),
            "disruption": one.disruption,
            "checks": [str(failure) for failure in one.failures],
            "diff": one.diff,
            "withheld": withheld,
        }
        for one, withheld in steps
    ]
    left = [
        {"check": one.failure.check, "target": one.failure.target, "reason": one.reason, "lines": one.lines}
        for one in plan.left
    ]
    return {"repairs": repairs, "left": left}


def _note(seen: dict[Failure, _Seen], report: pytest.TestReport) -> None:
    told: dict[str, Any] = dict(report.user_properties)
    if "check" not in told or "outcome" not in told:
        return
    failure = Failure(check=told["check"], target=told["target"])
    old = seen.get(failure)
    if old is None or _RANK.index(told["outcome"]) > _RANK.index(old.outcome):
        kept = old.reports if old else []
        nodeid = _bare(report.nodeid)
        parts = {part.name: told.get(part.name, "") for part in fields(Finding)}
        seen[failure] = _Seen(told["outcome"], told["severity"], nodeid, told.get("message", ""), kept, parts)
    seen[failure].reports.append(report)


def _is_wanted(item: pytest.Item, bad: Set[str] | None) -> bool:
    """Whether it is a static check; or a journey of these node ids, where they are given."""
    check = item.stash.get(CHECK, None)
    if check is None or check.dynamic != (bad is not None):
        return False
    return bad is None or _bare(item.nodeid) in bad


def _bare(nodeid: str) -> str:
    """Without the group that xdist adds."""
    return nodeid.split("@")[0]


def _items(session: pytest.Session) -> list[pytest.Item]:
    """The selected checks; with xdist only workers have collected them, so they are collected here."""
    if not session.items:
        session.perform_collect()
    return session.items
