"""Checks of Nova and of live migration on releases that the lab does not run, on constructed facts."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from suites.migration import test_config as migration
from suites.nova import test_guests as guests
from suites.nova import test_options as options

CLOUD = Cloud.model_validate(
    {
        "name": "test",
        "hosts": {"cmp1": {"roles": ["nova-compute"]}},
        "ceph": {
            "pools": {"images": "i", "volumes": "v", "vms": "m"},
            "users": {"glance": "g", "cinder": "c", "nova": "n"},
        },
        "cinder": {"backend": "rbd", "volume_type": "rbd"},
        "openstack": {"cloud": "test"},
    }
)
UNIT = {"name": "nova-compute.service", "load": "loaded", "active": "active", "sub": "running", "enabled": "enabled"}
FLAGS = "VIR_MIGRATE_UNDEFINE_SOURCE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_LIVE"
HAVANA, JUNO, MITAKA, NEWTON, PIKE = "1:2013.2.3-1", "1:2014.2.1-1", "2:13.1.4-0", "2:14.0.0-1", "2:16.1.0-1"
TRAIN, ZED = "1:20.6.1-1.el7", "2:26.2.2-1"


def host(version: str, *entries: tuple[str, str, str], listen: str = "0.0.0.0", **libvirt: Any) -> HostFacts:
    told = {"uri": "qemu:///system", "hostname": "cmp1", "libvirt_version": "9", "qemu_version": "7", "graphics": ()}
    absent = {"path": "/x", "kind": "absent"}
    return HostFacts.model_validate(
        {
            "name": "cmp1", "hostname": "cmp1", "collected_at": 1.0, "python": "3.6.8", "distro": "ubuntu 16.04",
            "ceph_dir": absent, "ceph_conf": {"stat": absent}, "packages": {"nova-common": version},
            "addresses": ("10.0.0.1",), "libvirt": {**told, "disks": (), **libvirt},
            "services": {
                "nova-compute": {
                    "role": "nova-compute", "unit": UNIT, "addresses": {"vnc.server_listen": (listen,)},
                    "entries": [
                        {"file": "/etc/nova/nova.conf", "line": n, "section": s, "key": k, "value": v}
                        for n, (s, k, v) in enumerate([("DEFAULT", "my_ip", "10.0.0.1"), *entries], 1)
                    ],
                }
            },
        }
    )  # fmt: skip


def facts(one: HostFacts) -> Facts:
    blind = Unreadable(unreadable="constructed")
    return Facts(hosts={"cmp1": one}, ceph_cluster=blind, apis=blind, observed_at=1.0)


def judge(check: Any, one: HostFacts) -> str:
    """What a check says of a hypervisor: "passed", why it does not apply, or what it found."""
    try:
        check(one, CLOUD, facts(one))
    except pytest.skip.Exception as closed:
        return f"not applicable: {closed}"
    except AssertionError as failed:
        return str(failed)
    return "passed"


@pytest.mark.parametrize(
    ("version", "entries", "said"),
    [
        (HAVANA, [("DEFAULT", "live_migration_flag", FLAGS)], "passed"),
        (HAVANA, [], "live_migration_flag without VIR_MIGRATE_LIVE"),
        (JUNO, [], "passed"),
        (MITAKA, [("libvirt", "live_migration_flag", "VIR_MIGRATE_LIVE")], "without VIR_MIGRATE_UNDEFINE_SOURCE"),
        (MITAKA, [("libvirt", "live_migration_flag", FLAGS)], "passed"),
        (NEWTON, [("libvirt", "live_migration_flag", FLAGS)], "expected neither option"),
        (ZED, [], "passed"),
    ],
)
def test_migration_flags(version: str, entries: list[tuple[str, str, str]], said: str) -> None:
    assert said in judge(migration.test_migration_flags_are_those_of_the_release, host(version, *entries))


@pytest.mark.parametrize(
    ("version", "listen", "said"),
    [
        (HAVANA, "10.0.0.1", "expected 0.0.0.0 or ::"),
        (HAVANA, "0.0.0.0", "passed"),
        (JUNO, "10.0.0.1", "passed"),
        (ZED, "10.0.0.2", "or an address of this host"),
    ],
)
def test_consoles(version: str, listen: str, said: str) -> None:
    one = host(version, ("vnc", "server_listen", listen), listen=listen)
    assert said in judge(migration.test_consoles_can_move_with_their_guests, one)


def test_a_running_guests_console_is_judged_too() -> None:
    one = host(HAVANA, graphics=({"domain": "i-1", "kind": "vnc", "listen": "127.0.0.1"},))
    assert "i-1: vnc on 127.0.0.1" in judge(migration.test_consoles_can_move_with_their_guests, one)


def test_options_in_default_were_right_until_icehouse() -> None:
    old = [("DEFAULT", "libvirt_images_type", "rbd"), ("DEFAULT", "disk_cachemodes", "network=writeback")]
    check = options.test_libvirts_options_stand_in_their_section
    assert judge(check, host(HAVANA, *old)).startswith("not applicable")
    assert "libvirt_images_type" in judge(check, host(JUNO, *old))


@pytest.mark.parametrize(
    ("check", "before", "since"),
    [
        (options.test_a_broken_copy_on_write_path_is_loud, TRAIN, "1:21.0.0-1"),
        (options.test_images_are_fetched_from_rados_only_by_local_disks, "1:21.0.0-1", "1:22.0.0-1"),
        (options.test_nova_neither_hangs_on_ceph_nor_gives_up_early, "2:19.0.0-1", TRAIN),
        (migration.test_migrations_are_encrypted_by_qemu, "2:18.0.0-1", "2:19.0.0-1"),
    ],
)
def test_options_that_came_later_are_not_asked_of_older_releases(check: Any, before: str, since: str) -> None:
    assert judge(check, host(before)).startswith("not applicable")
    assert not judge(check, host(since)).startswith("not applicable")


def test_how_often_a_removal_is_tried_could_not_be_set_before_victoria() -> None:
    few = ("libvirt", "rbd_destroy_volume_retries", "1")
    check = options.test_nova_neither_hangs_on_ceph_nor_gives_up_early
    assert judge(check, host(TRAIN, few)) == "passed"
    assert "1 retries every 5 s" in judge(check, host(ZED, few))


def test_monitors_are_refreshed_since_2026_2() -> None:
    assert judge(migration.test_guests_know_all_monitors, host("3:34.0.0-1")).startswith("not applicable")


def test_what_a_guest_may_open_follows_from_the_cluster() -> None:
    assert guests._needed(4) == {"max_files": 1128, "max_processes": 8192}
    assert guests._needed(2000) == {"max_files": 32768, "max_processes": 131072}
