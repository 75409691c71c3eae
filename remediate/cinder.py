"""Area cinder: services, the RBD back end's section, its volume type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NoReturn

from fixtures import inventory, releases
from fixtures.cloud import Cloud, Role
from fixtures.facts.base import need
from fixtures.facts.host import Folder
from fixtures.facts.openstack import ServiceState
from fixtures.facts.run import Facts
from fixtures.integration import (
    RBD_DRIVER,
    backend_option,
    backend_section,
    config_of,
    pools_in_use,
    sharing_volumes_pool,
)
from fixtures.keystone import TOKENS
from fixtures.oslo import OsloConfig
from fixtures.roles import role_on
from fixtures.sizes import is_power_of_two
from fixtures.targets import service_of
from remediate.model import (
    Attributes,
    CinderRow,
    CinderSchema,
    NeedsOperator,
    Option,
    Restart,
    Secret,
    Unit,
    VolumeType,
)
from remediate.options import Configuration, refuse_container
from remediate.registry import manual, repairs
from remediate.schemas import refuse_upgrade
from remediate.secrets import hold, holds, wanted_uuid
from remediate.services import refuse_disabled, restart_unit, revive, run_unit

ROLES: tuple[Role, ...] = ("cinder-api", "cinder-scheduler", "cinder-volume")
Defaults = Mapping[str, tuple[bool, str]]
"""Per option whether it is wrong, and its default."""


def _files(volume_host: str, cloud: Cloud, facts: Facts) -> Configuration:
    return Configuration(cloud, facts, volume_host, "cinder-volume")


def _own(files: Configuration, key: str, value: str) -> Iterator[Option]:
    """Set an option of the back end in its own section: others read [backend_defaults] too."""
    yield from files.set(files.cloud.cinder.backend, key, value)


def _as_by_default(files: Configuration, options: Defaults) -> Iterator[Option]:
    """Let defaults hold where options of the back end are wrong."""
    for key, (wrong, default) in options.items():
        if wrong and ("backend_defaults", key) in files.now:
            yield from _own(files, key, default)
        elif wrong:
            yield from files.unset(files.cloud.cinder.backend, key, default)


# Services


@repairs("cinder.service.up", disruption="safe")
def run_the_volume_services(cloud: Cloud, facts: Facts) -> Iterator[Unit | Restart | CinderRow]:
    """Enable and start units; then start anew those that do not report; then remove rows that nobody reports to."""
    places = [(host, role) for role in ROLES for host in cloud.hosts_with(role)]
    stopped = [step for place in places for step in run_unit(cloud, facts, *place)]
    yield from stopped
    if stopped:  # without them nobody may tell of the others
        return
    rows = need(facts.openstack.volume_services, "volume services")
    steps: list[Unit | Restart] = []
    for host, role in places:
        ours = [row for row in rows if row.binary == role and not _is_left_over(row, cloud, facts)]
        steps += revive(cloud, facts, host, role, ours)
    yield from steps
    if steps:
        return
    dead = [row for row in rows if _is_left_over(row, cloud, facts)]
    refuse_disabled(rows)
    _refuse_used(dead, facts)
    yield from _without_rows(dead, cloud, facts)


def _refuse_used(dead: Iterable[ServiceState], facts: Facts) -> None:
    """Keep a row that volumes are bound to: they are told of a service by it, and bound to another one first."""
    volumes = need(facts.openstack.volumes, "volumes")
    used = sorted({row.host for row in dead if any(it.host.partition("#")[0] == row.host for it in volumes)})
    if used:
        raise NeedsOperator(
            f"volumes are bound to {', '.join(used)}, which is no more: bind them to another back end, or delete them",
            *(
                f"cinder-manage volume update_host --currenthost {name}#POOL --newhost HOST@BACKEND#POOL"
                for name in used
            ),
            *(f"cinder-manage service remove cinder-volume {name}" for name in used),
        )


def _without_rows(dead: Iterable[ServiceState], cloud: Cloud, facts: Facts) -> Iterator[CinderRow]:
    host = cloud.hosts_with("cinder-volume")[0]
    for row in dead:
        refuse_container(facts, host, "cinder-volume", f"cinder-manage service remove {row.binary} {row.host}")
        account = role_on(cloud, host, "cinder-volume").account
        yield CinderRow(host=host, account=account, binary=row.binary, row=row.host)


def _is_left_over(row: ServiceState, cloud: Cloud, facts: Facts) -> bool:
    """Whether a cinder-volume that is down is of a back end that no configuration names."""
    if row.binary != "cinder-volume" or row.state == "up":
        return False
    configs = [config_of(facts.host(name), "cinder-volume") for name in cloud.hosts_with("cinder-volume")]
    named = {backend for config in configs for backend in config.items("DEFAULT", "enabled_backends")}
    return row.host.partition("@")[2] not in named


@repairs("cinder.backend.state", disruption="safe")
def let_the_back_end_connect_again(cloud: Cloud, facts: Facts) -> Iterator[Unit | Restart]:
    """Start cinder-volume, or start it anew: its driver connects to Ceph then, and gives up after a while."""
    rows = need(facts.openstack.volume_services, "volume services")
    refuse_disabled(row for row in rows if row.host.endswith(f"@{cloud.cinder.backend}"))
    for host in cloud.hosts_with("cinder-volume"):
        down = list(run_unit(cloud, facts, host, "cinder-volume"))
        yield from down or restart_unit(cloud, facts, host, "cinder-volume")


# The back end's section


@repairs("cinder.config.enabled_backends", disruption="safe")
def enable_the_back_end(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the back end, unlist those without a section, take out what [DEFAULT] has of it and nobody reads."""
    files = _files(volume_host, cloud, facts)
    listed = files.now.items("DEFAULT", "enabled_backends")
    stray = [key for key in files.now.keys("DEFAULT") if key.startswith("rbd_") or key == "volume_driver"]
    if not listed:
        _refuse_volumes(facts, cloud, "", "would lose their service")
    empty = [name for name in listed if name != cloud.cinder.backend and not files.now.keys(name)]
    for name in empty:
        _refuse_volumes(facts, cloud, name, f"are on {name}")
    wanted = [name for name in listed if name not in empty]
    wanted += [] if cloud.cinder.backend in wanted else [cloud.cinder.backend]
    if list(listed) != wanted:
        yield from files.set("DEFAULT", "enabled_backends", ",".join(wanted))
    if not files.now.keys(cloud.cinder.backend):
        yield from files.ensure(cloud.cinder.backend, _section(cloud, facts))
    for key in stray:
        yield from files.unset("DEFAULT", key)


