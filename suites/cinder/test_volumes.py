"""Area cinder: what volumes are bound to, how they are attached, and what Cinder says of itself."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator

import pytest

from fixtures import releases
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.openstack import Attachment
from fixtures.facts.run import Facts
from fixtures.integration import by_hypervisor, find_secret, volumes_user
from fixtures.targets import libvirt_of, service_of

MAPPED = frozenset(
    f"{what}_{unit}_sec{burst}"
    for what in ("total", "read", "write")
    for unit in ("iops", "bytes")
    for burst in ("", "_max")
)
"""Keys of QoS specs that the RBD driver sets on images."""
MISMAPPED = frozenset({"total_iops_sec_max"})
"""The driver sets rbd_qos_bps_burst for it, a number of bytes."""


@pytest.mark.check("cinder.volume.host_mapping", severity="critical", source="DISCH")
def test_volumes_are_bound_to_live_back_ends(facts: Facts) -> None:
    """Every volume's host (HOST@BACKEND#POOL) is a pool that the scheduler knows.

    Why: Cinder sends what is asked of a volume to that host; where nobody listens, deletes and detaches never end.
    """
    known = {pool.name for pool in need(facts.openstack.backend_pools, "scheduler pools")}
    bound = Counter(volume.host for volume in need(facts.openstack.volumes, "volumes") if volume.host)
    lost = {host: f"{count} volumes" for host, count in bound.items() if host not in known}
    assert not lost, finding(
        "volumes",
        found=lost,
        expected=f"one of {', '.join(sorted(known))}",
        remedy="cinder-manage volume update_host --currenthost OLD --newhost NEW",
    )


@pytest.mark.check("cinder.attachment.connection_info", severity="major", source="NN LP1741364")
def test_attached_volumes_can_be_opened_again(cloud: Cloud, facts: Facts) -> None:
    """What Cinder recorded for each attached RBD volume, and what QEMU has open, is still so.

    The user is Cinder's, the secret is on every hypervisor with a value, the monitors are of the present monmap.

    Why: the record is used at the next hard reboot or migration; the guest that runs does not notice before.
    """
    wrong = {}
    for attachment in need(facts.openstack.attachments, "attachments"):
        if attachment.driver == "rbd" and (problems := list(_problems(attachment, cloud, facts))):
            wrong[f"volume {attachment.volume} on server {attachment.server}"] = problems
    for name, host in by_hypervisor(cloud, facts).items():
        wrong |= _opened_otherwise(name, host, cloud, facts)
    assert not wrong, finding(
        "attachments",
        found=wrong,
        expected="Cinder's user, a secret of every hypervisor, present monitors",
        remedy="nova-manage volume_attachment refresh with the server stopped, or migrate it live",
    )


def _problems(attachment: Attachment, cloud: Cloud, facts: Facts) -> Iterator[str]:
    user = volumes_user(cloud, facts)
    if attachment.user != user:
        yield f"user {attachment.user or 'none'} instead of {user}"
    lacking = [
        name
        for name, host in by_hypervisor(cloud, facts).items()
        if (secret := find_secret(host, attachment.secret)) is None or secret.value is None
    ]
    if lacking:
        yield f"secret {attachment.secret or 'none'} is not on {', '.join(lacking)}"
    gone = _no_monitors(attachment.addresses, facts)
    if gone:
        yield f"{', '.join(gone)}: no monitor"


def _no_monitors(addresses: tuple[str, ...], facts: Facts) -> list[str]:
    """Those of the addresses that no monitor has; names are left to librados."""
    known = {_bare(address.partition(":")[2]) for one in facts.ceph.monitors for address in one.addresses}
    return [text for text in addresses if _is_address(text) and str(ipaddress.ip_address(text)) not in known]


def _bare(address: str) -> str:
    """Of "10.0.0.1:6789" or "[fd00::1]:3300"."""
    return str(ipaddress.ip_address(address.rpartition(":")[0].strip("[]")))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _opened_otherwise(name: str, host: HostFacts, cloud: Cloud, facts: Facts) -> dict[str, list[str]]:
    """Disks of running guests from the volumes pool, with what of them no longer holds."""
    found = {}
    prefix = f"{cloud.ceph.pools.volumes}/"
    for disk in need(libvirt_of(host).disks, f"{name}: disks of running guests"):
        if disk.protocol == "rbd" and disk.source.startswith(prefix) and not find_secret(host, disk.secret):
            found[f"{name}: {disk.domain} {disk.target} ({disk.source})"] = [
                f"secret {disk.secret or 'none'} is not here"
            ]
    return found


@pytest.mark.check("cinder.qos.mapping", severity="minor", source="CR(QOS_KEY_MAP)")
def test_limits_of_the_back_end_mean_what_they_say(cloud: Cloud, facts: Facts) -> None:
    """QoS specs that the back end shall enforce have only keys that the RBD driver sets, and sets rightly.

    Judged are specs of consumer `back-end` or `both` of the cloud file's volume type. `total_iops_sec_max` is none
    of them: the driver writes it as a burst of bytes.

    Why: an unknown key is a line in a log, and the volume has no limit; the wrong one throttles it to nothing.
    """
    specs = [
        spec
        for spec in need(facts.openstack.qos_specs, "QoS specs")
        if spec.consumer in ("back-end", "both") and cloud.cinder.volume_type in spec.types
    ]
    enforced = all(releases.RBD_QOS.reached(cloud, facts, name) for name in cloud.hosts_with("cinder-volume"))
    good = MAPPED - MISMAPPED if enforced else frozenset()
    wrong = {spec.name: sorted(set(spec.specs) - good) for spec in specs if set(spec.specs) - good}
    assert not wrong, finding(
        f"QoS specs of type {cloud.cinder.volume_type}",
        found=wrong,
        expected=sorted(good) or "consumer front-end: RBD has no limits of its own before Zed",
        remedy="give the limit to consumer front-end, and attach the volumes anew",
    )


@pytest.mark.asks_services
@pytest.mark.check("cinder.upgrade_check", severity="major", source="CSTAT")
def test_cinder_finds_nothing_wrong_with_itself(cloud: Cloud, facts: Facts) -> None:
    """`cinder-status upgrade check` succeeds in all points, and the database has the schema of the code.

    Why: it knows what each release has taken away; a schema behind the code fails at the first new column.
    """
    failed: dict[str, str] = {}
    for name in cloud.hosts_with("cinder-api"):
        releases.CINDER_STATUS.required(cloud, facts, name)
        host = facts.host(name)
        points = need(host.upgrades.get("cinder-api"), f"{name}: cinder-status upgrade check")
        failed |= {f"{name}: {one.name}": f"{one.result}: {one.details}" for one in points if one.result != "Success"}
        failed |= _schema_problem(name, host)
    assert not failed, finding(
        "cinder-status and schema",
        found=failed,
        expected="success in all points",
        remedy="do what each point asks for; cinder-manage db sync; after that restart the service",
    )


def _schema_problem(name: str, host: HostFacts) -> dict[str, str]:
    report = need(service_of(host, "cinder-api").reports.get("schema"), f"{name}: schema of cinder")
    if report.rc:
        return {f"{name}: schema": report.error or f"exit code {report.rc}"}
    current, newest = report.output
    return {} if current == newest else {f"{name}: schema": f"{current}, the code has {newest}"}
