"""Area ks: the identity service. Who may log in, and where services answer, is for people to say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fixtures.around import each_config
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.integration import config_of
from fixtures.keystone import (
    CREDENTIAL_KEYS,
    KEY_DAYS,
    OLD_URL,
    TOKEN_KEYS,
    identity_of,
    is_address,
    old_urls,
    open_to_others,
    services_of,
)
from fixtures.roles import role_on
from fixtures.targets import service_of
from remediate.model import Attributes, CatalogEndpoint, NeedsOperator, Option, TokenKeys, Unit
from remediate.options import Configuration, refuse_container
from remediate.registry import manual, repairs
from remediate.services import run_unit

FERNET: Final = "fernet"
BY_A_SHELL: Final = re.compile(r"\\+(?=[$%()])")
"""Backslashes before what a shell would take for its own."""

manual(
    "a password that does not fit is known in one place and wrong in the other, and which is which only a person "
    "can say: openstack user set --password-prompt USER, or correct the section; then restart the service",
    "ks.auth.credential",
)
manual(
    "which of two entries of the catalog is the one in use, or where a service is that has none, is yours to say: "
    "openstack service list --long; openstack service create, delete, set",
    "ks.catalog.services",
)
manual(
    "somebody disabled or removed that user or project, and may have had a reason: openstack user set --enable USER",
    "ks.projects_users",
)
manual(
    "rights are given and taken by people: openstack role create ROLE; "
    "openstack role add --user USER --project PROJECT ROLE, or role remove",
    "ks.roles",
)


@repairs(
    "ks.catalog.endpoints",
    disruption="safe",
    otherwise="where a service is to be reached is a matter of your network and its proxies: "
    "openstack endpoint list; openstack endpoint set --url URL ENDPOINT",
)
def correct_slips_in_endpoints(cloud: Cloud, facts: Facts) -> Iterator[CatalogEndpoint]:
    """Take out backslashes as shells leave them before a placeholder's signs; what they mean elsewhere nobody knows."""
    told, region = identity_of(facts), facts.openstack.region
    kinds = {service.id: service.type for _, found in services_of(cloud, told) for service in found}
    here = (it for it in told.endpoints if it.enabled and region in ("", it.region) and it.service in kinds)
    for one in here:
        url = BY_A_SHELL.sub("", one.url)
        if url != one.url and is_address(url):
            yield CatalogEndpoint(endpoint=one.id, name=f"{kinds[one.service]} {one.interface}", url=url)


@repairs("ks.service.up", disruption="safe")
def run_identity_service(cloud: Cloud, facts: Facts, keystone_host: str) -> Iterator[Unit]:
    """Enable and start it; an error in its log and an old schema are a person's."""
    steps = list(run_unit(cloud, facts, keystone_host, "keystone"))
    if not steps:
        raise NeedsOperator(
            f"{keystone_host}: Keystone runs; mend what its log tells, or upgrade its schema with a dump at hand",
            "keystone-manage db_sync",
        )
    yield from steps


@repairs("ks.api.version", disruption="disruptive")
def ask_for_the_third_version(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Point services at /v3 that are told to use v2.0; a catalog that does so is a person's to change."""
    found = False
    for host, role, config in each_config(cloud, facts):
        for section, option, url in old_urls(config):
            found = True
            yield from Configuration(cloud, facts, host, role).set(section, option, OLD_URL.sub("/v3", url))
    if not found:
        raise NeedsOperator(
            "the catalog, or Keystone itself, offers v2.0", "openstack endpoint set --url …/v3 ENDPOINT"
        )


@repairs("ks.bootstrap.token_off", disruption="safe")
def close_what_bootstrap_left(
    cloud: Cloud, facts: Facts, keystone_host: str
) -> Iterator[Option | Attributes | TokenKeys]:
    """Take out admin_token, close the folders of keys and the keys in them, and rotate those of tokens once."""
    configuration = Configuration(cloud, facts, keystone_host, "keystone")
    steps: list[Option | Attributes] = list(configuration.unset("DEFAULT", "admin_token"))
    if not steps:
        folders = service_of(facts.host(keystone_host), "keystone").key_folders
        for folder in (need(folders.get(name), f"{keystone_host}: [{name}]") for name in (TOKEN_KEYS, CREDENTIAL_KEYS)):
            opened = [stat for stat in (folder.stat, *folder.keys) if open_to_others(stat.mode)]
            steps += [Attributes(host=keystone_host, path=stat.path, mode=stat.mode & 0o750) for stat in opened]
    yield from steps or _rotated(cloud, facts, keystone_host)


def _rotated(cloud: Cloud, facts: Facts, host: str) -> Iterator[TokenKeys]:
    """Rotate keys that are too old; their tokens have long run out. Where others have the same, a person does it."""
    provider = config_of(facts.host(host), "keystone").get("token", "provider", FERNET)
    if provider != FERNET:
        raise NeedsOperator(
            f"{host}: tokens are of {provider}, and what holds such tokens is yours to say",
            "keystone-manage fernet_setup",
            "[token]",
            f"provider = {FERNET}",
        )
    folder = need(service_of(facts.host(host), "keystone").key_folders.get(TOKEN_KEYS), f"{host}: [{TOKEN_KEYS}]")
    keys = [key for key in folder.keys if key.kind == "file"]
    young = any(facts.host(host).collected_at - key.mtime < KEY_DAYS * 86400 for key in keys)
    refuse_container(facts, host, "keystone", "keystone-manage fernet_rotate")
    if young or len(keys) < 2 or len(cloud.hosts_with("keystone")) > 1:
        raise NeedsOperator(
            f"{host}: keys are made and rotated by whoever hands them to all hosts that run Keystone",
            "keystone-manage fernet_rotate",
        )
    yield TokenKeys(host=host, account=role_on(cloud, host, "keystone").account, path=folder.stat.path)


@repairs("ks.rc_files", disruption="safe")
def close_files_to_log_in_with(cloud: Cloud, facts: Facts, openstack_host: str) -> Iterator[Attributes]:
    """Close what others may read; what stands in them is their owners' to write anew."""
    found = need(facts.host(openstack_host).system.rc_files, f"{openstack_host}: files with logins")
    opened = [told.stat for told in found if told.secret and told.stat.mode & 0o077]
    if not opened:
        raise NeedsOperator(
            f"{openstack_host}: write the files anew by the install guide of this release, and remove what the "
            "bootstrap left",
            *(told.stat.path for told in found),
        )
    for stat in opened:
        yield Attributes(host=openstack_host, path=stat.path, mode=stat.mode & 0o600)
