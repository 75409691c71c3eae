"""Area iscsi: libvirt hosts that have the target's LUNs as a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.iscsi import Kernel, StoragePool, Volume
from fixtures.facts.run import Facts
from fixtures.integration import backend_option, config_of
from fixtures.iscsi import (
    BY_QEMU,
    BY_THE_KERNEL,
    IN_USE,
    WITH_CHAP,
    addresses_of_gateways,
    existing_pool,
    foreign_sessions,
    initiator_of,
    live_target,
    passwords,
    pool_of,
    secret_of,
    section,
    wanted,
)
from fixtures.units import unit_problem
from fixtures.versions import version

FIRST_WITH_DIRECT: Final = "4.7.0"
STABLE: Final = ("/dev/disk/by-path", "/dev/disk/by-id")
LIO: Final[Mapping[str, str]] = {
    "hardware_handler": "1 alua",
    "path_grouping_policy": "failover",
    "path_selector": "queue-length 0",
    "failback": "60",
    "path_checker": "tur",
    "prio": "alua",
    "prio_args": "exclusive_pref_bit",
    "fast_io_fail_tmo": "25",
    "no_path_retry": "queue",
}
"""What Ceph's documentation has multipath do with devices of its gateways."""
FEWEST_PATHS: Final = 2
ISCSI_DRIVER: Final = "cinder.volume.drivers.ceph.rbd_iscsi.RBDISCSIDriver"
API_OPTIONS: Final = (
    "rbd_iscsi_api_user",
    "rbd_iscsi_api_password",
    "rbd_iscsi_api_url",
    "rbd_iscsi_target_iqn",
)
BLOCKS: Final = (512, 4096)
"""What libvirt's pools of type iscsi-direct lack: they take the number of the last block for that of all blocks."""
FIRST_CLIENT: Final = "0.1.8"


def _kernel(cloud: Cloud, host: HostFacts) -> Kernel:
    applies(not wanted(cloud, host.name).direct, "QEMU logs in itself here")
    return need(initiator_of(host).kernel, f"{host.name}: the kernel's initiator")


