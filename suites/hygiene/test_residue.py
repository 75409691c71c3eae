"""Area hyg: what the suite itself leaves behind."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.facts.base import NotMeasured
from fixtures.scratch.plugin import Run
from fixtures.scratch.sweep import look_around


@pytest.mark.check("hyg.suite_residue", severity="minor", source="suite")
@pytest.mark.dynamic
@pytest.mark.last
def test_suite_leaves_nothing_behind(scratch_run: Run) -> None:
    """Nothing that the suite ever made is left, but what living runs are using.

    Why: a suite that litters is switched off; and what it cannot remove, the cloud cannot remove either.
    """
    around = look_around(scratch_run.site, scratch_run.folder)
    if around.unseen:
        raise NotMeasured(f"not all could be listed: {'; '.join(around.unseen)}")
    why = {str(it.record): it.why for it in scratch_run.swept.left}
    left = [f"{record}: {why.get(str(record), 'its run is dead')}" for record in around.left]
    assert not left, finding(
        "scratch resources of dead runs",
        found=left,
        expected="none, after the sweep at this run's start",
        remedy="read the services' logs for these ids, then `pytest --cloud FILE --sweep`",
    )
    strays = [f"{found} in project {found.project or '-'}" for found in around.strays]
    assert not strays, finding(
        "resources under scratch names",
        found=strays,
        expected="none that no ledger of this runner names",
        remedy="their runner lost its records: see that no run is under way elsewhere, then delete them by hand",
    )
