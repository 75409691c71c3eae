"""Area glance.config: the store's finer options."""

from __future__ import annotations

import pytest

from fixtures import releases
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import SINGLE_STORE, backend_section, config_of, glance_stores, store_section
from fixtures.oslo import OsloConfig
from fixtures.sizes import is_power_of_two
from fixtures.targets import service_of

CHOICES = frozenset({"stores", "default_store", "default_backend"})


@pytest.mark.check("glance.config.option_placement", severity="major", source="S0 S4")
def test_store_options_stand_where_they_are_read(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """No option of the RBD store, and none that chooses the store, stands in a section that this release ignores.

    Why: glance-api starts without a word, with the store's defaults: pool `images`, user None, files as store.
    """
    releases.GLANCE_STORE_SECTION.required(cloud, facts, glance_host.name)
    config = config_of(glance_host, "glance-api")
    entries = need(service_of(glance_host, "glance-api").entries, f"{glance_host.name}: options of glance-api")
    stray = {
        f"[{entry.section}] {entry.key}": f"{entry.file}:{entry.line}"
        for entry in entries
        if _is_store_option(entry.key) and entry.section not in _read_sections(config, entry.key)
    }
    assert not stray, finding(
        f"{glance_host.name}: glance-api",
        found=stray,
        expected=f"these options in {', '.join(sorted(_read_sections(config, 'rbd_store_pool')))}, or nowhere",
        remedy="move or remove them, restart glance-api",
    )


def _is_store_option(key: str) -> bool:
    return key.startswith("rbd_store_") or key in CHOICES


def _read_sections(config: OsloConfig, key: str) -> set[str]:
    """Sections from which the store library takes an option; none where another form of it is in force."""
    multistore = glance_stores(config)
    if key in CHOICES:
        return {SINGLE_STORE} if (key == "default_backend") == bool(multistore) else set()
    if not multistore:
        return {SINGLE_STORE}
    return {name for name, kind in multistore.items() if kind == "rbd"} | {"backend_defaults"}


@pytest.mark.check("glance.config.chunk_size", severity="minor", source="S0 GS LP1931004")
def test_image_objects_have_a_size_that_ceph_keeps(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """rbd_store_chunk_size (8 MiB by default) is a power of two, and one that Cinder can clone.

    Before Xena Cinder cannot clone an image whose objects are larger than its own volumes' on a Pacific cluster.

    Why: the driver rounds the logarithm down without a word, and writes in pieces that do not fit the objects.
    """
    config = config_of(glance_host, "glance-api")
    section = store_section(config, cloud)
    chunk = config.integer(section, "rbd_store_chunk_size", 8)
    where = f"{glance_host.name}:{config.where(section, 'rbd_store_chunk_size')}"
    remedy = f"set [{section}] rbd_store_chunk_size, restart glance-api; images keep the size they were written with"
    assert is_power_of_two(chunk), finding(where, found=chunk, expected="a power of two, 8 by default", remedy=remedy)
    smaller = {name: size for name, size in _volume_chunks(cloud, facts).items() if size < chunk}
    assert not smaller, finding(
        where, found=f"{chunk}, volumes have {smaller}", expected="no more than Cinder's before Xena", remedy=remedy
    )


def _volume_chunks(cloud: Cloud, facts: Facts) -> dict[str, int]:
    """Object sizes in MiB of those cinder-volume hosts that cannot clone larger ones."""
    found = {}
    for name in cloud.hosts_with("cinder-volume"):
        if not releases.CLONES_ANY_CHUNK.reached(cloud, facts, name):
            config = config_of(facts.host(name), "cinder-volume")
            section = backend_section(config, cloud, "rbd_store_chunk_size")
            found[name] = config.integer(section, "rbd_store_chunk_size", 4)
    return found


@pytest.mark.check("glance.config.rados_timeout", severity="info", source="GS GREL")
def test_connect_timeout_means_what_it_says(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """rados_connect_timeout is unset, -1, or a number of seconds that the installed store library honours.

    Why: glance_store 4.3 to 4.6 ignores it; from 4.7 on the 0 of the old guides takes all time limits away.
    """
    config = config_of(glance_host, "glance-api")
    section = store_section(config, cloud)
    timeout = config.integer(section, "rados_connect_timeout")
    honoured = releases.GLANCE_CONNECT_TIMEOUT.reached(cloud, facts, glance_host.name)
    ignored = releases.GLANCE_CONNECT_TIMEOUT_IGNORED.reached(cloud, facts, glance_host.name) and not honoured
    good = timeout is None or timeout == -1 or (not ignored and timeout >= (1 if honoured else 0))
    assert good, finding(
        f"{glance_host.name}:{config.where(section, 'rados_connect_timeout')}",
        found=f"{timeout}, {'which this release ignores' if ignored else 'which is no number of seconds to wait'}",
        expected="unset, or timeouts in ceph.conf" if ignored else "unset, -1 or 1 and more",
        remedy="remove it; rados_mon_op_timeout and client_mount_timeout in ceph.conf hold in every release",
    )
