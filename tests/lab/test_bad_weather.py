"""APIs that are busy, away, full, or forget a token while journeys run: what is told, and what is left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import pytest

from tests.lab.harness import PROJECT, LabUnderTest, SuiteRun
from tests.proxy import Answer, Expire, Refuse, Rewrite, Rule, Seen, proxy

CINDER = r" http://[^/]*:8776/"
NEW_VOLUME = r"^POST .*/volumes$"
A_VOLUME = r"^GET .*/volumes/[0-9a-f]{8}-"
UPLOAD = r"^PUT .*/images/[^/]*/file"
NEW_FLAVOR = r"^POST .*/flavors$"
AN_ERROR = Answer(500, '{"computeFault": {"message": "Unexpected API Error."}}')
AWAY_SECONDS = 20.0
LATER = 2
NOTHING = "0 removed, 0 not removed, 0 of unknown origin"


def _busy(later: int) -> Answer:
    return Answer(429, '{"overLimit": {"message": "Too many requests"}}', {"Retry-After": str(later)})


def _quota(resource: str, number: int) -> Rule:
    """The suite's project may have none of a resource, of which the suite gives it a number."""
    return Rewrite(r"^PUT .*/os-quota-sets/", f'"{resource}": {number}'.encode(), f'"{resource}": 0'.encode())


BRIDGED: dict[str, tuple[str, Callable[[], list[Rule]]]] = {
    "token expires before a file is sent": ("fn.image.upload", lambda: [Expire(UPLOAD)]),
    "token expires while a volume is waited for": ("fn.volume.create", lambda: [Expire(A_VOLUME)]),
    "connections break": ("fn.volume.create", lambda: [Refuse(A_VOLUME + "|^DELETE", Answer(), seconds=AWAY_SECONDS)]),
    "no server behind the balancer": (
        "fn.volume.create",
        lambda: [Refuse(NEW_VOLUME + "|" + A_VOLUME, Answer(503, "<html>503</html>"), seconds=AWAY_SECONDS)],
    ),
}
TOLD: dict[str, tuple[str, Callable[[], list[Rule]], str, str]] = {
    "busy for an hour": (
        "fn.volume.create",
        lambda: [Refuse(NEW_VOLUME, _busy(3600))],
        "not measured",
        "a new volume: HTTP 429: Too many requests (Retry-After: 3600)",
    ),
    "a connection breaks where something is created": (
        "fn.volume.create",
        lambda: [Refuse(NEW_VOLUME, Answer(), times=1)],
        "not measured",
        "a new volume: ",
    ),
    "an error of the service": (
        "fn.volume.create",
        lambda: [Refuse(A_VOLUME, AN_ERROR, times=1)],
        "failed",
        "found HTTP 500: Unexpected API Error.; expected it shown",
    ),
    "an error where a journey asks in passing": (
        "fn.server.delete_clean",
        lambda: [Refuse(r"^GET .*/allocations/", AN_ERROR, times=1)],
        "failed",
        "found HTTP 500: ",
    ),
    "no quota for volumes": (
        "fn.volume.create",
        lambda: [_quota("volumes", 30)],
        "not measured",
        "a new volume: HTTP 413: VolumeLimitExceeded: Maximum number of volumes allowed (0) exceeded",
    ),
    "no quota for servers": (
        "fn.server.ephemeral_cow",
        lambda: [_quota("instances", 6)],
        "not measured",
        "a new server: HTTP 403: Quota exceeded for instances",
    ),
    "no hypervisor has room": (
        "fn.server.ephemeral_cow",
        lambda: [Rewrite(NEW_FLAVOR, b'"disk": 1', b'"disk": 1000000')],
        "failed",
        "No valid host was found",
    ),
    "no pool has room": (
        "fn.volume.create",
        lambda: [
            Rewrite(r"^PUT .*/os-quota-sets/", b'"gigabytes": 60', b'"gigabytes": -1'),
            Rewrite(NEW_VOLUME, b'"size": 1', b'"size": 10000000'),
        ],
        "failed",
        "schedule allocate volume:Could not find any available weighted backend",
    ),
}


