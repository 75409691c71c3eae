"""Area ks: the identity service. Who may log in, and where services answer, is for people to say."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.around import each_config
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.keystone import CREDENTIAL_KEYS, OLD_URL, TOKEN_KEYS, old_urls, open_to_others
from fixtures.targets import service_of
from remediate.model import Attributes, NeedsOperator, Option, Unit
from remediate.options import Configuration
from remediate.registry import manual, repairs
from remediate.services import run_unit

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
    "where a service is to be reached is a matter of your network and its proxies: "
    "openstack endpoint list; openstack endpoint set --url URL ENDPOINT",
    "ks.catalog.endpoints",
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
def close_what_bootstrap_left(cloud: Cloud, facts: Facts, keystone_host: str) -> Iterator[Option | Attributes]:
    """Take out admin_token, and close the folders of keys and the keys in them; rotating them is a timer's."""
    configuration = Configuration(cloud, facts, keystone_host, "keystone")
    steps: list[Option | Attributes] = list(configuration.unset("DEFAULT", "admin_token"))
    if not steps:
        folders = service_of(facts.host(keystone_host), "keystone").key_folders
        for folder in (need(folders.get(name), f"{keystone_host}: [{name}]") for name in (TOKEN_KEYS, CREDENTIAL_KEYS)):
            opened = [stat for stat in (folder.stat, *folder.keys) if open_to_others(stat.mode)]
            steps += [Attributes(host=keystone_host, path=stat.path, mode=stat.mode & 0o750) for stat in opened]
    if not steps:
        raise NeedsOperator(
            f"{keystone_host}: keys are made and rotated by whoever hands them to all hosts that run Keystone",
            "keystone-manage fernet_rotate",
        )
    yield from steps


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
