"""Area horizon: the dashboard's page, its settings, and the cache that keeps its sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.dashboards import (
    GLOBAL_GROUP,
    HAS_DASHBOARD,
    OF_ONE_PROCESS,
    OWN_SESSIONS,
    SESSIONS_IN_CACHE,
    dashboard_of,
    place_of_setting,
    setting,
)
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.facts.dashboard import SecretKey
from fixtures.facts.files import File
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.floors import verdicts
from fixtures.keystone import identity_of
from fixtures.units import expect_running

pytestmark = pytest.mark.applies_if(*HAS_DASHBOARD)

SHORTEST_KEY = 32
READABLE_BY_ALL = 0o007
RELOAD = "then reload the web server"


@pytest.mark.check("horizon.http", severity="critical", source="S2 HZ")
def test_dashboard_answers(dashboard_host: HostFacts, facts: Facts) -> None:
    """The web server runs, serves the login page with its style sheets and scripts, and no request failed in it.

    Its application runs in the web server's main interpreter (application group %{GLOBAL}).

    Why: a page without its static files is blank; libraries in C hang in any but the main interpreter, and users
    get a timeout now and then.
    """
    expect_running(dashboard_host, "horizon")
    _expect_main_interpreter(dashboard_host)
    _expect_login_page(facts)
    failed = need(dashboard_of(dashboard_host).failures, f"{dashboard_host.name}: log of the web server's errors")
    assert not failed, finding(
        f"{dashboard_host.name}: {_error_log(dashboard_host)}",
        found=failed,
        expected="no request that ended in an internal error since the web server was started",
        remedy="mend what the log tells above these lines, then restart the web server: errors count since its start",
    )


def _error_log(host: HostFacts) -> str:
    site = dashboard_of(host).site
    return site.error_log if site else "log of errors"


def _expect_main_interpreter(host: HostFacts) -> None:
    site = dashboard_of(host).site
    assert site is not None, finding(
        f"{host.name}: web server",
        found="no WSGIScriptAlias that leads to the dashboard",
        expected="one, in a site or configuration that is enabled",
        remedy="enable the site of the package (a2ensite openstack-dashboard), then reload the web server",
    )
    assert site.application_group == GLOBAL_GROUP, finding(
        f"{host.name}:{site.file} WSGIApplicationGroup",
        found=site.application_group,
        expected=GLOBAL_GROUP,
        remedy=f"add the line WSGIApplicationGroup {GLOBAL_GROUP}, {RELOAD}",
    )


def _expect_login_page(facts: Facts) -> None:
    page = need(facts.openstack.dashboard, "login page")
    assert page.status == 200 and page.form, finding(
        page.url,
        found=page.error or f"HTTP {page.status}, {'the form' if page.form else 'no login form'}",
        expected="HTTP 200 with the login form, protected against forged requests",
        remedy="look at the web server's log of errors; horizon.url of the cloud file is the address that was asked",
    )
    lacking = {url: told.error or f"HTTP {told.status}" for url, told in page.assets.items() if told.status != 200}
    assert page.assets and not lacking, finding(
        page.url,
        found=lacking or "no style sheet and no script of its own",
        expected="HTTP 200 for each",
        remedy="manage.py collectstatic --noinput; manage.py compress --force; " + RELOAD,
    )


@pytest.mark.check("horizon.settings", severity="critical", source="S2 HZ")
def test_dashboard_is_set_up_soundly(dashboard_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """It asks an identity service that answers, at v3; its default role exists; it answers to its own names only.

    Its key is its own and kept from others, nothing is shown of errors, and where endpoints are encrypted, the page
    is and its cookies go nowhere else.

    Why: with the wrong role no project can be made; with a key from a guide anybody signs sessions.
    """
    wrong = dict(_wrong_settings(dashboard_host, cloud, facts))
    assert not wrong, finding(
        dashboard_host.name,
        found={place: found for place, (found, _) in wrong.items()},
        expected={place: expected for place, (_, expected) in wrong.items()},
        remedy=f"correct them, {RELOAD}; a new SECRET_KEY logs everybody out",
    )


Wrong = Iterator[tuple[str, tuple[str, str]]]


def _wrong_settings(host: HostFacts, cloud: Cloud, facts: Facts) -> Wrong:
    yield from _wrong_identity(host)
    role, roles = setting(host, "OPENSTACK_KEYSTONE_DEFAULT_ROLE", "member"), identity_of(facts).roles
    if role not in roles:
        place = place_of_setting(host, "OPENSTACK_KEYSTONE_DEFAULT_ROLE")
        yield place, (str(role), f"a role that exists, in its spelling: {', '.join(roles)}")
    names = setting(host, "ALLOWED_HOSTS", [])
    if not names or "*" in names:
        yield place_of_setting(host, "ALLOWED_HOSTS"), (f"{names}", "the names by which users ask for it")
    if setting(host, "DEBUG", False):
        yield place_of_setting(host, "DEBUG"), ("True", "False")
    yield from _wrong_key(host)
    yield from _wrong_encryption(host, cloud, facts)


def _wrong_identity(host: HostFacts) -> Wrong:
    name = "OPENSTACK_KEYSTONE_URL"
    url, answer = setting(host, name), dashboard_of(host).identity
    place = place_of_setting(host, name)
    if not isinstance(url, str) or answer is None:
        yield place, ("not set", "URL of the identity service, /v3")
    elif not url.rstrip("/").endswith("/v3"):
        yield place, (url, "URL that ends in /v3")
    elif isinstance(answer, Unreadable) or answer.status is None:
        why = answer.unreadable if isinstance(answer, Unreadable) else answer.error
        yield place, (f"{url}: {why}", "the identity service answers there")
    elif answer.status >= 300:
        yield place, (f"{url}: HTTP {answer.status}", "the identity service answers there")


def _wrong_key(host: HostFacts) -> Wrong:
    key = dashboard_of(host).secret_key
    if key is None:
        yield f"{host.name}: SECRET_KEY", ("nothing", "a key of its own")
        return
    place, found = f"{host.name}:{key.place} SECRET_KEY", _key_problem(key)
    if found:
        yield place, (found, f"a random key of {SHORTEST_KEY} letters or more that nobody else knows")
    for stat in _holding(host, key):
        if stat.exists and stat.mode & READABLE_BY_ALL:
            yield f"{host.name}:{stat.path}", (f"mode {stat.mode:04o}", "0640, the key is in it")


def _holding(host: HostFacts, key: SecretKey) -> Iterator[File]:
    """The file in which the key stands: the settings themselves, or the one that they name."""
    if key.digest:
        yield from (stat for stat in dashboard_of(host).files if stat.path == key.place.rpartition(":")[0])
    elif key.file:
        yield key.file


def _key_problem(key: SecretKey) -> str:
    if key.sample:
        return "the example of a guide"
    return f"{key.length} letters" if key.length is not None and key.length < SHORTEST_KEY else ""


def _wrong_encryption(host: HostFacts, cloud: Cloud, facts: Facts) -> Wrong:
    if "endpoints" not in cloud.policy.encrypted or cloud.horizon is None:
        return
    if not cloud.horizon.url.startswith("https:"):
        yield f"{cloud.horizon.url}", ("not encrypted", "https")
    for name in ("CSRF_COOKIE_SECURE", "SESSION_COOKIE_SECURE"):
        if not setting(host, name, False):
            yield place_of_setting(host, name), ("False", "True")
    page = need(facts.openstack.dashboard, "login page")
    bare = [cookie.name for cookie in page.cookies if not cookie.secure]
    if bare:
        yield page.url, (f"cookies {', '.join(bare)} without Secure", "all with it")


@pytest.mark.check("horizon.cache", severity="major", source="S2 HZ OSSA")
def test_sessions_are_kept_in_a_cache_that_answers(dashboard_host: HostFacts) -> None:
    """Sessions are kept in the cache, which all of the web server's processes share, and which answers to Horizon.

    Nobody can fill it who is not logged in (OSSA-2026-009).

    Why: where the cache is gone, or its class is one that Django dropped, nobody can log in; with sessions in cookies
    a token that outgrows them logs users out, and nobody can be logged out by the operator.
    """
    engine = setting(dashboard_host, "SESSION_ENGINE", OWN_SESSIONS)
    assert engine in SESSIONS_IN_CACHE, finding(
        place_of_setting(dashboard_host, "SESSION_ENGINE"),
        found=engine,
        expected=SESSIONS_IN_CACHE[0],
        remedy=f"set it, with CACHES beside it, {RELOAD}",
    )
    _expect_answer(dashboard_host)
    _expect_no_flood(dashboard_host)


def _expect_answer(host: HostFacts) -> None:
    cache = dashboard_of(host).cache
    if cache is None:
        raise NotMeasured(f"{host.name}: CACHES is not set, or computed: it cannot be read")
    wrong = dict(_wrong_cache(cache.backend, cache.places))
    told: Any = need(cache.error, f"{host.name}: cache")
    wrong |= {cache.backend: told} if told else {}
    assert not wrong, finding(
        f"{host.name}: CACHES",
        found=wrong,
        expected="a cache that all processes share, each of its places takes a connection, and answers",
        remedy="start memcached, or correct BACKEND (django.core.cache.backends.memcached.PyMemcacheCache) and "
        f"LOCATION, {RELOAD}",
    )


def _expect_no_flood(host: HostFacts) -> None:
    packages = need(host.packages, f"{host.name}: packages")
    floods = [str(it) for it in verdicts(host, packages, "dashboard") if it.open is not False]
    assert not floods, finding(host.name, found=floods, expected="a version with the fix", remedy="upgrade Horizon")


def _wrong_cache(backend: str, places: dict[str, str]) -> Iterator[tuple[str, str]]:
    if backend.endswith(OF_ONE_PROCESS):
        yield backend, "each process has its own"
    for place, error in places.items():
        if error:
            yield place, error
