"""Area dr: what is left of Ceph and its data when the cluster is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import CephExport
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.ceph import Mirror
from fixtures.facts.run import Facts
from fixtures.facts.system import Export
from fixtures.integration import backend_section, config_of, find_secret, replicates, replication_targets
from fixtures.oslo import OsloConfig

CEPH_DRIVER = "cinder.backup.drivers.ceph"
GOOD_STATES = frozenset({"replaying", "syncing", "stopped"})
HOUR = 3600.0
SLOWEST_CONNECT = 60


@pytest.mark.check("dr.ceph.meta", severity="major", source="practice")
def test_maps_and_keys_of_ceph_are_kept(facts: Facts, cloud: Cloud) -> None:
    """Maps, keys, options and pools of Ceph are exported each day, and no key can be read in the export.

    Why: with all monitors lost, the OSDs' data is found again by the maps, and opened by the keys.
    """
    kept = cloud.recovery.ceph
    assert kept is not None, finding(
        "the cloud file",
        found="no recovery.ceph",
        expected="where the export of Ceph's maps and keys is",
        remedy="export them by a timer (ceph mon getmap, osd getmap, osd getcrushmap, auth export, config dump, "
        "osd pool ls detail), encrypt the keys, and name the place under recovery.ceph",
    )
    host = facts.host(kept.host)
    export = need(host.system.export, f"{kept.host}: {kept.path}")
    problems = list(_wrong_with(export, kept, host.collected_at))
    assert not problems, finding(
        f"{kept.host}: {export.stat.path}",
        found=problems,
        expected=f"all of {', '.join(kept.parts)}, at most {kept.max_age:.0f} hours old, keys encrypted",
        remedy="look at the timer that makes it; encrypt the keys (gpg, age, openssl enc)",
    )


def _wrong_with(export: Export, kept: CephExport, now: float) -> list[str]:
    if not export.stat.exists:
        return ["nothing there"]
    age = (now - export.stat.mtime) / HOUR
    problems = [f"{age:.0f} hours old"] if age > kept.max_age else []
    problems += [f"keys readable in {name}" for name in export.plain_keys]
    if export.encrypted:
        return problems
    missing = [part for part in kept.parts if not any(part in name for name in export.members)]
    return problems + [f"no {part}" for part in missing]


@pytest.mark.check("dr.data.independent_copy", severity="critical", source="S4 CK")
def test_data_has_a_copy_elsewhere(facts: Facts, cloud: Cloud) -> None:
    """Images, volumes and servers' disks have a copy out of the cluster, or it is accepted that they have none.

    Why: replication repeats a deletion, a bug and a bad key at once; copies in one cluster are lost together.
    """
    pools = cloud.ceph.pools
    alone = [
        pool for pool in (pools.images, pools.volumes, pools.vms) if pool and pool not in cloud.recovery.risk_accepted
    ]
    applies(bool(alone), "the cloud file accepts the risk for every pool (recovery.risk_accepted)")
    bad = {f"pool {pool}": why for pool in alone if (why := _why_alone(facts, cloud, pool))}
    assert not bad, finding(
        "data of the cloud",
        found=bad,
        expected="a copy in another cluster, or a line under recovery.risk_accepted for it",
        remedy="mirror the pool (rbd mirror), back volumes up to another cluster, or have the risk accepted in writing",
    )


def _why_alone(facts: Facts, cloud: Cloud, pool: str) -> str:
    if _is_mirrored(_mirror(facts, pool)):
        return ""
    if pool == cloud.ceph.pools.volumes and _backs_up_elsewhere(facts, cloud):
        return "" if _has_backups(facts) else "backups go elsewhere, and there is none"
    return "neither mirrored nor backed up out of the cluster"


def _mirror(facts: Facts, pool: str) -> Mirror:
    found = facts.ceph.pool(pool)
    if found is None:
        raise NotMeasured(f"pool {pool} does not exist (see ceph.pool.exists)")
    return need(found.mirror, f"mirroring of pool {pool}")


def _is_mirrored(mirror: Mirror) -> bool:
    return mirror.mode != "disabled" and bool(mirror.peers) and bool(mirror.states)


def _backs_up_elsewhere(facts: Facts, cloud: Cloud) -> bool:
    configs = [config_of(facts.host(name), "cinder-backup") for name in cloud.hosts_with("cinder-backup")]
    return bool(configs) and all(_leaves_the_cluster(config, cloud) for config in configs)


def _leaves_the_cluster(config: OsloConfig, cloud: Cloud) -> bool:
    """Another driver than Ceph's, or the configuration of another cluster."""
    driver = config.get("DEFAULT", "backup_driver", "")
    return (
        not driver.startswith(CEPH_DRIVER)
        or config.get("DEFAULT", "backup_ceph_conf", cloud.ceph.conf) != cloud.ceph.conf
    )


def _has_backups(facts: Facts) -> bool:
    return any(backup.status == "available" for backup in need(facts.openstack.backups, "block storage, backups"))


@pytest.mark.check("dr.mirror.failover_ready", severity="major", source="CR CREL-repl")
def test_volumes_can_be_failed_over(facts: Facts, cloud: Cloud) -> None:
    """Where Cinder replicates, images are in order and every hypervisor has the other cluster's ceph.conf and secret.

    Why: a failover is tried on the worst of days; what lacks on one hypervisor keeps its guests down.
    """
    applies(replicates(facts, cloud), "no replication_device in cinder.conf: Cinder does not replicate")
    pool = cloud.ceph.pools.volumes
    mirror = _mirror(facts, pool)
    problems = [
        f"pool {pool}: {count} images {state}" for state, count in mirror.states.items() if state not in GOOD_STATES
    ]
    problems += [] if _is_mirrored(mirror) else [f"pool {pool} is not mirrored"]
    for host in cloud.hosts_with("cinder-volume"):
        config = config_of(facts.host(host), "cinder-volume")
        problems += [f"{host}: {why}" for why in _slow(config, cloud)]
        for target in replication_targets(config, cloud):
            problems += _missing_for(target, facts, cloud)
    assert not problems, finding(
        "failover of volumes",
        found=problems,
        expected="images replaying; ceph.conf and secret of the other cluster on every hypervisor",
        remedy="rbd mirror pool status --verbose; copy the conf and keyring; virsh secret-define",
    )


def _slow(config: OsloConfig, cloud: Cloud) -> list[str]:
    section = backend_section(config, cloud, "replication_connect_timeout")
    seconds = config.integer(section, "replication_connect_timeout", 5)
    return [] if 0 < seconds <= SLOWEST_CONNECT else [f"replication_connect_timeout {seconds}"]


def _missing_for(target: dict[str, str], facts: Facts, cloud: Cloud) -> list[str]:
    """Return what hypervisors lack of a replication target: backend_id, conf, user, secret_uuid."""
    name = target.get("backend_id", "?")
    uuid = target.get("secret_uuid", "")
    if not uuid:
        return [f"target {name}: no secret_uuid, so guests open its volumes with the first cluster's key"]
    conf = target.get("conf", f"/etc/ceph/{name}.conf")
    problems = []
    for host in cloud.hosts_with("nova-compute"):
        found = facts.host(host)
        if find_secret(found, uuid) is None:
            problems.append(f"{host}: no secret {uuid} of target {name}")
        # all of the folder of ceph.conf were looked at
        if Path(conf).parent == Path(cloud.ceph.conf).parent and conf not in found.files:
            problems.append(f"{host}: no {conf}")
    return problems
