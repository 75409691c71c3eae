"""Ceph and OpenStack side by side become a cloud that is joined, by one command, and can be parted again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.cloud import load_cloud
from fixtures.targets import cephx_users, pools
from remediate.journal import journal_path, journals
from tests.lab.commands import commands_begun
from tests.lab.harness import GIVEN, PROFILES, PROJECT, LabUnderTest, SuiteRun, provisioned
from tests.lab.snapshot import Snapshot, changed

DELETABLE = "mon_allow_pool_delete"


@pytest.fixture(scope="module")
def bare() -> Iterator[LabUnderTest]:
    """A lab of profile bare, or the one that OSC_TEST_LAB names."""
    if GIVEN and PROFILES != ("bare",):
        pytest.skip("OSC_TEST_LAB is of another profile")
    with provisioned("bare") as lab:
        yield lab


@pytest.mark.whole_table
def test_a_cloud_is_joined_from_nothing_and_parted_again(bare: LabUnderTest) -> None:
    before = bare.snapshot()
    _is_seen_and_planned(bare)
    with commands_begun() as begun:
        joined = bare.suite("-q", "--remediate", "--remediate-allow=disruptive")
    assert not joined.ids("failed", "not measured", "needs operator"), joined.story
    _tells_no_key(bare, joined, begun)
    whole = bare.suite("-q")
    assert whole.exit_code == pytest.ExitCode.OK, whole.story
    _a_second_run_does_nothing(bare)
    _is_parted_again(bare, _plans(joined)["run"], before)


def _is_seen_and_planned(lab: LabUnderTest) -> None:
    """All that is lacking is found, and planned, by a run that changes nothing."""
    cloud = load_cloud(PROJECT / lab.cloud_file)
    before = lab.snapshot(times=True)
    run = lab.suite("-m", "static", "-q", "--remediate=plan", "--remediate-allow=disruptive")
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED
    assert {"ceph.pool.exists", "ceph.auth.user_exists", "host.keyring.present", "glance.config.stores"} <= run.ids(
        "failed"
    )
    (plan,) = _plans(run)["rounds"]
    made = [(it["step"]["kind"], it["step"].get("pool") or it["step"].get("entity")) for it in plan["steps"]]
    assert {("new-pool", name) for name in pools(cloud)} <= {*made}
    assert {("caps", user.entity) for user in cephx_users(cloud)} <= {*made}
    assert {"file", "secret", "option", "unit", "restart"} <= {kind for kind, _ in made}
    assert changed(before, lab.snapshot(times=True)) == set()


def _plans(run: SuiteRun) -> dict[str, Any]:
    plans: dict[str, Any] = json.loads((run.folder / "plan.json").read_text())
    return plans


def _tells_no_key(lab: LabUnderTest, run: SuiteRun, begun: list[bytes]) -> None:
    """No key is in what the run said and kept here, in a journal of the hosts, or in any command begun meanwhile."""
    cloud = load_cloud(PROJECT / lab.cloud_file)
    asked = "; ".join(f"ceph auth get-key {user.entity}; echo" for user in cephx_users(cloud))
    keys = lab.machine("storage").run(asked).stdout.split()
    assert len(keys) == len(cephx_users(cloud))
    kept = [path.read_text() for path in run.folder.rglob("*") if path.is_file()]
    kept += [run.output, journal_path(journals(cloud.name), _plans(run)["run"]).read_text()]
    kept += [lab.machine(name).run("journalctl --no-pager").stdout for name in cloud.hosts]
    assert not [key for key in keys if any(key in text for text in kept)]
    assert any(b"virsh" in command for command in begun), "not watched"
    assert not [key for key in keys if any(key.encode() in command for command in begun)]


def _a_second_run_does_nothing(lab: LabUnderTest) -> None:
    before = lab.snapshot(times=True)
    run = lab.suite("-m", "static", "-q", "--remediate", "--remediate-allow=disruptive")
    assert run.exit_code == pytest.ExitCode.OK, run.story
    assert not [step for plan in _plans(run)["rounds"] for step in plan["steps"]], run.story
    assert changed(before, lab.snapshot(times=True)) == set()


def _is_parted_again(lab: LabUnderTest, run: str, before: Snapshot) -> None:
    """Pools go only when monitors allow it and nothing is in them; logs that guests have written, and backups, stay."""
    monitor = lab.machine("storage")
    refused = _not_undone(lab, run)
    assert "the pool is empty, and the monitors remove none" in refused, refused
    left = {f"ceph pool {name}" for name in pools(load_cloud(PROJECT / lab.cloud_file))}
    assert _other(before, lab) == left, refused
    monitor.run(f"ceph config set mon {DELETABLE} true; rbd create --size 1M vms/precious")
    assert "the pool holds images by now, and is not removed" in _not_undone(lab, run)
    assert _other(before, lab) == {"ceph pool vms", f"ceph config mon {DELETABLE}"}
    monitor.run("rbd rm --no-progress vms/precious")
    stays = ("folder /var/log/qemu", "start save-keys.service")
    lines = _not_undone(lab, run).splitlines()
    assert not [line for line in lines if not any(it in line for it in stays)]
    monitor.run(f"ceph config rm mon {DELETABLE}")
    assert _other(before, lab) == set()


def _other(before: Snapshot, lab: LabUnderTest) -> set[str]:
    """What is other than before; guests woke the daemon of their consoles, by its socket."""
    return {thing for thing in changed(before, lab.snapshot()) if not thing.endswith("unit virtlogd.service")}


def _not_undone(lab: LabUnderTest, run: str) -> str:
    """Take the run back; return what could not be undone, a line each."""
    lines = lab.roll_back(run).stdout.splitlines()
    return "\n".join(line for line in lines if line.startswith("NOT undone: "))
