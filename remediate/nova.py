"""Area nova: nova-compute, libvirt's secrets and limits, guests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NoReturn

from fixtures.base_images import instances_of, needless_base_images
from fixtures.cloud import Cloud, Role
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import Disk
from fixtures.facts.run import Facts
from fixtures.integration import config_of, find_secret, secret_user
from fixtures.inventory import content_of
from fixtures.oslo import OsloConfig
from fixtures.room import disks_of_hypervisors, fitting_ratio
from fixtures.sizes import GIB
from fixtures.targets import SecretUse, libvirt_of, service_of
from remediate.cinder import name_the_secret
from remediate.libvirt import libvirt_options
from remediate.model import Attributes, BaseImages, NeedsOperator, Option, PolicyInYaml, Restart, Secret, Unit
from remediate.options import Configuration, refuse_container
from remediate.readiness import guests_of
from remediate.registry import manual, repairs
from remediate.secrets import USES, hold, holds, wanted_uuid
from remediate.services import refuse_disabled, revive, rows_on

MOVED = frozenset(
    {
        *("block_migration_flag", "disk_cachemodes", "hw_disk_discard", "images_rbd_ceph_conf", "images_rbd_pool"),
        *("images_type", "inject_key", "inject_partition", "inject_password", "rbd_secret_uuid", "rbd_user"),
        *("live_migration_bandwidth", "live_migration_flag", "live_migration_uri"),
    }
)
LEAST = {"max_files": 32768, "max_processes": 131072, "max_workers": 50, "max_client_requests": 20}
"""Enough on any cluster."""
IN_JSON = "Policy File JSON to YAML Migration"
"""What nova-status calls it."""


def _files(hypervisor: str, cloud: Cloud, facts: Facts, role: Role = "nova-compute") -> Configuration:
    return Configuration(cloud, facts, hypervisor, role)


@repairs("nova.compute.up", disruption="safe")
def run_the_compute_service(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Unit | Restart]:
    """Enable and start it, start it anew where it does not report; guests run on."""
    if isinstance(facts.host(hypervisor).libvirt, Unreadable):
        raise NeedsOperator(
            f"{hypervisor}: libvirt does not answer, and which of its daemons should is not seen",
            *("systemctl status libvirtd virtqemud", "systemctl start libvirtd", "systemctl start virtqemud.socket"),
        )
    rows = [row for row in need(facts.openstack.compute_services, "compute services") if row.binary == "nova-compute"]
    steps = list(revive(cloud, facts, hypervisor, "nova-compute", rows))
    yield from steps
    if not steps:
        refuse_disabled(rows_on(facts, hypervisor, rows))


# Disks


def _refuse_with_guests(hypervisor: str, cloud: Cloud, facts: Facts, key: str, value: str) -> None:
    """Disks are not converted: a guest whose disk is not where the option leads to would not start again."""
    host = facts.host(hypervisor)
    servers = guests_of(host, need(facts.openstack.servers, "servers"))
    stored = content_of(facts, cloud.ceph.pools.vms).names if servers else ()
    elsewhere = [it for it in servers if f"{it.id}_disk" not in stored]
    disks = need(libvirt_of(host).disks, f"{hypervisor}: disks of running guests")
    if elsewhere or any(disk.protocol != "rbd" and disk.device == "disk" for disk in disks):
        raise NeedsOperator(
            f"{hypervisor} has guests whose disks are elsewhere and would be found no more; migrate them off first",
            *(f"openstack server migrate --wait {server.id}" for server in elsewhere),
            *("[libvirt]", f"{key} = {value}"),
        )


@repairs("nova.config.images_type", disruption="safe")
def put_ephemeral_disks_on_rbd(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name RBD, on a hypervisor without guests, with all that it then needs."""
    _refuse_with_guests(hypervisor, cloud, facts, "images_type", "rbd")
    files = _files(hypervisor, cloud, facts)
    yield from files.set("libvirt", "images_type", "rbd")
    yield from files.ensure("libvirt", _disks(cloud))


