"""Area ks: the catalog by which everything finds everything, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

from fixtures import releases
from fixtures.around import each_config
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.identity import CatalogService, Endpoint, Identity
from fixtures.facts.run import Facts
from fixtures.keystone import identity_of, is_address, services_of

OLD_TYPES = ("volume", "volumev2")
INTERFACES = ("public", "internal")
VERSIONS: Final[Mapping[str, re.Pattern[str]]] = {
    "compute": re.compile(r"^(?!.*/v(1(\.\d+)?|2(\.0)?)(/|$))"),
    "volumev3": re.compile(r"/v3(/[^/]+)?/?$"),
    "block-storage": re.compile(r"/v3(/[^/]+)?/?$"),
    "image": re.compile(r"^(?!.*/v[12](\.\d+)?/?$)"),
    "object-store": re.compile(r"/AUTH_[%$]\(\w+\)s/?$|/swift/v1(/AUTH_[%$]\(\w+\)s)?/?$"),
}
"""How addresses of a type end."""
TAKES_ANSWERS = (200, 204, 300, 301, 302)
ADMIN = "admin"
SERVICE_RIGHTS = (ADMIN, "service")
SENT, ASKED = "service_user", "keystone_authtoken"


@pytest.mark.check("ks.catalog.services", severity="critical", source="S2")
def test_each_service_is_in_the_catalog_once(cloud: Cloud, facts: Facts) -> None:
    """Each service that the cloud file names has exactly one enabled entry of its type, and no entry is of a lost API.

    Why: clients take the first entry of a type; with two, some go to the wrong one, and with none nobody finds it.
    """
    told = identity_of(facts)
    bad = {" or ".join(types): _named(found) for types, found in services_of(cloud, told) if len(found) != 1}
    host = next(iter(cloud.hosts_with("cinder-api")), "")
    if host and releases.CINDER_V2_GONE.reached(cloud, facts, host):
        bad |= {kind: _named(found) for kind in OLD_TYPES if (found := told.of_type(kind))}
    assert not bad, finding(
        "catalog",
        found=bad,
        expected="one enabled service of each type, and none of an API that is gone",
        remedy="openstack service create, delete, or set --disable",
    )


def _named(found: tuple[CatalogService, ...]) -> str:
    return ", ".join(f"{service.name or '-'} ({service.id})" for service in found) or "no enabled service"


@pytest.mark.check("ks.catalog.endpoints", severity="critical", source="S2")
def test_endpoints_lead_to_their_services(cloud: Cloud, facts: Facts) -> None:
    """Each service has a public and an internal endpoint in this region, well-formed, and each answers its clients.

    Admin endpoints are judged where there are any. An endpoint to which the runner finds no way is left to
    ks.auth.credential unless it is a public one.

    Why: an address with a slip in it gives 404 or the wrong service, and the message names neither.
    """
    told = identity_of(facts)
    region = facts.openstack.region
    bad = [problem for types, found in services_of(cloud, told) for problem in _service_problems(told, region, found)]
    assert not bad, finding(
        f"endpoints of region {region or 'none'}",
        found=sorted(bad),
        expected="public and internal, in one spelling of the region, with an address that answers",
        remedy="openstack endpoint set --url … --region … ENDPOINT",
    )


def _service_problems(told: Identity, region: str, found: tuple[CatalogService, ...]) -> Iterator[str]:
    for service in found:
        own = [it for it in told.endpoints if it.service == service.id and it.enabled]
        here = [it for it in own if not region or it.region == region]
        there = {it.interface for it in here}
        yield from (f"{service.type}: no {name} endpoint" for name in INTERFACES if name not in there)
        for endpoint in own:
            if endpoint not in here and endpoint.region.lower() == region.lower():
                yield f"{service.type} {endpoint.interface}: region {endpoint.region}, where others have {region}"
        for endpoint in here:
            if problem := _address_problem(service.type, endpoint):
                yield f"{service.type} {endpoint.interface}: {problem}"


def _address_problem(kind: str, endpoint: Endpoint) -> str:
    if not is_address(endpoint.url):
        return f"{endpoint.url} is no address and no template of one"
    if kind in VERSIONS and not VERSIONS[kind].search(endpoint.url):
        return f"{endpoint.url} is not of the API that is spoken today"
    if endpoint.status is not None and endpoint.status not in TAKES_ANSWERS:
        return f"{endpoint.url} answers {endpoint.status}"
    if endpoint.error and endpoint.interface == "public":
        return f"{endpoint.url}: {endpoint.error}"
    return ""


@pytest.mark.check("ks.projects_users", severity="critical", source="S2")
def test_users_of_services_are_there(cloud: Cloud, facts: Facts) -> None:
    """Each user and project that a service is configured with is there and enabled.

    Why: a disabled user's tokens end at once, and with them all that its service does for others.
    """
    told = identity_of(facts)
    bad = []
    for place, user, project in _logins(cloud, facts):
        for what, name, known in (("user", user, told.users), ("project", project, told.projects)):
            # Keystone's database mostly compares names without case; ks.auth.credential tells where it does not.
            same = [one for one in known if one.name.casefold() == name.casefold()]
            if name and not any(one.enabled for one in same):
                bad.append(f"{place}: {what} {name} is {'disabled' if same else 'unknown'}")
    assert not bad, finding(
        "users and projects of services",
        found=sorted(bad),
        expected="there and enabled",
        remedy="openstack user set --enable, openstack user create, or correct the section",
    )


def _logins(cloud: Cloud, facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Place, user and project of each login by name in the services' configurations."""
    for name, role, config in each_config(cloud, facts):
        for section in config.sections():
            if config.get(section, "auth_url") and (user := config.get(section, "username")):
                yield f"{name}: {role} [{section}]", user, config.get(section, "project_name", "")


