"""Area backup: cinder-backup to Ceph."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures import releases
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.openstack import ServiceState
from fixtures.facts.run import Facts
from fixtures.sizes import MIB
from remediate.model import NeedsOperator, Option, Restart, Unit
from remediate.options import Configuration
from remediate.registry import manual, repairs
from remediate.services import refuse_disabled, restart_unit, revive, rows_on

DRIVER = "cinder.backup.drivers.ceph.CephBackupDriver"
CHUNK = 128 * MIB
ZONE = "storage_availability_zone"


def _files(backup_host: str, cloud: Cloud, facts: Facts) -> Configuration:
    return Configuration(cloud, facts, backup_host, "cinder-backup")


def _rows(facts: Facts, binary: str) -> list[ServiceState]:
    return [row for row in need(facts.openstack.volume_services, "volume services") if row.binary == binary]


@repairs("backup.service.up", disruption="safe")
def run_the_backup_service(backup_host: str, cloud: Cloud, facts: Facts) -> Iterator[Unit | Restart]:
    """Enable and start it, start it anew where it does not report."""
    rows = _rows(facts, "cinder-backup")
    steps = list(revive(cloud, facts, backup_host, "cinder-backup", rows))
    yield from steps
    if not steps:
        refuse_disabled(rows_on(facts, backup_host, rows))


@repairs("backup.config.driver", disruption="safe")
def name_the_driver_by_its_class(backup_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the Ceph driver's full class, and where it shall write, unless backups of another driver exist."""
    files = _files(backup_host, cloud, facts)
    now = files.now.get("DEFAULT", "backup_driver", "")
    if now and "drivers.ceph" not in now and need(facts.openstack.backups, "backups"):
        raise NeedsOperator(f"there are backups of the driver {now}, which only it restores: delete or restore them")
    yield from files.set("DEFAULT", "backup_driver", DRIVER)
    yield from back_up_to_the_backups_pool(backup_host, cloud, facts)


@repairs("backup.config.target", disruption="safe")
def back_up_to_the_backups_pool(backup_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name conf, user and pool of the backups."""
    pool = str(cloud.ceph.pools.backups)
    if pool == cloud.ceph.pools.volumes:
        raise NeedsOperator("the cloud file has backups in the volumes' pool: name another (ceph.pools.backups)")
    wanted = {
        "backup_ceph_conf": cloud.ceph.conf,
        "backup_ceph_user": str(cloud.ceph.users.backup),
        "backup_ceph_pool": pool,
    }
    yield from _files(backup_host, cloud, facts).ensure("DEFAULT", wanted)


@repairs("backup.config.tuning", disruption="safe")
def cut_and_stripe_backups_as_by_default(backup_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take out what does not do; backups that exist are read as they were written."""
    files = _files(backup_host, cloud, facts)
    chunk = files.now.integer("DEFAULT", "backup_ceph_chunk_size", CHUNK)
    if chunk <= 0 or chunk % MIB:
        yield from files.unset("DEFAULT", "backup_ceph_chunk_size", str(CHUNK))
    stripes = ("backup_ceph_stripe_unit", "backup_ceph_stripe_count")
    numbers = [files.now.integer("DEFAULT", key, 0) for key in stripes]
    if min(numbers) < 0 or (max(numbers) > 0 and 0 in numbers):
        for key in stripes:
            yield from files.unset("DEFAULT", key, "0")
    if not files.now.boolean("DEFAULT", "restore_discard_excess_bytes", True):
        yield from files.unset("DEFAULT", "restore_discard_excess_bytes", "True")
    kept = files.now.integer("DEFAULT", "backup_ceph_max_snapshots", 0)
    if kept < 0 or (kept and not releases.BACKUP_MAX_SNAPSHOTS.reached(cloud, facts, backup_host)):
        yield from files.unset("DEFAULT", "backup_ceph_max_snapshots", "0")
    pool = facts.ceph.pool(str(cloud.ceph.pools.backups))
    if pool is not None and pool.mirror is not None:
        journals = need(pool.mirror, f"mirroring of pool {pool.name}").mode == "pool"
        if files.now.boolean("DEFAULT", "backup_ceph_image_journals", False) != journals:
            yield from files.set("DEFAULT", "backup_ceph_image_journals", str(journals))


@repairs("backup.az_and_quota", disruption="safe")
def back_up_in_the_zone_of_the_volumes(cloud: Cloud, facts: Facts) -> Iterator[Option | Restart]:
    """Let a cinder-backup be of the zone that has none; limits are a person's to raise."""
    has = {row.zone for row in _rows(facts, "cinder-backup") if row.status == "enabled"}
    lacking = {row.zone for row in _rows(facts, "cinder-volume") if row.status == "enabled"} - has
    hosts = cloud.hosts_with("cinder-backup")
    if not lacking:
        raise NeedsOperator(
            "how much a project may back up is its owner's agreement with you",
            "openstack quota set --backups N --backup-gigabytes N PROJECT",
        )
    if len(lacking) > 1 or len(hosts) != 1:
        raise NeedsOperator(
            f"no cinder-backup is in zone {', '.join(sorted(lacking))}: which host serves it is yours to say",
            *("[DEFAULT]", f"{ZONE} = {sorted(lacking)[0]}"),
        )
    files = _files(hosts[0], cloud, facts)
    if files.now.get("DEFAULT", ZONE, "nova") in lacking:
        yield from restart_unit(cloud, facts, hosts[0], "cinder-backup")
    elif "cinder-volume" in cloud.hosts[hosts[0]].roles:
        raise NeedsOperator(f"{hosts[0]}: cinder-volume may read the same file: zones are yours to set there")
    else:
        yield from files.set("DEFAULT", ZONE, lacking.pop())


manual(
    "a backup whose data is gone cannot be restored by anyone: delete it, and make a full one of the volume",
    "backup.source.snaps",
)
manual(
    "it shows what the checks backup.config.*, backup.host.keyrings and ceph.auth.backup.osd explain: their repairs "
    "heal it; else read cinder-backup's log",
    "fn.backup.full_incr_restore",
)
