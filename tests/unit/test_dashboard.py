"""The dashboard's settings are read without being run, its site and log found, its login page understood."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.observe import dashboard as page
from fixtures.observe.collector import dashboard
from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.dashboard import Settings
from fixtures.observe.collector.redact import Redactor

# As Debian ships and its guides have it, with what sites add.
DEBIAN = """
import os
from django.utils.translation import gettext_lazy as _
from horizon.utils import secret_key
DEBUG = False
LOCAL_PATH = os.path.dirname(os.path.abspath(__file__))
SECRET_KEY = secret_key.generate_or_read_from_file(
    os.path.join("/","var","lib","openstack-dashboard","secret-key", '.secret_key_store'))
OPENSTACK_HOST = "10.0.0.1"
OPENSTACK_KEYSTONE_URL = "http://%s/identity/v3" % OPENSTACK_HOST
SECURITY_GROUP_RULES = {'all_tcp': {'name': _('All TCP'), 'ip_protocol': 'tcp'}}
CACHES = {'default': {'BACKEND': 'django.core.cache.backends.memcached.PyMemcacheCache'}}
"""


def _settings(folder: Path, *texts: str) -> Settings:
    settings = Settings()
    for number, text in enumerate(texts):
        path = folder / f"{number}.py"
        path.write_text(text)
        settings.read(str(path))
    return settings


def test_constants_are_read_through_names_and_formats(tmp_path: Path) -> None:
    settings = _settings(tmp_path, DEBIAN)
    assert settings.values["OPENSTACK_KEYSTONE_URL"] == "http://10.0.0.1/identity/v3"
    assert settings.values["DEBUG"] is False
    assert "LOCAL_PATH" not in settings.values and "SECURITY_GROUP_RULES" not in settings.values
    assert settings.places["DEBUG"] == f"{tmp_path}/0.py:5"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X = 'http://{}'.format('a')", None),
        ("X = f'http://{OPENSTACK_HOST}:5000/v3'", "http://10.0.0.1:5000/v3"),
        ("X = ['a', OPENSTACK_HOST]", ["a", "10.0.0.1"]),
        ("X = ('a',) + ('b',)", ("a", "b")),
        ("X = '%(h)s' % {'h': OPENSTACK_HOST}", "10.0.0.1"),
        ("X = 'a' if DEBUG else 'b'", None),
        ("X = 'a'\nif DEBUG:\n    X = 'b'", None),
        ("X = 'a'\ntry:\n    import site\nexcept ImportError:\n    X = 'b'", None),
        ("X = 'a'\nX += 'b'", None),
        ("X = 1\nX = unknown()", None),
    ],
)
def test_what_only_running_would_tell_is_not_told(line: str, value: Any, tmp_path: Path) -> None:
    settings = _settings(tmp_path, DEBIAN, line)
    assert settings.values.get("X") == value
    assert "X" in settings.places


def test_a_later_file_changes_an_earlier_one(tmp_path: Path) -> None:
    later = "CACHES['default']['LOCATION'] = ['c1:11211', 'c2:11211']\nALLOWED_HOSTS = ['cloud']\nDEBUG = True\n"
    settings = _settings(tmp_path, DEBIAN, later)
    assert settings.values["CACHES"]["default"]["LOCATION"] == ["c1:11211", "c2:11211"]
    assert settings.values["DEBUG"] is True
    assert settings.places["DEBUG"] == f"{tmp_path}/1.py:3"


def test_what_is_no_python_says_where(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"0\.py:2: is no Python"):
        _settings(tmp_path, "A = 1\nB = [\n")


def test_the_key_itself_is_never_told(tmp_path: Path) -> None:
    key = "fdafidoauf8a9re78wfjdalvfdksafjds"
    told = dashboard.secret_key(_settings(tmp_path, f"SECRET_KEY = '{key}'"), Redactor(b"salt"))
    assert told is not None and told["sample"] and told["length"] == len(key)
    assert key not in json.dumps(told)


def test_the_file_that_keeps_the_key_is_found(tmp_path: Path) -> None:
    told = dashboard.secret_key(_settings(tmp_path, DEBIAN), Redactor(b"salt"))
    assert told is not None and told["digest"] is None
    assert told["file"]["path"] == "/var/lib/openstack-dashboard/secret-key/.secret_key_store"


SITE = """<VirtualHost *:80>
    WSGIScriptAlias /horizon /usr/share/openstack-dashboard/wsgi.py{more}
    WSGIDaemonProcess horizon user=www-data group=www-data
    #WSGIApplicationGroup %{{GLOBAL}}
    {line}
    ErrorLog ${{APACHE_LOG_DIR}}/horizon.log
</VirtualHost>
"""


@pytest.mark.parametrize(
    ("more", "line", "group"),
    [
        ("", "", ""),
        ("", "WSGIApplicationGroup %{GLOBAL}", "%{GLOBAL}"),
        (" process-group=horizon application-group=%{GLOBAL}", "", "%{GLOBAL}"),
    ],
)
def test_its_site_is_found(more: str, line: str, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "000-default.conf").write_text("WSGIScriptAlias / /usr/bin/keystone-wsgi-public\n")
    (tmp_path / "dashboard.conf").write_text(SITE.format(more=more, line=line))
    monkeypatch.setattr(dashboard, "SITES", (str(tmp_path),))
    assert dashboard.site_fact() == {
        "file": f"{tmp_path}/dashboard.conf",
        "prefix": "/horizon",
        "application_group": group,
        "error_log": "/var/log/apache2/horizon.log",
    }


@pytest.mark.parametrize(
    ("location", "places"),
    [
        ("10.0.0.1:11211", [("10.0.0.1", 11211)]),
        (["c1:11211", "c2:11212"], [("c1", 11211), ("c2", 11212)]),
        ("c1:11211,c2:11211", [("c1", 11211), ("c2", 11211)]),
        ("redis://:secret@cache:6379/1", [("cache", 6379)]),
        ("[fd00::1]:11211", [("fd00::1", 11211)]),
        ("unix:/run/memcached.sock", []),
    ],
)
def test_places_of_a_cache(location: Any, places: list[tuple[str, int]]) -> None:
    assert [*dashboard.places_of(location)] == places


# ---------------------------------------------------------------------------- the login page

LOGIN = (
    '<html><link rel="stylesheet" href="/static/a.css"><script src="/static/b.js"></script>'
    '<script src="https://elsewhere.example/c.js"></script>'
    '<form><input name="csrfmiddlewaretoken" type="hidden"><input type="password" name="password"></form></html>'
)


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = {"/": (302, ""), "/auth/login/": (200, LOGIN), "/static/a.css": (200, "a{}")}
        status, body = told.get(self.path, (404, ""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/auth/login/")
        self.send_header("Set-Cookie", "csrftoken=x; Path=/; Secure")
        self.send_header("Set-Cookie", "sessionid=y; Path=/; HttpOnly")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *told: Any) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_a_login_page_is_understood(address: str) -> None:
    told = page.login_page(address)
    assert (told.url, told.status, told.form) == (f"{address}auth/login/", 200, True)
    assert {url.removeprefix(address): answer.status for url, answer in told.assets.items()} == {
        "static/a.css": 200,
        "static/b.js": 404,
    }
    assert {(it.name, it.secure, it.http_only) for it in told.cookies} == {
        ("csrftoken", True, False),
        ("sessionid", False, True),
    }


def test_a_page_that_does_not_answer_says_why() -> None:
    told = page.login_page("http://127.0.0.1:1/")
    assert told.status is None and "refused" in told.error
