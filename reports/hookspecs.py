"""Hooks that this package asks others to answer."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookspec(firstresult=True)
def pytest_conformance_run(config: pytest.Config) -> dict[str, Any] | None:
    """Return the fields of `reports.model.Run` that describe the cloud of this run."""


@pytest.hookspec
def pytest_conformance_settled(check: str, target: str, outcome: str, message: str, parts: dict[str, str]) -> None:
    """Take note of what became of a failed check after its repair: "healed" or "needs operator".

    `parts`: where, found, expected, remedy as they are then; none where those from before the repair stand.
    """


@pytest.hookspec
def pytest_conformance_files() -> dict[str, str] | None:
    """Return further files for the run's folder: name to text."""


@pytest.hookspec(firstresult=True)
def pytest_conformance_checks() -> dict[str, dict[str, Any]] | None:
    """Return the fields of `reports.model.Description` of each collected check by its id."""


@pytest.hookspec(firstresult=True)
def pytest_conformance_remediation() -> dict[str, Any] | None:
    """Return the fields of `reports.model.Remediation`, None where nothing was planned."""


@pytest.hookspec(firstresult=True)
def pytest_conformance_tolerated(config: pytest.Config, check: str, target: str, outcome: str) -> bool | None:
    """Whether a check that failed or could not be measured counts not for the exit code, for it is not new."""
