"""Area swift: its services, the proxy, and what answers for object-store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import SWIFT_ROLES
from fixtures.facts.base import Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.swift import Server, SwiftNode
from fixtures.integration import SINGLE_STORE, config_of, glance_stores
from fixtures.swift import GLANCE_SWIFT, IN_USE, KINDS, ORDER, SERVES, PasteConfig, needed_beside, seen, storage_roles
from fixtures.targets import service_of
from fixtures.units import starting, unit_problem

LEGACY = ("auth_host", "auth_port", "auth_protocol", "admin_tenant_name", "admin_user", "admin_password", "auth_uri")
REPLICATED_WITHIN = 3600.0
SKEW = 1.0


@pytest.mark.check("swift.services", severity="critical", source="S2")
@pytest.mark.applies_if(*IN_USE)
def test_services_of_swift_run_and_answer(swift_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Each server of this host and the daemons beside it are active and enabled, and each server's healthcheck says OK.

    Of the daemons, sharder and sync are a cloud's choice, and the reconstructor belongs to erasure coding.

    Why: without a replicator a lost disk is never made good, without an auditor silent damage is never found, and
    nothing of either shows while all is well.
    """
    node = seen(cloud, facts, swift_host.name)
    roles = [role for role in SWIFT_ROLES if role in cloud.hosts[swift_host.name].roles]
    policies = {} if isinstance(node.policies, Unreadable) else node.policies
    units = [
        unit for role in roles for unit in (service_of(swift_host, role).unit, *_beside(swift_host, role, policies))
    ]
    stopped = [unit for unit in units if unit_problem(unit)]
    assert not stopped, finding(
        swift_host.name,
        found={unit.name: unit_problem(unit) for unit in stopped},
        expected="active and enabled",
        remedy=starting(stopped),
    )
    sick = {role: problem for role in roles if (problem := _sickness(node, role))}
    assert not sick, finding(
        swift_host.name, found=sick, expected="healthcheck says OK", remedy="read the server's log; start it anew"
    )


def _beside(host: HostFacts, role: Any, policies: dict[str, str]) -> list[Any]:
    return list(needed_beside(host, role, policies))


def _sickness(node: SwiftNode, role: str) -> str:
    server = need(node.servers.get(role), role)
    if isinstance(server.health, Unreadable):
        return f"{server.address}:{server.port}: {server.health.unreadable}"
    good = server.health.status == 200 and server.health.text == "OK"
    return "" if good else f"{server.address}:{server.port}/healthcheck: {server.health.status} {server.health.text}"


