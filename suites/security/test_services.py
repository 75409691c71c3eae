"""Area sec: what the services show and how they are reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from fixtures.around import each_config, each_host
from fixtures.checks import applies, finding, some
from fixtures.clients import client_option
from fixtures.cloud import Cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.floors import verdicts
from fixtures.integration import config_of
from fixtures.oslo import OsloConfig
from fixtures.policies import glance_rule
from fixtures.targets import clients

LIBVIRT_TCP = 16509
CONSOLES = range(5900, 6000)


@pytest.mark.check("sec.image.location_exposure", severity="major", source="S0 RO OSSN-0090")
@pytest.mark.applies_if(
    lambda cloud: cloud.policy.location_mode != "cow-open",
    "policy.location_mode is cow-open: the operator shows locations to all",
)
def test_public_images_do_not_tell_where_they_are(facts: Facts) -> None:
    """What the public image endpoint tells of an image has no direct_url.

    Why: it gives fsid, pool and snapshot to every tenant, and with OSSN-0090 the image's content into his hands.
    """
    images = need(facts.openstack.images, "images")
    api = need(facts.openstack.image_api, "image service")
    applies(bool(images), "there is no image to look at")
    told = [image.name or image.id for image in images if image.direct_url]
    assert not told, finding(
        f"images at {api.endpoint}",
        found=some(told, 10),
        expected="no direct_url",
        remedy="a glance-api for tenants without show_image_direct_url; Nova and Cinder use an internal one",
    )


@pytest.mark.check("sec.transport", severity="major", source="S2 NM OSSN-0096")
def test_nothing_travels_in_the_clear(cloud: Cloud, facts: Facts) -> None:
    """What policy.encrypted names is encrypted; libvirt and consoles listen where no tenant comes.

    Why: tokens, database passwords and the guests' memory go over these wires.
    """
    bad = sorted({*_clear(cloud, facts), *_exposed(cloud, facts)})
    assert not bad, finding(
        "transport",
        found=bad,
        expected=f"encrypted: {', '.join(cloud.policy.encrypted) or 'nothing'}; no open libvirt or console",
        remedy="TLS before or in the service; ms_client_mode secure; close the listener or bind it elsewhere",
    )


def _clear(cloud: Cloud, facts: Facts) -> Iterator[str]:
    wanted = cloud.policy.encrypted
    if "endpoints" in wanted:
        endpoints = need(facts.openstack.endpoints, "catalog")
        yield from (f"endpoint {url}" for url in endpoints.values() if not url.startswith("https:"))
    for name, role, config in each_config(cloud, facts):
        where = f"{name}: {role}"
        if "messaging" in wanted and config.get("DEFAULT", "transport_url") and not _messaging_tls(config):
            yield f"{where}: messaging without TLS"
        if "database" in wanted and any(not _database_tls(url) for url in _connections(config)):
            yield f"{where}: database without TLS"
    if "ceph" in wanted:
        modes = {client: client_option(facts, client, "ms_client_mode") for client in clients(cloud)}
        yield from (f"{client}: ms_client_mode {mode}" for client, mode in modes.items() if mode.split() != ["secure"])


def _messaging_tls(config: OsloConfig) -> bool:
    rabbit = "oslo_messaging_rabbit"
    return bool(config.boolean(rabbit, "ssl", False, (rabbit, "rabbit_use_ssl"))) or "ssl=1" in config.get(
        "DEFAULT", "transport_url", ""
    )


def _connections(config: OsloConfig) -> list[str]:
    found = (config.get(section, "connection", "") for section in ("database", "api_database"))
    return [url for url in found if url and not url.startswith("sqlite")]


def _database_tls(url: str) -> bool:
    return "ssl_ca=" in url or "ssl=true" in url.lower() or "sslmode=verify" in url


def _exposed(cloud: Cloud, facts: Facts) -> Iterator[str]:
    for name, host in each_host(cloud, facts, cloud.hosts_with("nova-compute")).items():
        for listener in need(host.listening, f"{name}: listeners"):
            if listener.port == LIBVIRT_TCP and cloud.policy.migration_transport != "tcp":
                yield f"{name}: libvirt on {listener.address}:{listener.port}, which nothing needs"
            elif listener.port == LIBVIRT_TCP or listener.port in CONSOLES:
                yield from (f"{name}: {it}:{listener.port}" for it in _outside(listener.address, host, cloud))


def _outside(address: str, host: HostFacts, cloud: Cloud) -> list[str]:
    """Addresses that a listener is reached by from other networks than the cloud file's management networks."""
    networks = cloud.policy.management_networks
    if not networks:
        return []
    bound = [address] if not ipaddress.ip_address(address).is_unspecified else need(host.addresses, host.name)
    parsed = [ipaddress.ip_address(one) for one in bound]
    return [
        str(one)
        for one in parsed
        if not one.is_loopback and not one.is_link_local and not any(one in network for network in networks)
    ]


