from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import waiting
from fixtures.waiting import DeadlineError, Pending, wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def looks(*answers: object) -> Iterator[object]:
    yield from answers


def test_what_is_there_at_once_is_returned_without_a_pause(clock: Clock) -> None:
    assert wait_until("it is there", lambda: "it", 10) == "it"
    assert clock.pauses == []


@pytest.mark.parametrize("value", [None, 0, "", False, ()])
def test_a_falsy_answer_is_an_answer(clock: Clock, value: object) -> None:
    assert wait_until("it is there", lambda: value, 10) == value


def test_pauses_grow_up_to_the_longest(clock: Clock) -> None:
    answers = looks(*[Pending("not yet")] * 20, "it")
    wait_until("it is there", lambda: next(answers), 1000, longest_pause=0.5)
    assert clock.pauses == sorted(clock.pauses)
    assert (clock.pauses[0], clock.pauses[-1]) == (0.1, 0.5)


def test_a_wait_ends_late_by_its_last_pause_at_most(clock: Clock) -> None:
    before = waiting.slack()
    answers = looks(Pending("not yet"), Pending("not yet"), "it")
    wait_until("it is there", lambda: next(answers), 10)
    assert waiting.slack() - before == pytest.approx(clock.pauses[-1])
    wait_until("it is there", lambda: "it", 10)
    assert waiting.slack() - before == pytest.approx(clock.pauses[-1])


def test_the_error_tells_what_how_long_and_the_last_state(clock: Clock) -> None:
    answers = looks(*[Pending("creating")] * 3, *[Pending("error_creating")] * 100)
    with pytest.raises(DeadlineError) as caught:
        wait_until("volume X is available", lambda: next(answers), 5)
    error = caught.value
    assert str(error) == f"volume X is available: not within 5 s; last of {error.looks} looks: error_creating"
    assert (error.what, error.seconds, error.last) == ("volume X is available", 5, "error_creating")


def test_there_is_a_first_look_even_without_time(clock: Clock) -> None:
    assert wait_until("it is there", lambda: "it", 0) == "it"
    with pytest.raises(DeadlineError, match="last of 1 looks: gone"):
        wait_until("it is there", lambda: Pending("gone"), 0)


def test_what_comes_in_the_last_moment_counts(clock: Clock) -> None:
    assert wait_until("it is there", lambda: "it" if clock.now >= 1003 else Pending("not yet"), 3) == "it"
    assert clock.now == 1003


def test_a_slow_look_that_succeeds_after_the_deadline_counts(clock: Clock) -> None:
    def look() -> str:
        clock.now += 60
        return "it"

    assert wait_until("it is there", look, 3) == "it"


def test_other_errors_are_not_swallowed(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until("it is there", lambda: 1 // 0, 3)


@settings(deadline=None)
@given(timeout=st.floats(0, 300), longest=st.floats(0.1, 60), takes=st.floats(0, 10))
def test_waiting_ends_at_the_deadline_whatever_a_look_takes(timeout: float, longest: float, takes: float) -> None:
    clock = Clock()

    def look() -> Pending:
        clock.now += takes
        return Pending("never")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "time", clock)
        with pytest.raises(DeadlineError):
            wait_until("never", look, timeout, longest_pause=longest)
    assert clock.now <= 1000 + timeout + takes + 1e-6
    assert all(pause <= max(longest, waiting.FIRST_PAUSE) for pause in clock.pauses)
