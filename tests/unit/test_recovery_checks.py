"""Checks of recovery on constructed facts: the lab has one cluster, and accepts that its data is lost with it."""

from __future__ import annotations

import pytest

from fixtures.cloud import Cloud
from fixtures.cloud.model import Recovery
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import Mirror
from fixtures.facts.files import File
from fixtures.facts.host import ConfigEntry, HostFacts, IniFile, Service, Unit
from fixtures.facts.openstack import Backup, OpenStackFacts
from fixtures.facts.run import Facts
from suites.recovery import test_ceph as recovery
from tests.unit.test_ceph_observe import CLOUD, _facts

NOTHING = File(path="/etc/ceph", kind="absent")
UNKNOWN = Unreadable(unreadable="none")
ELSEWHERE = {"backup_driver": "cinder.backup.drivers.nfs.NFSBackupDriver"}
WITHIN = {"backup_driver": "cinder.backup.drivers.ceph.CephBackupDriver", "backup_ceph_conf": "/etc/ceph/ceph.conf"}
ANOTHER = WITHIN | {"backup_ceph_conf": "/etc/ceph/west.conf"}


def _backup_host(options: dict[str, str]) -> HostFacts:
    unit = Unit(name="cinder-backup", load="loaded", active="active", sub="running", enabled="enabled")
    entries = tuple(ConfigEntry(file="c", line=1, section="DEFAULT", key=k, value=v) for k, v in options.items())
    return HostFacts(
        **{"name": "one", "hostname": "one", "collected_at": 0.0, "python": "3.11.2", "distro": "debian"},
        ceph_dir=NOTHING,
        ceph_conf=IniFile(stat=NOTHING),
        services={"cinder-backup": Service(role="cinder-backup", unit=unit, entries=entries)},
    )


def _judge(
    backup: dict[str, str], *, mirrored: tuple[str, ...] = (), accepted: tuple[str, ...] = (), copies: int = 1
) -> None:
    cloud: Cloud = CLOUD.model_copy(
        update={
            "hosts": {"one": CLOUD.hosts["one"].model_copy(update={"roles": ("cinder-backup",)})},
            "recovery": Recovery(risk_accepted=dict.fromkeys(accepted, "minutes of the board")),
        }
    )
    ceph = _facts("healthy")
    mirrors = {True: Mirror(mode="image", peers=("west",), states={"replaying": 3}), False: Mirror(mode="disabled")}
    pools = tuple(pool.model_copy(update={"mirror": mirrors[pool.name in mirrored]}) for pool in ceph.pools)
    parts = dict.fromkeys(("image_api", "images", "volume_services", "compute_services", "volume_types"), UNKNOWN)
    backups = tuple(Backup(id=str(n), volume_id="v", status="available") for n in range(copies))
    facts = Facts(
        observed_at=0.0,
        hosts={"one": _backup_host(backup)},
        ceph_cluster=ceph.model_copy(update={"pools": pools}),
        apis=OpenStackFacts(region="", backend_pools=UNKNOWN, backups=backups, **parts),
    )
    recovery.test_data_has_a_copy_elsewhere(facts, cloud)


def test_mirrored_pools_have_a_copy_elsewhere() -> None:
    _judge(WITHIN, mirrored=("images", "volumes", "vms"))


@pytest.mark.parametrize("backup", [ELSEWHERE, ANOTHER])
def test_backups_out_of_the_cluster_are_copies_of_volumes(backup: dict[str, str]) -> None:
    _judge(backup, accepted=("images", "vms"))


def test_backups_in_the_same_cluster_are_none() -> None:
    with pytest.raises(AssertionError, match="pool volumes: neither mirrored nor backed up"):
        _judge(WITHIN, accepted=("images", "vms"))


def test_a_way_out_that_nothing_went_is_a_finding() -> None:
    with pytest.raises(AssertionError, match="there is none"):
        _judge(ELSEWHERE, accepted=("images", "vms"), copies=0)


def test_what_is_accepted_for_all_does_not_apply() -> None:
    with pytest.raises(pytest.skip.Exception, match="accepts the risk"):
        _judge(WITHIN, accepted=("images", "volumes", "vms"))
