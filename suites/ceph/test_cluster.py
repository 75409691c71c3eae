"""Area ceph: the cluster itself."""

from __future__ import annotations

import re

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.run import Facts
from fixtures.waivers import Waivers

SLOWEST_ANSWER = 10.0
FORBIDDEN_FLAGS = frozenset(
    (
        *("noout", "noin", "noup", "nodown", "norebalance", "norecover", "nobackfill"),
        *("pauserd", "pausewr", "noscrub", "nodeep-scrub", "full"),
    )
)


@pytest.mark.check("ceph.cli.reachable", severity="critical", source="S0 S1")
def test_monitors_answer_in_time(facts: Facts) -> None:
    """The cluster answers an administrator's or monitoring client within ten seconds.

    Why: its fsid is the reference for every host, and all other facts of Ceph hang on it.
    """
    cluster = facts.ceph_cluster
    assert not isinstance(cluster, Unreadable), finding(
        "Ceph",
        found=cluster.unreadable,
        expected="an answer of a monitor",
        remedy="look at mon_host, keyring, firewall and ceph-mon",
    )
    assert cluster.answered_in < SLOWEST_ANSWER, finding(
        f"Ceph {cluster.fsid}",
        found=f"an answer after {cluster.answered_in:.1f} s",
        expected=f"under {SLOWEST_ANSWER:.0f} s",
        remedy="look at the monitors' load, their disks and the network",
    )


@pytest.mark.check("ceph.health.status", severity="critical", source="HC S0")
def test_health_is_ok_or_waived(facts: Facts, waivers: Waivers) -> None:
    """The cluster is HEALTH_OK, or every active code is waived; never HEALTH_ERR.

    Why: a warning that nobody owns hides the next one, and an error stops I/O.
    """
    ceph = facts.ceph
    accepted = waivers.accepted_codes("ceph.health.status")
    bad = [c for c in ceph.health_checks if c.severity == "HEALTH_ERR" or c.code not in accepted]
    assert not bad, finding(
        f"Ceph {ceph.fsid}",
        found=[f"{check.code} ({check.message})" for check in bad],
        expected="HEALTH_OK, or only waived warnings",
        remedy="ceph health detail tells what each code asks for",
    )
    assert ceph.health == "HEALTH_OK" or ceph.health_checks, finding(
        f"Ceph {ceph.fsid}", found=ceph.health, expected="HEALTH_OK", remedy="ceph health detail"
    )


@pytest.mark.check("ceph.mon.quorum", severity="critical", source="HC CD")
def test_all_monitors_are_in_quorum(facts: Facts, cloud: Cloud) -> None:
    """All monitors are in quorum; they are an odd number, three or more (a lab may have one).

    Why: with fewer, or an even number, the next failure stops the cluster.
    """
    monitors = facts.ceph.monitors
    missing = [monitor.name for monitor in monitors if not monitor.in_quorum]
    assert not missing, finding(
        "monitors",
        found=f"out of quorum: {', '.join(missing)}",
        expected="all in quorum",
        remedy="start ceph-mon there, look at its clock",
    )
    least = 1 if cloud.policy.kind == "lab" else 3
    assert len(monitors) >= least and len(monitors) % 2, finding(
        "monitors",
        found=f"{len(monitors)} ({', '.join(m.name for m in monitors)})",
        expected=f"an odd number, {least} or more",
        remedy="add or remove a monitor",
    )


@pytest.mark.check("ceph.mgr.active", severity="major", source="HC MG")
def test_a_manager_is_active_with_a_standby(facts: Facts) -> None:
    """One manager is active, at least one stands by, and rbd_support answers.

    Why: trash purging, mirror schedules and the autoscaler run inside the manager.
    """
    ceph = facts.ceph
    assert ceph.mgr_active, finding("managers", found="none active", expected="one", remedy="start ceph-mgr")
    assert ceph.mgr_standbys, finding(
        "managers", found=f"only {ceph.mgr_active}", expected="at least one standby", remedy="start a second ceph-mgr"
    )
    errors = [check.message for check in ceph.health_checks if check.code == "MGR_MODULE_ERROR"]
    assert not errors, finding(
        "managers", found=errors, expected="no module in error", remedy="ceph mgr fail; look at its log"
    )
    assert need(ceph.rbd_support, "rbd_support"), finding(
        f"manager {ceph.mgr_active}", found="rbd_support does not answer", expected="an answer", remedy="ceph mgr fail"
    )


