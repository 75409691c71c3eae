"""A run that dies while it has taken a hypervisor away: the next sweep gives it back as it was."""

from __future__ import annotations

import os
import signal
import time

import pytest

from lab.lab import Lab
from tests.lab.harness import LabUnderTest

CHECK = "fn.server.evacuate"
EVACUATE = ("-m", "dynamic", "--journeys=disruptive", "-k", CHECK)
TO_DEATH = 300.0
"""Seconds from the run's start until it takes a hypervisor away, and from there until nothing runs on that."""
RUNNING = """
systemctl list-units --plain --no-legend --state=active 'nova*' '*virt*' | cut -d' ' -f1
ls /run/ceph-openstack-conformance 2>/dev/null || :
"""


@pytest.mark.whole_table
def test_a_hypervisor_that_a_killed_run_took_away_is_given_back(lab: LabUnderTest) -> None:
    before = _running(lab)
    with lab.started(*EVACUATE) as run:
        lab.wait_for_scratch("outage", TO_DEATH)
        _wait_for_death(lab, before)
        os.killpg(run.pid, signal.SIGKILL)
    swept = lab.python("-m", "pytest", "--cloud", lab.cloud_file, "--sweep")
    assert swept.returncode == 0, swept.stdout
    assert "removed: outage" in swept.stdout
    assert lab.scratch_names() == []
    assert _running(lab) == before
    again = lab.suite(*EVACUATE)
    assert again.ids("passed") == {CHECK}, again.story
    assert _running(lab) == before


def _running(lab: LabUnderTest) -> dict[str, set[str]]:
    """Units of Nova and libvirt that run on each hypervisor, and notes of outages there."""
    hosts = Lab.recorded(lab.state).plan.with_role("nova-compute")
    told = {host.name: host.run(RUNNING).stdout.split() for host in hosts}
    # virtlogd and virtlockd come with the first guest, and stay.
    return {name: {it for it in found if not it.startswith("virtlo")} for name, found in told.items()}


def _wait_for_death(lab: LabUnderTest, before: dict[str, set[str]]) -> None:
    """Wait until a hypervisor runs nothing any more of what it ran before."""
    deadline = time.monotonic() + TO_DEATH
    while all(found & before[name] for name, found in _running(lab).items()):
        assert time.monotonic() < deadline, f"no hypervisor was taken away in {TO_DEATH:.0f} s"
        time.sleep(1)
