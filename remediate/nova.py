"""Area nova: nova-compute's options and libvirt's secrets."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.integration import config_of, find_secret, secret_user, secret_uuid
from fixtures.targets import SecretUse, libvirt_of
from remediate.model import NeedsOperator, Option, Secret, Unit
from remediate.options import refuse_container, set_option
from remediate.registry import repairs
from remediate.services import run_unit


@repairs("nova.compute.up", disruption="safe")
def run_the_compute_service(hypervisor: str, facts: Facts) -> Iterator[Unit]:
    """Enable and start it; guests run on."""
    yield from run_unit(facts, hypervisor, "nova-compute")


def _libvirt(facts: Facts, host: str, key: str, value: str | None) -> Option:
    return set_option(facts, host, "nova-compute", "libvirt", key, value)


def _refuse_with_guests(host: str, facts: Facts, key: str, value: str) -> None:
    """Disks are not converted: a guest whose disk is elsewhere would not start again."""
    disks = libvirt_of(facts.host(host)).disks
    if disks is None or not isinstance(disks, tuple) or disks:
        raise NeedsOperator(
            f"{host} has guests, whose disks would not be found any more; migrate them off first",
            "[libvirt]",
            f"{key} = {value}",
        )


@repairs("nova.config.images_type", disruption="safe")
def put_ephemeral_disks_on_rbd(hypervisor: str, facts: Facts) -> Iterator[Option]:
    """Name RBD, on a hypervisor without guests."""
    _refuse_with_guests(hypervisor, facts, "images_type", "rbd")
    yield _libvirt(facts, hypervisor, "images_type", "rbd")


@repairs("nova.config.images_rbd", disruption="safe")
def put_ephemeral_disks_into_the_vms_pool(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name pool and conf; the pool on a hypervisor without guests only."""
    config = config_of(facts.host(hypervisor), "nova-compute")
    pool = str(cloud.ceph.pools.vms)
    if config.get("libvirt", "images_rbd_pool", "rbd") != pool:
        _refuse_with_guests(hypervisor, facts, "images_rbd_pool", pool)
        yield _libvirt(facts, hypervisor, "images_rbd_pool", pool)
    if config.get("libvirt", "images_rbd_ceph_conf") != cloud.ceph.conf:
        yield _libvirt(facts, hypervisor, "images_rbd_ceph_conf", cloud.ceph.conf)


@repairs("nova.config.disk_cachemodes", disruption="safe")
def cache_network_disks_as_writeback(hypervisor: str, facts: Facts) -> Iterator[Option]:
    """Set the mode for new guests; one that runs keeps its own until it is rebooted hard."""
    listed = config_of(facts.host(hypervisor), "nova-compute").items("libvirt", "disk_cachemodes")
    if "network=writeback" in listed:
        raise NeedsOperator("the option is right; guests keep the mode that they were started with: reboot them hard")
    others = [mode for mode in listed if mode.startswith(("file=", "block=", "mount="))]
    yield _libvirt(facts, hypervisor, "disk_cachemodes", ",".join((*others, "network=writeback")))


@repairs("nova.config.injection", disruption="safe")
def inject_nothing(hypervisor: str, facts: Facts) -> Iterator[Option]:
    """Take the options out whose default is off."""
    config = config_of(facts.host(hypervisor), "nova-compute")
    if config.boolean("libvirt", "inject_password", False):
        yield _libvirt(facts, hypervisor, "inject_password", "False")
    if config.boolean("libvirt", "inject_key", False):
        yield _libvirt(facts, hypervisor, "inject_key", "False")
    if config.integer("libvirt", "inject_partition", -2) != -2:
        yield _libvirt(facts, hypervisor, "inject_partition", "-2")


@repairs("nova.config.force_raw", disruption="safe")
def force_raw_images(hypervisor: str, facts: Facts) -> Iterator[Option]:
    """Take the option out: its default is on."""
    yield set_option(facts, hypervisor, "nova-compute", "DEFAULT", "force_raw_images", None)


@repairs("nova.config.rbd_user_secret", disruption="safe")
def log_in_as_novas_user(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Secret]:
    """Name Nova's user, and give the secret that nova.conf names that user's key."""
    config = config_of(facts.host(hypervisor), "nova-compute")
    if config.get("libvirt", "rbd_user") != cloud.ceph.users.nova:
        yield _libvirt(facts, hypervisor, "rbd_user", cloud.ceph.users.nova)
    if not config.get("libvirt", "rbd_secret_uuid"):
        yield _libvirt(facts, hypervisor, "rbd_secret_uuid", _usual_secret(cloud, facts, hypervisor))
    else:
        yield from give_the_secret_its_key(SecretUse(hypervisor, "vms"), cloud, facts)


def _usual_secret(cloud: Cloud, facts: Facts, host: str) -> str:
    """The secret of the other hypervisors; where a user is shared, Cinder's."""
    others = (config_of(facts.host(name), "nova-compute") for name in cloud.hosts_with("nova-compute") if name != host)
    named = {uuid for config in others if (uuid := config.get("libvirt", "rbd_secret_uuid"))}
    if not named and cloud.ceph.users.nova == cloud.ceph.users.cinder:
        named = {secret_uuid(facts, cloud, facts.host(host), "volumes")}
    if len(named) != 1:
        raise NeedsOperator(f"no single secret is in use elsewhere: {', '.join(sorted(named)) or 'none'}")
    return named.pop()


@repairs("nova.secret.exists", "nova.secret.value", disruption="safe")
def give_the_secret_its_key(secret_use: SecretUse, cloud: Cloud, facts: Facts) -> Iterator[Secret]:
    """Define the secret where it is missing, and set its value; running guests keep the key that they have."""
    host = facts.host(secret_use.host)
    refuse_container(facts, secret_use.host, "libvirt", "virsh secret-set-value --file, inside of it")
    uuid = secret_uuid(facts, cloud, host, secret_use.use)
    user = secret_user(cloud, secret_use.use)
    secret = find_secret(host, uuid)
    if secret is not None and (secret.usage_type != "ceph" or secret.ephemeral):
        raise NeedsOperator(f"secret {uuid} is of another kind, and libvirt does not change that: undefine it first")
    usage = secret.usage_name if secret else f"client.{user} secret {secret_use.use}"
    if any(other.usage_name == usage and other.uuid != uuid for other in libvirt_of(host).secrets):
        raise NeedsOperator(f"the usage name {usage!r} is another secret's")
    injects = config_of(host, "nova-compute").integer("libvirt", "inject_partition", -2) != -2
    yield Secret(host=secret_use.host, uuid=uuid, usage=usage, private=not injects, key_of=f"client.{user}")
