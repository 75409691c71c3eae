"""Area backup: cinder-backup to Ceph."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from remediate.model import Option, Unit
from remediate.options import set_option
from remediate.registry import repairs
from remediate.services import run_unit

DRIVER = "cinder.backup.drivers.ceph.CephBackupDriver"


@repairs("backup.service.up", disruption="safe")
def run_the_backup_service(backup_host: str, facts: Facts) -> Iterator[Unit]:
    """Enable and start it."""
    yield from run_unit(facts, backup_host, "cinder-backup")


@repairs("backup.config.driver", disruption="safe")
def name_the_driver_by_its_class(backup_host: str, facts: Facts) -> Iterator[Option]:
    """Name the Ceph driver's full class."""
    yield set_option(facts, backup_host, "cinder-backup", "DEFAULT", "backup_driver", DRIVER)


@repairs("backup.config.target", disruption="safe")
def back_up_to_the_backups_pool(backup_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name conf, user and pool of the backups."""
    config = config_of(facts.host(backup_host), "cinder-backup")
    wanted = {
        "backup_ceph_conf": cloud.ceph.conf,
        "backup_ceph_user": cloud.ceph.users.backup,
        "backup_ceph_pool": cloud.ceph.pools.backups,
    }
    for key, value in wanted.items():
        if config.get("DEFAULT", key) != value:
            yield set_option(facts, backup_host, "cinder-backup", "DEFAULT", key, value)
