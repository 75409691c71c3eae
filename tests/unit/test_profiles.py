"""Named selections: what they hold, what the table may say, and how they go with pytest's own options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast, get_args

import pytest

from fixtures.profiles import Cost, Profile, profiles

PROJECT = Path(__file__).parents[2]
RECORDED = ("--cloud", "clouds/lab-full.yaml", "--facts", "recorded/full")

MOST_COMMON = {
    "after a crash nobody may break a dead client's lock": {"ceph.auth.mon_blocklist", "ceph.auth.blocklist_cmd_names"},
    "locks of the dead are still there": {"hyg.lock.stale", "hyg.blocklist"},
    "a libvirt secret is missing, old or another service's": {
        "nova.secret.exists",
        "nova.secret.value",
        "nova.secret.uniform",
        "cinder.config.rbd_secret_uuid",
    },
    "secrets are lost when libvirt starts anew": {"nova.secret.persistent"},
    "every boot copies the image": {"glance.config.show_image_direct_url", "nova.image_cache.growth"},
    "an image is not raw": {"glance.image.format_raw", "nova.config.force_raw"},
    "clones of version 1 stand in the way of a deletion": {"ceph.compat.min_client"},
    "nothing empties the trash": {"ceph.pool.trash_purge", "hyg.trash"},
    "a keyring is not where it is looked for": {
        "host.keyring.present",
        "host.keyring.readable",
        "host.keyring.entity_key",
        "host.keyring.owner_mode",
        "backup.host.keyrings",
    },
    "caps are too narrow for snapshots and deletions": {
        "ceph.auth.nova.images_write",
        "ceph.auth.nova.volumes",
        "ceph.auth.glance.children_read",
    },
}
"""The failures that are seen most often, to the checks that find them by reading."""


def _delivered() -> dict[str, Cost]:
    """Ids of all checks with what each costs, from the page that is generated from them."""
    page = (PROJECT / "docs/checks.md").read_text()
    return {name: cast(Cost, cost) for name, cost in re.findall(r"^### (\S+)\n\n\w+; ([a-z ]+)\.", page, re.MULTILINE)}


def _pytest(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)


def test_every_check_has_a_cost() -> None:
    assert set(_delivered().values()) == set(get_args(Cost))


@pytest.mark.parametrize("failure", MOST_COMMON)
def test_smoke_finds_what_fails_most_often(failure: str) -> None:
    smoke, delivered = profiles()["smoke"], _delivered()
    assert {check for check in MOST_COMMON[failure] if smoke.takes(check, delivered[check])} == MOST_COMMON[failure]


def test_smoke_only_reads() -> None:
    assert profiles()["smoke"].costs == ("reads",)


@pytest.mark.parametrize("name", profiles())
def test_every_pattern_of_a_profile_fits_a_check_that_it_may_hold(name: str) -> None:
    profile = profiles()[name]
    held = [check for check, cost in _delivered().items() if cost in profile.costs]
    patterns = [pattern for some in profile.holds.values() for pattern in some]
    assert [pattern for pattern in patterns if not any(fnmatchcase(check, pattern) for check in held)] == []


def test_full_holds_everything_and_nightly_less() -> None:
    held = {
        name: {check for check, cost in _delivered().items() if profile.takes(check, cost)}
        for name, profile in profiles().items()
    }
    assert held["smoke"] < held["static"] < held["nightly"] < held["full"] == set(_delivered())


def test_a_table_with_a_typo_is_refused() -> None:
    with pytest.raises(ValueError, match="cots"):
        Profile.model_validate({"about": "a", "lab": "b", "cots": ["reads"], "holds": {"c": ["*"]}})


def test_an_unknown_profile_is_told_with_what_is_allowed() -> None:
    done = _pytest(*RECORDED, "--profile", "smoek")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert all(name in done.stderr for name in profiles())


def test_the_list_needs_no_cloud_and_counts_with_one(tmp_path: Path) -> None:
    # A stand-in for pytest-profiling, whose option has the same name.
    (tmp_path / "profiler.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--profile', action='store_true')\n"
    )
    (tmp_path / "profiler-1.dist-info").mkdir()
    (tmp_path / "profiler-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: profiler\nVersion: 1\n")
    (tmp_path / "profiler-1.dist-info/entry_points.txt").write_text("[pytest11]\nprofiling = profiler\n")
    done = _pytest("--profiles", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(f"{name}: " in done.stdout for name in profiles())
    counted = _pytest("--profiles", "--cloud", "clouds/lab.yaml", "-n", "2")
    assert counted.returncode == 0
    assert re.search(r"journey \(\d+, \d+ with all targets\)", counted.stdout)


def test_a_profile_goes_with_workers_markers_and_keywords(tmp_path: Path) -> None:
    chosen = ("--profile", "smoke", "-m", "static", "-k", "nova.secret")
    done = _pytest(*RECORDED, "--reports", str(tmp_path), *chosen, "-n", "2", "-v")
    judged = set(re.findall(r"PASSED \S+\[([a-z_.]+)[:\]]", done.stdout))
    assert judged == {f"nova.secret.{what}" for what in ("exists", "value", "uniform", "persistent")}