@pytest.mark.check("sec.console_proxy", severity="major", source="OSSN-0101 S2")
def test_consoles_are_reached_over_https(cloud: Cloud, facts: Facts) -> None:
    """Consoles are handed out with an https address, only for this cloud's own pages, by a proxy without known holes.

    Why: what is typed into a console is a guest's root password more often than not.
    """
    hosts = each_host(cloud, facts, cloud.hosts_with("nova-compute", "nova-control"))
    bad: list[str] = []
    for name, host in hosts.items():
        for role in sorted({"nova-compute", "nova-control"} & set(cloud.hosts[name].roles)):
            bad += [f"{name}: {told}" for told in _console_problems(config_of(host, role))]  # type: ignore[arg-type]
        packages = {} if isinstance(host.packages, Unreadable) else host.packages
        holes = (verdict for verdict in verdicts(host, packages) if verdict.advisory.id == "OSSN-0101")
        bad += [f"{name}: {verdict}" for verdict in holes if verdict.open]
    assert not bad, finding(
        "console proxy",
        found=sorted(set(bad)),
        expected="https, origins of this cloud only, Nova with the fix of OSSN-0101",
        remedy="[vnc] novncproxy_base_url https://…, with [DEFAULT] cert and key; [console] allowed_origins; upgrade",
    )


def _console_problems(config: OsloConfig) -> Iterator[str]:
    for section, option, default in (("vnc", "novncproxy_base_url", True), ("spice", "html5proxy_base_url", False)):
        url = config.get(section, option, "")
        if config.boolean(section, "enabled", default) and url and not url.startswith("https:"):
            yield f"[{section}] {option} {url}"
    wide = [origin for origin in config.items("console", "allowed_origins") if "*" in origin]
    if wide:
        yield f"[console] allowed_origins {', '.join(wide)}"


@pytest.mark.check("sec.image_trust", severity="minor", source="OSSN-0090 NCOM-0d750d6")
def test_only_administrators_vouch_for_images(cloud: Cloud, facts: Facts) -> None:
    """Only administrators publish images, imports are checked, and Nova promises no check that clones skip.

    Why: a clone is never read as a whole, so neither its hash nor its signature is looked at.
    """
    bad: list[str] = []
    for name, host in each_host(cloud, facts, cloud.hosts_with("glance-api")).items():
        rule = glance_rule(host, "publicize_image")
        bad += [] if "admin" in rule else [f"{name}: publicize_image {rule or 'everybody'}"]
        packages = need(host.packages, f"{name}: packages")
        bad += [f"{name}: {it}" for it in verdicts(host, packages) if it.advisory.id == "OSSA-2026-004" and it.open]
    for name, host in each_host(cloud, facts, cloud.hosts_with("nova-compute")).items():
        config = config_of(host, "nova-compute")
        clones = config.get("libvirt", "images_type") == "rbd" and cloud.policy.location_mode != "hardened"
        if clones and config.boolean("glance", "verify_glance_signatures", False):
            bad.append(f"{name}: verify_glance_signatures, which cloned images pass by")
    assert not bad, finding(
        "images",
        found=bad,
        expected="publicize_image for administrators; imports with the fix; no signature check on clones",
        remedy="mend policy.yaml; upgrade Glance; verify_glance_signatures = false, or no clones",
    )
