"""Logins at the identity service, tried where they are configured; files that people log in with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fixtures.observe.collector import rcfiles
from fixtures.observe.collector.redact import Redactor
from fixtures.observe.collector.tokens import login_of, tokens_fact

PASSWORD = "s3cretpass"
SECTION = """
[keystone_authtoken]
auth_type = password
auth_url = {url}/v3
username = {user}
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
"""


class Handler(BaseHTTPRequestHandler):
    """Keystone, as far as logins ask; answers as Zed answered."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]
        user = asked["identity"]["password"]["user"]
        assert user["domain"] == asked["scope"]["project"]["domain"] == {"name": "Default"}
        known = user["password"] == PASSWORD
        body: Any = {"token": {"roles": [{"name": "service"}, {"name": "admin"}]}}
        if not known:
            body = {"error": {"code": 401, "message": "The request you have made requires authentication."}}
        data = json.dumps(body).encode()
        self.send_response(201 if known else 401)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Subject-Token", "gAAAAAnot-to-be-told")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def keystone() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _tried(folder: Path, *texts: str) -> list[dict[str, Any]]:
    roles = {}
    for number, text in enumerate(texts):
        path = folder / f"{number}.conf"
        path.write_text(text)
        roles[f"role-{number}"] = {"config": [str(path)], "project": "x", "account": "", "executables": []}
    return tokens_fact(roles, lambda role: {}, 20.0)


def test_a_login_is_tried_once_for_all_that_have_it(keystone: str, tmp_path: Path) -> None:
    section = SECTION.format(url=keystone, user="glance", password=PASSWORD)
    (told,) = _tried(tmp_path, section, section)
    assert told["places"] == ["role-0: [keystone_authtoken]", "role-1: [keystone_authtoken]"]
    assert (told["user"], told["project"], told["status"]) == ("glance", "service", 201)
    assert told["roles"] == ["admin", "service"]


def test_a_wrong_password_is_told_and_no_secret(keystone: str, tmp_path: Path) -> None:
    good = SECTION.format(url=keystone, user="glance", password=PASSWORD)
    bad = SECTION.format(url=keystone, user="nova", password="0ther-secret")
    told = {one["user"]: one for one in _tried(tmp_path, good, bad)}
    assert told["nova"]["status"] == 401
    assert "requires authentication" in told["nova"]["error"]
    assert told["glance"]["status"] == 201
    assert not any(secret in json.dumps(told) for secret in (PASSWORD, "0ther-secret", "gAAAAA"))


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://127.0.0.1:1", "refused"), ("http://127.0.0.1:1/v2.0", "a version of the API that is gone")],
)
def test_an_address_without_identity_is_told(url: str, said: str, tmp_path: Path) -> None:
    text = SECTION.format(url=url, user="glance", password=PASSWORD).replace("/v2.0/v3", "/v2.0")
    (told,) = _tried(tmp_path, text)
    assert told["status"] is None
    assert said in told["error"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"auth_url": "http://k/v3", "username": "u", "project_name": "p"},
        {
            "auth_url": "http://k/v3",
            "username": "u",
            "password": "x",
            "project_name": "p",
            "auth_type": "v3oidcpassword",
        },
        {"auth_url": "http://$host/v3", "username": "u", "password": "x", "project_name": "p"},
    ],
)
def test_what_is_no_whole_login_is_not_tried(options: dict[str, str]) -> None:
    assert login_of(options) == {}


def test_files_to_log_in_with_tell_names_and_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "admin-openrc.sh"
    path.write_text(
        f"export OS_PASSWORD={PASSWORD}\nexport OS_TENANT_NAME=admin\nexport OS_AUTH_URL=http://k:5000/v2.0\n# OS_X=1\n"
    )
    path.chmod(0o644)
    (tmp_path / "notes.txt").write_text("OS_PASSWORD=1\n")
    monkeypatch.setattr(rcfiles, "folders", lambda: [str(tmp_path)])
    (told,) = rcfiles.rc_files_fact(Redactor(b"salt"))
    assert told["variables"] == ["OS_AUTH_URL", "OS_PASSWORD", "OS_TENANT_NAME"]
    assert told["values"] == {"OS_AUTH_URL": "http://k:5000/v2.0"}
    assert told["secret"] and told["stat"]["mode"] == 0o644
    assert PASSWORD not in json.dumps(told)
