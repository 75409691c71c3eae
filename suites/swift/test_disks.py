"""Area swift: the devices that everything lies on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.swift import Device, Modules, SwiftNode
from fixtures.swift import ACCOUNT, IN_USE, KINDS, PasteConfig, device_problems, seen, storage_roles
from fixtures.units import unit_problem

pytestmark = pytest.mark.applies_if(*IN_USE)
RSYNC = 873
EVERYWHERE = ("0.0.0.0", "::")


@pytest.mark.check("swift.disk.xfs", severity="critical", source="S2 SD SW")
def test_devices_are_mounted_xfs(store_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Each device of the rings here is XFS, mounted now and at boot by a name that stays, with noatime.

    mount_check is on, and no line has nobarrier, with which newer kernels refuse to mount.

    Why: a device that is not mounted fills the system's own disk, unless mount_check is on; one that is mounted by
    /dev/sdb is another device after the next boot.
    """
    node = seen(cloud, facts, store_host.name)
    devices = _devices(node, store_host)
    bad = {name: problems for name, device in devices.items() if (problems := list(device_problems(device)))}
    assert not bad, finding(
        store_host.name,
        found=bad,
        expected="xfs, mounted by UUID or LABEL with noatime, now and at boot",
        remedy="mount it; correct its line in fstab; a device with another file system is emptied by weight 0 first",
    )
    off = [role for role in storage_roles(cloud, store_host.name) if not _mount_check(store_host, role)]
    assert not off, finding(
        store_host.name,
        found=f"mount_check is off for {', '.join(off)}",
        expected="on (the default)",
        remedy="remove mount_check = false, restart the servers and daemons",
    )


def _devices(node: SwiftNode, host: HostFacts) -> dict[str, Device]:
    told = {name: need(device, f"{host.name}: device {name}") for name, device in node.devices.items()}
    assert told, finding(
        host.name,
        found="no device of any ring is at an address of this host",
        expected="its devices in the rings",
        remedy="swift-ring-builder FILE add …, rebalance, hand the rings out; or take its roles out of the cloud file",
    )
    return told


def _mount_check(host: HostFacts, role: object) -> bool:
    return PasteConfig(host.of(role), role).boolean("DEFAULT", "mount_check", True)  # type: ignore[arg-type]


@pytest.mark.check("swift.disk.owner", severity="major", source="S2 SW")
def test_devices_and_their_copies_are_swifts(store_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """A mounted device is Swift's own, an empty mount point is not; the cache of recon is Swift's to write.

    rsync offers a module for each kind of server here, at the address that replicas come to and not everywhere.

    Why: what Swift cannot write counts as a failed device; its modules take anybody's writing, without a password.
    """
    node = seen(cloud, facts, store_host.name)
    bad = [*_owner_problems(node, store_host), *_cache_problems(node), *_rsync_problems(cloud, node, store_host)]
    assert not bad, finding(
        store_host.name,
        found=bad,
        expected=f"{ACCOUNT}:{ACCOUNT} on mounted devices and {node.cache.path if node.cache else 'the cache'}, rsync "
        "with a module of each kind on one address",
        remedy="chown; correct address and modules in rsyncd.conf and start rsync",
    )


def _owner_problems(node: SwiftNode, host: HostFacts) -> Iterator[str]:
    for device in _devices(node, host).values():
        path = device.path
        if device.mounted and (path.owner, path.group) != (ACCOUNT, ACCOUNT):
            yield f"{path.path} is {path.owner}:{path.group}"
        elif not device.mounted and path.exists and path.owner == ACCOUNT and not device.immutable:
            yield f"{path.path} is not mounted, and Swift may write into it"


def _cache_problems(node: SwiftNode) -> Iterator[str]:
    cache = node.cache
    if cache is None or not cache.exists:
        yield f"no {cache.path if cache else 'cache'}"
    elif cache.owner != ACCOUNT and not (cache.group == ACCOUNT and cache.mode & 0o020):
        yield f"{cache.path} is {cache.owner}:{cache.group} {cache.mode:04o}"


def _rsync_problems(cloud: Cloud, node: SwiftNode, host: HostFacts) -> Iterator[str]:
    yield from _module_problems(cloud, need(node.modules, f"{host.name}: modules of rsync"), host)
    listening = need(host.listening, f"{host.name}: listening sockets")
    yield from (f"rsync listens on {it.address}" for it in listening if it.port == RSYNC and it.address in EVERYWHERE)


def _module_problems(cloud: Cloud, modules: Modules, host: HostFacts) -> Iterator[str]:
    if modules.unit:
        problem = unit_problem(modules.unit) or "runs and listens elsewhere"
        yield f"nobody answers as rsync at {modules.address}: {modules.unit.name}: {problem}"
        return
    for role in storage_roles(cloud, host.name):
        kind = KINDS[role]
        named = PasteConfig(host.of(role), role).get(f"{kind}-replicator", "rsync_module", kind).rpartition("::")[2]
        start, brace, _ = named.partition("{")
        if not any(it.startswith(start) if brace else it == named for it in modules.names):
            yield f"rsync at {modules.address} has no module {named}"
