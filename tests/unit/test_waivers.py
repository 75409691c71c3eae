"""Waivers: what they cover, until when, and whether they were of any use."""

from __future__ import annotations

import datetime as dt

import pytest

from fixtures.cloud.model import Waiver
from fixtures.waivers import Place, Waivers

TODAY = dt.date(2026, 6, 15)


def _waiver(check: str = "a.b", target: str = "*", until: str = "2026-12-31", code: str | None = None) -> Waiver:
    told = {"check": check, "target": target, "until": until, "code": code, "owner": "me", "reason": "why"}
    return Waiver.model_validate(told)


@pytest.mark.parametrize(
    ("pattern", "target", "covered"),
    [
        ("*", "anything/at all", True),
        ("compute1", "compute1", True),
        ("compute1", "compute11", False),
        ("compute*", "compute1/volumes", True),
        ("compute[12]", "compute2", True),
        ("Compute1", "compute1", False),
        ("*/volumes", "compute1/vms", False),
    ],
)
def test_targets_are_patterns(pattern: str, target: str, *, covered: bool) -> None:
    waivers = Waivers([_waiver(target=pattern)], TODAY)
    assert (waivers.covering("a.b", target) is not None) is covered
    assert waivers.covering("a.c", target) is None


@pytest.mark.parametrize(("until", "valid"), [("2026-06-15", True), ("2026-06-14", False), ("2999-01-01", True)])
def test_the_last_day_counts(until: str, *, valid: bool) -> None:
    waivers = Waivers([_waiver(until=until)], TODAY)
    assert (waivers.covering("a.b", "x") is not None) is valid
    assert (waivers.expired_on("a.b", "x") is None) is valid
    assert bool(waivers.expired()) is not valid


def test_the_former_spelling_of_until_is_understood() -> None:
    told = {"check": "a.b", "owner": "me", "reason": "why", "expires": "2026-01-01"}
    assert Waiver.model_validate(told).until == dt.date(2026, 1, 1)


def test_a_valid_waiver_wins_over_an_expired_one() -> None:
    old, new = _waiver(until="2020-01-01"), _waiver()
    assert Waivers([old, new], TODAY).covering("a.b", "x") == new


def test_a_waiver_of_a_code_waives_nothing_else() -> None:
    waivers = Waivers([_waiver(code="OSD_NEARFULL")], TODAY)
    assert waivers.covering("a.b", "x") is None
    assert waivers.accepted_codes("a.b") == {"OSD_NEARFULL"}


ON: Place = ("a.b", "x")


@pytest.mark.parametrize(
    ("waiver", "outcomes", "selectable", "codes", "why"),
    [
        (_waiver(), {ON: "waived"}, {ON}, (), ""),
        (_waiver(), {ON: "passed"}, {ON}, (), "nothing failed there"),
        (_waiver(), {ON: "not applicable"}, {ON}, (), "nothing failed there"),
        (_waiver(), {ON: "not measured"}, {ON}, (), ""),
        (_waiver(), {}, {ON}, (), ""),
        (_waiver(), {}, {("a.c", "x")}, (), "no check of that id has such a target on this cloud"),
        (_waiver(target="y*"), {ON: "failed"}, {ON}, (), "no check of that id has such a target on this cloud"),
        (_waiver(), {}, set(), (), ""),
        (_waiver(code="C"), {ON: "passed"}, {ON}, {"C"}, ""),
        (_waiver(code="C"), {ON: "passed"}, {ON}, (), "C is not active"),
        (_waiver(code="C"), {ON: "failed"}, {ON}, {"D"}, "C is not active"),
        (_waiver(code="C"), {ON: "not measured"}, {ON}, (), ""),
        (_waiver(until="2020-01-01"), {ON: "passed"}, {ON}, (), ""),
    ],
)
def test_a_waiver_of_no_use_says_why(
    waiver: Waiver, outcomes: dict[Place, str], selectable: set[Place], codes: tuple[str, ...], why: str
) -> None:
    assert Waivers([waiver], TODAY).unused(outcomes, selectable, codes) == ({waiver: why} if why else {})
