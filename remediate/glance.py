"""Area glance: the service, the RBD store and its options."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures import inventory, releases
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.ceph import RbdImage
from fixtures.facts.host import IniFile, Report
from fixtures.facts.openstack import Image
from fixtures.facts.run import Facts
from fixtures.integration import SINGLE_STORE, backend_section, config_of, glance_stores
from fixtures.keystone import TOKENS
from fixtures.policies import location_problems
from fixtures.roles import role_on
from fixtures.sizes import is_power_of_two
from fixtures.targets import service_of
from remediate.model import (
    Attributes,
    EmptyCache,
    GlanceSchema,
    ImageStore,
    NeedsOperator,
    NewSnapshot,
    Option,
    Restart,
    Unit,
)
from remediate.options import Configuration, refuse_container
from remediate.registry import manual, repairs
from remediate.schemas import refuse_upgrade
from remediate.services import restart_unit, run_unit

SCHEMA_BEHIND = (3, 4, 5)
"""What `glance-manage db check` ends with."""
CHUNK = 8
"""MiB; the driver's default."""
IMAGES_FOLDER = "/var/lib/glance/images/"
V1_OPTIONS = ("enable_v1_api", "enable_v2_api", "enable_v1_registry", "enable_v2_registry")
REGISTRY_OPTIONS = ("registry_host", "registry_port", "registry_client_protocol", "use_user_token")
OLD_TOKEN_OPTIONS = (
    *("identity_uri", "auth_host", "auth_port", "auth_protocol", "auth_admin_prefix"),
    *("admin_user", "admin_password", "admin_tenant_name", "admin_token"),
)
CHOICES = ("stores", "default_store", "default_backend")


def _files(glance_host: str, cloud: Cloud, facts: Facts) -> Configuration:
    return Configuration(cloud, facts, glance_host, "glance-api")


@repairs("glance.service.active", disruption="safe")
def run_the_image_service(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Unit | Restart]:
    """Enable and start it; start it anew where it has logged errors since its start."""
    steps = list(run_unit(cloud, facts, glance_host, "glance-api"))
    yield from steps
    errors = service_of(facts.host(glance_host), "glance-api").errors
    if not steps and errors is not None and not isinstance(errors, Unreadable) and errors.loggers:
        yield from restart_unit(cloud, facts, glance_host, "glance-api")


# The store


