"""Area glance: the store's options."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.integration import SINGLE_STORE, config_of, glance_stores, store_section
from remediate.model import NeedsOperator, Option, Unit
from remediate.options import set_option
from remediate.registry import repairs
from remediate.services import run_unit


@repairs("glance.service.active", disruption="safe")
def run_the_image_service(glance_host: str, facts: Facts) -> Iterator[Unit]:
    """Enable and start it."""
    yield from run_unit(facts, glance_host, "glance-api")


@repairs("glance.config.stores", disruption="safe")
def enable_the_rbd_store(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Add the store to those that are enabled."""
    config = config_of(facts.host(glance_host), "glance-api")
    if glance_stores(config):
        if not cloud.glance.store:
            raise NeedsOperator(
                "several stores are enabled, and the cloud file does not name the RBD one (glance.store)"
            )
        listed = config.get("DEFAULT", "enabled_backends", "")
        if cloud.glance.store in glance_stores(config):
            raise NeedsOperator(f"the store {cloud.glance.store} is of another type: {listed}")
        value = f"{listed},{cloud.glance.store}:rbd"
        yield set_option(facts, glance_host, "glance-api", "DEFAULT", "enabled_backends", value)
    elif cloud.glance.store:
        value = f"{cloud.glance.store}:rbd"
        yield set_option(facts, glance_host, "glance-api", "DEFAULT", "enabled_backends", value)
    else:
        listed = config.get(SINGLE_STORE, "stores", "file,http")
        yield set_option(facts, glance_host, "glance-api", SINGLE_STORE, "stores", f"{listed},rbd")


@repairs("glance.config.default_store", disruption="safe")
def default_to_rbd(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Let new images go to RBD."""
    stores = glance_stores(config_of(facts.host(glance_host), "glance-api"))
    rbd = [name for name, kind in stores.items() if kind == "rbd"]
    if stores and not cloud.glance.store and len(rbd) != 1:
        raise NeedsOperator(f"which of the stores {', '.join(stores)} is meant is not in the cloud file (glance.store)")
    key, value = ("default_backend", cloud.glance.store or rbd[0]) if stores else ("default_store", "rbd")
    yield set_option(facts, glance_host, "glance-api", SINGLE_STORE, key, value)


@repairs("glance.config.rbd_store_pool", disruption="safe")
def write_to_the_images_pool(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the images pool, unless another one holds images already."""
    config = config_of(facts.host(glance_host), "glance-api")
    section = store_section(config, cloud)
    now = config.get(section, "rbd_store_pool", "images")
    content = facts.contents.get(now)
    if now != cloud.ceph.pools.images and content is not None and now not in _named_pools(cloud):
        raise NeedsOperator(f"the pool {now} may hold images already; they would be out of reach", "migrate them first")
    yield set_option(facts, glance_host, "glance-api", section, "rbd_store_pool", cloud.ceph.pools.images)


def _named_pools(cloud: Cloud) -> frozenset[str]:
    pools = cloud.ceph.pools
    return frozenset(name for name in (pools.images, pools.volumes, pools.vms, pools.backups) if name)


@repairs("glance.config.rbd_store_user", disruption="safe")
def log_in_as_glances_user(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name Glance's cephx user."""
    yield _store_option(glance_host, cloud, facts, "rbd_store_user", cloud.ceph.users.glance)


@repairs("glance.config.rbd_store_ceph_conf", disruption="safe")
def read_this_clusters_conf(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the cluster's ceph.conf."""
    yield _store_option(glance_host, cloud, facts, "rbd_store_ceph_conf", cloud.ceph.conf)


def _store_option(host: str, cloud: Cloud, facts: Facts, key: str, value: str) -> Option:
    section = store_section(config_of(facts.host(host), "glance-api"), cloud)
    return set_option(facts, host, "glance-api", section, key, value)


@repairs("glance.config.show_image_direct_url", disruption="safe")
def show_locations_as_the_policy_says(glance_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Show them where copy-on-write relies on them, hide them where the policy is hardened."""
    value = str(cloud.policy.location_mode != "hardened")
    yield set_option(facts, glance_host, "glance-api", "DEFAULT", "show_image_direct_url", value)


@repairs("glance.config.show_multiple_locations", disruption="safe")
def close_locations_to_tenants(glance_host: str, facts: Facts) -> Iterator[Option]:
    """Switch the editing of locations off."""
    yield set_option(facts, glance_host, "glance-api", "DEFAULT", "show_multiple_locations", "False")
