"""Checks and repairs of the dashboard on facts of a lab's, changed where each fault would change them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fixtures.cloud import Cloud
from fixtures.cloud.model import Horizon
from fixtures.dashboards import searched_first
from fixtures.facts.dashboard import Answer, Cookie, Dashboard, LoginPage, Setting
from fixtures.facts.host import HostFacts, Service
from fixtures.facts.run import Facts
from remediate import horizon as repair
from remediate.model import NeedsOperator
from suites.horizon import test_dashboard as checks
from tests.unit.test_keystone_checks import _found
from tests.unit.test_remediate_plan import the_cloud, the_facts

RECORDED = Path(__file__).with_name("data") / "dashboard/full.json"
HOST = "controller"


@cache
def _recorded() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(RECORDED.read_text())
    return told


def _page(**changed: Any) -> LoginPage:
    return LoginPage.model_validate(_recorded()["page"]).model_copy(update=changed)


def _cloud(*encrypted: str, url: str = "http://10.70.14.10/") -> Cloud:
    cloud = the_cloud()
    policy = cloud.policy.model_copy(update={"encrypted": encrypted})
    return cloud.model_copy(update={"horizon": Horizon(url=url), "policy": policy})


def _facts(page: LoginPage | None = None, **changed: Any) -> Facts:
    """The recorded ones with a dashboard on the controller; what of it is `changed`."""
    service = Service.model_validate(_recorded()["service"])
    assert isinstance(service.dashboard, Dashboard)
    service = service.model_copy(update={"dashboard": service.dashboard.model_copy(update=changed)})
    facts = the_facts()
    host = facts.host(HOST)
    host = host.model_copy(update={"services": {**host.services, "horizon": service}})
    apis = facts.openstack.model_copy(update={"dashboard": page or _page()})
    return facts.model_copy(update={"hosts": {**facts.hosts, HOST: host}, "apis": apis})


def _host(facts: Facts) -> HostFacts:
    return facts.host(HOST)


def _dashboard() -> Dashboard:
    told = _host(_facts()).services["horizon"]
    assert isinstance(told, Service) and isinstance(told.dashboard, Dashboard)
    return told.dashboard


def _set(**values: Any) -> dict[str, Setting]:
    """The recorded settings with others."""
    every = dict(_dashboard().settings)
    return every | {name: Setting(place="/s.py:1", known=True, value=value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("settings", "panels"),
    [
        ({}, set()),
        (_set(FILTER_DATA_FIRST={"admin.instances": True, "admin.images": False}), {"admin.instances"}),
        ({"FILTER_DATA_FIRST": Setting(place="/s.py:1", known=False)}, set()),
    ],
)
def test_panels_that_want_a_search_first_are_those_of_the_settings(
    settings: dict[str, Setting], panels: set[str]
) -> None:
    cloud = _cloud()
    roles = {HOST: cloud.hosts[HOST].model_copy(update={"roles": ("horizon",)})}
    cloud = cloud.model_copy(update={"hosts": {**cloud.hosts, **roles}})
    assert searched_first(cloud, _facts(settings=settings)) == panels


def test_a_sound_dashboard_is_sound() -> None:
    facts = _facts()
    checks.test_dashboard_answers(_host(facts), facts)
    checks.test_dashboard_is_set_up_soundly(_host(facts), _cloud(), facts)
    checks.test_sessions_are_kept_in_a_cache_that_answers(_host(facts))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": 500}, "HTTP 500"),
        ({"form": False}, "HTTP 200, no login form"),
        ({"status": None, "error": "refused"}, "refused"),
        ({"assets": {}}, "no style sheet and no script of its own"),
        ({"assets": {"http://x/a.css": Answer(status=404)}}, "http://x/a.css: HTTP 404"),
    ],
)
def test_a_page_that_is_not_whole_is_found(changed: dict[str, Any], said: str) -> None:
    facts = _facts(_page(**changed))
    assert said in _found(checks.test_dashboard_answers, _host(facts), facts)


def test_requests_that_failed_are_found() -> None:
    facts = _facts(failures=("/project/",))
    assert _found(checks.test_dashboard_answers, _host(facts), facts) == "/project/"


def test_a_site_that_is_not_enabled_is_found() -> None:
    facts = _facts(site=None)
    assert "no WSGIScriptAlias" in _found(checks.test_dashboard_answers, _host(facts), facts)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPENSTACK_KEYSTONE_DEFAULT_ROLE", "_member_", "DEFAULT_ROLE: _member_"),
        ("ALLOWED_HOSTS", ["*"], "ALLOWED_HOSTS: ['*']"),
        ("ALLOWED_HOSTS", [], "ALLOWED_HOSTS: []"),
        ("DEBUG", True, "DEBUG: True"),
        ("OPENSTACK_KEYSTONE_URL", "http://10.70.14.10:5000/v2.0", "/v2.0"),
    ],
)
def test_a_setting_that_is_wrong_is_found(name: str, value: Any, said: str) -> None:
    facts = _facts(settings=_set(**{name: value}))
    assert said in _found(checks.test_dashboard_is_set_up_soundly, _host(facts), _cloud(), facts)


def test_an_identity_service_that_does_not_answer_is_found() -> None:
    facts = _facts(identity=Answer(status=None, error="Connection refused"))
    assert "Connection refused" in _found(checks.test_dashboard_is_set_up_soundly, _host(facts), _cloud(), facts)


def test_an_encrypted_cloud_has_an_encrypted_dashboard() -> None:
    facts = _facts(_page(cookies=(Cookie(name="csrftoken", secure=False, http_only=False),)))
    found = _found(checks.test_dashboard_is_set_up_soundly, _host(facts), _cloud("endpoints"), facts)
    assert "not encrypted" in found and "SESSION_COOKIE_SECURE: False" in found and "csrftoken without" in found
    whole = _facts(_page(cookies=()), settings=_set(CSRF_COOKIE_SECURE=True, SESSION_COOKIE_SECURE=True))
    checks.test_dashboard_is_set_up_soundly(_host(whole), _cloud("endpoints", url="https://cloud.example/"), whole)


def test_a_key_that_others_can_read_is_found_and_closed() -> None:
    key = _dashboard().secret_key
    assert key is not None and key.file is not None
    opened = key.model_copy(update={"file": key.file.model_copy(update={"mode": 0o644})})
    facts = _facts(secret_key=opened)
    assert "mode 0644" in _found(checks.test_dashboard_is_set_up_soundly, _host(facts), _cloud(), facts)
    (step,) = repair.close_the_secret_key(_cloud(), facts, HOST)
    assert (step.path, step.mode) == (key.file.path, 0o640)


def test_settings_are_left_to_a_person() -> None:
    with pytest.raises(NeedsOperator, match="Python"):
        [*repair.close_the_secret_key(_cloud(), _facts(settings=_set(DEBUG=True)), HOST)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"places": {"10.70.14.10:11211": "refused"}}, "10.70.14.10:11211: refused"),
        ({"backend": "django.core.cache.backends.locmem.LocMemCache"}, "each process has its own"),
        ({"error": "No module named 'pylibmc'"}, "No module named 'pylibmc'"),
    ],
)
def test_a_cache_that_keeps_nothing_is_found(changed: dict[str, Any], said: str) -> None:
    told = _dashboard().cache
    assert told is not None
    facts = _facts(cache=told.model_copy(update=changed))
    assert said in _found(checks.test_sessions_are_kept_in_a_cache_that_answers, _host(facts))


def test_sessions_in_cookies_are_found() -> None:
    settings = {name: value for name, value in _dashboard().settings.items() if name != "SESSION_ENGINE"}
    facts = _facts(settings=settings)
    assert "signed_cookies" in _found(checks.test_sessions_are_kept_in_a_cache_that_answers, _host(facts))
