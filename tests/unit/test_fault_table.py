"""The fault table is whole: every static check has a fault, and every fault can be made and mended."""

from __future__ import annotations

import itertools
import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import faults
from lab.cgroup import Group
from lab.errors import LabError
from lab.machine import Machine
from lab.plan import Plan, Profile, Secrets, addresses
from lab.releases import RELEASES, release_of
from tests.collecting import collected_checks
from tests.lab import harness

PROJECT = Path(__file__).parents[2]
CLOUDS = ("clouds/lab.yaml", "clouds/lab-split.yaml", "clouds/lab-full.yaml")
WHOLE = ("default", "split", "full", "radosgw")
PART = ("swift", "iscsi")
"""Labs that have a few services only: they are for the faults that fit no other."""
PROFILES = (*WHOLE, *PART)
SUBNET = IPv4Network("10.9.8.0/24")
FAULTS = faults.load_faults(faults.fault_files())

WITHOUT_A_FAULT: dict[str, str] = {
    "ceph.auth.allowed_ciphers": "the distribution's Ceph has a single key type; see test_ceph_checks.py",
    "ceph.mon.clock": "all hosts of the lab have one clock; see test_ceph_checks.py",
    "cap.host_minimum": "the lab's hosts have their machine's memory; see test_capacity_checks.py",
    "dr.data.independent_copy": "a lab has one cluster and accepts it; see test_recovery_checks.py",
    "ceph.auth.nova.images_write": "no profile wants fast snapshots; see test_ceph_checks.py",
    "host.selinux.label": "the lab's kernel has no SELinux; judged on made facts in test_judging_hosts.py",
    "host.apparmor.denied": "the lab's kernel has no AppArmor; judged on made facts in test_judging_hosts.py",
    "pkg.libvirt_qemu_min": "the lab has one release of the distribution only; made facts in test_judging_hosts.py",
    "iscsi.gw.maintenance": "the distribution has no ceph-iscsi; judged on made facts in test_iscsi.py",
    "iscsi.init.setup": "the lab's kernel has no initiator; judged on made facts in test_iscsi.py",
    "iscsi.init.multipath": "the lab's kernel joins no paths; judged on made facts in test_iscsi.py",
    "iscsi.cinder_driver": "no lab's Cinder exports over iSCSI; judged on made facts in test_iscsi.py",
    "sec.image.location_exposure": "the lab shows locations by policy; made facts in test_judging_hosts.py",
}
"""Static checks that nothing in the lab can make fail, each with the reason."""


NO_FAULT_STOPS_IT: dict[str, str] = {
    "hyg.suite_residue": "it judges what killed runs left: tests/lab/test_suite.py",
    "fn.volume.retype_migrate": "the lab's profiles have one back end: tests/lab/test_second_backend.py",
}
"""Journeys that nothing in the lab can stop, each with the reason."""


def _checks(kind: str) -> frozenset[str]:
    """Ids of the static or dynamic checks, of the lab's clouds together."""
    return frozenset().union(*(collected_checks(cloud, kind) for cloud in CLOUDS))


def _plan(profile: str, folder: Path) -> Plan:
    """A lab that is not there, with secrets of the names that provisioning makes."""
    read = Profile.load(profile)
    places = addresses(SUBNET, read.machines)
    machines = {name: Machine(name, places[name], roles, Group("none", name)) for name, roles in read.machines.items()}
    secrets = Secrets(folder / "secrets.json")
    named = [read.options[key] for key in ("volume_secret", "ephemeral_secret") if key in read.options]
    for name in ("admin", "fsid-uuid", "iscsi-chap", *named):
        secrets.get(name)
    return Plan(read, machines, secrets, SUBNET, folder, release_of(read.suite))


def _fitting(*profiles: str) -> set[str]:
    labs = itertools.product(map(Profile.load, profiles), RELEASES)
    return {name for profile, suite in labs for name in faults.fitting(profile, FAULTS, suite)}


def test_every_static_check_has_a_fault() -> None:
    caught = {check for fault in FAULTS.values() for check in fault.fails}
    assert _checks("static") - caught == set(WITHOUT_A_FAULT)


def test_every_journey_has_a_fault() -> None:
    stopped = {check for fault in FAULTS.values() for check in fault.journeys}
    assert _checks("dynamic") - stopped == set(NO_FAULT_STOPS_IT)
    assert stopped <= _checks("dynamic")


def test_faults_name_only_checks_that_exist() -> None:
    named = {(fault.name, check) for fault in FAULTS.values() for check in (*fault.fails, *fault.also)}
    assert {pair for pair in named if pair[1] not in _checks("static")} == set()


def test_a_fault_names_a_check_once() -> None:
    named = {fault.name: [*fault.fails, *fault.also] for fault in FAULTS.values()}
    assert [name for name, checks in named.items() if len(checks) != len(set(checks))] == []


def test_every_area_has_a_few_faults_that_ci_runs() -> None:
    by_area = {path.parent.name: faults.load_faults([path]).values() for path in faults.fault_files()}
    in_ci = {area: [fault.name for fault in table if fault.slice] for area, table in by_area.items()}
    assert all(in_ci.values()), in_ci
    assert 14 <= sum(map(len, in_ci.values())) <= 26, in_ci


