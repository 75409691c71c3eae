"""Checks of Ceph on constructed facts, where the lab cannot be in that state."""

from __future__ import annotations

import pytest

from fixtures.cloud import Cloud
from fixtures.cloud.model import Policy
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import AuthEntity, CephFacts, Ciphers, CrushRule, HealthCheck, OsdUse
from fixtures.facts.run import Facts
from fixtures.versions import ceph_version
from suites.ceph import test_cluster as cluster
from suites.ceph import test_pools as pools
from suites.ceph import test_security as security
from suites.ceph import test_users as users
from tests.unit.test_ceph_observe import CLOUD, _facts


def _with(**changes: object) -> Facts:
    """Return the facts of a healthy cluster, changed; no hosts and no APIs."""
    ceph: CephFacts = _facts("healthy").model_copy(update=changes)
    return Facts(observed_at=0.0, hosts={}, ceph_cluster=ceph, apis=Unreadable(unreadable="none"))


def _wanting(**policy: object) -> Cloud:
    return CLOUD.model_copy(update={"policy": Policy.model_validate(policy)})


@pytest.mark.parametrize(
    ("version", "patched"),
    [("16.2.15", False), ("19.2.5", False), ("19.2.6", True), ("20.2.3", False), ("20.2.4", True), ("21.0.0", True)],
)
def test_a_version_is_judged_by_the_floor_of_its_own_major(version: str, patched: bool) -> None:
    floors = tuple(map(ceph_version, Policy().ceph_security_floor))
    assert security.is_patched(ceph_version(version), floors) == patched


# ceph.auth.allowed_ciphers: the lab's Ceph has a single key type.


def test_old_keys_are_refused_after_the_rotation() -> None:
    facts = _with(ciphers=Ciphers(service="aes256k", allowed=frozenset({"aes256k"})))
    security.test_old_cephx_keys_are_refused(facts, CLOUD)


@pytest.mark.parametrize(
    ("service", "allowed"), [("aes256k", {"aes", "aes256k"}), ("aes", {"aes256k"}), ("aes256k", {"aes"})]
)
def test_old_keys_that_are_accepted_are_a_finding(service: str, allowed: set[str]) -> None:
    facts = _with(ciphers=Ciphers(service=service, allowed=frozenset(allowed)))
    with pytest.raises(AssertionError, match=r"auth_(allowed|service)_cipher"):
        security.test_old_cephx_keys_are_refused(facts, CLOUD)


def test_old_keys_may_be_accepted_while_they_are_rotated() -> None:
    facts = _with(ciphers=Ciphers(service="aes256k", allowed=frozenset({"aes", "aes256k"})))
    security.test_old_cephx_keys_are_refused(facts, _wanting(legacy_cephx_keys=True))


def test_releases_of_one_key_type_have_nothing_to_refuse() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"older than 19\.2\.6"):
        security.test_old_cephx_keys_are_refused(_with(ciphers=None), CLOUD)


# ceph.mon.clock: all hosts of the lab have one clock.


def test_monitors_within_the_allowed_drift_agree() -> None:
    cluster.test_monitors_clocks_agree(_with(clock_skews={"a": 0.0, "b": 0.049}))


def test_a_monitor_whose_clock_is_off_is_named() -> None:
    with pytest.raises(AssertionError, match=r"mon\.b.*0\.420 s"):
        cluster.test_monitors_clocks_agree(_with(clock_skews={"a": 0.0, "b": 0.42}))


def test_the_monitors_own_complaint_about_clocks_is_a_finding() -> None:
    said = HealthCheck(code="MON_CLOCK_SKEW", severity="HEALTH_WARN", message="clock skew detected on mon.b")
    with pytest.raises(AssertionError, match="clock skew detected"):
        cluster.test_monitors_clocks_agree(_with(clock_skews={"a": 0.0, "b": 0.0}, health_checks=(said,)))


# ceph.mgr.active: a manager's modules have what they need on the lab.


