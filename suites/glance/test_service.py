"""Area glance: the service and its store."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from fixtures import releases
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import ErrorLog, HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import SINGLE_STORE, config_of, glance_stores, store_section
from fixtures.roles import role_on
from fixtures.targets import service_of
from fixtures.units import expect_running

# What these loggers say has its cause in the message bus, the database, Keystone or a client's connection.
ELSEWHERE = re.compile(
    r"(oslo[._]messaging|oslo[._]db|sqlalchemy|amqp|keystonemiddleware|keystoneauth1?|eventlet\.wsgi)(\.|$)"
)
# A request can fail by its own fault: cut off by the client, over a tenant's quota, out of turn.
BY_REQUEST = re.compile(
    r"DisconnectionError|ChunkReadError|unexpected end of file|connection reset|broken pipe"
    r"|due to HTTP error|exceeds the storage quota|status transition",
    re.IGNORECASE,
)


@pytest.mark.check("glance.service.active", severity="critical", source="S0 S2")
def test_image_service_runs_and_answers(glance_host: HostFacts, facts: Facts) -> None:
    """glance-api is active and enabled on every image host, the image API answers, and its log is free of errors.

    Errors count since the service was started. Left aside are those of the message bus, the database and
    Keystone, and of requests that failed by their own fault.

    Why: a service that is not enabled is gone after the next reboot; a store that could not be reached is told
    nowhere but in the log.
    """
    expect_running(glance_host, "glance-api")
    api = need(facts.openstack.image_api, "image API")
    assert api.versions, finding(
        api.endpoint, found="no version", expected="API versions", remedy="look at the glance-api log"
    )
    service = service_of(glance_host, "glance-api")
    log = need(service.errors, f"{glance_host.name}: log of glance-api")
    errors = _own_errors(log)
    assert not errors, finding(
        f"{glance_host.name}:{log.source}",
        found=errors,
        expected=f"no ERROR since {_moment(log.since)}",
        remedy=f"mend what it tells, then systemctl restart {service.unit.name}: errors count since the last start",
    )


def _own_errors(log: ErrorLog) -> dict[str, str]:
    """Per logger the number of its errors and the last of them that is the integration's concern."""
    found = {}
    for logger, logged in log.loggers.items():
        lines = [line for line in logged.last if not BY_REQUEST.search(line)]
        if lines and not ELSEWHERE.match(logger):
            found[f"{logged.count} of {logger}"] = lines[-1]
    return found