@pytest.mark.parametrize("area", [path.parent.name for path in faults.fault_files()])
def test_faults_are_named_after_their_area(area: str) -> None:
    table = faults.load_faults([PROJECT / "suites" / area / "faults.yaml"])
    assert [name for name in table if not name.startswith(f"{area}.")] == []


def test_a_fault_is_told_in_a_sentence() -> None:
    assert [f.name for f in FAULTS.values() if not f.about.endswith(".")] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_faults_can_be_made_on_the_labs_that_they_fit(profile: str, tmp_path: Path) -> None:
    plan = _plan(profile, tmp_path)
    elsewhere = _fitting(*WHOLE) if profile in PART else set()
    for name, fault in faults.fitting(plan.profile, FAULTS).items():
        if name not in elsewhere:
            faults.check(plan, fault)


@pytest.mark.parametrize("page", ["README.md", "docs/remediation.md"])
def test_the_documentation_tells_how_many_faults_are_left(page: str) -> None:
    seen = [fault for fault in FAULTS.values() if fault.fails]
    left = sum(bool(fault.left) for fault in seen)
    told = (
        f"{len(seen)} faults that checks without journeys see, {len(seen) - left} are for a repair, and {left} are left"
    )
    assert told in " ".join((PROJECT / page).read_text().split())


def test_every_fault_fits_a_lab() -> None:
    assert set(FAULTS) - _fitting(*PROFILES) == set()


@pytest.mark.parametrize(
    ("suite", "harmless"),
    [
        (
            "bookworm",
            {
                "access.groups-that-nobody-holds",
                "glance.locations-refused-to-services",
                "glance.locations-told-to-members",
            },
        ),
        ("trixie", {"ceph.caps-glance-cannot-see-clones"}),
    ],
)
def test_a_fault_does_not_fit_a_release_where_it_does_no_harm(suite: str, harmless: set[str]) -> None:
    assert {suite for fault in FAULTS.values() for suite in fault.not_on} <= RELEASES.keys()
    assert _fitting("split") - faults.fitting(Profile.load("split"), FAULTS, suite).keys() == harmless


@pytest.mark.parametrize(("profile", "cloud"), [it for it in harness.CLOUDS.items() if it[0] != "bare"])
def test_a_labs_cloud_file_looks_where_the_lab_is(profile: str, cloud: str) -> None:
    assert set(re.findall(r"/var/lib/ceph-osc-lab/([\w-]+)", (PROJECT / cloud).read_text())) == {profile}


def test_a_fault_of_a_role_that_no_machine_has_fits_no_lab(tmp_path: Path) -> None:
    table = tmp_path / "faults.yaml"
    on_hosts = "[{on: storage, run: x}, {on: 'first:tape-robot', run: x}]"
    table.write_text(f"[{{name: x, about: X., fails: [a.b], break: {on_hosts}, mend: [{{on: storage, run: x}}]}}]\n")
    assert faults.fitting(Profile.load("default"), faults.load_faults([table])) == {}


@pytest.mark.parametrize("profile", ["default", "split"])
def test_a_fault_is_not_waited_for_where_a_waiver_covers_it(profile: str) -> None:
    covered = {
        "hosts.hole-left-open",
        "hosts.backup-shifts-what-it-restores",
        "security.console-without-tls",
        "journeys.clones-are-flattened",
    }
    there = faults.fitting(Profile.load(profile), FAULTS)
    assert there.keys() - harness.seen_by(harness.CLOUDS_OF_RELEASES["trixie", profile], there).keys() == covered
    assert harness.seen_by(harness.CLOUDS[profile], there) == there


def test_a_fault_that_cannot_be_mended_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "faults.yaml"
    table.write_text("[{name: x, about: X., fails: [a.b], break: [{on: storage, run: reboot}]}]\n")
    with pytest.raises(LabError, match="say under `mend` how it is taken back"):
        faults.load_faults([table])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{on: storage}", "a step wants `run` or `option`"),
        ("{on: storage, run: x, option: {service: swift, section: s, key: k, value: v}}", "service"),
        ("{on: storage, option: {service: cinder, section: s, key: k}}", "value"),
    ],
)
def test_a_step_that_is_not_whole_is_refused(step: str, said: str, tmp_path: Path) -> None:
    table = tmp_path / "faults.yaml"
    table.write_text(f"[{{name: x, about: X., fails: [a.b], break: [{step}], mend: [{{on: storage, run: x}}]}}]\n")
    with pytest.raises(LabError, match=said):
        faults.load_faults([table])


def test_a_role_that_cannot_be_waited_for_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "faults.yaml"
    step = "[{on: storage, run: x}]"
    waits = "[{on: storage, ready: pki}]"
    table.write_text(f"[{{name: x, about: X., fails: [a.b], break: {step}, mend: {step}, healed: {waits}}}]\n")
    with pytest.raises(LabError, match="no role 'pki' that can be waited for"):
        faults.load_faults([table])
