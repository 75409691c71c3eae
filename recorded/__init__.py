"""Recorded truth: facts of a healthy lab of each profile, and what every static check said of them live.

Unit tests judge them, and so does `./run -e demo` on a machine that cannot host a lab.
`tox -e record` makes them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parent.parent
CLOUDS: Final = {"default": PROJECT / "clouds/lab.yaml", "full": PROJECT / "clouds/lab-full.yaml"}
"""Profile to the cloud file of its lab."""


def folder(profile: str) -> Path:
    """Return where a profile's recording lies (`pytest --facts` takes it)."""
    return Path(__file__).parent / profile


def outcomes_file(profile: str) -> Path:
    """Return the file with one line a check and target: what the live run said."""
    return folder(profile) / "outcomes.txt"