@pytest.mark.check("swift.proxy.conf", severity="critical", source="S2")
@pytest.mark.applies_if(*IN_USE)
def test_proxy_knows_tokens_and_shares_its_cache(proxy_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The pipeline has authtoken, then keystoneauth, before the proxy; both know their options; memcached answers.

    operator_roles name at least one role that somebody has, and authtoken none of the options of before Queens.

    Why: a proxy without them in this order serves nobody, or takes tokens for granted; without its cache each
    request asks Keystone and all account servers.
    """
    paste = PasteConfig(proxy_host, "swift-proxy")
    _expect_pipeline(paste)
    bad = sorted(_login_problems(paste))
    assert not bad, finding(
        paste.where("filter:authtoken", "auth_url"),
        found=bad,
        expected="auth_type, auth_url, username, password and project_name alone",
        remedy="set them as the install guide of this release has them, restart swift-proxy",
    )
    _expect_operators(paste, facts)
    told = need(seen(cloud, facts, proxy_host.name).memcached, f"{proxy_host.name}: memcached")
    silent = {server: why for server, why in told.items() if why}
    assert told and not silent, finding(
        paste.where("filter:cache", "memcache_servers"),
        found=silent or "no server",
        expected="memcached answers at each",
        remedy="correct memcache_servers, or start memcached there; restart swift-proxy",
    )


def _expect_pipeline(paste: PasteConfig) -> None:
    places = [paste.pipeline.index(name) if name in paste.pipeline else -1 for name in ORDER]
    assert -1 not in places and places == sorted(places), finding(
        paste.where("pipeline:main", "pipeline"),
        found=" ".join(paste.pipeline),
        expected=" … ".join(ORDER),
        remedy="put them into the pipeline in this order, with a filter section each; restart swift-proxy",
    )


def _login_problems(paste: PasteConfig) -> Iterator[str]:
    section = "filter:authtoken"
    yield from (f"{key} is of before Queens" for key in LEGACY[:-1] if paste.get(section, key))
    wanted = ("auth_url", "username", "password", "project_name")
    yield from (f"{key} is unset" for key in wanted if not paste.get(section, key))


def _expect_operators(paste: PasteConfig, facts: Facts) -> None:
    roles = {
        role.strip() for role in paste.get("filter:keystoneauth", "operator_roles", "admin, swiftoperator").split(",")
    }
    given = {row.role for row in need(facts.openstack.role_assignments, "role assignments")}
    assert roles & given, finding(
        paste.where("filter:keystoneauth", "operator_roles"),
        found=roles,
        expected=f"one of the roles that users have: {', '.join(sorted(given))}",
        remedy="name the roles whose users may use their project's account, restart swift-proxy",
    )


@pytest.mark.check("swift.stat", severity="critical", source="S2 SW")
@pytest.mark.applies_if(*SERVES)
def test_object_store_shows_the_account_of_the_project(cloud: Cloud, facts: Facts) -> None:
    """The catalog has an object store, and it shows the administrator the account of the administrator's project.

    Swift's address ends in AUTH_ and the project's id; radosgw's may leave the account out.

    Why: it is the first thing that every client asks; an address of another project, or a proxy that cannot check
    tokens, is refused here.
    """
    store = facts.openstack.object_store
    assert store is not None, finding(
        "catalog",
        found="no service of type object-store in this region",
        expected=f"the address of {cloud.object_store}",
        remedy="openstack service create --name swift object-store; openstack endpoint create for each interface",
    )
    told = need(store, "object store")
    good = 200 <= told.status < 300 and "x-account-container-count" in told.headers
    assert good, finding(
        told.endpoint,
        found=f"HTTP {told.status}",
        expected="2xx with the account's figures",
        remedy="swift.services, swift.proxy.conf and ks.auth.credential name the usual causes; read the proxy's log",
    )
    account = told.endpoint.rstrip("/").rpartition("/")[2]
    without = cloud.object_store == "radosgw" and account == "v1"
    assert without or account.endswith(f"_{told.project}"), finding(
        told.endpoint,
        found=account,
        expected=f"AUTH_{told.project}",
        remedy="openstack endpoint set --url …/v1/AUTH_%(project_id)s",
    )


@pytest.mark.check("swift.recon", severity="major", source="SD")
@pytest.mark.applies_if(*IN_USE)
def test_store_has_no_backlog(store_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """By recon: every device is mounted, nothing in quarantine, each replicator made a round within the hour.

    Few updates of containers wait (swift.async_pending), and a proxy finds this host's clock within one second.

    Why: it is where Swift itself tells that copies are missing or damaged; objects are answered all the same.
    """
    node = seen(cloud, facts, store_host.name)
    problems = [*_recon_problems(cloud, store_host, node), *_skews(cloud, facts, store_host)]
    assert not problems, finding(
        store_host.name,
        found=problems,
        expected="all mounted, none in quarantine, a round within the hour, few updates waiting, clocks together",
        remedy="swift-recon --all tells which device; look at it, and read its replicator's and auditor's log",
    )


def _recon_problems(cloud: Cloud, host: HostFacts, node: SwiftNode) -> Iterator[str]:
    for role in storage_roles(cloud, host.name):
        server = need(node.servers.get(role), f"{host.name}: {role}")
        if "recon" not in PasteConfig(host.of(role), role).pipeline:
            yield f"{role}: recon is not in the pipeline"
            continue
        yield from _late(host, role, _told(host, server, f"replication/{KINDS[role]}"))
    if "swift-object" in storage_roles(cloud, host.name):
        yield from _of_objects(cloud, host, node)


def _of_objects(cloud: Cloud, host: HostFacts, node: SwiftNode) -> Iterator[str]:
    server = need(node.servers.get("swift-object"), f"{host.name}: swift-object")
    if "unmounted" not in server.recon or "recon" not in PasteConfig(host.of("swift-object"), "swift-object").pipeline:
        return
    yield from (f"{row['device']} is not mounted" for row in _told(host, server, "unmounted"))
    kept = _told(host, server, "quarantined")
    yield from (
        f"{kept[kind]} {kind} in quarantine" for kind in ("accounts", "containers", "objects") if kept.get(kind)
    )
    waiting = need(node.pending, f"{host.name}: updates that wait")
    if waiting > cloud.swift.async_pending:
        yield f"{waiting} updates of containers wait"


def _told(host: HostFacts, server: Server, what: str) -> Any:
    return json.loads(need(server.recon.get(what), f"{host.name}: recon {what}"))


def _late(host: HostFacts, role: Any, told: dict[str, Any]) -> Iterator[str]:
    last = told.get("replication_last") or told.get("object_replication_last")
    since = last or service_of(host, role).unit.since
    if host.collected_at - since > REPLICATED_WITHIN:
        yield f"{role}: {'last round of replication' if last else 'no round of replication, it runs for'} " + (
            f"{(host.collected_at - since) / 3600:.1f} h{' ago' if last else ''}"
        )


def _skews(cloud: Cloud, facts: Facts, host: HostFacts) -> Iterator[str]:
    own = need(host.addresses, f"{host.name}: addresses")
    for name in cloud.hosts_with("swift-proxy"):
        for server, told in seen(cloud, facts, name).skew.items():
            address = server.rpartition(":")[0]
            if address in own and not isinstance(told, Unreadable) and abs(told) >= SKEW:
                yield f"{name} finds its clock {told:+.1f} s off"


@pytest.mark.check("swift.glance_store", severity="minor", source="S2")
@pytest.mark.applies_if(*SERVES)
@pytest.mark.applies_if(lambda cloud: bool(cloud.hosts_with("glance-api")), "no host of the cloud file runs glance-api")
def test_glance_uses_swift_wholly_or_not_at_all(glance_host: HostFacts) -> None:
    """Where Glance has a Swift store, it has an address, a user and a key to log in with; else no options of one.

    Why: a store that is half set up fails at the first upload, and one left over takes images away from RBD.
    """
    config = config_of(glance_host, "glance-api")
    stores = {name for name, kind in glance_stores(config).items() if kind == "swift"}
    single = not glance_stores(config) and "swift" in config.items(SINGLE_STORE, "stores", ("file", "http"))
    sections = stores or ({SINGLE_STORE} if single else set())
    if not sections:
        left = [key for key in GLANCE_SWIFT if (SINGLE_STORE, key) in config]
        assert not left, finding(
            f"{glance_host.name}:{config.where(SINGLE_STORE, (left or [''])[0])}",
            found=left,
            expected="no options of a store that is not enabled",
            remedy="remove them, or enable the swift store; restart glance-api",
        )
        return
    lacking = [
        f"[{section}] {key}" for section in sorted(sections) for key in GLANCE_SWIFT if not _set(config, section, key)
    ]
    assert not lacking, finding(
        f"{glance_host.name}: Glance's Swift store",
        found=f"unset: {', '.join(lacking)}",
        expected="an address, a user (project:user) and a key",
        remedy="set them, or swift_store_config_file with a default reference; restart glance-api",
    )


def _set(config: Any, section: str, key: str) -> bool:
    return bool(config.get(section, key, "")) or (section, "swift_store_config_file") in config
