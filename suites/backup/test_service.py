"""Area backup: cinder-backup to Ceph."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.roles import role_on
from fixtures.units import expect_running

DRIVER = "cinder.backup.drivers.ceph.CephBackupDriver"
pytestmark = pytest.mark.applies_if(
    lambda cloud: cloud.ceph.pools.backups is not None, "the cloud file names no backups pool"
)


@pytest.mark.check("backup.service.up", severity="major", source="S0 RO")
def test_backup_service_is_up(backup_host: HostFacts, facts: Facts) -> None:
    """cinder-backup is installed, runs, is enabled, and Cinder sees it up.

    Why: it is the service that gets forgotten, and backups then fail with "no valid host".
    """
    expect_running(backup_host, "cinder-backup")
    rows = [row for row in need(facts.openstack.volume_services, "volume services") if row.binary == "cinder-backup"]
    bad = [f"{row.host}: {row.status}, {row.state}" for row in rows if (row.status, row.state) != ("enabled", "up")]
    assert rows and not bad, finding(
        "volume services",
        found=bad or "no cinder-backup",
        expected="cinder-backup enabled, up",
        remedy="look at the cinder-backup log",
    )


@pytest.mark.check("backup.config.driver", severity="critical", source="S0 CK CSTAT")
def test_backup_driver_is_named_by_its_class(backup_host: HostFacts) -> None:
    """backup_driver is the Ceph driver's full class.

    Why: the bare module path of the old guides is refused since Stein.
    """
    config = config_of(backup_host, "cinder-backup")
    found = config.get("DEFAULT", "backup_driver", "cinder.backup.drivers.swift.SwiftBackupDriver")
    assert found == DRIVER, finding(
        f"{backup_host.name}:{config.where('DEFAULT', 'backup_driver')}",
        found=found,
        expected=DRIVER,
        remedy="set it, restart cinder-backup",
    )


@pytest.mark.check("backup.config.target", severity="critical", source="S0 CK CP")
def test_backups_go_to_their_own_pool(backup_host: HostFacts, cloud: Cloud) -> None:
    """Conf, user and pool of the backup driver are the cloud file's, and the pool is not the volumes'.

    Why: the driver's default user is `cinder`, and a backup beside its source dies with it.
    """
    config = config_of(backup_host, "cinder-backup")
    expected = {
        "backup_ceph_conf": cloud.ceph.conf,
        "backup_ceph_user": cloud.ceph.users.backup,
        "backup_ceph_pool": cloud.ceph.pools.backups,
    }
    defaults = {"backup_ceph_conf": "/etc/ceph/ceph.conf", "backup_ceph_user": "cinder", "backup_ceph_pool": "backups"}
    found = {option: config.get("DEFAULT", option, default) for option, default in defaults.items()}
    where = f"{backup_host.name}:{config.where('DEFAULT', 'backup_ceph_pool')}"
    assert found == expected, finding(where, found=found, expected=expected, remedy="set them, restart cinder-backup")
    assert found["backup_ceph_pool"] != cloud.ceph.pools.volumes, finding(
        where, found="backups in the volumes pool", expected="another pool", remedy="give backups a pool of their own"
    )


@pytest.mark.check("backup.host.keyrings", severity="critical", source="OB KA OSSN-0085")
def test_backup_host_has_both_keyrings(backup_host: HostFacts, cloud: Cloud) -> None:
    """The backup host has the keyrings of the backup user and of Cinder's, both readable by the service.

    Why: the source volume is read through os-brick as Cinder's user.
    """
    account = role_on(cloud, backup_host.name, "cinder-backup").account
    bad = {}
    for user in cloud.users_of("cinder-backup"):
        path = cloud.ceph.keyring(user)
        keyring = need(backup_host.keyrings.get(path), f"{backup_host.name}:{path}")
        if not keyring.stat.exists:
            bad[path] = "absent"
        elif not keyring.readable_by.get(account):
            bad[path] = f"not readable by {account}"
    assert not bad, finding(
        backup_host.name,
        found=bad,
        expected=f"both readable by {account}",
        remedy="deploy the keyrings, 0640, owned by the service",
    )