@pytest.mark.check("iscsi.init.setup", severity="critical", source="S3 CATL II")
@pytest.mark.applies_if(*BY_THE_KERNEL)
def test_initiator_is_known_to_the_gateways(iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The service iscsid runs under the name that the gateways let in, also at boot, and iscsid.conf is root's alone.

    Why: under another name each login is refused with error 24, and nothing tells that the name is why.
    """
    kernel = _kernel(cloud, iscsi_initiator)
    problem = unit_problem(kernel.units[0])
    assert not problem, finding(
        f"{iscsi_initiator.name}:{kernel.units[0].name}",
        found=problem,
        expected="active and enabled",
        remedy="install open-iscsi (iscsi-initiator-utils); systemctl enable --now iscsid",
    )
    _expect_own_name(iscsi_initiator, cloud, facts, need(kernel.name, f"{iscsi_initiator.name}: initiatorname.iscsi"))
    conf = need(kernel.conf, f"{iscsi_initiator.name}: iscsid.conf")
    assert conf.owner == "root" and not conf.mode & 0o077, finding(
        f"{iscsi_initiator.name}:{conf.path}",
        found=f"{conf.owner} {conf.mode:o}",
        expected="root 600: it may hold passwords",
        remedy=f"chown root {conf.path}; chmod 600 {conf.path}",
    )


def _expect_own_name(host: HostFacts, cloud: Cloud, facts: Facts, name: str) -> None:
    """The name is the cloud file's, and every gateway lets it in."""
    closed = [it for it in cloud.hosts_with("iscsi-gateway") if name not in live_target(cloud, facts, it).acl]
    assert name == wanted(cloud, host.name).iqn and not closed, finding(
        host.name,
        found=f"{name}, not let in by {', '.join(closed)}" if closed else name,
        expected=f"{wanted(cloud, host.name).iqn}, which all gateways let in",
        remedy="set the name that the gateways know (initiatorname.iscsi, or the pool's initiator), or let this one in",
    )


@pytest.mark.check("iscsi.init.multipath", severity="major", source="S3 II NC")
@pytest.mark.applies_if(*BY_THE_KERNEL)
@pytest.mark.applies_if(
    lambda cloud: cloud.iscsi is not None and cloud.iscsi.served_by == "ceph-iscsi",
    "tgt's gateways do not know which of them is to be used: no paths are joined",
)
def test_paths_are_joined_as_the_gateways_want_it(iscsi_initiator: HostFacts, cloud: Cloud) -> None:
    """The daemon multipathd treats LIO's devices as Ceph's documentation has it; each LUN has two paths, one in use.

    Nova, where it runs here, attaches by all paths.

    Why: with paths used at once or in turns, gateways take each other's lock at every write; with one path, the end
    of a gateway is the end of the guests' disks.
    """
    kernel, name = _kernel(cloud, iscsi_initiator), iscsi_initiator.name
    problem = unit_problem(kernel.units[1])
    assert not problem, finding(
        f"{name}:{kernel.units[1].name}",
        found=problem,
        expected="active and enabled",
        remedy="install multipath-tools (device-mapper-multipath); systemctl enable --now multipathd",
    )
    told = need(kernel.multipath, f"{name}: multipath.conf")
    wrong = {key: told.get(key, "unset") for key, value in LIO.items() if told.get(key) != value}
    assert not wrong, finding(
        f"{name}:/etc/multipath.conf",
        found=wrong,
        expected=dict(LIO),
        remedy='devices { device { vendor "LIO-ORG" … } }; multipathd reconfigure',
    )
    _expect_paths(iscsi_initiator, cloud, kernel)


def _expect_paths(host: HostFacts, cloud: Cloud, kernel: Kernel) -> None:
    devices = need(kernel.paths, f"{host.name}: multipath -ll")
    poor = {
        one.name: f"{one.paths} paths, {one.ready} ready, {one.active} in use"
        for one in devices
        if one.ready < FEWEST_PATHS or one.active != 1
    }
    assert devices and not poor, finding(
        host.name,
        found=poor or "no device of several paths",
        expected="two paths or more of each LUN, all ready, one of them in use",
        remedy="iscsiadm -m node -T IQN -l at each portal; multipath -ll",
    )
    if "nova-compute" in cloud.hosts[host.name].roles:
        config = config_of(host, "nova-compute")
        assert config.boolean("libvirt", "volume_use_multipath", False), finding(
            f"{host.name}:{config.where('libvirt', 'volume_use_multipath')}",
            found="volume_use_multipath is off",
            expected="on",
            remedy="set it under [libvirt] in nova.conf; restart nova-compute",
        )


@pytest.mark.check("iscsi.secret", severity="critical", source="S3 LS")
@pytest.mark.applies_if(*WITH_CHAP)
def test_secret_holds_the_password_of_the_gateways(iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Of this usage there is a libvirt secret, private and not ephemeral, with the password that gateways will know.

    Why: a pool that runs keeps its login; with a wrong value it does not come back after the next reboot.
    """
    secret, name = secret_of(cloud, iscsi_initiator), section(cloud).secret
    assert secret, finding(
        iscsi_initiator.name,
        found=[one.usage for one in need(initiator_of(iscsi_initiator).secrets, "secrets")],
        expected=f"a secret of usage iscsi, {name}",
        remedy="virsh secret-define, secret-set-value --file FILE --plain",
    )
    where = f"{iscsi_initiator.name}: secret {name}"
    assert secret.private and not secret.ephemeral, finding(
        where,
        found=f"private {secret.private}, ephemeral {secret.ephemeral}",
        expected="private, and not ephemeral",
        remedy="define it anew with private='yes' ephemeral='no'",
    )
    user = existing_pool(cloud, iscsi_initiator).user
    known = passwords(cloud, facts).get(user, set())
    applies(bool(known), f"the gateways do not tell a password of {user or 'nobody'} (see iscsi.gw.target)")
    value = None if secret.value is None else need(secret.value, where)
    assert known == {value}, finding(
        where,
        found="no value" if value is None else "another password",
        expected=f"the gateways' password of {user}",
        remedy=f"virsh secret-set-value {secret.uuid} --file FILE --plain",
    )


@pytest.mark.check("iscsi.pool.xml", severity="critical", source="S3 LSP")
@pytest.mark.applies_if(*IN_USE)
def test_pool_leads_to_the_target(iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The pool is of its type, leads to the target at a gateway's address, and logs in by the secret as a known user.

    Its volumes have paths that stay; no second pool leads to the same target.

    Why: names like /dev/sda change from boot to boot, and a guest then starts on another one's disk.
    """
    pool = existing_pool(cloud, iscsi_initiator)
    problems = list(_pool_problems(iscsi_initiator, pool, cloud, facts))
    assert not problems, finding(
        f"{iscsi_initiator.name}: pool {pool.name}",
        found=problems,
        expected=f"type {_type(cloud, iscsi_initiator)}, {section(cloud).target} at a gateway, stable paths",
        remedy=f"virsh pool-edit {pool.name}; pool-destroy and pool-start it when no guest uses it",
    )


def _type(cloud: Cloud, host: HostFacts) -> str:
    return "iscsi-direct" if wanted(cloud, host.name).direct else "iscsi"


def _pool_problems(host: HostFacts, pool: StoragePool, cloud: Cloud, facts: Facts) -> Iterator[str]:
    kind, told = _type(cloud, host), section(cloud)
    if pool.type != kind:
        yield f"is of type {pool.type}"
    if pool.target != told.target:
        yield f"leads to {pool.target or 'no target'}"
    yield from _host_problems(pool, cloud, facts)
    if told.chap:
        yield from _login_problems(pool, cloud, facts, host)
    if kind == "iscsi" and not pool.path.startswith(STABLE):
        yield f"its volumes are at {pool.path or 'no path'}"
    others = (one for one in need(initiator_of(host).pools, f"{host.name}: pools") if one.name != pool.name)
    yield from (f"{one.name} leads to the same target" for one in others if one.target == told.target)


def _host_problems(pool: StoragePool, cloud: Cloud, facts: Facts) -> Iterator[str]:
    told = pool.addresses
    if not isinstance(told, tuple):
        yield f"leads to {pool.host}, which {told.unreadable}" if told else "leads to no host"
    elif not set(told) & addresses_of_gateways(cloud, facts):
        yield f"leads to {pool.host}, which is no gateway"
    if pool.port not in (0, section(cloud).port):
        yield f"asks at port {pool.port}"


def _login_problems(pool: StoragePool, cloud: Cloud, facts: Facts, host: HostFacts) -> Iterator[str]:
    if pool.auth != "chap":
        yield "logs in without a password"
        return
    secret = secret_of(cloud, host)
    if pool.secret not in (section(cloud).secret, secret.uuid if secret else ""):
        yield f"takes the password from the secret {pool.secret}"
    if pool.user not in passwords(cloud, facts):
        yield f"logs in as {pool.user}, whom the gateways do not know"


@pytest.mark.check("iscsi.pool.state", severity="critical", source="S3")
@pytest.mark.applies_if(*IN_USE)
def test_pool_runs_and_starts_with_the_host(iscsi_initiator: HostFacts, cloud: Cloud) -> None:
    """The pool is defined, active, and marked to be started with libvirt.

    Why: libvirt tries once when it starts; a pool that could not be started then stays down until somebody looks.
    """
    name, pool = wanted(cloud, iscsi_initiator.name).pool, pool_of(cloud, iscsi_initiator)
    assert pool, finding(
        iscsi_initiator.name, found="no such pool", expected=f"the pool {name}", remedy="virsh pool-define FILE"
    )
    lacking = [word for word, there in (("running", pool.active), ("autostarted", pool.autostart)) if not there]
    assert not lacking, finding(
        f"{iscsi_initiator.name}: pool {name}",
        found=[f"not {word}" for word in lacking],
        expected="running and autostarted",
        remedy=f"virsh pool-start {name}; virsh pool-autostart {name}",
    )


@pytest.mark.check("iscsi.pool.session_conflict", severity="major", source="S3 CATL")
@pytest.mark.applies_if(*IN_USE)
def test_nobody_else_holds_the_initiators_sessions(iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """No other host is logged in under this initiator's name.

    Where the kernel logs in: one session to each portal while the pool runs, and no record that logs in at boot.

    Why: a session made by hand has the pool fail with `session already present`; two hosts under one name push each
    other out, and both write to the same disk.
    """
    problems = list(foreign_sessions(cloud, facts, iscsi_initiator))
    if not wanted(cloud, iscsi_initiator.name).direct:
        problems += _kernel_conflicts(iscsi_initiator, cloud, facts)
    assert not problems, finding(
        iscsi_initiator.name,
        found=problems,
        expected="libvirt's own sessions only",
        remedy="log the other one out; iscsiadm -m node -T IQN -u, then -o delete, and virsh pool-start",
    )


def _kernel_conflicts(host: HostFacts, cloud: Cloud, facts: Facts) -> Iterator[str]:
    kernel, target = _kernel(cloud, host), section(cloud).target
    held = [one.portal for one in need(kernel.sessions, f"{host.name}: sessions") if one.target == target]
    pool = pool_of(cloud, host)
    running = pool is not None and pool.active
    if held and not running:
        yield f"a session to {', '.join(sorted(held))}, and the pool does not run"
    portals = {it for name in cloud.hosts_with("iscsi-gateway") for it in _portals(cloud, facts, name)}
    if running and len(held) != len(portals):
        yield f"{len(held)} sessions to {len(portals)} portals"
    nodes = need(kernel.nodes, f"{host.name}: records of targets")
    own = (one for one in nodes if one.target == target and one.startup == "automatic")
    yield from (f"a record logs in to {one.portal} at boot" for one in own)


def _portals(cloud: Cloud, facts: Facts, gateway: str) -> set[str]:
    told = live_target(cloud, facts, gateway).portals
    return {it for own in told.values() for it in own} or {gateway}


@pytest.mark.check("iscsi.vol.inventory", severity="major", source="S3 LSP")
@pytest.mark.applies_if(*IN_USE)
def test_volumes_are_the_images_of_this_initiator(iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The pool has a volume for each image of this initiator, as large as the image, at a path that stays.

    No domain has a disk by a name like /dev/sda.

    Why: a LUN that is missing or of another size is another image; the guest that starts on it damages it.
    """
    volumes = need(initiator_of(iscsi_initiator).volumes, f"{iscsi_initiator.name}: volumes")
    problems = list(_volume_problems(iscsi_initiator, volumes, cloud, facts))
    assert not problems, finding(
        f"{iscsi_initiator.name}: pool {wanted(cloud, iscsi_initiator.name).pool}",
        found=problems,
        expected=f"volumes for {', '.join(wanted(cloud, iscsi_initiator.name).images)}, of their sizes",
        remedy=f"virsh pool-refresh {wanted(cloud, iscsi_initiator.name).pool}; compare with the target's LUNs",
    )


def _volume_problems(host: HostFacts, volumes: tuple[Volume, ...], cloud: Cloud, facts: Facts) -> Iterator[str]:
    mine, by_number = wanted(cloud, host.name), {one.number: one for one in volumes if one.capacity}
    if len(by_number) != len(mine.images):
        yield f"{len(by_number)} volumes for {len(mine.images)} images"
    numbers = _numbers(cloud, facts)
    for image in mine.images:
        told = need(facts.ceph.exported.get(image), image)
        volume = by_number.get(numbers.get(image, -1))
        if volume is None:
            yield f"{image} has no volume"
        elif told.size - volume.capacity not in ((0, *BLOCKS) if mine.direct else (0,)):
            yield f"{volume.name} has {volume.capacity} bytes, {image} {told.size}"
    yield from _unstable(host, volumes, direct=mine.direct)


def _numbers(cloud: Cloud, facts: Facts) -> dict[str, int]:
    """The LUN of each image; gateways are alike (iscsi.gw.config)."""
    return {
        lun.image: lun.number
        for name in cloud.hosts_with("iscsi-gateway")
        for lun in live_target(cloud, facts, name).luns
    }


def _unstable(host: HostFacts, volumes: tuple[Volume, ...], *, direct: bool) -> Iterator[str]:
    if not direct:
        yield from (f"{one.name} is at {one.path}" for one in volumes if not one.path.startswith(STABLE))
        yield from (f"{one.name} is no block device" for one in volumes if one.kind != "block")
    for one in need(initiator_of(host).sources, f"{host.name}: disks of domains"):
        if one.source.startswith(("/dev/sd", "/dev/dm-")):
            yield f"{one.domain} has {one.source}"


@pytest.mark.check("iscsi.direct", severity="minor", source="S3 LSP")
@pytest.mark.applies_if(*BY_QEMU)
def test_qemu_can_log_in_itself(iscsi_initiator: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Here libvirt (4.7.0 or later) and QEMU have their drivers for it, and the pool's initiator is let in by name.

    The target's LUNs are no block devices of this host.

    Why: where the kernel has them too, two clients of one host write to a disk, and neither knows of the other.
    """
    applies(wanted(cloud, iscsi_initiator.name).direct, "the kernel logs in here")
    here, name = initiator_of(iscsi_initiator), iscsi_initiator.name
    drivers = {
        f"libvirt {FIRST_WITH_DIRECT} or later": version(need(here.version, name)) >= version(FIRST_WITH_DIRECT),
        "libvirt's driver for pools of type iscsi-direct": "iscsi-direct" in need(here.drivers, name),
        "QEMU's driver for iSCSI": need(here.qemu_driver, name),
    }
    lacking = [what for what, there in drivers.items() if not there]
    assert not lacking, finding(
        name,
        found=f"lacks {', '.join(lacking)}",
        expected=list(drivers),
        remedy="install libvirt-daemon-driver-storage-iscsi-direct and qemu-block-extra (qemu-block-iscsi)",
    )
    _expect_own_name(iscsi_initiator, cloud, facts, existing_pool(cloud, iscsi_initiator).initiator)
    devices = need(here.block_devices, f"{name}: block devices")
    assert not devices, finding(
        name, found=devices, expected="no block device of the target", remedy="iscsiadm -m node -T IQN -u"
    )


@pytest.mark.check("iscsi.cinder_driver", severity="major", source="CRI OSSA-2023-003")
@pytest.mark.applies_if(*IN_USE)
@pytest.mark.applies_if(lambda cloud: bool(cloud.hosts_with("cinder-volume")), "no host runs cinder-volume")
def test_cinders_iscsi_driver_knows_the_gateways(volume_host: HostFacts, cloud: Cloud) -> None:
    """Where the back end is RBD over iSCSI: login and address of the gateways' API, the target, and its client 0.1.8.

    Why: volumes are made in Ceph all the same; attaching them fails for every tenant.
    """
    config = config_of(volume_host, "cinder-volume")
    driver = backend_option(config, cloud, "volume_driver")
    applies(driver == ISCSI_DRIVER, f"the back end's driver is {driver}")
    unset = [key for key in API_OPTIONS if not backend_option(config, cloud, key)]
    assert not unset, finding(
        f"{volume_host.name}: [{cloud.cinder.backend}]",
        found=f"unset: {', '.join(unset)}",
        expected=f"{', '.join(API_OPTIONS)} are set",
        remedy="set them as iscsi-gateway.cfg has them, restart cinder-volume",
    )
    target = backend_option(config, cloud, "rbd_iscsi_target_iqn")
    assert target == section(cloud).target, finding(
        f"{volume_host.name}: [{cloud.cinder.backend}] rbd_iscsi_target_iqn",
        found=target,
        expected=section(cloud).target,
        remedy="set it, restart cinder-volume",
    )
    _expect_client(volume_host)


def _expect_client(host: HostFacts) -> None:
    packages = need(host.packages, f"{host.name}: packages")
    found = next((told for name, told in sorted(packages.items()) if name.endswith("rbd-iscsi-client")), "")
    assert found and version(found) >= version(FIRST_CLIENT), finding(
        host.name,
        found=f"rbd-iscsi-client {found or 'is not installed'}",
        expected=f"{FIRST_CLIENT} or later",
        remedy="install python3-rbd-iscsi-client",
    )