def _moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@pytest.mark.check("glance.config.stores", severity="critical", source="S0 S1 GM")
def test_rbd_is_an_enabled_store(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """RBD is among the enabled stores, in the form that the release reads.

    Before Kilo, where `stores` is not set, every store that Glance knows is enabled.

    Why: a store that is not enabled is not loaded, whatever its section says.
    """
    config = config_of(glance_host, "glance-api")
    multistore = glance_stores(config)
    if not multistore and (SINGLE_STORE, "stores") not in config:
        releases.GLANCE_STORE_SECTION.required(cloud, facts, glance_host.name)
    if multistore:
        good = multistore.get(cloud.glance.store, "") == "rbd" if cloud.glance.store else "rbd" in multistore.values()
        where, expected = config.where("DEFAULT", "enabled_backends"), f"{cloud.glance.store or 'NAME'}:rbd"
    else:
        good = (
            bool({"rbd", "glance.store.rbd.Store"} & set(config.items(SINGLE_STORE, "stores", ("file", "http"))))
            and not cloud.glance.store
        )
        where, expected = (
            config.where(SINGLE_STORE, "stores"),
            f"{cloud.glance.store}:rbd in enabled_backends" if cloud.glance.store else "rbd",
        )
    found = multistore or config.get(SINGLE_STORE, "stores", "file,http (default)")
    assert good, finding(
        f"{glance_host.name}:{where}", found=found, expected=expected, remedy="enable the rbd store, restart glance-api"
    )


@pytest.mark.check("glance.config.default_store", severity="critical", source="S0 S1 S2 S4 RO GM")
def test_rbd_is_the_default_store(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Images go to RBD unless the uploader says otherwise.

    Why: an image in another store is copied in full at every boot and for every volume.
    """
    config = config_of(glance_host, "glance-api")
    stores = glance_stores(config)
    option, fallback = ("default_backend", "unset") if stores else ("default_store", "file")
    section = SINGLE_STORE if stores else _section_of(option, glance_host, cloud, facts)
    found = config.get(section, option, fallback)
    good = stores.get(found) == "rbd" and found == (cloud.glance.store or found) if stores else found == "rbd"
    assert good, finding(
        f"{glance_host.name}:{config.where(section, option)}",
        found=f"{option} = {found}",
        expected=cloud.glance.store or "rbd",
        remedy=f"set [{section}] {option}, restart glance-api",
    )


@pytest.mark.check("glance.config.rbd_store_pool", severity="critical", source="S0 S1 S4")
def test_store_writes_to_the_images_pool(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The store's pool is the images pool of the cloud file.

    Why: images in another pool are out of reach of the caps of Cinder and Nova.
    """
    _expect_option(glance_host, cloud, facts, "rbd_store_pool", cloud.ceph.pools.images, default="images")


@pytest.mark.check("glance.config.rbd_store_user", severity="critical", source="S0 S1 S4 GS")
def test_store_logs_in_as_glances_user(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The store's cephx user is set, without "client.", and is Glance's.

    Why: unset, the driver logs in as client.None.
    """
    _expect_option(glance_host, cloud, facts, "rbd_store_user", cloud.ceph.users.glance, default="unset")


@pytest.mark.check("glance.config.rbd_store_ceph_conf", severity="major", source="S0 S1 GS")
def test_store_reads_this_clusters_conf(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The store names its ceph.conf, it is this cluster's, and Glance can read it.

    Why: unset, librados searches, and may find another cluster's.
    """
    _expect_option(glance_host, cloud, facts, "rbd_store_ceph_conf", cloud.ceph.conf, default="unset")
    conf = need(glance_host.ceph_conf, f"{glance_host.name}:{cloud.ceph.conf}").stat
    row = role_on(cloud, glance_host.name, "glance-api")
    readable = (
        bool(conf.mode & 0o004) or conf.owner == row.account or (conf.group == row.group and bool(conf.mode & 0o040))
    )
    assert conf.exists and readable, finding(
        f"{glance_host.name}:{conf.path}",
        found=f"{conf.kind} {conf.owner}:{conf.group} {conf.mode:04o}",
        expected=f"readable by {row.account}",
        remedy=f"chmod 0644 {conf.path}",
    )


def _section_of(option: str, host: HostFacts, cloud: Cloud, facts: Facts) -> str:
    """Section from which the store's option is taken; before Kilo also [DEFAULT], where there was no other."""
    config = config_of(host, "glance-api")
    section = store_section(config, cloud)
    if section != SINGLE_STORE or (section, option) in config:
        return section
    return section if releases.GLANCE_STORE_SECTION.reached(cloud, facts, host.name) else "DEFAULT"


def _expect_option(host: HostFacts, cloud: Cloud, facts: Facts, option: str, expected: str, default: str) -> None:
    config = config_of(host, "glance-api")
    section = _section_of(option, host, cloud, facts)
    found = config.get(section, option, default)
    assert found == expected, finding(
        f"{host.name}:{config.where(section, option)}",
        found=f"[{section}] {option} = {found}",
        expected=expected,
        remedy=f"set [{section}] {option} = {expected}, restart glance-api",
    )


@pytest.mark.check(
    "glance.config.show_image_direct_url", severity="major", source="S0 S1 S4 RO OSSN-0090 LP1992153 CIN-GL"
)
def test_locations_are_shown_as_the_policy_says(glance_host: HostFacts, cloud: Cloud) -> None:
    """show_image_direct_url is on where copy-on-write relies on it, off where the policy is hardened.

    Why: without the location Nova and Cinder download the image in full instead of cloning it.
    """
    config = config_of(glance_host, "glance-api")
    expected = cloud.policy.location_mode != "hardened"
    found = config.boolean("DEFAULT", "show_image_direct_url", False)
    assert found == expected, finding(
        f"{glance_host.name}:{config.where('DEFAULT', 'show_image_direct_url')}",
        found=f"show_image_direct_url = {found}",
        expected=f"{expected} (policy.location_mode: {cloud.policy.location_mode})",
        remedy=f"set [DEFAULT] show_image_direct_url = {expected}, restart glance-api",
    )


@pytest.mark.check("glance.config.show_multiple_locations", severity="critical", source="RO OSSN-0065 OSSN-0090 NI")
@pytest.mark.applies_if(
    lambda cloud: cloud.policy.location_mode != "cow-internal", "locations may be open on internal endpoints"
)
def test_tenants_cannot_edit_locations(glance_host: HostFacts) -> None:
    """show_multiple_locations is off on endpoints that tenants reach.

    Why: with it a tenant can point an image at data of his choice after others have trusted it.
    """
    config = config_of(glance_host, "glance-api")
    assert not config.boolean("DEFAULT", "show_multiple_locations", False), finding(
        f"{glance_host.name}:{config.where('DEFAULT', 'show_multiple_locations')}",
        found="show_multiple_locations = True",
        expected=False,
        remedy="set [DEFAULT] show_multiple_locations = False, restart glance-api",
    )


@pytest.mark.check("glance.config.paste_flavor", severity="minor", source="S0 S2 RO")
def test_image_cache_is_not_in_the_pipeline(glance_host: HostFacts) -> None:
    """The paste flavor is plain keystone, without caching or cachemanagement, and the cache's folder holds no image.

    Why: a cache keeps full copies of images that would have been cloned.
    """
    config = config_of(glance_host, "glance-api")
    found = config.get("paste_deploy", "flavor", "unset")
    assert found == "keystone", finding(
        f"{glance_host.name}:{config.where('paste_deploy', 'flavor')}",
        found=f"flavor = {found}",
        expected="keystone",
        remedy="set [paste_deploy] flavor = keystone, purge /var/lib/glance/image-cache, restart glance-api",
    )
    folders = service_of(glance_host, "glance-api").folders
    cache = need(folders.get("image_cache_dir"), f"{glance_host.name}: image_cache_dir")
    assert not cache.files, finding(
        f"{glance_host.name}:{cache.path}",
        found=f"{cache.files} files, {cache.size} bytes, of a cache that is not in use",
        expected="no image",
        remedy="remove the images below this folder; nothing reads them without the cache",
    )
