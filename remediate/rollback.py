"""Undoing a run: its journal's steps in reverse."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.observe.openstack import open_openstack
from fixtures.observe.run import observe
from fixtures.records import RecordError
from remediate import lock
from remediate.converge import take_back
from remediate.journal import Journal, journal_path, journals, runs
from remediate.restarts import started_since
from remediate.site import StepFailed, opened
from remediate.watch import Watch


def roll_back(cloud: Cloud, run: str, *, force: bool, breaking: str) -> int:
    """Undo a run; returns the exit code: 0 where all of it is undone."""
    try:
        return _roll_back(cloud, run, force, breaking)
    except (RecordError, StepFailed, NotMeasured, lock.Locked) as error:
        print(f"not rolled back: {error}")
        return 1


def _roll_back(cloud: Cloud, run: str, force: bool, breaking: str) -> int:
    folder = journals(cloud.name)
    journal = _claimed(folder, run)
    facts = observe(cloud, b"rollback", lambda line: None, ask_services=False)
    _refuse_another_cloud(journal, facts)
    with closing(journal), opened(cloud, run) as site, lock.held(site, run, facts.reached, folder, breaking):
        for restart in started_since(journal.taken(), facts):  # recorded, so that a kill does not lose it
            journal.done(journal.intend(restart, {}, {}), {})
        taken = journal.taken()
        if not taken:
            print(f"run {run}: nothing is left to undo")
        problems = take_back(taken, site, Watch(partial(open_openstack, cloud), facts), journal, print, force=force)
    for problem in problems:
        print(f"NOT undone: {problem}")
    if any(not taken.step.irreversible for taken in journal.taken()) and not force:
        print("what was changed since by somebody else --force undoes all the same")
    return 1 if problems else 0


def _claimed(folder: Path, run: str) -> Journal:
    known = runs(folder)
    if run not in known:
        raise RecordError(f"no journal of run {run} in {folder} (there are: {', '.join(known) or 'none'})")
    journal = Journal.claim(journal_path(folder, run))
    if journal is None:
        raise RecordError(f"run {run} is still at work")
    return journal


def _refuse_another_cloud(journal: Journal, facts: Facts) -> None:
    if facts.fsid and journal.header.fsid and journal.header.fsid != facts.fsid:
        raise RecordError(f"{journal.path} is of another cluster ({journal.header.fsid})")
