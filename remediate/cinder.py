"""Area cinder: the RBD back end's options."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.integration import RBD_DRIVER, backend_section, config_of
from remediate.model import NeedsOperator, Option
from remediate.options import set_option
from remediate.registry import repairs


@repairs("cinder.config.enabled_backends", disruption="safe")
def enable_the_back_end(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Add the back end to those that are enabled."""
    config = config_of(facts.host(volume_host), "cinder-volume")
    listed = config.items("DEFAULT", "enabled_backends")
    if cloud.cinder.backend in listed:
        raise NeedsOperator("options of back ends stand in [DEFAULT], or a listed one has no section: which is meant?")
    value = ",".join((*listed, cloud.cinder.backend))
    yield set_option(facts, volume_host, "cinder-volume", "DEFAULT", "enabled_backends", value)


def _set(host: str, cloud: Cloud, facts: Facts, key: str, value: str | None) -> Option:
    section = backend_section(config_of(facts.host(host), "cinder-volume"), cloud, key)
    return set_option(facts, host, "cinder-volume", section, key, value)


@repairs("cinder.config.volume_driver", disruption="safe")
def use_the_rbd_driver(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the driver by its present path."""
    yield _set(volume_host, cloud, facts, "volume_driver", RBD_DRIVER)


@repairs("cinder.config.rbd_pool", disruption="safe")
def write_to_the_volumes_pool(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name the volumes pool."""
    yield _set(volume_host, cloud, facts, "rbd_pool", cloud.ceph.pools.volumes)


@repairs("cinder.config.rbd_user", disruption="safe")
def log_in_as_cinders_user(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Name Cinder's cephx user."""
    yield _set(volume_host, cloud, facts, "rbd_user", cloud.ceph.users.cinder)


@repairs("cinder.config.clone_policy", disruption="safe")
def keep_clones(volume_host: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Let volumes stay clones: the drivers' own defaults."""
    config = config_of(facts.host(volume_host), "cinder-volume")

    def place(key: str) -> tuple[str, str]:
        return backend_section(config, cloud, key), key

    if config.boolean(*place("rbd_flatten_volume_from_snapshot"), False):
        yield _set(volume_host, cloud, facts, "rbd_flatten_volume_from_snapshot", "False")
    if config.integer(*place("rbd_max_clone_depth"), 5) < 1:
        yield _set(volume_host, cloud, facts, "rbd_max_clone_depth", "5")
    if config.integer(*place("rbd_concurrent_flatten_operations"), 3) < 1:
        yield _set(volume_host, cloud, facts, "rbd_concurrent_flatten_operations", "3")
