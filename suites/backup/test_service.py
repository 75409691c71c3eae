"""Area backup: cinder-backup to Ceph."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fixtures import releases
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.images import PoolContent
from fixtures.facts.openstack import Backup
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.inventory import content_of, volume_pattern
from fixtures.roles import role_on
from fixtures.sizes import MIB
from fixtures.units import expect_running

MODULE = "cinder.backup.drivers.ceph"
DRIVER = f"{MODULE}.CephBackupDriver"
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
def test_backup_driver_is_named_by_its_class(backup_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """backup_driver is the Ceph driver's full class; before Stein its module will do.

    Why: the bare module path of the old guides is refused since Stein.
    """
    config = config_of(backup_host, "cinder-backup")
    found = config.get("DEFAULT", "backup_driver", "cinder.backup.drivers.swift.SwiftBackupDriver")
    by_module = found == MODULE and not releases.BACKUP_DRIVER_CLASS.reached(cloud, facts, backup_host.name)
    assert found == DRIVER or by_module, finding(
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


@pytest.mark.check("backup.config.tuning", severity="minor", source="S0 CK CP")
def test_backups_are_cut_and_striped_soundly(backup_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Chunks are whole MiB, striping has both numbers or neither, restores pad, journals go with journal mirroring.

    Where a release can limit the snapshots that stay on the source, the limit is none or above 0.

    Why: one number of striping without the other fails each backup; a restore that does not pad leaves what was
    there before; without journals a journal-mirrored pool carries no backup to the other site.
    """
    config = config_of(backup_host, "cinder-backup")
    chunk = config.integer("DEFAULT", "backup_ceph_chunk_size", 128 * MIB)
    stripes = [config.integer("DEFAULT", f"backup_ceph_stripe_{what}", 0) for what in ("unit", "count")]
    kept = config.integer("DEFAULT", "backup_ceph_max_snapshots", 0)
    wrong = {
        "backup_ceph_chunk_size": "" if chunk > 0 and chunk % MIB == 0 else f"{chunk}",
        "backup_ceph_stripe_unit, _count": ""
        if min(stripes) > 0 or max(stripes) == 0 == min(stripes)
        else f"{stripes}",
        "restore_discard_excess_bytes": ""
        if config.boolean("DEFAULT", "restore_discard_excess_bytes", True)
        else "false",
        "backup_ceph_max_snapshots": _limit_problem(kept, backup_host, cloud, facts),
        "backup_ceph_image_journals": _journal_problem(
            config.boolean("DEFAULT", "backup_ceph_image_journals", False), cloud, facts
        ),
    }
    found = {option: text for option, text in wrong.items() if text}
    assert not found, finding(
        f"{backup_host.name}: [DEFAULT]",
        found=found,
        expected="134217728, 0 and 0 or both set, true, 0 or more, as the pool is mirrored",
        remedy="set them, restart cinder-backup",
    )


def _limit_problem(kept: int, host: HostFacts, cloud: Cloud, facts: Facts) -> str:
    if kept and not releases.BACKUP_MAX_SNAPSHOTS.reached(cloud, facts, host.name):
        return f"{kept}, which this release ignores"
    return f"{kept}" if kept < 0 else ""


def _journal_problem(journals: bool, cloud: Cloud, facts: Facts) -> str:
    """Journals without mirroring cost each write twice; mirroring without them carries nothing."""
    pool = facts.ceph.pool(str(cloud.ceph.pools.backups))
    if pool is None or pool.mirror is None:
        return ""
    wanted = need(pool.mirror, f"mirroring of pool {pool.name}").mode == "pool"
    return "" if journals == wanted else f"{journals}, and the pool's mirroring is {need(pool.mirror).mode}"


@pytest.mark.check("backup.source.snaps", severity="major", source="CP")
def test_backups_have_their_data(cloud: Cloud, facts: Facts) -> None:
    """Each available backup has its image, or its snapshot on its base, in the backups pool.

    The newest of a volume that has incremental ones has its snapshot on the volume too.

    Why: the row of a backup whose data is gone says available until the restore; an increment without its
    snapshot on the source is a full copy, or fails.
    """
    stored = content_of(facts, cloud.ceph.pools.backups)
    rows = [row for row in need(facts.openstack.backups, "backups") if row.status == "available"]
    lost = {f"backup {row.id}": "no data in the pool" for row in rows if not _has_data(row, stored)}
    source = content_of(facts, cloud.ceph.pools.volumes)
    pattern = volume_pattern(cloud, facts)
    images = {match[1]: name for name in source.names if (match := pattern.fullmatch(name))}
    for volume, row in _newest_of_chains(rows).items():
        if volume in images and not _has_snapshot(source.snapshots.get(images[volume], ()), row):
            lost[f"backup {row.id}"] = f"no snapshot of it on {images[volume]}"
    assert not lost, finding(
        f"pool {cloud.ceph.pools.backups}",
        found=lost,
        expected="an image volume-ID.backup.ID, or a snapshot backup.ID.snap.TIME",
        remedy="delete these backups and make a full one",
    )


def _has_data(row: Backup, stored: PoolContent) -> bool:
    bases = [name for name in stored.names if name.startswith(f"volume-{row.volume_id}.backup.")]
    own = f"volume-{row.volume_id}.backup.{row.id}" in bases
    return own or any(_has_snapshot(stored.snapshots.get(name, ()), row) for name in bases)


def _has_snapshot(names: Iterable[str], row: Backup) -> bool:
    return any(name.startswith(f"backup.{row.id}.snap.") for name in names)


def _newest_of_chains(rows: Iterable[Backup]) -> dict[str, Backup]:
    """Per volume with incremental backups its newest backup, from which the next increment would go on."""
    newest: dict[str, Backup] = {}
    chained = set()
    for row in sorted(rows, key=lambda row: row.created_at):
        newest[row.volume_id] = row
        chained |= {row.volume_id} if row.incremental else set()
    return {volume: row for volume, row in newest.items() if volume in chained}


@pytest.mark.check("backup.az_and_quota", severity="minor", source="practice")
def test_backups_can_be_made(facts: Facts) -> None:
    """Each zone that has volumes has a cinder-backup, and no project has used up the default limits of backups.

    Projects with a quota of their own are judged by the default too. Backups in error are for hygiene.

    Why: Cinder asks only services of the volume's zone, and says "no valid host" where there is none.
    """
    services = need(facts.openstack.volume_services, "volume services")
    zones = {
        binary: {row.zone for row in services if row.binary == binary and row.status == "enabled"}
        for binary in ("cinder-volume", "cinder-backup")
    }
    bare = zones["cinder-volume"] - zones["cinder-backup"]
    assert not bare, finding(
        "volume services",
        found=f"no cinder-backup in zone {', '.join(sorted(bare))}",
        expected="one in each zone of cinder-volume",
        remedy="set [DEFAULT] storage_availability_zone of cinder-backup, restart it",
    )
    limits = need(facts.openstack.backup_limits, "quotas")
    used: dict[str, list[int]] = {}
    for row in need(facts.openstack.backups, "backups"):
        used.setdefault(row.project, []).append(row.size)
    full = {
        f"project {project}": f"{len(sizes)} backups, {sum(sizes)} GiB"
        for project, sizes in used.items()
        if 0 <= limits.backups <= len(sizes) or 0 <= limits.gigabytes <= sum(sizes)
    }
    assert not full, finding(
        "backups",
        found=full,
        expected=f"less than {limits.backups} and {limits.gigabytes} GiB",
        remedy="openstack quota set --backups … --backup-gigabytes … --class default, or PROJECT",
    )
