"""Runs that are killed at any moment, some of them beside each other: nothing of them is left.

How many: OSC_TEST_KILLS. Which journeys, and the moments, follow from OSC_TEST_SEED and the number of the round.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest

from tests.lab.harness import LabUnderTest

KILLS = int(os.environ.get("OSC_TEST_KILLS", "100"))
SEED = int(os.environ.get("OSC_TEST_SEED", "20261122"))
BESIDE = 4
"""Runs at once."""
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
@pytest.mark.parametrize("number", range(-(-KILLS // BESIDE)))
def test_runs_that_are_killed_leave_nothing(lab: LabUnderTest, number: int) -> None:
    chance = random.Random(SEED * 1000 + number)
    before = _images(lab)
    with ExitStack() as stack:
        runs = [stack.enter_context(lab.started(*_options(chance))) for _ in range(BESIDE)]
        lab.wait_for_scratch("project")
        begun = time.monotonic()
        for run, moment in zip(runs, sorted(chance.uniform(0, LONGEST) for _ in runs), strict=True):
            _kill(run, begun + moment)
    swept = lab.python("-m", "pytest", "--cloud", lab.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
    assert lab.scratch_names() == [], swept.stdout
    assert _images(lab) == before, swept.stdout


def _options(chance: random.Random) -> tuple[str, ...]:
    return "-m", "dynamic", "-k", chance.choice(JOURNEYS), "-n", chance.choice(("0", "2"))


def _kill(run: subprocess.Popen[bytes], moment: float) -> None:
    """Kill a run with its workers at a moment, unless it ends before."""
    try:
        run.wait(max(0.0, moment - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def _images(lab: LabUnderTest) -> str:
    """Images of all pools, those in the trash among them."""
    listing = "for pool in $(ceph osd pool ls); do rbd ls $pool; rbd trash ls --all $pool; done 2>/dev/null | sort"
    return lab.machine("storage").run(listing).stdout