@pytest.mark.check("ceph.osd.up_in", severity="critical", source="HC S1")
def test_every_osd_is_up_and_in(facts: Facts) -> None:
    """All OSDs are up and in.

    Why: data on the missing ones has a copy less, and the next failure may stop I/O.
    """
    osds = facts.ceph.osds
    found = f"{osds.up} up and {osds.in_} in of {osds.total}; down: {list(osds.down)}, out: {list(osds.out)}"
    assert osds.total > 0, finding("OSDs", found="none", expected="some", remedy="add OSDs")
    assert osds.up == osds.in_ == osds.total, finding(
        "OSDs",
        found=found,
        expected=f"{osds.total} up and in",
        remedy="ceph osd tree; start or replace them, or ceph osd in",
    )


@pytest.mark.check("ceph.pg.active_clean", severity="critical", source="HC")
def test_every_placement_group_is_active_and_clean(facts: Facts) -> None:
    """Every placement group is active and clean; it may be scrubbing.

    Why: any other state is data that is missing a copy, inconsistent, or out of reach.
    """
    bad = {state: count for state, count in facts.ceph.pg_states.items() if not _is_clean(state)}
    assert facts.ceph.pg_states, finding("PGs", found="none", expected="some", remedy="create the pools")
    assert not bad, finding("PGs", found=bad, expected="active+clean", remedy="ceph health detail; ceph pg dump_stuck")


def _is_clean(state: str) -> bool:
    parts = set(state.split("+"))
    return {"active", "clean"} <= parts and parts <= {
        "active",
        "clean",
        "scrubbing",
        "deep",
        "snaptrim",
        "snaptrim_wait",
    }


@pytest.mark.check("ceph.osdmap.flags", severity="major", source="HC")
def test_no_maintenance_flag_is_set(facts: Facts) -> None:
    """No flag that stops recovery, scrubbing or I/O is set on the OSD map.

    Why: flags from a maintenance stay for months, and the next failure is not repaired.
    """
    flags = FORBIDDEN_FLAGS & facts.ceph.osd_flags
    assert not flags, finding(
        "OSD map",
        found=flags,
        expected="none of the maintenance flags",
        remedy="; ".join(f"ceph osd unset {flag}" for flag in sorted(flags)),
    )


@pytest.mark.check("ceph.version.uniform", severity="major", source="HC")
def test_all_daemons_run_one_version(facts: Facts) -> None:
    """All daemons run one version, and the cluster requires that release of its OSDs.

    Why: a half-finished upgrade mixes behaviours and blocks features.
    """
    versions = facts.ceph.versions
    assert len(versions) == 1, finding(
        "daemons", found=versions, expected="one version", remedy="finish the upgrade; restart old daemons"
    )
    release = re.search(r"\) (\w+) \(", next(iter(versions)))
    running = release.group(1) if release else next(iter(versions))
    assert facts.ceph.require_osd_release == running, finding(
        "OSD map",
        found=f"require_osd_release {facts.ceph.require_osd_release}",
        expected=running,
        remedy=f"ceph osd require-osd-release {running}, once all OSDs run it",
    )


@pytest.mark.check("ceph.auth.cephx_required", severity="critical", source="S0 RO OSSN-0108")
def test_cephx_is_required_everywhere(facts: Facts) -> None:
    """Cluster, service and client authentication are all cephx, and no client overrides it.

    Why: without it whoever reaches the network reads and writes every volume.
    """
    wanted = ("auth_cluster_required", "auth_service_required", "auth_client_required")
    bad = {
        option: facts.ceph.config.get(option, "unset") for option in wanted if facts.ceph.config.get(option) != "cephx"
    }
    for host in facts.hosts.values():
        if isinstance(host, Unreadable) or isinstance(host.ceph_conf, Unreadable):
            continue
        bad |= {
            f"{host.name}:{e.file}:{e.line} {e.key}": e.value
            for e in host.ceph_conf.entries
            if e.key in wanted and e.value != "cephx"
        }
    assert not bad, finding(
        "cephx",
        found=bad,
        expected="cephx for all three",
        remedy="ceph config set global auth_…_required cephx; drop overrides of ceph.conf",
    )