@repairs("glance.config.stores", disruption="safe")
def enable_the_rbd_store(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Add the store to those that are enabled."""
    files = _files(glance_host, cloud, facts)
    stores = glance_stores(files.now)
    store = cloud.glance.store
    if not store and stores:
        raise NeedsOperator(
            f"the stores {', '.join(stores)} are enabled, and the cloud file does not name the RBD one (glance.store)"
        )
    if not store:
        listed = files.now.items(SINGLE_STORE, "stores", ("file", "http"))
        yield from files.set(SINGLE_STORE, "stores", ",".join((*listed, "rbd")))
    elif store in stores:
        raise NeedsOperator(f"the store {store} is of type {stores[store]}: images may be in it")
    elif stores:
        listed = files.now.items("DEFAULT", "enabled_backends")
        yield from files.set("DEFAULT", "enabled_backends", ",".join((*listed, f"{store}:rbd")))
        yield from _the_stores_options(files, cloud)
    else:
        yield from _from_single_to_several(files, store, cloud, facts)


def _the_stores_options(files: Configuration, cloud: Cloud) -> Iterator[Option]:
    """What the store's section must say; without it the store does not load, and Glance does not start."""
    wanted = {
        "rbd_store_pool": cloud.ceph.pools.images,
        "rbd_store_user": cloud.ceph.users.glance,
        "rbd_store_ceph_conf": cloud.ceph.conf,
    }
    yield from files.ensure(_section(files, cloud, "rbd_store_pool"), wanted)


def _from_single_to_several(files: Configuration, store: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the stores; the files that hold images already stay a store beside."""
    before = files.now.items(SINGLE_STORE, "stores", ("file", "http"))
    strange = [name for name in before if name not in ("file", "http", "rbd")]
    if strange:
        raise NeedsOperator(f"images may be in {', '.join(strange)}, which enabled_backends must name too")
    keeps_files = "file" in before and any(_may_be_in_files(image) for image in _images(facts))
    listed = [*(["file:file"] if keeps_files else []), f"{store}:rbd"]
    yield from files.set("DEFAULT", "enabled_backends", ",".join(listed))
    yield from files.ensure(SINGLE_STORE, {"default_backend": store})
    if keeps_files:
        folder = files.now.get(SINGLE_STORE, "filesystem_store_datadir", IMAGES_FOLDER)
        yield from files.ensure("file", {"filesystem_store_datadir": folder})
    yield from _the_stores_options(files, cloud)
    for key in files.now.keys(SINGLE_STORE):
        if key in ("stores", "default_store") or key.startswith("rbd_store_"):
            yield from files.unset(SINGLE_STORE, key)


def _images(facts: Facts) -> tuple[Image, ...]:
    return need(facts.openstack.images, "images, of which some may be in files")


def _may_be_in_files(image: Image) -> bool:
    return not image.direct_url.startswith("rbd://")


@repairs("glance.config.default_store", disruption="safe")
def default_to_rbd(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Let new images go to RBD."""
    files = _files(glance_host, cloud, facts)
    stores = glance_stores(files.now)
    rbd = [name for name, kind in stores.items() if kind == "rbd"]
    store = cloud.glance.store
    if store and store not in stores:
        yield from enable_the_rbd_store(glance_host, cloud, facts)
        if stores:
            yield from files.set(SINGLE_STORE, "default_backend", store)
    elif stores and not store and len(rbd) != 1:
        raise NeedsOperator(f"which of the stores {', '.join(stores)} is meant is not in the cloud file (glance.store)")
    elif stores:
        yield from files.set(SINGLE_STORE, "default_backend", store or rbd[0])
    else:
        yield from files.set(_section(files, cloud, "default_store"), "default_store", "rbd")


def _section(files: Configuration, cloud: Cloud, option: str) -> str:
    """Section of the store as it is to be; before Kilo there was none but [DEFAULT]."""
    if cloud.glance.store:
        return cloud.glance.store
    of_old = not releases.GLANCE_STORE_SECTION.reached(cloud, files.facts, files.host)
    return "DEFAULT" if of_old and (SINGLE_STORE, option) not in files.now else SINGLE_STORE


@repairs("glance.config.rbd_store_pool", disruption="safe")
def write_to_the_images_pool(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the images pool, unless another one holds images already."""
    files = _files(glance_host, cloud, facts)
    section = _section(files, cloud, "rbd_store_pool")
    now = files.now.get(section, "rbd_store_pool", "images")
    theirs = f"rbd://{facts.ceph.fsid}/{now}/"
    used = [image for image in _elsewhere(cloud, facts) if not image.direct_url or image.direct_url.startswith(theirs)]
    if used:
        raise NeedsOperator(
            f"{len(used)} images are in the pool {now}; they would stay there, out of reach of Cinder and Nova",
            *(line for image in used for line in _moving(image, cloud)),
        )
    yield from files.set(section, "rbd_store_pool", cloud.ceph.pools.images)


@repairs("glance.config.rbd_store_user", disruption="safe")
def log_in_as_glances_user(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name Glance's cephx user."""
    files = _files(glance_host, cloud, facts)
    yield from files.set(_section(files, cloud, "rbd_store_user"), "rbd_store_user", cloud.ceph.users.glance)


@repairs("glance.config.rbd_store_ceph_conf", disruption="safe")
def read_this_clusters_conf(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option | Attributes]:
    """Name the cluster's ceph.conf, and let everybody read it: it holds no secret."""
    files = _files(glance_host, cloud, facts)
    section = _section(files, cloud, "rbd_store_ceph_conf")
    conf = facts.host(glance_host).of("glance-api").ceph_conf
    if files.now.get(section, "rbd_store_ceph_conf") != cloud.ceph.conf:
        yield from files.set(section, "rbd_store_ceph_conf", cloud.ceph.conf)
    elif isinstance(conf, IniFile) and conf.stat.exists:
        yield Attributes(host=glance_host, path=conf.stat.path, mode=0o644)


@repairs("glance.config.option_placement", disruption="safe")
def take_out_what_is_not_read(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take out the store's options that stand where this release ignores them: what is in force stays so."""
    files = _files(glance_host, cloud, facts)
    entries = need(service_of(facts.host(glance_host), "glance-api").entries, f"{glance_host}: options of glance-api")
    of_the_store = [it for it in entries if it.key.startswith("rbd_store_") or it.key in CHOICES]
    places = dict.fromkeys((it.section, it.key) for it in of_the_store)
    for section, key in places:
        if section not in _read_sections(glance_stores(files.now), key):
            yield from files.unset(section, key)


def _read_sections(stores: dict[str, str], key: str) -> set[str]:
    if key in CHOICES:
        return {SINGLE_STORE} if (key == "default_backend") == bool(stores) else set()
    rbd = {name for name, kind in stores.items() if kind == "rbd"} | {"backend_defaults"}
    return rbd if stores else {SINGLE_STORE}


@repairs("glance.config.chunk_size", disruption="safe")
def write_objects_of_a_size_that_ceph_keeps(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set the driver's default, or less where Cinder could not clone that; images that exist keep theirs."""
    files = _files(glance_host, cloud, facts)
    size = min([CHUNK, *_sizes_that_cinder_clones(cloud, facts)])
    if not is_power_of_two(size):
        raise NeedsOperator("Cinder's rbd_store_chunk_size is no power of two: cinder.config.chunk_timeout comes first")
    yield from files.set(_section(files, cloud, "rbd_store_chunk_size"), "rbd_store_chunk_size", str(size))


def _sizes_that_cinder_clones(cloud: Cloud, facts: Facts) -> Iterator[int]:
    for name in cloud.hosts_with("cinder-volume"):
        if not releases.CLONES_ANY_CHUNK.reached(cloud, facts, name):
            config = config_of(facts.host(name), "cinder-volume")
            yield config.integer(backend_section(config, cloud, "rbd_store_chunk_size"), "rbd_store_chunk_size", 4)


@repairs("glance.config.rados_timeout", disruption="safe")
def wait_for_ceph_as_long_as_the_default_says(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take the timeout out."""
    files = _files(glance_host, cloud, facts)
    yield from files.unset(_section(files, cloud, "rados_connect_timeout"), "rados_connect_timeout", "-1")


# The service's other options


@repairs("glance.config.show_image_direct_url", disruption="safe")
def show_locations_as_the_policy_says(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Show them where copy-on-write relies on them, hide them where the policy is hardened."""
    value = str(cloud.policy.location_mode != "hardened")
    yield from _files(glance_host, cloud, facts).set("DEFAULT", "show_image_direct_url", value)


@repairs("glance.config.show_multiple_locations", disruption="safe")
def close_locations_to_tenants(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Switch the editing of locations off."""
    yield from _files(glance_host, cloud, facts).set("DEFAULT", "show_multiple_locations", "False")


@repairs("glance.config.paste_flavor", disruption="safe")
def take_the_cache_out_of_the_pipeline(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option | EmptyCache]:
    """Set the plain flavor; then remove the copies that the cache left behind, which nothing reads any more."""
    files = _files(glance_host, cloud, facts)
    if files.now.get("paste_deploy", "flavor") != "keystone":
        yield from files.set("paste_deploy", "flavor", "keystone")
        return
    cache = need(service_of(facts.host(glance_host), "glance-api").folders.get("image_cache_dir"), "image_cache_dir")
    refuse_container(facts, glance_host, "glance-api", f"find {cache.path} -type f -delete  # inside of it")
    if cache.files:
        yield EmptyCache(host=glance_host, path=cache.path)


@repairs("glance.config.keystone", disruption="safe")
def take_out_the_login_of_an_old_release(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take out options that nobody reads any more, where the login of today stands beside them."""
    files = _files(glance_host, cloud, facts)
    section = files.now.get(TOKENS, "auth_section", TOKENS)
    old = [key for key in OLD_TOKEN_OPTIONS if (TOKENS, key) in files.now]
    if not old or (section, "auth_url") not in files.now:
        raise NeedsOperator(
            "a login is a name and a password, which only a person can give",
            "openstack user show glance; openstack role add --user glance --project service admin",
            f"[{section}]",
            *("auth_type = password", "auth_url = …", "username = …", "password = …", "project_name = service"),
            *("user_domain_name = Default", "project_domain_name = Default"),
        )
    for key in old:
        yield from files.unset(TOKENS, key)


@repairs("glance.config.legacy_api", disruption="safe")
def take_out_the_first_image_api(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Take the options out; the registry's package is a person's to remove."""
    files = _files(glance_host, cloud, facts)
    without_registry = releases.GLANCE_REGISTRY_GONE.reached(cloud, facts, glance_host)
    gone = (*V1_OPTIONS, *(REGISTRY_OPTIONS if without_registry else ()))
    named = [key for key in gone if ("DEFAULT", key) in files.now]
    if not named:
        raise NeedsOperator("a package is not removed unasked", "apt remove glance-registry")
    for key in named:
        yield from files.unset("DEFAULT", key)


@repairs("glance.config.raw_conversion", disruption="safe")
def make_raw_of_what_is_imported(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Switch the plugin on beside those that are on, and let it make raw."""
    files = _files(glance_host, cloud, facts)
    listed = [name.strip(" '\"[]") for name in files.now.items("image_import_opts", "image_import_plugins")]
    if "image_conversion" not in listed:
        plugins = [name for name in listed if name and name != "no_op"] + ["image_conversion"]
        value = "[" + ", ".join(f"'{name}'" for name in plugins) + "]"
        yield from files.set("image_import_opts", "image_import_plugins", value)
    if files.now.get("image_conversion", "output_format", "raw") != "raw":
        yield from files.set("image_conversion", "output_format", "raw")


@repairs("glance.config.location_api", disruption="safe")
def let_cinder_log_in_to_glance(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Let Cinder log in to Glance as it logs in to check tokens; roles and policies are a person's to give."""
    if problems := list(location_problems(facts.host(glance_host))):
        raise NeedsOperator(
            f"somebody wrote Glance's policies so: {'; '.join(problems)}. With its defaults services alone are told "
            "locations: take the rules out of the policy files, which Glance reads again by itself",
            "grep -rE 'service_api|(fetch|add)_image_location' /etc/glance/policy* /etc/kolla/glance-*/policy*",
        )
    lacking = False
    for name in cloud.hosts_with("cinder-volume"):
        files = Configuration(cloud, facts, name, "cinder-volume")
        named = any(("glance", key) in files.now for key in ("auth_type", "auth_section"))
        if releases.CINDER_USES_LOCATION_API.reached(cloud, facts, name) and not named:
            if (TOKENS, "auth_url") not in files.now:
                raise NeedsOperator(f"{name}: cinder.conf has no login that [glance] could share", "[glance]", "…")
            lacking = True
            yield from files.set("glance", "auth_section", TOKENS)
    if not lacking:
        raise NeedsOperator(
            "giving a role is a decision about rights: the users of Cinder and Nova need `service`",
            "openstack role add --user cinder --project service service",
            "openstack role add --user nova --project service service",
        )


# Images


@repairs("glance.image.location_rbd", disruption="disruptive")
def bring_images_into_the_pool(cloud: Cloud, facts: Facts) -> Iterator[ImageStore]:
    """Let Glance copy each image into the store, compare it, and take it out of the others, if the policy has it so."""
    elsewhere = _elsewhere(cloud, facts)
    copied = [image for image in elsewhere if cloud.glance.store not in image.stores]
    why = "" if copied else "their locations name another pool or cluster, and Glance counts them to its store already"
    why = why if _is_moved_by_glance(cloud, facts) else "Glance has no store to copy them to"
    why = why if cloud.policy.move_images else "policy.move_images is off"
    if why:
        raise NeedsOperator(
            f"{len(elsewhere)} images are not in this cluster's pool, and are moved by hand, one by one: {why}",
            *(line for image in elsewhere for line in _moving(image, cloud)),
        )
    for image in copied:
        yield ImageStore(image=image.id, name=image.name, store=str(cloud.glance.store))


def _is_moved_by_glance(cloud: Cloud, facts: Facts) -> bool:
    return all(
        cloud.glance.store in glance_stores(config_of(facts.host(name), "glance-api"))
        and releases.COPY_IMAGE.reached(cloud, facts, name)
        for name in cloud.hosts_with("glance-api")
    )


def _elsewhere(cloud: Cloud, facts: Facts) -> list[Image]:
    """Active images that are not in the pool; where Glance hides locations, their ids tell."""
    pool = cloud.ceph.pools.images
    wanted = f"rbd://{facts.ceph.fsid}/{pool}/"
    there = {image.name for image in need(facts.ceph.images.get(pool, ()), f"images of pool {pool}")}
    active = [image for image in _images(facts) if image.status == "active"]
    return [it for it in active if not (it.direct_url.startswith(wanted) if it.direct_url else it.id in there)]


def _moving(image: Image, cloud: Cloud) -> tuple[str, ...]:
    """Lines that bring an image into the store: beside where it is, or as a new one."""
    if cloud.glance.store and cloud.glance.store not in image.stores:
        others = [store for store in image.stores if store != cloud.glance.store]
        return (
            f"glance image-import {image.id} --import-method copy-image --stores {cloud.glance.store}",
            *(f"glance stores-delete --store {store} {image.id}  # once it is in both" for store in others),
        )
    return (
        f"openstack image save --file {image.id} {image.id}",
        f"openstack image create --file {image.id} --disk-format {image.disk_format} "
        f"--container-format {image.container_format} '{image.name}'",
    )


@repairs("glance.image.rbd_backing", disruption="safe")
def make_snapshots_of_whole_images(cloud: Cloud, facts: Facts) -> Iterator[NewSnapshot]:
    """Make `snap` of active images of Glance's size that nobody writes to: Glance made it when all was there.

    What is cut off or gone must be uploaded again by who has it.
    """
    pool = cloud.ceph.pools.images
    stored = {image.name: image for image in need(facts.ceph.images.get(pool), f"images of pool {pool}")}
    writers = need(inventory.content_of(facts, pool).watchers, f"who has images of pool {pool} open")
    protect, lines, steps = not facts.ceph.clone_v2, [], []
    for image in (it for it in _images(facts) if it.status == "active"):
        found = stored.get(image.id)
        if found is None:
            if f"/{pool}/{image.id}/" in image.direct_url:
                lines.append(f"# {image.id} ({image.name}) has no data: upload it again, delete this one")
        elif found.size != image.size:
            lines.append(f"# {image.id} ({image.name}) is {found.size} bytes of {image.size}: upload it again")
        elif _lacks_snapshot(found, protect):
            step = NewSnapshot(pool=pool, image=image.id, snapshot="snap")
            if image.id in writers:
                lines.append(f"{step}  # somebody has it open: rbd status {pool}/{image.id}")
            else:
                steps.append(step)
    if not steps:
        raise NeedsOperator("who has the images must upload them again; no snapshot makes them whole", *lines)
    yield from steps


def _lacks_snapshot(image: RbdImage, protect: bool) -> bool:
    snapshot = next((one for one in image.snapshots if one.name == "snap"), None)
    return snapshot is None or (protect and not snapshot.protected)


manual(
    "an image's content is its owner's: convert it (qemu-img convert -O raw), upload it as a new image, swap the names",
    "glance.image.format_raw",
)
manual(
    "properties are seen by the guest at its next start: openstack image set --property, by who knows the image",
    "glance.image.properties",
)


@repairs("glance.db.sync", disruption="destructive")
def bring_the_schema_up_to_date(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[GlanceSchema]:
    """Upgrade the schema, where a fresh and whole dump of it is at hand and no other glance-api uses it meanwhile."""
    host, lines = (
        facts.host(glance_host),
        ("systemctl stop glance-api", "glance-manage db sync", "systemctl start glance-api"),
    )
    refuse_container(facts, glance_host, "glance-api", *lines)
    report = service_of(host, "glance-api").reports.get("db check")
    if not isinstance(report, Report) or report.rc not in SCHEMA_BEHIND:
        raise NeedsOperator("the database's address is a password's place: set it, and make its schema", *lines)
    refuse_upgrade(cloud, facts, glance_host, "glance-api", *lines)
    account, unit = role_on(cloud, glance_host, "glance-api").account, service_of(host, "glance-api").unit.name
    yield GlanceSchema(host=glance_host, account=account, unit=unit, restarts=("glance-api",))
