"""Area pkg: which versions are installed, which are loaded, where they come from."""

from __future__ import annotations

import pytest

from fixtures import releases
from fixtures.around import odd_ones, usual
from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.system import PackageSource
from fixtures.floors import hypervisor_floor, verdicts
from fixtures.targets import libvirt_of
from fixtures.versions import Version, version

NATIVE_TLS = {"libvirt": "4.4.0", "QEMU": "2.11.0"}
UNDATED = frozenset({"stable", "oldstable", "testing", "unstable", "main", "any", ".", ""})


OLDEST_CEPH = {
    releases.CEPH_FROM_MIMIC: 13,
    releases.CEPH_FROM_NAUTILUS: 14,
    releases.CEPH_FROM_OCTOPUS: 15,
    releases.CEPH_FROM_PACIFIC: 16,
    releases.CEPH_FROM_QUINCY: 17,
}
"""Since when Cinder supports which of Ceph's releases at the oldest, in order."""


@pytest.mark.check("pkg.ceph_alignment", severity="major", source="CD CREL-minver")
@pytest.mark.compares_hosts
def test_client_libraries_fit_the_cluster(cloud: Cloud, facts: Facts) -> None:
    """All clients have the same librbd, not more than one release away from the cluster, which Cinder supports.

    Why: two releases apart nobody has tested them together; one host apart from the others, only some guests fail.
    Cinder is tested with the two releases of Ceph that were stable at its time, and with the two before them.
    """
    hosts = cloud.hosts_with(*CLIENT_ROLES)
    installed = {name: releases.librbd_version(cloud, facts, name) for name in hosts}
    cluster = releases.cluster_version(facts)
    far = {name: _dotted(found) for name, found in installed.items() if abs(found[0] - cluster[0]) > 1}
    assert not far, finding(
        "librbd",
        found=far,
        expected=f"within one release of the cluster's {_dotted(cluster)}",
        remedy="upgrade the clients, restart the services, migrate or restart the guests",
    )
    odd = {name: _dotted(found) for name, found in odd_ones(installed).items()}
    assert not odd, finding(
        "librbd",
        found=odd,
        expected=f"{_dotted(usual(installed))} as on the other hosts",
        remedy="install the same version everywhere",
    )
    _expect_supported(cloud, facts, cluster)


def _expect_supported(cloud: Cloud, facts: Facts, cluster: Version) -> None:
    wanted = {name: _oldest(cloud, facts, name) for name in cloud.hosts_with("cinder-volume", "cinder-backup")}
    refused = {name: f"Ceph {oldest} or newer" for name, oldest in wanted.items() if cluster[0] < oldest}
    assert not refused, finding(
        "the cluster",
        found=f"Ceph {_dotted(cluster)}",
        expected=refused,
        remedy="upgrade Ceph, two releases at a time at most, before OpenStack is upgraded any further",
    )


def _oldest(cloud: Cloud, facts: Facts, host: str) -> int:
    return max((number for gate, number in OLDEST_CEPH.items() if gate.reached(cloud, facts, host)), default=0)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


@pytest.mark.check("pkg.librbd_loaded", severity="major", source="OSSN-0108")
def test_processes_use_the_installed_libraries(client_host: HostFacts) -> None:
    """Services and guests have the installed libraries of Ceph loaded, not those from before an upgrade.

    Why: until they are restarted a fix is not in force, and a new kind of key is refused by them.
    """
    mapped = need(client_host.system.mapped, f"{client_host.name}: libraries in use")
    old = {f"{it.process} (pid {it.pid}) {it.path}" for it in mapped if not it.installed}
    assert not old, finding(
        client_host.name,
        found=old,
        expected="the libraries that are installed now",
        remedy="restart the services; migrate guests away and back, or restart them",
    )


@pytest.mark.check("pkg.libvirt_qemu_min", severity="major", source="ND NT S3 LS")
@pytest.mark.compares_hosts
def test_hypervisors_are_new_enough_and_alike(cloud: Cloud, facts: Facts) -> None:
    """Hypervisors have the libvirt and QEMU that this Nova and native TLS need at least, and all the same ones.

    Why: nova-compute refuses to start below its minimum; guests migrate to a newer QEMU, not back to an older one.
    """
    found = {name: _virtual(facts.host(name)) for name in cloud.hosts_with("nova-compute")}
    low = {name: told for name, pair in found.items() if (told := _too_old(cloud, facts, name, pair))}
    assert not low, finding(
        "hypervisors", found=low, expected="Nova's minimum or newer", remedy="upgrade libvirt and QEMU"
    )
    odd = {name: f"libvirt {libvirt}, QEMU {qemu}" for name, (libvirt, qemu) in odd_ones(found).items()}
    assert not odd, finding(
        "hypervisors",
        found=odd,
        expected="libvirt {}, QEMU {} as on the other hosts".format(*usual(found)),
        remedy="upgrade those that are behind",
    )