def _disks(cloud: Cloud) -> dict[str, str]:
    return {"images_rbd_pool": str(cloud.ceph.pools.vms), "images_rbd_ceph_conf": cloud.ceph.conf}


@repairs("nova.config.images_rbd", disruption="safe")
def put_ephemeral_disks_into_the_vms_pool(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name pool and conf; the pool on a hypervisor without guests only."""
    files = _files(hypervisor, cloud, facts)
    pool = str(cloud.ceph.pools.vms)
    if files.now.get("libvirt", "images_rbd_pool", "rbd") != pool:
        _refuse_with_guests(hypervisor, cloud, facts, "images_rbd_pool", pool)
    yield from files.ensure("libvirt", _disks(cloud))


@repairs("nova.config.disk_cachemodes", disruption="safe")
def cache_network_disks_as_writeback(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set the mode for new guests; one that runs keeps its own until it is rebooted hard."""
    files = _files(hypervisor, cloud, facts)
    listed = files.now.items("libvirt", "disk_cachemodes")
    if "network=writeback" in listed:
        disks = _rbd_disks(hypervisor, facts)
        _leave_guests([it for it in disks if it.cache != ("none" if it.shareable else "writeback")])
    others = [mode for mode in listed if mode.startswith(("file=", "block=", "mount="))]
    yield from files.set("libvirt", "disk_cachemodes", ",".join((*others, "network=writeback")))


def _rbd_disks(hypervisor: str, facts: Facts) -> list[Disk]:
    disks = need(libvirt_of(facts.host(hypervisor)).disks, f"{hypervisor}: disks of running guests")
    return [disk for disk in disks if disk.protocol == "rbd"]


def _leave_guests(disks: list[Disk]) -> NoReturn:
    """A disk keeps what it was opened with; only its guest's owner knows when that may be restarted."""
    raise NeedsOperator(
        "the option is right; guests keep what they were started with until they are rebooted hard",
        *dict.fromkeys(f"openstack server reboot --hard {disk.uuid}" for disk in disks),
    )


@repairs("nova.config.discard", disruption="safe")
def let_guests_give_space_back(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set the option for new guests."""
    files = _files(hypervisor, cloud, facts)
    if files.now.get("libvirt", "hw_disk_discard") == "unmap":
        _leave_guests([it for it in _rbd_disks(hypervisor, facts) if it.device == "disk" and it.discard != "unmap"])
    yield from files.set("libvirt", "hw_disk_discard", "unmap")


@repairs("nova.config.injection", disruption="safe")
def inject_nothing(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Switch off what is on."""
    files = _files(hypervisor, cloud, facts)
    for key in ("inject_password", "inject_key"):
        if files.now.boolean("libvirt", key, False):
            yield from files.set("libvirt", key, "False")
    if files.now.integer("libvirt", "inject_partition", -2) != -2:
        yield from files.set("libvirt", "inject_partition", "-2")


@repairs("nova.config.force_raw", disruption="safe")
def force_raw_images(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take the option out: its default is on."""
    yield from _files(hypervisor, cloud, facts).unset("DEFAULT", "force_raw_images", "True")


@repairs("nova.config.section", disruption="safe")
def take_out_what_stands_in_the_old_section(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take it out of [DEFAULT], where nobody reads it; what [libvirt] must have its own checks see to."""
    files = _files(hypervisor, cloud, facts)
    for key in files.now.keys("DEFAULT"):
        if key in MOVED or key.startswith("libvirt_"):
            yield from files.unset("DEFAULT", key)


# Options of some releases and some clouds


@repairs("nova.config.never_download", disruption="safe")
def refuse_to_download_what_could_be_cloned(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Switch it on, where every image is raw: others would not boot any more."""
    active = [image for image in need(facts.openstack.images, "images") if image.status == "active"]
    other = [image for image in active if image.disk_format not in ("raw", "iso") or not _is_in_rbd(image.direct_url)]
    lines = ("[workarounds]", "never_download_image_if_on_rbd = True")
    if other:
        raise NeedsOperator(f"{len(other)} images are not raw and in RBD, and would not boot any more", *lines)
    yield from _files(hypervisor, cloud, facts).set("workarounds", "never_download_image_if_on_rbd", "True")


def _is_in_rbd(url: str) -> bool:
    return not url or url.startswith("rbd://")


@repairs("nova.config.rbd_timeouts", disruption="safe")
def wait_as_long_as_the_defaults_say(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take timeouts and retries out."""
    files = _files(hypervisor, cloud, facts)
    if not 1 <= files.now.integer("libvirt", "rbd_connect_timeout", 5) <= 60:
        yield from files.unset("libvirt", "rbd_connect_timeout", "5")
    retries = files.now.integer("libvirt", "rbd_destroy_volume_retries", 12)
    if retries * files.now.integer("libvirt", "rbd_destroy_volume_retry_interval", 5) <= 30:
        yield from files.unset("libvirt", "rbd_destroy_volume_retries", "12")
        yield from files.unset("libvirt", "rbd_destroy_volume_retry_interval", "5")


@repairs(
    "nova.placement.disk_gb",
    disruption="safe",
    otherwise="nova.conf has that ratio already: nova-compute tells Placement of it in the minute after its next start",
    lags=True,
)
def give_away_what_the_pool_holds(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set one ratio for all hypervisors, as policy.vms_overcommit has it, where servers have no more by now."""
    disks, raw = disks_of_hypervisors(facts, cloud), need(facts.ceph.raw_bytes, "ceph df") // GIB
    told = [disk for disk in disks.values() if disk and abs(disk.total - raw) <= 1]
    if len(told) < len(disks):
        raise NeedsOperator("where a hypervisor's disk is not Ceph's, its images_type or nova-compute's log says why")
    ratio = fitting_ratio(told, facts, cloud)
    if any(disk.allocated > (disk.total - disk.reserved) * ratio for disk in told):
        raise NeedsOperator(
            "servers have been given more than that already: add OSDs, or decide by how much the pool is overcommitted "
            "(policy.vms_overcommit)",
            "[DEFAULT]",
            f"disk_allocation_ratio = {ratio:.2f}",
        )
    for name in disks:
        yield from _files(name, cloud, facts).ensure("DEFAULT", {"disk_allocation_ratio": f"{ratio:.2f}"})


@repairs("nova.config.instance_dir_cleanup", disruption="safe")
def remove_folders_with_their_instances(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Switch it on."""
    yield from _files(hypervisor, cloud, facts).set("workarounds", "ensure_libvirt_rbd_instance_dir_cleanup", "True")


@repairs("nova.config.rbd_download", disruption="safe")
def fetch_images_as_the_disks_want(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Off with disks on RBD; elsewhere with pool, user and conf."""
    files = _files(hypervisor, cloud, facts)
    if files.now.get("libvirt", "images_type", "default") == "rbd":
        yield from files.unset("glance", "enable_rbd_download", "False")
        return
    user = cloud.ceph.users.nova or cloud.ceph.users.cinder
    wanted = {"rbd_pool": cloud.ceph.pools.images, "rbd_ceph_conf": cloud.ceph.conf}
    named = files.now.get("glance", "rbd_user")
    yield from files.ensure("glance", {**wanted, "rbd_user": named or user})


@repairs("nova.config.service_user", disruption="safe")
def send_a_token_of_its_own(nova_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Switch it on; where [service_user] has no login, that of [keystone_authtoken] serves."""
    roles: tuple[Role, ...] = ("nova-control", "nova-compute")
    for role in roles:
        if role in cloud.hosts[nova_host].roles:
            yield from _send_from(_files(nova_host, cloud, facts, role))


def _send_from(files: Configuration) -> Iterator[Option]:
    section = files.now.get("service_user", "auth_section", "service_user")
    if not _has_login(files.now, section):
        if not _has_login(files.now, "keystone_authtoken"):
            raise NeedsOperator(
                f"{files.host}: no login of {files.role} that [service_user] could share; a password is needed",
                *("[service_user]", "send_service_user_token = True", "auth_type = password", "auth_url = …", "…"),
            )
        yield from files.set("service_user", "auth_section", "keystone_authtoken")
    if not files.now.boolean("service_user", "send_service_user_token", False):
        yield from files.set("service_user", "send_service_user_token", "True")


def _has_login(config: OsloConfig, section: str) -> bool:
    named = any(config.get(section, key) for key in ("username", "user_id", "application_credential_id"))
    return named and all(config.get(section, key) for key in ("auth_type", "auth_url"))


# Secrets


@repairs("nova.config.rbd_user_secret", disruption="safe")
def log_in_as_novas_user(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Secret]:
    """Name Nova's user and its secret, and let the hypervisor have that."""
    yield from _files(hypervisor, cloud, facts).ensure("libvirt", {"rbd_user": str(cloud.ceph.users.nova)})
    yield from give_the_secret_its_key(SecretUse(hypervisor, "vms"), cloud, facts)


@repairs("nova.secret.exists", "nova.secret.value", disruption="safe")
def give_the_secret_its_key(secret_use: SecretUse, cloud: Cloud, facts: Facts) -> Iterator[Option | Secret]:
    """Name the secret where another is named, define it where it is missing, and set its value."""
    uuid = wanted_uuid(cloud, facts, secret_use.use)
    if secret_use.use == "volumes":
        for host in cloud.hosts_with("cinder-volume"):
            yield from name_the_secret(host, cloud, facts)
    else:
        files = _files(secret_use.host, cloud, facts)
        if files.now.get("libvirt", "rbd_secret_uuid", "").lower() != uuid:
            yield from files.set("libvirt", "rbd_secret_uuid", uuid)
    yield from hold(facts, secret_use.host, uuid, secret_user(cloud, secret_use.use))


@repairs("nova.secret.uniform", disruption="safe")
def give_all_hypervisors_the_same_secrets(cloud: Cloud, facts: Facts) -> Iterator[Secret]:
    """Let each have those that are in use; one that nobody refers to is a person's to remove."""
    wanted = {wanted_uuid(cloud, facts, use): secret_user(cloud, use) for use in USES if _is_used(use, cloud)}
    hosts = cloud.hosts_with("nova-compute")
    lacking = [(it, uuid, user) for it in hosts for uuid, user in wanted.items() if not holds(facts, it, uuid, user)]
    for host, uuid, user in lacking:
        yield from hold(facts, host, uuid, user)
    if not lacking:
        raise NeedsOperator(
            "secrets that this cloud's configuration does not name may be another cluster's, or of guests that run",
            *(f"{name}: virsh secret-undefine {uuid}" for name in hosts for uuid in _strays(facts, name, wanted)),
        )


def _is_used(use: str, cloud: Cloud) -> bool:
    return use == "volumes" or cloud.ceph.pools.vms is not None


def _strays(facts: Facts, host: str, wanted: dict[str, str]) -> list[str]:
    secrets = libvirt_of(facts.host(host)).secrets
    return [it.uuid for it in secrets if it.usage_type == "ceph" and it.uuid.lower() not in wanted]


@repairs("nova.secret.persistent", disruption="safe")
def keep_the_secret_on_disk(secret_use: SecretUse, cloud: Cloud, facts: Facts) -> Iterator[Secret | Attributes]:
    """Define it anew as one that stays, and close its files."""
    uuid = wanted_uuid(cloud, facts, secret_use.use)
    secret = find_secret(facts.host(secret_use.host), uuid)
    for file in (secret.definition, secret.value_file) if secret else ():
        if file.exists and (file.owner, file.mode) != ("root", 0o600):
            yield Attributes(host=secret_use.host, path=file.path, owner="root", mode=0o600)
    yield from hold(facts, secret_use.host, uuid, secret_user(cloud, secret_use.use))


@repairs("nova.secret.private", disruption="safe")
def tell_the_secret_to_nobody(secret_use: SecretUse, cloud: Cloud, facts: Facts) -> Iterator[Secret]:
    """Define it anew as private, where nothing is injected."""
    uuid = wanted_uuid(cloud, facts, secret_use.use)
    config = config_of(facts.host(secret_use.host), "nova-compute")
    if config.integer("libvirt", "inject_partition", -2) != -2:
        raise NeedsOperator("the secret is right; injection is what should be off: nova.config.injection sees to it")
    yield from hold(facts, secret_use.host, uuid, secret_user(cloud, secret_use.use), close=True)


# libvirt and guests


@repairs("nova.qemu.limits", disruption="safe")
def grant_guests_enough(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Restart]:
    """Raise limits and workers; guests that run keep theirs until they are stopped and started."""
    libvirt = libvirt_of(facts.host(hypervisor))
    daemon = need(libvirt.daemon, f"{hypervisor}: libvirt's daemon")
    conf = need(libvirt.qemu_conf, f"{hypervisor}: qemu.conf")
    inherited = {"max_files": daemon.max_files, "max_processes": daemon.max_processes}
    granted = {key: int(conf.get(key, 0)) or limit for key, limit in inherited.items()}
    workers = {"max_workers": 20, "max_client_requests": 5}
    working = {key: int(daemon.settings.get(key, default)) for key, default in workers.items()}
    few = [("qemu.conf", key) for key, limit in granted.items() if limit is not None and limit < LEAST[key]]
    few += [(f"{daemon.name}.conf", key) for key, number in working.items() if number < LEAST[key]]
    if not few:
        _leave_full_guests(hypervisor, facts)
    yield from libvirt_options(facts, hypervisor, {(name, key): str(LEAST[key]) for name, key in few})


def _leave_full_guests(hypervisor: str, facts: Facts) -> NoReturn:
    emulators = need(libvirt_of(facts.host(hypervisor)).emulators, f"{hypervisor}: processes of running guests")
    near = [it.guest for it in emulators if it.max_files is not None and it.open_files > 0.7 * it.max_files]
    raise NeedsOperator(
        "the limits are right; guests keep those that they were started with until they are stopped and started",
        *(f"# domain {guest}: openstack server stop, then start" for guest in near),
    )


@repairs("nova.image_cache.growth", disruption="destructive")
def remove_base_images_that_are_not_needed(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[BaseImages]:
    """Remove copies of what can be cloned, where no guest has a local disk that may be based on one, nor one open."""
    found = instances_of(facts.host(hypervisor))
    refuse_container(facts, hypervisor, "nova-compute", f"fuser -v {found.path}/_base/*  # remove what nobody has open")
    yield BaseImages(host=hypervisor, path=found.path, names=tuple(sorted(needless_base_images(found, cloud, facts))))


manual(
    "a guest keeps the disks that it was started with: reboot it hard or migrate it, when its owner agrees "
    "(openstack server reboot --hard)",
    "nova.domain.rbd_xml",
)


@repairs(
    "nova.status",
    disruption="safe",
    otherwise="each point of `nova-status upgrade check` says what it wants; then run it again",
)
def keep_policies_in_yaml(control_host: str, cloud: Cloud, facts: Facts) -> Iterator[PolicyInYaml | Option]:
    """Write the rules of a JSON file in YAML and name that: each means what it meant. The rest is a person's."""
    host = facts.host(control_host)
    told = need(host.upgrades.get("nova-control"), f"{control_host}: nova-status upgrade check")
    if not any(check.name == IN_JSON and check.result != "Success" for check in told):
        return
    files = _files(control_host, cloud, facts, "nova-control")
    named = files.now.get("oslo_policy", "policy_file", "")
    folder = PurePosixPath(service_of(host, "nova-control").config_files[0]).parent
    source = folder / (named if named.endswith(".json") else "policy.json")
    new = str(source.with_suffix(".yaml"))
    lines = ("oslopolicy-convert-json-to-yaml --namespace nova …", "[oslo_policy]", f"policy_file = {new}")
    refuse_container(facts, control_host, "nova-control", *lines)
    yield PolicyInYaml(host=control_host, path=new, source=str(source), restarts=("nova-control",))
    yield from files.ensure("oslo_policy", {"policy_file": new})
