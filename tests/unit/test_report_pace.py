"""The chain of journeys that decides how long a run takes."""

from __future__ import annotations

from reports.model import Effort, Entry
from reports.pace import critical_path
from reports.page import render
from tests.reporting import entry, report


def journey(check: str, worker: str, began: float, ended: float, own: float = 0.0, polling: float = 0.0) -> Entry:
    told = Effort(worker=worker, began=1000 + began, ended=1000 + ended, own=own, polling=polling)
    return entry(check, "cloud", seconds=ended - began, effort=told)


JOURNEYS = (
    journey("fn.image.upload", "gw0", 0, 10, own=2, polling=1),
    journey("fn.volume.create", "gw1", 0, 30),
    journey("lm.volume", "gw0", 20, 60, own=3, polling=4),
)


def test_the_chain_is_of_the_worker_that_was_done_last() -> None:
    path = critical_path((*JOURNEYS, entry("ceph.health", "cloud")))
    assert path
    assert [step.entry.check for step in path.steps] == ["fn.image.upload", "lm.volume"]
    assert (path.worker, path.span, path.seconds) == ("gw0", 60, 50)
    assert path.shares == (0.8, 0.1, 0.1)
    assert str(path) == (
        "journeys took 60 s; 2 on gw0 took 50 s of it, the longest lm.volume 40 s, fn.image.upload 10 s; "
        "waiting for the cloud 80%, own work 10%, polling at most 10%"
    )


def test_without_journeys_there_is_no_chain() -> None:
    assert critical_path([entry("ceph.health", "cloud")]) is None


def test_what_did_not_apply_is_no_step() -> None:
    skipped = journey("fn.server.bfv", "gw0", 60, 60).model_copy(update={"outcome": "not applicable"})
    path = critical_path((*JOURNEYS, skipped))
    assert path
    assert [step.entry.check for step in path.steps] == ["fn.image.upload", "lm.volume"]


def test_more_work_than_time_leaves_nothing_to_the_cloud() -> None:
    path = critical_path([journey("fn.image.upload", "gw0", 0, 1, own=1.5)])
    assert path
    assert path.steps[0].cloud == 0


def test_the_page_shows_the_chain() -> None:
    page = render(report(*JOURNEYS))
    assert "waiting for the cloud 80%" in page
    assert "<code>lm.volume</code></th><td>40.0</td><td>33.0</td><td>3.0</td><td>4.0</td>" in page