def _virtual(host: HostFacts) -> tuple[str, str]:
    libvirt = libvirt_of(host)
    return libvirt.libvirt_version, libvirt.qemu_version


def _too_old(cloud: Cloud, facts: Facts, name: str, pair: tuple[str, str]) -> str:
    floor = hypervisor_floor(releases.openstack_release(cloud, facts, name, "nova").position)
    least = [{"libvirt": floor.libvirt, "QEMU": floor.qemu}] if floor else []
    least += [NATIVE_TLS] if cloud.policy.live_migration and cloud.policy.migration_transport == "tls" else []
    found = dict(zip(("libvirt", "QEMU"), pair, strict=True))
    if not all(pair):
        raise NotMeasured(f"{name}: libvirt does not tell its version or QEMU's")
    low = {what: need_ for row in least for what, need_ in row.items() if version(found[what]) < version(need_)}
    return ", ".join(f"{what} {found[what]} (at least {need_})" for what, need_ in low.items())


def _packages(host: HostFacts) -> dict[str, str]:
    return need(host.packages, f"{host.name}: packages")


@pytest.mark.check("pkg.cve_floor", severity="critical", source="OSSA")
def test_known_holes_are_mended(client_host: HostFacts) -> None:
    """Nova, Cinder, Glance and their libraries have the fixes of the advisories that concern images and volumes.

    Why: each of these lets a tenant read files of a host, or another tenant's volume.
    """
    found = list(verdicts(client_host, _packages(client_host)))
    holes = [str(verdict) for verdict in found if verdict.open]
    assert not holes, finding(
        client_host.name, found=holes, expected="packages with the fixes", remedy="upgrade them, restart the services"
    )
    unknown = [str(verdict) for verdict in found if verdict.open is None]
    if unknown:
        raise NotMeasured(
            f"{client_host.name}: no changelog tells whether the distribution mended {'; '.join(unknown)}"
        )


@pytest.mark.check("pkg.backup_fix", severity="critical", source="LP2155612")
@pytest.mark.applies_if(lambda cloud: bool(cloud.ceph.pools.backups), "no backups to Ceph")
def test_restored_backups_are_whole(backup_host: HostFacts) -> None:
    """cinder-backup has no known fault that corrupts what it restores.

    Why: from 2023.1 on a full restore of a sparse or encrypted volume is shifted, and says that all went well.
    """
    found = list(verdicts(backup_host, _packages(backup_host), "backup"))
    bad = [str(verdict) for verdict in found if verdict.open is not False]
    assert not bad, finding(
        backup_host.name,
        found=bad,
        expected="a version with the fix",
        remedy="upgrade cinder-backup; until then restore sparse and encrypted volumes by hand and compare them",
    )


@pytest.mark.check("pkg.repo_trust", severity="minor", source="S2 S4")
def test_packages_come_from_sources_that_prove_themselves(client_host: HostFacts) -> None:
    """Package sources are verified: signatures are checked, by a key of their own or over https; one release only.

    Why: who can answer for the mirror otherwise installs what he likes, as root, on every host.
    """
    told = need(client_host.system.package_sources, f"{client_host.name}: package sources")
    applies(bool(told.sources), f"{client_host.name}: no package source is configured")
    bad = {f"{it.file}:{it.line} {it.uri}": why for it in told.sources if (why := _untrusted(it))}
    if told.shared_keyring:
        bad["/etc/apt/trusted.gpg"] = "keys of apt-key vouch for every source"
    suites = {it.suite.partition("/")[0].partition("-")[0] for it in told.sources} - UNDATED
    if len(suites) > 1:
        bad["suites"] = f"of several releases: {', '.join(sorted(suites))}"
    assert not bad, finding(
        f"{client_host.name}: package sources",
        found=bad,
        expected="signed-by or https, signatures checked, one release",
        remedy="write the source anew with signed-by=/etc/apt/keyrings/… (apt) or gpgcheck=1 and gpgkey (dnf)",
    )


def _untrusted(source: PackageSource) -> str:
    if not source.checked:
        return "signatures are not checked"
    encrypted = source.uri.partition(":")[0] in ("https", "mirror+https", "file", "cdrom")
    return "" if encrypted or source.signed_by else "plain http, and no key of its own"