@pytest.mark.check("ks.roles", severity="critical", source="S2 GL CST")
def test_roles_are_given_as_they_must_be(cloud: Cloud, facts: Facts) -> None:
    """The roles admin, member, reader and that of services exist; services have theirs, and nobody beside them.

    The role of services is the one that services ask for in service_token_roles. In a project in which services
    log in, only their users have the role admin, those of others in the catalog, and policy.service_users.

    Why: a service without its right fails at its first call for a tenant; a person with one acts as every service.
    """
    told = identity_of(facts)
    assigned = need(facts.openstack.role_assignments, "role assignments")
    logins = sorted(set(_logins(cloud, facts)))
    bad = [f"no role {name}" for name in _needed(cloud, facts) if name not in {role.lower() for role in told.roles}]
    rights = {(one.user.casefold(), one.project.casefold(), one.role.casefold()) for one in assigned}
    service_rights = {*SERVICE_RIGHTS, *_service_roles(cloud, facts)}
    for user, project in sorted({(user, project) for _, user, project in logins if project}):
        if not any((user.casefold(), project.casefold(), right) in rights for right in service_rights):
            bad.append(f"{user} has none of {', '.join(sorted(service_rights))} in {project}")
    homes, users = {project.casefold() for _, _, project in logins}, _users_of_services(cloud, told, logins)
    bad += [
        f"{user} is {ADMIN} in {project}, and no service"
        for user, project, role in sorted(rights)
        if role == ADMIN and project in homes and user not in users
    ]
    assert not bad, finding(
        "roles",
        found=bad,
        expected="roles of today's releases, services with their rights, people elsewhere",
        remedy="openstack role create; openstack role add or remove --user USER --project PROJECT ROLE; a service's "
        "that has no role in the cloud file: policy.service_users",
    )


def _users_of_services(cloud: Cloud, told: Identity, logins: list[tuple[str, str, str]]) -> set[str]:
    catalog = (name for service in told.services for name in (service.name, service.type))
    return {name.casefold() for name in (*(user for _, user, _ in logins), *catalog, *cloud.policy.service_users)}


def _needed(cloud: Cloud, facts: Facts) -> set[str]:
    host = next(iter(cloud.hosts_with("keystone")), "")
    modern = bool(host) and releases.READER_ROLE.reached(cloud, facts, host)
    return {ADMIN, *(("member", "reader") if modern else ()), *_service_roles(cloud, facts)}


def _service_roles(cloud: Cloud, facts: Facts) -> set[str]:
    """What services that get a service's token ask for, where any sends one."""
    configs = [config for _, _, config in each_config(cloud, facts)]
    if not any(config.boolean(SENT, "send_service_user_token", False) for config in configs):
        return set()
    return {role.lower() for config in configs for role in config.items(ASKED, "service_token_roles", ("service",))}