def test_what_was_put_off_is_asked_for_later_and_no_sooner(lab: LabUnderTest) -> None:
    with proxy(Refuse(NEW_VOLUME, _busy(LATER), times=2), Refuse(A_VOLUME, _busy(LATER), times=2)) as between:
        run = lab.suite("-m", "dynamic", "-k", "fn.volume.create", proxy=between.url)
    assert _outcomes(run) == {"fn.volume.create": "passed"}, run.story
    gaps = [later.at - first.at for first, later in _asked_again(between.seen)]
    assert len(gaps) == 4
    assert min(gaps) >= LATER


def _asked_again(seen: list[Seen]) -> list[tuple[Seen, Seen]]:
    """Each request that was put off, with the next like it."""
    return [
        (one, next(other for other in seen[number + 1 :] if other.request == one.request))
        for number, one in enumerate(seen)
        if one.status == 429
    ]


@pytest.mark.whole_table
@pytest.mark.parametrize("weather", BRIDGED)
def test_a_short_trouble_is_bridged(lab: LabUnderTest, weather: str) -> None:
    journey, rules = BRIDGED[weather]
    with proxy(*rules()) as between:
        run = lab.suite("-m", "dynamic", "-k", journey, proxy=between.url)
    assert {0, 401, 503} & {seen.status for seen in between.seen}
    assert _outcomes(run) == {journey: "passed"}, run.story
    assert _swept(lab) == NOTHING


@pytest.mark.whole_table
@pytest.mark.parametrize("weather", TOLD)
def test_what_a_cloud_does_not_do_is_told_in_its_own_words(lab: LabUnderTest, weather: str) -> None:
    journey, rules, outcome, words = TOLD[weather]
    with proxy(*rules()) as between:
        run = lab.suite("-m", "dynamic", "-k", journey, proxy=between.url)
    assert _outcomes(run) == {journey: outcome}, run.story
    assert words in next(entry.message for entry in run.report.entries), run.story
    assert "Traceback" not in run.output
    assert _swept(lab) == NOTHING


@pytest.mark.whole_table
def test_what_cannot_be_removed_now_is_told_and_swept_later(lab: LabUnderTest, tmp_path: Path) -> None:
    cloud = tmp_path / "impatient.yaml"
    cloud.write_text((PROJECT / lab.cloud_file).read_text().replace("journeys:\n", "journeys:\n  timeout: 20\n"))
    with proxy(Refuse(A_VOLUME + "|^(GET|DELETE)" + CINDER + ".*volumes", Answer(503))) as between:
        run = lab.suite("-m", "dynamic", "-k", "fn.volume.create", cloud_file=str(cloud), proxy=between.url)
    assert _outcomes(run) == {"fn.volume.create": "not measured"}, run.story
    assert "not removed, the cloud could not be asked" in run.output
    assert "Traceback" not in run.output
    assert not _swept(lab).startswith("0 removed")
    assert _swept(lab) == NOTHING


@pytest.mark.whole_table
def test_a_service_that_is_down_for_a_moment_is_waited_for(lab: LabUnderTest) -> None:
    controller = lab.machine("controller")
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(lab.suite, "-m", "dynamic", "-k", "fn.volume.snap_clone")
        lab.wait_for_scratch("volume")
        controller.run("systemctl stop cinder-api")
        sleep(AWAY_SECONDS)
        controller.run("systemctl start cinder-api")
        run = running.result()
    assert _outcomes(run) == {"fn.volume.snap_clone": "passed"}, run.story
    assert _swept(lab) == NOTHING


def _swept(lab: LabUnderTest) -> str:
    """Sweep; return what that came to. Runs that are living, of whoever uses the lab too, are none of it."""
    swept = lab.python("-m", "pytest", "--cloud", lab.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
    return swept.stdout.splitlines()[-1]


def _outcomes(run: SuiteRun) -> dict[str, str]:
    return {entry.check: entry.outcome for entry in run.report.entries}