def _refuse_volumes(facts: Facts, cloud: Cloud, backend: str, what: str) -> None:
    """Keep a back end that has volumes; "" is the one of the time before enabled_backends."""
    bound = sorted({it.host for it in need(facts.openstack.volumes, "volumes") if it.host and it.backend == backend})
    if bound:
        raise NeedsOperator(
            f"volumes of {', '.join(bound)} {what}: bind them to the new back end by hand",
            *(line for host in bound for line in _rebinding([host], _new_host(cloud, host))),
        )


def _new_host(cloud: Cloud, old: str) -> str:
    return f"{old.partition('@')[0].partition('#')[0]}@{cloud.cinder.backend}#{cloud.cinder.backend}"


def _section(cloud: Cloud, facts: Facts) -> dict[str, str]:
    """What the driver must be told, all of it."""
    return {
        "volume_driver": RBD_DRIVER,
        "volume_backend_name": cloud.cinder.backend,
        "rbd_pool": cloud.ceph.pools.volumes,
        "rbd_user": cloud.ceph.users.cinder,
        "rbd_ceph_conf": cloud.ceph.conf,
        "rbd_secret_uuid": wanted_uuid(cloud, facts, "volumes"),
    }


@repairs("cinder.config.volume_driver", disruption="safe")
def use_the_rbd_driver(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the driver by its present path."""
    yield from _own(_files(volume_host, cloud, facts), "volume_driver", RBD_DRIVER)


@repairs("cinder.config.volume_backend_name", disruption="safe")
def lead_the_type_to_the_back_end(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option | VolumeType]:
    """Give the back end a name, the volume type that name, and make the type the default of a single back end."""
    files = _files(volume_host, cloud, facts)
    types = need(facts.openstack.volume_types, "volume types")
    ours = next((kind for kind in types if kind.name == cloud.cinder.volume_type), None)
    named = backend_option(files.now, cloud, "volume_backend_name")
    led = ours.extra_specs.get("volume_backend_name", "") if ours else ""
    name = named or (led if led not in _other_names(files.now, cloud) else "") or cloud.cinder.backend
    if not named:
        yield from _own(files, "volume_backend_name", name)
    if led != name:
        yield VolumeType(name=cloud.cinder.volume_type, specs={"volume_backend_name": name})
    if not (ours and ours.is_default) and len(files.now.items("DEFAULT", "enabled_backends")) <= 1:
        for host in cloud.hosts_with("cinder-api"):
            api = Configuration(cloud, facts, host, "cinder-api")
            yield from api.ensure("DEFAULT", {"default_volume_type": cloud.cinder.volume_type})


def _other_names(config: OsloConfig, cloud: Cloud) -> set[str]:
    others = [name for name in config.items("DEFAULT", "enabled_backends") if name != cloud.cinder.backend]
    return {config.get(name, "volume_backend_name", name) for name in others}


@repairs("cinder.config.rbd_pool", disruption="safe")
def write_to_the_volumes_pool(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the volumes pool, unless another one has volumes already."""
    files = _files(volume_host, cloud, facts)
    now = backend_option(files.now, cloud, "rbd_pool", "rbd")
    ours = [it for it in need(facts.openstack.volumes, "volumes") if it.backend == cloud.cinder.backend]
    if ours and facts.ceph.pool(now) is not None and now != cloud.ceph.pools.volumes:
        raise NeedsOperator(
            f"{len(ours)} volumes of the back end may be in the pool {now}, where it would not find them any more",
            f"rbd ls {now}  # then: rbd deep cp or rbd migration, volume by volume, detached",
        )
    yield from _own(files, "rbd_pool", cloud.ceph.pools.volumes)


@repairs("cinder.config.rbd_user", disruption="safe")
def log_in_as_cinders_user(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name Cinder's cephx user."""
    yield from _own(_files(volume_host, cloud, facts), "rbd_user", cloud.ceph.users.cinder)


@repairs("cinder.config.rbd_secret_uuid", disruption="safe")
def agree_on_the_secret_of_volumes(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Secret]:
    """Name the secret that hypervisors have, and let those have it that do not."""
    yield from name_the_secret(volume_host, cloud, facts)
    uuid, user = wanted_uuid(cloud, facts, "volumes"), cloud.ceph.users.cinder
    for hypervisor in cloud.hosts_with("nova-compute"):
        if not holds(facts, hypervisor, uuid, user):
            yield from hold(facts, hypervisor, uuid, user)


def name_the_secret(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the secret of volumes in cinder.conf, where it names another; attachments that exist keep theirs."""
    files = _files(volume_host, cloud, facts)
    uuid = wanted_uuid(cloud, facts, "volumes")
    if backend_option(files.now, cloud, "rbd_secret_uuid").lower() != uuid:
        yield from _own(files, "rbd_secret_uuid", uuid)


@repairs("cinder.config.ceph_conf_cluster", disruption="safe")
def read_this_clusters_conf(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the cluster's ceph.conf, and the cluster where it has a name of its own."""
    files = _files(volume_host, cloud, facts)
    if PurePosixPath(cloud.ceph.conf).stem != cloud.ceph.cluster:
        raise NeedsOperator(f"the cloud file's ceph.conf ({cloud.ceph.conf}) must be named as ceph.cluster")
    if backend_option(files.now, cloud, "rbd_ceph_conf") != cloud.ceph.conf:
        yield from _own(files, "rbd_ceph_conf", cloud.ceph.conf)
    if backend_option(files.now, cloud, "rbd_cluster_name", "ceph") != cloud.ceph.cluster:
        yield from _own(files, "rbd_cluster_name", cloud.ceph.cluster)


@repairs("cinder.config.clone_policy", disruption="safe")
def keep_clones(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Let volumes stay clones: the drivers' own defaults."""
    files = _files(volume_host, cloud, facts)
    found = _Found(files.now, cloud)
    options = {
        "rbd_flatten_volume_from_snapshot": (found.boolean("rbd_flatten_volume_from_snapshot"), "False"),
        "rbd_max_clone_depth": (found.integer("rbd_max_clone_depth", 5) < 1, "5"),
        "rbd_concurrent_flatten_operations": (found.integer("rbd_concurrent_flatten_operations", 3) < 1, "3"),
    }
    yield from _as_by_default(files, options)


class _Found:
    """Options of the back end as the driver reads them."""

    def __init__(self, config: OsloConfig, cloud: Cloud) -> None:
        self._config, self._cloud = config, cloud

    def boolean(self, key: str) -> bool:
        return self._config.boolean(backend_section(self._config, self._cloud, key), key, False)

    def integer(self, key: str, default: int) -> int:
        return self._config.integer(backend_section(self._config, self._cloud, key), key, default)


@repairs("cinder.config.chunk_timeout", disruption="safe")
def connect_and_write_as_by_default(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take out sizes and timeouts that do not do; volumes that exist keep their objects' size."""
    files = _files(volume_host, cloud, facts)
    found = _Found(files.now, cloud)
    timeout = found.integer("rados_connect_timeout", -1)
    options = {
        "rbd_store_chunk_size": (not is_power_of_two(found.integer("rbd_store_chunk_size", 4)), "4"),
        "rados_connect_timeout": (timeout != -1 and timeout <= 0, "-1"),
        "rados_connection_retries": (found.integer("rados_connection_retries", 3) <= 0, "3"),
        "rados_connection_interval": (found.integer("rados_connection_interval", 5) <= 0, "5"),
    }
    yield from _as_by_default(files, options)


@repairs("cinder.config.glance_api_version", disruption="safe")
def tell_the_image_apis_version_where_it_is_read(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Before Queens 2 in [DEFAULT], since then nothing."""
    files = _files(volume_host, cloud, facts)
    gone = releases.GLANCE_API_VERSION_GONE.reached(cloud, facts, volume_host)
    if not gone:
        yield from files.ensure("DEFAULT", {"glance_api_version": "2"})
    for section in ("DEFAULT", cloud.cinder.backend) if gone else (cloud.cinder.backend,):
        yield from files.unset(section, "glance_api_version")


@repairs("cinder.config.no_rbd_keyring_conf", disruption="safe")
def hand_no_keyring_out(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take the option out; a key that tenants may have read should be made anew by a person."""
    files = _files(volume_host, cloud, facts)
    for section in ("DEFAULT", "backend_defaults", cloud.cinder.backend):
        yield from files.unset(section, "rbd_keyring_conf")


@repairs("cinder.config.exclusive_pool", disruption="safe")
def say_whether_the_pool_is_shared(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set what is so, once the services that the cloud file gives pools of their own use those."""
    files, pools = _files(volume_host, cloud, facts), cloud.ceph.pools
    shared = sharing_volumes_pool(files.now, cloud, facts, volume_host)
    used = pools_in_use(cloud, facts)
    strays = [service for service in shared if service in used]
    if strays and pools.volumes not in (pools.images, pools.vms, pools.backups):
        raise NeedsOperator(f"{', '.join(strays)} should use another pool: that is repaired first")
    yield from _own(files, "rbd_exclusive_cinder_pool", str(not shared))


@repairs("cinder.config.upload_flags", disruption="safe")
def make_images_without_detours(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Attributes]:
    """Switch both flags off, and give Cinder its folder for conversion; room there is a person's to find."""
    files = _files(volume_host, cloud, facts)
    flags = ("image_upload_use_cinder_backend", "image_volume_cache_enabled")
    found = _Found(files.now, cloud)
    on = [flag for flag in flags if found.boolean(flag)]
    steps: list[Option | Attributes] = [
        *_as_by_default(files, dict.fromkeys(on, (True, "False"))),
        *_folder_for_conversion(volume_host, cloud, facts),
    ]
    if not steps:
        raise NeedsOperator(
            f"{volume_host}: the folder for conversion is too small for the largest image: a larger file system it is",
            "[DEFAULT]",
            "image_conversion_dir = …",
        )
    yield from steps


def _folder_for_conversion(host: str, cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Give Cinder its folder, where it may not write there."""
    own = role_on(cloud, host, "cinder-volume")
    told = service_of(facts.host(host), "cinder-volume").folders.get("image_conversion_dir")
    if isinstance(told, Folder) and told.stat and told.closed_to(own.account, own.group):
        refuse_container(facts, host, "cinder-volume", f"chown {own.account}:{own.group} {told.path}")
        mode = told.stat.mode | 0o700
        yield Attributes(host=host, path=told.path, owner=own.account, group=own.group, mode=mode)


@repairs("cinder.config.deferred_deletion", disruption="safe")
def delete_as_it_is_done_today(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take out a delay that is not in force, or an interval that cannot be."""
    files = _files(volume_host, cloud, facts)
    found = _Found(files.now, cloud)
    delay = found.integer("deferred_deletion_delay", 0)
    options = {
        "deferred_deletion_delay": (not found.boolean("enable_deferred_deletion") or delay < 0, "0"),
        "deferred_deletion_purge_interval": (found.integer("deferred_deletion_purge_interval", 60) <= 0, "60"),
    }
    yield from _as_by_default(files, options)


@repairs("cinder.config.service_token", disruption="safe")
def let_services_prove_themselves(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Ask for service tokens, once Nova sends them as a user who may."""
    for name in cloud.hosts_with("nova-compute", "nova-control"):
        for role in ("nova-compute", "nova-control"):
            if role in cloud.hosts[name].roles and not _sends(config_of(facts.host(name), role)):
                raise NeedsOperator(f"{name} sends no service token yet: nova.config.service_user comes first")
    _refuse_users_without_role(cloud, facts)
    for name in cloud.hosts_with("cinder-api"):
        files = Configuration(cloud, facts, name, "cinder-api")
        if not files.now.boolean(TOKENS, "service_token_roles_required", False):
            yield from files.set(TOKENS, "service_token_roles_required", "True")
        roles = files.now.items(TOKENS, "service_token_roles", ("service",))
        if "service" not in roles:
            yield from files.set(TOKENS, "service_token_roles", ",".join((*roles, "service")))


def _sends(config: OsloConfig) -> bool:
    return config.boolean("service_user", "send_service_user_token", False)


def _refuse_users_without_role(cloud: Cloud, facts: Facts) -> None:
    assigned = {(one.user, one.role) for one in need(facts.openstack.role_assignments, "role assignments")}
    configs = [config_of(facts.host(name), "nova-compute") for name in cloud.hosts_with("nova-compute")]
    users = {config.get("service_user", "username", "nova") for config in configs}
    lacking = sorted(user for user in users if (user, "service") not in assigned)
    if lacking:
        raise NeedsOperator(
            f"giving a role is a decision about rights: {', '.join(lacking)} needs `service`",
            *(f"openstack role add --user {user} --project service service" for user in lacking),
        )


# Volumes


@repairs("cinder.volume.host_mapping", disruption="disruptive")
def list_the_volumes_of_no_back_end(cloud: Cloud, facts: Facts) -> NoReturn:
    """Say how volumes are bound to the back end that is there, and of which its pool has the data."""
    known = sorted(pool.name for pool in need(facts.openstack.backend_pools, "scheduler pools"))
    bound = [it for it in need(facts.openstack.volumes, "volumes") if it.host and it.host not in known]
    ours = [name for name in known if f"@{cloud.cinder.backend}#" in name] or [_new_host(cloud, "HOST")]
    there = inventory.volume_ids(cloud, facts)
    lost = [f"# volume {it.id} of {it.host}: no data in pool {cloud.ceph.pools.volumes}" for it in bound]
    raise NeedsOperator(
        "all volumes of a name are bound to another at once, and nothing tells afterwards which they were; do it where "
        "the data of all is in the back end's pool",
        *(line for it, line in zip(bound, lost, strict=True) if (it.name_id or it.id) not in there),
        *_rebinding(sorted({it.host for it in bound}), ours[0]),
    )


def _rebinding(hosts: Iterable[str], new: str) -> Iterator[str]:
    for host in hosts:
        yield f"cinder-manage volume update_host --currenthost {host} --newhost {new}"


@repairs("cinder.config.ha_host", disruption="safe")
def report_under_the_name_that_volumes_know(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take back a new name of the only cinder-volume, while all volumes are bound to its old one, as which it runs.

    A cluster, its locks, and the common name of several are chosen by a person.
    """
    hosts = cloud.hosts_with("cinder-volume")
    old = _running_name_of_volumes(cloud, facts)
    configs = {name: Configuration(cloud, facts, name, "cinder-volume") for name in hosts}
    if len(hosts) != 1 or not old or any(files.now.get("DEFAULT", "cluster", "") for files in configs.values()):
        raise NeedsOperator(
            "the name that volumes are bound to, or the cluster and its locks, are chosen once: volumes are bound to "
            "the new name with it, while nobody uses them",
            f"[{cloud.cinder.backend}]",
            "backend_host = NAME  # alike on all hosts of cinder-volume",
            "cinder-manage volume update_host --currenthost OLD@BACKEND#POOL --newhost NAME@BACKEND#POOL",
        )
    for step in _own(configs[hosts[0]], "backend_host", old):
        yield step.model_copy(update={"restarts": ()})


def _running_name_of_volumes(cloud: Cloud, facts: Facts) -> str:
    """The one name under which the back end reports, if all of its volumes are bound to it; else ""."""
    ours = f"@{cloud.cinder.backend}"
    volumes = {it.host.partition("@")[0] for it in need(facts.openstack.volumes, "volumes") if f"{ours}#" in it.host}
    rows = [row for row in need(facts.openstack.volume_services, "volume services") if row.host.endswith(ours)]
    named = {row.host.removesuffix(ours) for row in rows if row.state == "up"}
    return named.pop() if len(rows) == len(named) == 1 and volumes <= named else ""


manual(
    "the record is refreshed while its server is stopped: openstack server stop, then nova-manage volume_attachment "
    "refresh SERVER VOLUME CONNECTOR, or by a live migration; both touch the guest",
    "cinder.attachment.connection_info",
)
manual(
    "how fast a volume may be is a promise to its owner: use keys that the driver knows, or a front-end spec "
    "(openstack volume qos set)",
    "cinder.qos.mapping",
)


@repairs(
    "cinder.upgrade_check",
    disruption="destructive",
    otherwise="each point of `cinder-status upgrade check` says what it wants; then run it again",
)
def bring_the_schema_up_to_date(cloud: Cloud, facts: Facts) -> Iterator[CinderSchema]:
    """Upgrade the schema, where a fresh and whole dump of it is at hand and no other cinder-api uses it meanwhile."""
    host = cloud.hosts_with("cinder-api")[0]
    service = service_of(facts.host(host), "cinder-api")
    lines = (f"systemctl stop {service.unit.name}", "cinder-manage db sync", f"systemctl start {service.unit.name}")
    refuse_container(facts, host, "cinder-api", *lines)
    report = need(service.reports.get("schema"), f"{host}: schema of cinder")
    if report.rc or len(report.output) != 2 or " " in report.output[1]:
        raise NeedsOperator("whether the schema is behind is not told: set the database's address first", *lines)
    current, newest = report.output
    if current != newest:
        refuse_upgrade(cloud, facts, host, "cinder-api", *lines)
        account = role_on(cloud, host, "cinder-api").account
        yield CinderSchema(host=host, account=account, unit=service.unit.name, version=newest)
