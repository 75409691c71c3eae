"""Runs that are killed at any moment, one after another: nothing of them is left.

How many: OSC_TEST_KILLS. Which journeys, and the moments, follow from OSC_TEST_SEED and the number.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.lab.harness import LabUnderTest

KILLS = int(os.environ.get("OSC_TEST_KILLS", "100"))
SEED = int(os.environ.get("OSC_TEST_SEED", "20261122"))
JOURNEYS = (
    "fn.image",
    "fn.volume",
    "fn.backup",
    "fn.server.attach_io or fn.volume.extend",
    "fn.server.bfv or fn.image",
    "ceph.auth or fn.volume",
)
LONGEST = 90.0
"""Seconds from a run's first scratch resource until it is killed, at most."""


@pytest.mark.whole_table
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_that_is_killed_leaves_nothing(lab: LabUnderTest, number: int) -> None:
    chance = random.Random(SEED * 1000 + number)
    before = _images(lab)
    with lab.started("-m", "dynamic", "-k", chance.choice(JOURNEYS), "-n", chance.choice(("0", "2"))) as process:
        lab.wait_for_scratch("project")
        _pause(chance.uniform(0, LONGEST), lambda: process.poll() is None)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    swept = lab.python("-m", "pytest", "--cloud", lab.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
    assert lab.scratch_names() == []
    assert _images(lab) == before


def _pause(seconds: float, goes_on: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while goes_on() and time.monotonic() < end:
        time.sleep(0.1)


def _images(lab: LabUnderTest) -> str:
    """Images of all pools, those in the trash among them."""
    listing = "for pool in $(ceph osd pool ls); do rbd ls $pool; rbd trash ls --all $pool; done 2>/dev/null | sort"
    return lab.machine("storage").run(listing).stdout