def test_a_manager_without_rbd_support_is_a_finding() -> None:
    with pytest.raises(AssertionError, match=r"rbd_support does not answer.*ceph mgr fail"):
        cluster.test_a_manager_is_active_with_a_standby(_with(mgr_standbys=("y",), rbd_support=False))


def test_modules_that_lack_something_are_no_reason_to_change_managers() -> None:
    said = HealthCheck(code="MGR_MODULE_DEPENDENCY", severity="HEALTH_WARN", message="13 mgr modules have failed")
    facts = _with(mgr_standbys=("y",), rbd_support=False, health_checks=(said,))
    with pytest.raises(AssertionError, match=r"rbd_support does not answer; 13 mgr modules have failed.*health detail"):
        cluster.test_a_manager_is_active_with_a_standby(facts)


# ceph.auth.nova.images_write: the lab's shared user reads images only, as most clouds' does.


def _nova(osd: str) -> Facts:
    entity = AuthEntity(entity="client.cinder", key="hmac:" + "0" * 32, caps={"mon": "profile rbd", "osd": osd})
    return _with(auth=(entity,))


def test_nova_that_snapshots_inside_ceph_writes_images() -> None:
    users.test_nova_can_write_images(_nova("profile rbd pool=vms, profile rbd pool=images"), CLOUD)


def test_nova_that_only_reads_images_is_a_finding() -> None:
    facts = _nova("profile rbd pool=vms, profile rbd-read-only pool=images")
    with pytest.raises(AssertionError, match="read and write images in images"):
        users.test_nova_can_write_images(facts, CLOUD)


# ceph.crush.failure_domain: the lab has one host.


def _osd(number: int, host: str, rack: str, device_class: str = "hdd") -> OsdUse:
    place = {"root": "default", "rack": rack, "host": host, "osd": f"osd.{number}"}
    return OsdUse(
        **{"id": number, "utilization": 1.0, "variance": 1.0, "size": 1, "used": 1, "weight": 1.0, "pgs": 1},
        device_class=device_class,
        place=place,
    )


SIX = tuple(_osd(n, f"host{n % 3}", f"rack{n % 2}", "ssd" if n > 2 else "hdd") for n in range(6))
BY_HOST = CrushRule(id=0, name="by-host", steps=("take default", "chooseleaf_firstn 0 host", "emit"))
BY_OSD = CrushRule(id=0, name="by-osd", steps=("take default", "choose_firstn 0 osd", "emit"))
ON_SSD = CrushRule(id=0, name="ssd", steps=("take default~ssd", "chooseleaf_firstn 0 host", "emit"))
TWO_RACKS = CrushRule(
    id=0, name="racks", steps=("take default", "choose_firstn 2 rack", "chooseleaf_firstn 2 host", "emit")
)


@pytest.mark.parametrize(
    ("rule", "domain", "sound"),
    [
        (BY_HOST, "host", True),
        (BY_HOST, "osd", True),
        (BY_HOST, "rack", False),
        (BY_OSD, "host", False),
        (ON_SSD, "host", True),
        (TWO_RACKS, "host", True),
        (TWO_RACKS, "rack", False),
    ],
)
def test_copies_are_as_far_apart_as_the_rule_says(rule: CrushRule, domain: str, sound: bool) -> None:
    facts = _with(crush_rules=(rule,), osd_use=SIX)
    pool = facts.ceph.pool("images")
    assert pool is not None
    judge = pools.test_copies_lie_in_distinct_failure_domains
    if sound:
        judge(pool, facts, _wanting(failure_domain=domain))
        return
    with pytest.raises(AssertionError, match=rule.name):
        judge(pool, facts, _wanting(failure_domain=domain))


def test_fewer_hosts_than_copies_are_a_finding() -> None:
    facts = _with(crush_rules=(BY_HOST,), osd_use=SIX[:2])
    pool = facts.ceph.pool("images")
    assert pool is not None
    with pytest.raises(AssertionError, match="2 of kind host"):
        pools.test_copies_lie_in_distinct_failure_domains(pool, facts, CLOUD)
