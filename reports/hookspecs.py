"""Hooks that this package asks others to answer."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookspec(firstresult=True)
def pytest_conformance_run(config: pytest.Config) -> dict[str, Any] | None:
    """Return the fields of `reports.model.Run` that describe the cloud of this run."""
