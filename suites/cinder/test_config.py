"""Area cinder.config: the RBD back end's options, as cinder-volume reads them."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import (
    RBD_DRIVER,
    backend_option,
    backend_section,
    by_hypervisor,
    cinder_secret_uuid,
    config_of,
    find_secret,
)
from fixtures.oslo import OsloConfig
from fixtures.targets import auth_of


@pytest.mark.check("cinder.config.enabled_backends", severity="critical", source="S0 S1 RO")
def test_the_rbd_back_end_is_enabled(volume_host: HostFacts, cloud: Cloud) -> None:
    """enabled_backends lists the RBD back end, each listed name has a section, and rbd options stand there.

    Why: once enabled_backends is used, options in [DEFAULT] are ignored without a word.
    """
    config = config_of(volume_host, "cinder-volume")
    listed = config.items("DEFAULT", "enabled_backends")
    where = f"{volume_host.name}:{config.where('DEFAULT', 'enabled_backends')}"
    assert cloud.cinder.backend in listed, finding(
        where, found=listed, expected=cloud.cinder.backend, remedy="add it, restart cinder-volume"
    )
    empty = [name for name in listed if not config.keys(name)]
    assert not empty, finding(
        where, found=f"no section for {', '.join(empty)}", expected="a section for each", remedy="add or unlist it"
    )
    stray = [key for key in config.keys("DEFAULT") if key.startswith("rbd_") or key == "volume_driver"]
    assert not stray, finding(
        f"{volume_host.name}: [DEFAULT]",
        found=stray,
        expected=f"these options in [{cloud.cinder.backend}]",
        remedy="move them, restart cinder-volume",
    )


@pytest.mark.check("cinder.config.volume_driver", severity="critical", source="S1 S4 S2 RO")
def test_the_back_end_uses_the_rbd_driver(volume_host: HostFacts, cloud: Cloud) -> None:
    """The back end's volume_driver is the RBD driver's class, under its present path.

    Why: paths of old releases are not found, and the service waits for ever.
    """
    _expect(volume_host, cloud, "volume_driver", RBD_DRIVER, default="cinder.volume.drivers.lvm.LVMVolumeDriver")


@pytest.mark.check("cinder.config.volume_backend_name", severity="major", source="RO")
def test_a_volume_type_leads_to_the_back_end(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """volume_backend_name is set, the cloud file's volume type carries it, and that type is the default.

    Why: without it a volume lands on whichever back end has room.
    """
    config = config_of(volume_host, "cinder-volume")
    name = backend_option(config, cloud, "volume_backend_name")
    where = f"{volume_host.name}:{config.where(*_place(config, cloud, 'volume_backend_name'))}"
    assert name, finding(
        where,
        found="unset",
        expected="a name",
        remedy=f"set [{cloud.cinder.backend}] volume_backend_name, restart cinder-volume",
    )
    types = need(facts.openstack.volume_types, "volume types")
    ours = next((kind for kind in types if kind.name == cloud.cinder.volume_type), None)
    assert ours, finding(
        "volume types",
        found=[kind.name for kind in types],
        expected=cloud.cinder.volume_type,
        remedy="openstack volume type create",
    )
    led = ours.extra_specs.get("volume_backend_name", "unset")
    assert led == name, finding(
        f"volume type {ours.name}",
        found=f"volume_backend_name={led}",
        expected=name,
        remedy=f"openstack volume type set --property volume_backend_name={name} {ours.name}",
    )
    default = [kind.name for kind in types if kind.is_default]
    assert ours.is_default or len(config.items("DEFAULT", "enabled_backends")) > 1, finding(
        "default volume type",
        found=default,
        expected=ours.name,
        remedy=f"[DEFAULT] default_volume_type = {ours.name}, restart cinder-api",
    )


@pytest.mark.check("cinder.config.rbd_pool", severity="critical", source="S0 S1 S4 CR")
def test_the_back_end_writes_to_the_volumes_pool(volume_host: HostFacts, cloud: Cloud) -> None:
    """rbd_pool is the volumes pool of the cloud file.

    Why: the driver's own default is `rbd`.
    """
    _expect(volume_host, cloud, "rbd_pool", cloud.ceph.pools.volumes, default="rbd")


@pytest.mark.check("cinder.config.rbd_user", severity="critical", source="S0 S1 S4 CR")
def test_the_back_end_logs_in_as_cinders_user(volume_host: HostFacts, cloud: Cloud) -> None:
    """rbd_user is set and is Cinder's cephx id.

    Why: unset, the driver tells Nova that authentication is off.
    """
    _expect(volume_host, cloud, "rbd_user", cloud.ceph.users.cinder, default="unset")


def _expect(host: HostFacts, cloud: Cloud, option: str, expected: str, default: str) -> None:
    config = config_of(host, "cinder-volume")
    section = backend_section(config, cloud, option)
    found = config.get(section, option, default)
    assert found == expected, finding(
        f"{host.name}:{config.where(section, option)}",
        found=f"[{section}] {option} = {found}",
        expected=expected,
        remedy=f"set [{section}] {option} = {expected}, restart cinder-volume",
    )


@pytest.mark.check("cinder.config.rbd_secret_uuid", severity="critical", source="S0 S1 S4 NN LP1809454 CREL-fsid")
def test_every_hypervisor_has_the_secret_that_cinder_names(volume_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """rbd_secret_uuid (or its default, the fsid) is a libvirt secret on each hypervisor, with the key of Cinder's user.

    Why: the volume attaches on one hypervisor and not on the next.
    """
    uuid = cinder_secret_uuid(volume_host, cloud, facts)
    key = auth_of(facts, f"client.{cloud.ceph.users.cinder}").key
    problems = {
        name: text for name, host in by_hypervisor(cloud, facts).items() if (text := _secret_problem(host, uuid, key))
    }
    config = config_of(volume_host, "cinder-volume")
    assert not problems, finding(
        f"{volume_host.name}:{config.where(*_place(config, cloud, 'rbd_secret_uuid'))}",
        found={f"secret {uuid}": problems},
        expected=f"the key of client.{cloud.ceph.users.cinder} on each hypervisor",
        remedy="define the secret there, or mend rbd_secret_uuid",
    )


def _secret_problem(host: HostFacts, uuid: str, key: str) -> str:
    secret = find_secret(host, uuid)
    if secret is None:
        return "not defined"
    if isinstance(secret.value, Unreadable):
        need(secret.value, f"{host.name}: secret {uuid}")
    return "" if secret.value == key else "without a value" if secret.value is None else "another key"


@pytest.mark.check("cinder.config.clone_policy", severity="minor", source="S0 S1 CR LP1916843")
def test_clones_stay_clones(volume_host: HostFacts, cloud: Cloud) -> None:
    """Volumes from snapshots are not flattened, and clone depth and concurrent flattening are above zero.

    Why: a depth of 0, or flattening at once, turns every copy-on-write volume into a full copy.
    """
    config = config_of(volume_host, "cinder-volume")
    flatten = config.boolean(*_place(config, cloud, "rbd_flatten_volume_from_snapshot"), False)
    depth = config.integer(*_place(config, cloud, "rbd_max_clone_depth"), 5)
    concurrent = config.integer(*_place(config, cloud, "rbd_concurrent_flatten_operations"), 3)
    found = f"flatten {flatten}, clone depth {depth}, concurrent flattening {concurrent}"
    assert not flatten and depth >= 1 and concurrent >= 1, finding(
        f"{volume_host.name}: [{cloud.cinder.backend}]",
        found=found,
        expected="False, at least 1 (default 5), at least 1 (default 3)",
        remedy="set them, restart cinder-volume",
    )


def _place(config: OsloConfig, cloud: Cloud, option: str) -> tuple[str, str]:
    return backend_section(config, cloud, option), option
