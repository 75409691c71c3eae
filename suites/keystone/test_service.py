"""Area ks: the identity service itself, and what people and services log in with."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fixtures import releases
from fixtures.around import each_config
from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.host import HostFacts, KeyFolder, TokenTry
from fixtures.facts.identity import Identity
from fixtures.facts.run import Facts
from fixtures.facts.system import RcFile
from fixtures.integration import config_of
from fixtures.keystone import CREDENTIAL_KEYS, KEY_DAYS, OLD_URL, TOKEN_KEYS, identity_of, old_urls, open_to_others
from fixtures.targets import service_of
from fixtures.units import expect_running

KEYED = ("fernet", "jws")
BOOTSTRAP = ("SERVICE_TOKEN", "OS_SERVICE_TOKEN", "SERVICE_ENDPOINT", "OS_SERVICE_ENDPOINT")
OLD_NAMES = ("OS_TENANT_NAME", "OS_TENANT_ID")
# What a client asks wrongly is no error of the service: a token of a project that has just been deleted.
BY_REQUEST = re.compile(r"keystone\.exception\.(\w+NotFound|Unauthorized|Forbidden\w*|Conflict|\w*ValidationError)\b")


@pytest.mark.asks_services
@pytest.mark.check("ks.service.up", severity="critical", source="S2")
def test_identity_service_runs(keystone_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """Keystone is active and enabled, its log has no error since its start, and its database is current.

    Why: without it no API takes any request; a schema behind the code fails at the first request for a new column.
    """
    expect_running(keystone_host, "keystone")
    service = service_of(keystone_host, "keystone")
    log = need(service.errors, f"{keystone_host.name}: log of Keystone")
    lines = {name: [line for line in told.last if not BY_REQUEST.search(line)] for name, told in log.loggers.items()}
    errors = {name: told[-1] for name, told in lines.items() if told}
    assert not errors, finding(
        f"{keystone_host.name}:{log.source}",
        found=errors,
        expected="no ERROR since its start",
        remedy=f"mend what it tells, then systemctl restart {service.unit.name}: errors count since the last start",
    )
    if releases.KEYSTONE_DB_CHECK.reached(cloud, facts, keystone_host.name):
        _expect_current(keystone_host)


def _expect_current(host: HostFacts) -> None:
    """Exit codes of `db_sync --check`: 0 current, 1 cannot look, 2 to 4 a phase of the upgrade is to be done."""
    where = f"{host.name}: keystone-manage db_sync --check"
    report = need(service_of(host, "keystone").reports.get("db check"), where)
    if report.rc == 1:
        raise NotMeasured(f"{where}: {report.error or ' '.join(report.output[-1:])}")
    assert report.rc == 0, finding(
        where,
        found=report.output[-1] if report.output else report.error,
        expected="no upgrade needed",
        remedy="keystone-manage db_sync with a dump at hand, then restart Keystone",
    )


@pytest.mark.check("ks.api.version", severity="critical", source="S2 KI KREL-q")
def test_only_the_third_version_is_spoken(cloud: Cloud, facts: Facts) -> None:
    """The identity API offers v3 and nothing older, and no catalog entry and no service asks for v2.0.

    Why: v2.0 is gone since Queens; what is told to use it gets 404 for every token.
    """
    host = next(iter(cloud.hosts_with("keystone")), "")
    applies(bool(host), "no host of the cloud file runs keystone")
    releases.IDENTITY_V2_GONE.required(cloud, facts, host)
    told = identity_of(facts)
    third = [
        name for name, status in told.versions.items() if name.startswith("v3") and status in ("stable", "current")
    ]
    old = sorted(name for name in told.versions if not name.startswith("v3"))
    assert third and not old, finding(
        told.url, found=told.versions, expected="v3, stable, and no other", remedy="upgrade Keystone; remove v2.0"
    )
    asking = sorted(_asking_for_old(cloud, facts, told))
    assert not asking, finding(
        "identity API v2.0",
        found=asking,
        expected="/v3",
        remedy="openstack endpoint set --url …/v3; auth_url = …/v3, and restart the service",
    )


def _asking_for_old(cloud: Cloud, facts: Facts, told: Identity) -> Iterator[str]:
    here = {service.id for service in told.of_type("identity")}
    yield from (
        f"{it.interface} endpoint {it.url}" for it in told.endpoints if it.service in here and OLD_URL.search(it.url)
    )
    for name, role, config in each_config(cloud, facts):
        for section, option, _ in old_urls(config):
            yield f"{name}: {role}: {config.where(section, option)} [{section}] {option}"


@pytest.mark.check("ks.bootstrap.token_off", severity="critical", source="S2 KREL-adm KI")
def test_bootstrap_has_left_no_way_in(keystone_host: HostFacts) -> None:
    """No admin_token is set, tokens are fernet or jws, and their keys and those of credentials are Keystone's alone.

    At least two keys of tokens are wanted (one that signs and one that is staged), the newest no older than a year.

    Why: who has admin_token, or a key of the tokens, is administrator of the whole cloud without a password.
    """
    config = config_of(keystone_host, "keystone")
    where = f"{keystone_host.name}:{config.where('DEFAULT', 'admin_token')}"
    assert ("DEFAULT", "admin_token") not in config, finding(
        where, found="admin_token", expected="unset", remedy="remove the option, restart Keystone"
    )
    provider = config.get("token", "provider", KEYED[0])
    assert provider in KEYED, finding(
        f"{keystone_host.name}:{config.where('token', 'provider')}",
        found=provider,
        expected="fernet",
        remedy="set [token] provider = fernet, keystone-manage fernet_setup, restart Keystone",
    )
    applies(provider == KEYED[0], f"{keystone_host.name}: tokens are signed by {provider}")
    folders = service_of(keystone_host, "keystone").key_folders
    of_tokens = need(folders.get(TOKEN_KEYS), f"{keystone_host.name}: keys of tokens")
    of_credentials = need(folders.get(CREDENTIAL_KEYS), f"{keystone_host.name}: keys of credentials")
    problems = [*_age_problems(of_tokens, keystone_host.collected_at), *_open(of_tokens), *_open(of_credentials)]
    assert not problems, finding(
        f"{keystone_host.name}: Keystone's keys",
        found=problems,
        expected="two keys of tokens or more, rotated within a year; all keys Keystone's alone",
        remedy="chmod 0700 the folder and 0600 its keys; keystone-manage fernet_rotate by a timer",
    )


def _open(folder: KeyFolder) -> Iterator[str]:
    """What others than Keystone can read or change."""
    for stat in (folder.stat, *folder.keys):
        if open_to_others(stat.mode):
            yield f"{stat.path} {stat.owner}:{stat.group} {stat.mode:04o}"


def _age_problems(folder: KeyFolder, now: float) -> Iterator[str]:
    keys = [key for key in folder.keys if key.kind == "file"]
    if len(keys) < 2:
        yield f"{len(keys)} keys"
    if keys and (days := (now - max(key.mtime for key in keys)) / 86400) > KEY_DAYS:
        yield f"the newest is {days:.0f} days old"


@pytest.mark.asks_services
@pytest.mark.check("ks.auth.credential", severity="critical", source="S2")
def test_services_can_log_in(openstack_host: HostFacts) -> None:
    """Each login by password that services of this host are configured with gets a token, asked from here.

    Why: a password that was changed in one place is refused in the others, and tokens in use hide it for hours.
    """
    tried = need(openstack_host.tokens, f"{openstack_host.name}: logins")
    applies(bool(tried), f"{openstack_host.name}: no service here logs in by a password of its own")
    refused = {f"{told.user} in {told.project} ({', '.join(told.places)})": _refusal(told) for told in tried}
    bad = {login: why for login, why in refused.items() if why}
    answered = any(told.status not in (201, None) for told in tried)
    assert not bad, finding(
        f"{openstack_host.name}: logins at the identity service",
        found=bad,
        expected="a token for each",
        remedy="openstack user set --password, or correct the section; then restart the service"
        if answered
        else "ks.service.up tells whether it runs; else auth_url, or the way there from this host",
    )


def _refusal(told: TokenTry) -> str:
    if told.status == 201:
        return ""
    return f"{told.url}: {told.status or 'no answer'}: {told.error}"


@pytest.mark.check("ks.rc_files", severity="minor", source="S2")
def test_files_to_log_in_with_are_private_and_current(openstack_host: HostFacts) -> None:
    """Files with logins (openrc, keystonerc, swiftrc, clouds.yaml) are their owner's alone, speak v3, bypass nothing.

    Why: they hold an administrator's password in the clear, and old names in them fail in ways that mislead.
    """
    found = need(openstack_host.system.rc_files, f"{openstack_host.name}: files with logins")
    applies(bool(found), f"{openstack_host.name}: no file to log in with")
    bad = {told.stat.path: problems for told in found if (problems := list(_rc_problems(told)))}
    assert not bad, finding(
        f"{openstack_host.name}: files to log in with",
        found=bad,
        expected="mode 0600, OS_PROJECT_NAME and domains, /v3, no service token",
        remedy="chmod 0600; write them anew by the install guide of this release; remove what the bootstrap left",
    )


def _rc_problems(told: RcFile) -> Iterator[str]:
    others = told.stat.mode & (0o007 if told.stat.group in ("root", told.stat.owner) else 0o077)
    if told.secret and others:
        yield f"{told.stat.owner}:{told.stat.group} {told.stat.mode:04o}"
    yield from (f"sets {name}" for name in (*BOOTSTRAP, *OLD_NAMES) if name in told.variables)
    yield from (f"{name} {url}" for name, url in told.values.items() if OLD_URL.search(url) or ":35357" in url)
    if told.stat.path.endswith("/ks_admin_token"):
        yield "is the bootstrap's token"
