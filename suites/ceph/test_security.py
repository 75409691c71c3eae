"""Area ceph: who may connect to the cluster, and by which software."""

from __future__ import annotations

import pytest

from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.run import Facts
from fixtures.releases import librbd_version
from fixtures.targets import clients
from fixtures.versions import Version, ceph_version

ONLY_CEPHX = ("auth_cluster_required", "auth_service_required")
PREFERS_CEPHX = "auth_client_required"
RECLAIM_CODES = frozenset({"AUTH_INSECURE_GLOBAL_ID_RECLAIM", "AUTH_INSECURE_GLOBAL_ID_RECLAIM_ALLOWED"})
CLONE_V2_SINCE = "mimic"
OLDEST_FEATURES = "luminous"


@pytest.mark.check("ceph.version.security_floor", severity="major", source="OSSN-0108")
def test_ceph_has_no_known_holes(facts: Facts, cloud: Cloud) -> None:
    """Daemons and client libraries are as new as policy.ceph_security_floor (19.2.6, 20.2.4).

    Why: older ones give out cephx tickets that can be forged or replayed (CVE-2025-30156, CVE-2026-39944).
    """
    floors = tuple(map(ceph_version, cloud.policy.ceph_security_floor))
    found = {f"{number} daemons": ceph_version(text) for text, number in facts.ceph.versions.items()}
    found |= {f"{host}: librbd": librbd_version(cloud, facts, host) for host in _client_hosts(cloud)}
    old = {who: ".".join(map(str, version)) for who, version in found.items() if not is_patched(version, floors)}
    assert not old, finding(
        "Ceph",
        found=old,
        expected=" or ".join(cloud.policy.ceph_security_floor),
        remedy="upgrade the servers, then the clients, then rotate the keys, then migrate every guest",
    )


def _client_hosts(cloud: Cloud) -> list[str]:
    return sorted({client.host for client in clients(cloud)})


def is_patched(version: Version, floors: tuple[Version, ...]) -> bool:
    """Whether a version is at or above its major release's floor, or of a major above all of them."""
    of_its_major = [floor for floor in floors if floor[0] == version[0]]
    return version >= min(of_its_major) if of_its_major else version > max(floors)


@pytest.mark.check("ceph.auth.cephx_required", severity="critical", source="S0 RO OSSN-0108")
def test_cephx_is_required_everywhere(facts: Facts) -> None:
    """Daemons and monitors admit nobody without cephx, and no client is told to do without it.

    Why: without it whoever reaches the network reads and writes every volume.
    """
    # Monitors admit clients by auth_service_required. Their auth_client_required is the word of a client
    # to itself; Ceph's own default of it, "cephx, none", lets nobody in.
    told = facts.ceph.config
    bad = {option: told.get(option, "unset") for option in ONLY_CEPHX if told.get(option) != "cephx"}
    if not told.get(PREFERS_CEPHX, "").startswith("cephx"):
        bad[PREFERS_CEPHX] = told.get(PREFERS_CEPHX, "unset")
    for host in facts.hosts.values():
        if isinstance(host, Unreadable) or isinstance(host.ceph_conf, Unreadable):
            continue
        bad |= {
            f"{host.name}:{e.file}:{e.line} {e.key}": e.value
            for e in host.ceph_conf.entries
            if e.key in (*ONLY_CEPHX, PREFERS_CEPHX) and e.value != "cephx"
        }
    assert not bad, finding(
        "cephx",
        found=bad,
        expected="cephx for all three",
        remedy="ceph config set global auth_…_required cephx; drop overrides of ceph.conf",
    )


@pytest.mark.check("ceph.auth.global_id_reclaim", severity="major", source="CVE20288")
def test_clients_prove_the_id_that_they_reclaim(facts: Facts) -> None:
    """Monitors refuse clients that reclaim a global id without proof, and no such client is connected.

    Why: a thief of a ticket keeps the stolen session for ever (CVE-2021-20288).
    """
    codes = sorted(RECLAIM_CODES & {check.code for check in facts.ceph.health_checks})
    allowed = need(facts.ceph.insecure_reclaim, "auth_allow_insecure_global_id_reclaim")
    assert allowed == "false" and not codes, finding(
        "monitors",
        found=f"auth_allow_insecure_global_id_reclaim {allowed}" + (f", {', '.join(codes)}" if codes else ""),
        expected="false, and no warning",
        remedy="update and restart old clients (guests too) until AUTH_INSECURE_GLOBAL_ID_RECLAIM is gone, then "
        "ceph config set mon auth_allow_insecure_global_id_reclaim false",
    )


@pytest.mark.check("ceph.auth.allowed_ciphers", severity="major", source="OSSN-0108")
def test_old_cephx_keys_are_refused(facts: Facts, cloud: Cloud) -> None:
    """Only aes256k keys are accepted; aes as well while policy.legacy_cephx_keys says that they are being rotated.

    Why: new software with old keys is as open as before; the rotation is the fix.
    """
    applies(facts.ceph.ciphers is not None, "the cluster: ceph is older than 19.2.6 (20.2.4), without aes256k keys")
    ciphers = need(facts.ceph.ciphers)
    expected = {"aes", "aes256k"} if cloud.policy.legacy_cephx_keys else {"aes256k"}
    assert ciphers.service == "aes256k", finding(
        "monitors' map",
        found=f"auth_service_cipher {ciphers.service}",
        expected="aes256k, before any client's key is rotated",
        remedy="ceph mon set auth_service_cipher aes256k; ceph auth wipe-rotating-service-keys",
    )
    assert ciphers.allowed <= expected and "aes256k" in ciphers.allowed, finding(
        "monitors' map",
        found=f"auth_allowed_ciphers {', '.join(sorted(ciphers.allowed))}",
        expected=", ".join(sorted(expected)),
        remedy="ceph mon set auth_allowed_ciphers aes256k, after every key is rotated and every guest re-attached",
    )


@pytest.mark.check("ceph.compat.min_client", severity="major", source="CR LP1941815 OSISM2895 DPC")
def test_clones_need_no_protected_snapshots(facts: Facts) -> None:
    """The oldest client allowed is mimic's, and none is connected that is older; so clones are of version 2.

    Why: with clones of version 1 an image that has clones cannot be deleted (409), nor a volume (busy).
    """
    ceph = facts.ceph
    assert ceph.clone_v2 and ceph.min_client >= CLONE_V2_SINCE, finding(
        "OSD map",
        found=f"require_min_compat_client {ceph.min_client or 'unset'}, rbd_default_clone_format {ceph.clone_format}",
        expected=f"{CLONE_V2_SINCE} or later, and auto or 2",
        remedy=f"ceph osd set-require-min-compat-client {CLONE_V2_SINCE}; "
        "ceph config rm client rbd_default_clone_format",
    )
    # luminous is the newest release that features tell: later clients show as it too
    old = {name: n for name, n in need(ceph.client_releases, "ceph features").items() if name < OLDEST_FEATURES}
    assert not old, finding(
        "connected clients", found=old, expected=f"{OLDEST_FEATURES} or later", remedy="ceph features; update them"
    )
