"""Area ceph: the cluster itself."""

from __future__ import annotations

import re

import pytest

from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.run import Facts
from fixtures.waivers import Waivers

SLOWEST_ANSWER = 10.0
LARGEST_SKEW = 0.05
SLOW_OR_CRASHED = ("SLOW_OPS", "RECENT_CRASH", "OSD_SLOW_PING_TIME")
ISCSI_DAEMON = "tcmu-runner"
LONGEST_FOR_ISCSI = {"osd_heartbeat_grace": 20, "osd_heartbeat_interval": 5}
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
    lacking = [check.message for check in ceph.health_checks if check.code == "MGR_MODULE_DEPENDENCY"]
    assert need(ceph.rbd_support, "rbd_support"), finding(
        f"manager {ceph.mgr_active}",
        found="; ".join(["rbd_support does not answer", *lacking]),
        expected="an answer",
        remedy="ceph health detail tells what its modules lack: no other manager has it either"
        if lacking
        else "ceph mgr fail",
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


@pytest.mark.check("ceph.mon.clock", severity="major", source="HC")
def test_monitors_clocks_agree(facts: Facts) -> None:
    """The monitors' clocks are within 0.05 s of the leader's.

    Why: leases and cephx tickets are a matter of time; monitors that disagree call elections over and over.
    """
    skews = need(facts.ceph.clock_skews, "ceph time-sync-status")
    bad = {f"mon.{name}": f"{skew:.3f} s" for name, skew in skews.items() if skew > LARGEST_SKEW}
    bad |= {c.code: c.message for c in facts.ceph.health_checks if c.code == "MON_CLOCK_SKEW"}
    assert not bad, finding(
        "monitors", found=bad, expected=f"at most {LARGEST_SKEW} s off the leader", remedy="chrony on every monitor"
    )


@pytest.mark.check("ceph.slow_ops", severity="major", source="HC")
def test_nothing_is_slow_or_has_crashed(facts: Facts) -> None:
    """No operation is slow, no heartbeat between OSDs is, and every crash was looked at.

    Why: guests feel slow operations first; a crash that nobody looked at comes again.
    """
    found = [f"{c.code} ({c.message})" for c in facts.ceph.health_checks if c.code.startswith(SLOW_OR_CRASHED)]
    found += [f"crash of {crash}" for crash in need(facts.ceph.crashes, "ceph crash ls-new")]
    assert not found, finding(
        f"Ceph {facts.ceph.fsid}",
        found=found,
        expected="none",
        remedy="ceph health detail; ceph crash info ID, then ceph crash archive ID",
    )


@pytest.mark.check("ceph.osd.heartbeat_iscsi", severity="minor", source="S3 IR")
def test_osds_notice_failures_in_time_for_iscsi(cloud: Cloud, facts: Facts) -> None:
    """Where iSCSI gateways run, OSDs run with heartbeats each 5 s and a grace of 20 s, and keep them.

    Why: initiators time out after some 30 s; an OSD must be known to be down before.
    """
    ceph = facts.ceph
    applies(
        cloud.iscsi is not None or ISCSI_DAEMON in ceph.daemons,
        f"the cloud file has no iscsi:, and no {ISCSI_DAEMON} is registered with the cluster: no iSCSI gateway",
    )
    stored = {option: ceph.options.get("osd", {}).get(option) for option in LONGEST_FOR_ISCSI}
    told = {("stored", option): value for option, value in stored.items()}
    told |= {(osd, option): value for option, by in ceph.osd_options.items() for osd, value in by.items()}
    bad = {
        f"{where}: {option}": value
        for (where, option), value in told.items()
        if int(need(value, f"{where}: {option}")) > LONGEST_FOR_ISCSI[option]
    }
    assert not bad, finding(
        "OSDs",
        found=bad,
        expected=LONGEST_FOR_ISCSI,
        remedy="; ".join(f"ceph config set osd {option} {value}" for option, value in LONGEST_FOR_ISCSI.items()),
    )
