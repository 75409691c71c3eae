"""Which checks there are, as pytest collects them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[1]


@cache
def collected_checks(cloud_file: str, marker: str) -> frozenset[str]:
    """Return the ids of the checks with a marker (`static`, `asks_services`) that a cloud gets."""
    command = [sys.executable, "-m", "pytest", "--cloud", cloud_file, "-m", marker, "--collect-only", "-q", "suites"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    names = [line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if "::" in line]
    return frozenset(name.partition(":")[0] for name in names)
