"""A small client of the OpenStack APIs: what provisioning and readiness need, and no more."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from lab.machine import LabError

Answer = dict[str, Any]

# The lab is local: a proxy of the environment must not see it.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TIMEOUT = 60.0


class ApiError(LabError):
    """An API refused, or could not be reached."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One login to one cloud, on one project."""

    def __init__(self, auth_url: str, user: str, password: str, project: str) -> None:
        self._auth_url = auth_url
        self._login = _password_login(user, password, project)
        self._token = ""
        self._catalog: dict[str, str] = {}
        self.project_id = ""

    def get(self, service: str, path: str, *, version: str = "") -> Answer:
        """Read a resource."""
        return self.call("GET", service, path, version=version)

    def post(self, service: str, path: str, body: object, *, version: str = "") -> Answer:
        """Create a resource; one that is there already is left as it is."""
        try:
            return self.call("POST", service, path, body, version=version)
        except ApiError as error:
            if error.status != 409:
                raise
        return {}

    def put(self, service: str, path: str, body: object | None = None) -> Answer:
        """Set a resource."""
        return self.call("PUT", service, path, body)

    def upload(self, service: str, path: str, content: bytes) -> None:
        """Send a resource's content."""
        self.call("PUT", service, path, content)

    def call(self, method: str, service: str, path: str, body: object | None = None, *, version: str = "") -> Answer:
        """One request to a service of the catalog."""
        if not self._token:
            self.authenticate()
        headers = {"X-Auth-Token": self._token}
        if version:
            headers["OpenStack-API-Version"] = version
        return _request(method, self._url(service) + path, body, headers)[0]

    def authenticate(self) -> None:
        """Log in anew."""
        body, headers = _request("POST", f"{self._auth_url}/auth/tokens", self._login, {})
        self._token = headers["X-Subject-Token"]
        self.project_id = body["token"]["project"]["id"]
        self._catalog = {
            entry["type"]: endpoint["url"].rstrip("/")
            for entry in body["token"]["catalog"]
            for endpoint in entry["endpoints"]
            if endpoint["interface"] == "public"
        }

    def _url(self, service: str) -> str:
        if service == "identity":
            return self._auth_url
        if service not in self._catalog:
            raise ApiError(f"{self._auth_url}: no public endpoint of {service} in the catalog")
        return self._catalog[service]


def _password_login(user: str, password: str, project: str) -> dict[str, Any]:
    domain = {"id": "default"}
    identity = {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": password}}}
    return {"auth": {"identity": identity, "scope": {"project": {"name": project, "domain": domain}}}}


def _encoded(body: object | None) -> tuple[str, bytes | None]:
    if isinstance(body, bytes):
        return "application/octet-stream", body
    return "application/json", None if body is None else json.dumps(body).encode()


def _request(
    method: str, url: str, body: object | None, headers: dict[str, str]
) -> tuple[Answer, http.client.HTTPMessage]:
    kind, data = _encoded(body)
    sent = {"Content-Type": kind, "Accept": "application/json", **headers}
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as answer:
            text = answer.read()
            return (json.loads(text) if text else {}), answer.headers
    except urllib.error.HTTPError as error:
        text = error.read()[:500].decode(errors="replace")
        raise ApiError(f"{method} {url}: {error.code} {text}", error.code) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiError(f"{method} {url}: {error}") from error
