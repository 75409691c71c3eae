"""Area glance: what the image API is built on, and what it lets in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fixtures import releases
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.keystone import TOKENS, unknown_login
from fixtures.oslo import OsloConfig
from fixtures.policies import DEFAULTS, location_problems
from fixtures.targets import service_of

REFUSED = re.compile(r"\b40[13]\b")
OLD_TOKEN_OPTIONS = (
    *("identity_uri", "auth_host", "auth_port", "auth_protocol", "auth_admin_prefix"),
    *("admin_user", "admin_password", "admin_tenant_name", "admin_token"),
)
V1_OPTIONS = ("enable_v1_api", "enable_v2_api", "enable_v1_registry", "enable_v2_registry")
REGISTRY_OPTIONS = ("registry_host", "registry_port", "registry_client_protocol", "use_user_token")
REGISTRY_PACKAGES = ("glance-registry", "openstack-glance-registry")


@pytest.mark.check("glance.config.keystone", severity="critical", source="S2")
def test_image_service_can_check_tokens(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """[keystone_authtoken] is whole, in the form of this release, and names a user whom Keystone knows there.

    Why: options of an old release are ignored; every request is then refused, the administrator's too.
    """
    config = config_of(glance_host, "glance-api")
    where = f"{glance_host.name}: [{TOKENS}]"
    remedy = "write it as the install guide of this release has it, restart glance-api"
    if releases.LEGACY_TOKEN_OPTIONS_GONE.reached(cloud, facts, glance_host.name):
        old = [option for option in OLD_TOKEN_OPTIONS if (TOKENS, option) in config]
        assert not old, finding(where, found=old, expected="auth_type, auth_url, username, …", remedy=remedy)
    elif any((TOKENS, option) in config for option in ("auth_host", "identity_uri")):
        return
    section = config.get(TOKENS, "auth_section", TOKENS)
    missing = [
        " or ".join(names) for names in _wanted(config, section) if not any((section, n) in config for n in names)
    ]
    assert not missing, finding(where, found=f"without {', '.join(missing)}", expected="a whole login", remedy=remedy)
    assert not (text := unknown_login(config, section, facts)), finding(
        where, found=text, expected="a user with a role in that project", remedy=f"openstack role add, or {remedy}"
    )
    images = facts.openstack.images
    refused = isinstance(images, Unreadable) and REFUSED.search(images.unreadable) is not None
    assert not refused, finding(where, found=images, expected="the administrator may list images", remedy=remedy)


def _wanted(config: OsloConfig, section: str) -> Iterator[tuple[str, ...]]:
    """What a login needs, by any of the names that it may have."""
    yield ("auth_type", "auth_plugin")
    yield ("auth_url",)
    if "password" in config.get(section, "auth_type", config.get(section, "auth_plugin", "password")):
        yield ("username", "user_name", "user_id")
        yield ("password",)
        yield ("project_name", "tenant_name", "project_id", "tenant_id", "system_scope")


@pytest.mark.check("glance.config.legacy_api", severity="info", source="S2 GREL-registry")
def test_nothing_of_the_first_image_api_is_left(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Options of the image API v1 are gone, and from Stein on those of the registry, and the registry itself.

    Why: they promise what is not there, and a registry that still runs has a database login for nothing.
    """
    releases.GLANCE_V1_GONE.required(cloud, facts, glance_host.name)
    config = config_of(glance_host, "glance-api")
    left = [option for option in V1_OPTIONS if ("DEFAULT", option) in config]
    if releases.GLANCE_REGISTRY_GONE.reached(cloud, facts, glance_host.name):
        left += [option for option in REGISTRY_OPTIONS if ("DEFAULT", option) in config]
        packages = need(glance_host.packages, f"{glance_host.name}: packages")
        left += [f"package {name}" for name in REGISTRY_PACKAGES if name in packages]
    assert not left, finding(
        f"{glance_host.name}: glance-api",
        found=left,
        expected="nothing of API v1 and registry",
        remedy="remove the options and the package",
    )


