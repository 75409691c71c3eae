"""Labs for the tests, apart from a person's own: other state folders and other subnets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness import PROFILES, LabUnderTest, cannot_host, provisioned

HERE = Path(__file__).parent


def pytest_report_header() -> str | None:
    """Say first what will not run."""
    reason = cannot_host()
    return f"NO LAB HERE: {reason}" if reason else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last what did not run."""
    reason = cannot_host()
    if reason:
        terminalreporter.write_line(f"NOT RUN: all tests on real daemons ({reason})", yellow=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One lab at a time: all tests of a profile together, in the order of the profiles."""
    items.sort(key=lambda item: PROFILES.index(_profile(item)))
    reason = cannot_host()
    for item in items:
        if reason and HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


def _profile(item: pytest.Item) -> str:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return str(params.get("lab", PROFILES[0]))


def pytest_sessionstart(session: pytest.Session) -> None:
    """A green CI always means real daemons."""
    reason = cannot_host()
    if reason and os.environ.get("CI"):
        pytest.exit(f"CI on a machine that cannot host the lab proves nothing: {reason}", returncode=1)


@pytest.fixture(scope="session", params=PROFILES)
def lab(request: pytest.FixtureRequest) -> Iterator[LabUnderTest]:
    """A freshly provisioned lab of a profile; gone afterwards, unless OSC_TEST_KEEP is set.

    OSC_TEST_LAB names the state folder of a lab that is up, to be used instead.
    """
    with provisioned(request.param) as under_test:
        yield under_test