@pytest.mark.asks_services
@pytest.mark.check("glance.db.sync", severity="major", source="S2")
def test_image_database_is_current(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Glance's database is no SQLite file, its login works, and `glance-manage db check` finds nothing to do.

    Why: a schema that is behind the code fails at the first request that needs the new column.
    """
    config = config_of(glance_host, "glance-api")
    where = f"{glance_host.name}:{config.where('database', 'connection')}"
    engine = config.get("database", "connection", "sqlite:", ("DEFAULT", "sql_connection")).partition(":")[0]
    assert not engine.startswith("sqlite"), finding(
        where, found=engine, expected="a database server", remedy="set [database] connection, glance-manage db sync"
    )
    releases.GLANCE_DB_CHECK.required(cloud, facts, glance_host.name)
    report = need(service_of(glance_host, "glance-api").reports.get("db check"), f"{glance_host.name}: glance-manage")
    if report.rc == 2:
        raise NotMeasured(f"{glance_host.name}: glance-manage db check: {report.error}")
    assert report.rc == 0, finding(
        f"{glance_host.name}: glance-manage db check",
        found=report.output[-1] if report.output else report.error,
        expected="no upgrade needed",
        remedy="stop glance-api, glance-manage db sync, start it",
    )


@pytest.mark.check("glance.config.raw_conversion", severity="minor", source="GI S0")
@pytest.mark.applies_if(
    lambda cloud: cloud.policy.converts_images, "policy.converts_images is off: images are what their owners upload"
)
def test_imported_images_are_made_raw(glance_host: HostFacts) -> None:
    """The import plugin image_conversion is on and makes raw of what is imported.

    What is uploaded directly goes past it; glance.image.format_raw finds that afterwards.

    Why: users bring qcow2, and each use of such an image downloads and converts it anew.
    """
    config = config_of(glance_host, "glance-api")
    where = f"{glance_host.name}:{config.where('image_import_opts', 'image_import_plugins')}"
    plugins = [name.strip(" '\"[]") for name in config.items("image_import_opts", "image_import_plugins")]
    assert "image_conversion" in plugins, finding(
        where,
        found=plugins,
        expected="image_conversion",
        remedy="set [image_import_opts] image_import_plugins = ['image_conversion'], restart glance-api",
    )
    made = config.get("image_conversion", "output_format", "raw")
    assert made == "raw", finding(
        f"{glance_host.name}:{config.where('image_conversion', 'output_format')}",
        found=f"output_format = {made}",
        expected="raw",
        remedy="set [image_conversion] output_format = raw, restart glance-api",
    )


@pytest.mark.check("glance.config.location_api", severity="major", source="GL CIN-GL")
def test_services_may_use_the_new_location_api(glance_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """The location API of 2024.2 is for services: its policies let role `service` in, and nobody else read locations.

    Cinder, where it uses the API, logs in to Glance as itself; it and Nova hold the role.

    Why: without a service login images are downloaded instead of cloned; who is told a location may learn how to
    reach past Glance.
    """
    releases.NEW_LOCATION_API.required(cloud, facts, glance_host.name)
    policies = list(location_problems(glance_host))
    assert not policies, finding(
        f"{glance_host.name}: Glance's policies",
        found=policies,
        expected={name: DEFAULTS[name] for name in ("service_api", "fetch_image_location", "add_image_location")},
        remedy="take these rules out of the policy files: Glance's defaults are right",
    )
    problems = [*_cinder_logins(cloud, facts), *_nova_logins(cloud, facts)]
    assert not problems, finding(
        "services that ask for image locations",
        found=problems,
        expected="a login of their own with role service",
        remedy="openstack role add --user USER --project service service; add [glance] to cinder.conf",
    )


def _cinder_logins(cloud: Cloud, facts: Facts) -> Iterator[str]:
    for name in cloud.hosts_with("cinder-volume"):
        if releases.CINDER_USES_LOCATION_API.reached(cloud, facts, name):
            config = config_of(facts.host(name), "cinder-volume")
            if ("glance", "auth_type") not in config and ("glance", "auth_section") not in config:
                yield f"{name}: cinder.conf has no login in [glance]"
            else:
                yield from _without_role(name, config, config.get("glance", "auth_section", "glance"), facts)


def _nova_logins(cloud: Cloud, facts: Facts) -> Iterator[str]:
    for name in cloud.hosts_with("nova-compute"):
        if releases.NOVA_ADDS_LOCATION.reached(cloud, facts, name):
            config = config_of(facts.host(name), "nova-compute")
            yield from _without_role(name, config, config.get("service_user", "auth_section", "service_user"), facts)


def _without_role(host: str, config: OsloConfig, section: str, facts: Facts) -> Iterator[str]:
    user = config.get(section, "username", "")
    assigned = need(facts.openstack.role_assignments, "role assignments")
    if not any((one.user, one.role) == (user, "service") for one in assigned):
        yield f"{host}: [{section}] user {user or 'unset'} has no role service"
