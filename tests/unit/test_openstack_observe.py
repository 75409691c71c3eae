"""The APIs' facts, by openstacksdk from a server that answers as a real cloud (Zed) answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from openstack.exceptions import ConfigException

from fixtures.cloud.model import Cloud, OpenStack
from fixtures.facts.base import Unreadable, need
from fixtures.facts.openstack import OpenStackFacts
from fixtures.observe.openstack import observe_openstack, open_openstack
from tests.unit.test_ceph_observe import CLOUD

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data/openstack/zed.json").read_text())
PROJECT = "0123456789abcdef0123456789abcdef"
SERVICES = {
    "identity": "/identity/v3",
    "image": "/image",
    "volumev3": f"/volume/v3/{PROJECT}",
    "block-storage": f"/volume/v3/{PROJECT}",
    "compute": "/compute/v2.1",
    "placement": "/placement",
    "network": "/network",
}
FOLDERS = {
    "/identity/v3": "identity",
    "/image/v2": "image",
    f"/volume/v3/{PROJECT}": "block_storage",
    "/compute/v2.1": "compute",
    "/placement": "placement",
    "/network/v2.0": "network",
}
PASSWORD = "not-to-be-told"
RECORDED_AT = "http://192.0.2.10"
PLACES = {
    ":9292": "/image",
    ":8776": "/volume",
    ":8774": "/compute",
    ":8778": "/placement",
    ":5000": "/identity",
    ":9696": "/network",
}
"""Port of the recorded endpoints to the folder in which the server has that service."""


class ApiServer(ThreadingHTTPServer):
    """Keystone, Glance, Cinder and Nova, as far as observation asks; answers can be exchanged."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.exchanged: dict[str, tuple[int, Any]] = {}
        self.delay = 0.0
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has hung up is what some tests are about."""

    def answer(self, method: str, target: str) -> tuple[int, Any]:
        asked = dict(parse_qsl(urlsplit(target).query))
        asked.pop("limit", None)
        path, query = urlsplit(target).path.rstrip("/"), urlencode(asked)
        target = f"{urlsplit(target).path}?{query}" if query else urlsplit(target).path
        for ending, answer in self.exchanged.items():
            if target.endswith(ending):
                return answer
        if method == "POST" and path == "/identity/v3/auth/tokens":
            return 201, self._token()
        if path in ("/identity/v3", "/compute/v2.1", "/volume/v3"):
            return 200, self._version(path)
        if path == "/placement":
            links = [{"rel": "self", "href": ""}]
            version = {"id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT", "links": links}
            return 200, {"versions": [version]}
        if path in ("/image", "/identity", "/network"):
            root = RECORDED[f"{path[1:]} root"]
            return root["status"], self._here(root["body"])
        if path == "/identity/v3/endpoints":
            return 200, self._here(RECORDED["identity /endpoints"]["body"])
        return self._recorded(path, query)

    def _recorded(self, path: str, query: str) -> tuple[int, Any]:
        for folder, service in FOLDERS.items():
            rest = path.removeprefix(folder)
            for suffix in (f"?{'&'.join(sorted(query.split('&')))}", f"?{query}", ""):
                found = RECORDED.get(f"{service} {rest}{suffix}") if rest != path else None
                if found:
                    return found["status"], found["body"]
        return 404, {"error": "not recorded"}

    def _here(self, body: Any) -> Any:
        """What was recorded, with this server's own addresses."""
        text = json.dumps(body)
        for port, folder in PLACES.items():
            text = text.replace(RECORDED_AT + port, self.url + folder)
        return json.loads(text)

    def _version(self, path: str) -> Any:
        microversions = (
            {"min_version": "2.1", "version": "2.93"}
            if "compute" in path
            else {"min_version": "3.0", "version": "3.70"}
        )
        links = [{"rel": "self", "href": f"{self.url}{path}/"}]
        return {"version": {"id": path.rsplit("/", 1)[1], "status": "CURRENT", "links": links, **microversions}}

    def _token(self) -> Any:
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": f"{kind}-1",
                        "interface": "public",
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "url": self.url + path,
                    }
                ],
            }
            for kind, path in SERVICES.items()
        ]
        return {
            "token": {
                "methods": ["password"],
                "expires_at": "2999-01-01T00:00:00.000000Z",
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "user": {"id": "u", "name": "admin", "domain": {"id": "default", "name": "Default"}},
                "project": {"id": PROJECT, "name": "admin", "domain": {"id": "default", "name": "Default"}},
                "roles": [{"id": "r", "name": "admin"}],
                "catalog": catalog,
            }
        }


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ApiServer

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer("POST")

    def _answer(self, method: str) -> None:
        self.server.asked.append(f"{method} {self.path}")
        time.sleep(self.server.delay)
        status, body = self.server.answer(method, self.path)
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Subject-Token", "token")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _served() -> Iterator[ApiServer]:
    with ApiServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with _served() as server:
        yield server


@pytest.fixture
def cloud(api: ApiServer, tmp_path: Path) -> Cloud:
    return _cloud(tmp_path, api.url)


def _cloud(folder: Path, url: str, timeout: int = 10) -> Cloud:
    auth = {"auth_url": f"{url}/identity/v3", "username": "admin", "password": PASSWORD, "project_name": "admin"}
    domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
    file = folder / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"here": {"auth": auth | domains, "region_name": "RegionOne"}}}))
    return CLOUD.model_copy(update={"openstack": OpenStack(cloud="here", clouds_yaml=file, timeout=timeout)})


def _observed(cloud: Cloud) -> OpenStackFacts:
    facts = observe_openstack(cloud, lambda _: None)
    assert isinstance(facts, OpenStackFacts), facts
    return facts


def test_the_image_service_tells_versions_and_stores(api: ApiServer, cloud: Cloud) -> None:
    told = _observed(cloud).image_api
    assert not isinstance(told, Unreadable)
    assert told.endpoint.startswith(api.url)
    assert "v2.15" in told.versions
    assert told.stores == {"rbd": True}


def test_images_are_told_with_their_location(cloud: Cloud) -> None:
    images = _observed(cloud).images
    assert not isinstance(images, Unreadable)
    assert len(images) == 2
    for image in images:
        assert image.stores == ("rbd",)
        assert image.direct_url.endswith(f"/images/{image.id}/snap")
        assert (image.status, image.disk_format, image.container_format) == ("active", "raw", "bare")
        assert image.size > 0


def test_hidden_and_community_images_are_asked_for(api: ApiServer, cloud: Cloud) -> None:
    hidden = dict(RECORDED["image /images?visibility=all"]["body"]["images"][0]) | {"id": "hidden", "os_hidden": True}
    api.exchanged["os_hidden=True"] = (200, {"images": [hidden]})
    api.exchanged["os_hidden=True&visibility=all"] = (200, {"images": [hidden]})
    images = _observed(cloud).images
    assert not isinstance(images, Unreadable)
    assert [image.id for image in images].count("hidden") == 1


def test_a_release_that_does_not_know_all_visibilities_is_asked_again(api: ApiServer, cloud: Cloud) -> None:
    body = RECORDED["image /images?visibility=all"]["body"]
    refused = RECORDED["image /images?visibility=nonsense"]
    api.exchanged["visibility=all"] = (refused["status"], refused["body"])
    api.exchanged["/images"] = (200, body)
    api.exchanged["/images?os_hidden=True"] = (200, {"images": []})
    images = _observed(cloud).images
    assert not isinstance(images, Unreadable)
    assert len(images) == 2


def test_images_without_direct_url_are_found_by_their_locations(api: ApiServer, cloud: Cloud) -> None:
    image = dict(RECORDED["image /images?visibility=all"]["body"]["images"][0])
    url = image.pop("direct_url")
    del image["stores"]
    image["locations"] = [{"url": url, "metadata": {"store": "ceph"}}]
    api.exchanged["/images?visibility=all"] = (200, {"images": [image]})
    images = _observed(cloud).images
    assert not isinstance(images, Unreadable)
    assert (images[0].direct_url, images[0].stores) == (url, ("ceph",))


def test_specs_of_types_that_are_hidden_from_us_are_not_taken_for_none(api: ApiServer, cloud: Cloud) -> None:
    told = RECORDED["block_storage /types"]["body"]["volume_types"]
    kinds = [{key: value for key, value in kind.items() if key != "extra_specs"} for kind in told]
    api.exchanged["/types"] = (200, {"volume_types": kinds})
    types = _observed(cloud).volume_types
    assert isinstance(types, Unreadable)
    assert "administrators" in types.unreadable


def test_services_types_and_pools_are_told(cloud: Cloud) -> None:
    facts = _observed(cloud)
    assert facts.region == "RegionOne"
    assert not isinstance(facts.volume_services, Unreadable)
    volume = {service.binary: service for service in facts.volume_services}
    assert set(volume) == {"cinder-backup", "cinder-scheduler", "cinder-volume"}
    assert (volume["cinder-volume"].host, volume["cinder-volume"].state) == ("controller@rbd", "up")
    assert not isinstance(facts.compute_services, Unreadable)
    assert {service.host for service in facts.compute_services if service.binary == "nova-compute"} == {
        "compute1",
        "compute2",
    }
    assert not isinstance(facts.volume_types, Unreadable)
    types = {kind.name: kind for kind in facts.volume_types}
    assert types["ceph"].is_default
    assert types["ceph"].extra_specs == {"volume_backend_name": "rbd"}
    assert not types["__DEFAULT__"].is_default
    assert not isinstance(facts.backend_pools, Unreadable)
    pool = facts.backend_pools[0]
    assert (pool.name, pool.backend_state, pool.storage_protocol) == ("controller@rbd#rbd", "up", "ceph")
    assert isinstance(pool.total_gb, float)
    assert ":cinder:volumes" in pool.location_info


def test_identity_tells_its_catalog_and_people(api: ApiServer, cloud: Cloud) -> None:
    told = need(_observed(cloud).identity)
    assert told.versions == {"v3.14": "stable"}
    assert {service.type for service in told.services} == {
        *("identity", "image", "volumev3", "compute", "placement", "network")
    }
    assert len(told.endpoints) == 18
    assert {(one.name, one.enabled) for one in told.projects} == {("admin", True), ("service", True)}
    assert {"admin", "glance", "cinder", "nova"} <= {one.name for one in told.users}
    assert {"admin", "member", "reader", "service"} <= {*told.roles}


def test_each_address_of_the_catalog_is_asked_once(api: ApiServer, cloud: Cloud) -> None:
    api.exchanged[f"/volume/v3/{PROJECT}/limits"] = (200, {"limits": {}})
    endpoints = need(_observed(cloud).identity).endpoints
    volume = [one for one in endpoints if "/volume/" in one.url]
    assert [one.status for one in volume] == [200] * 3
    assert len([one for one in api.asked if one == f"GET /volume/v3/{PROJECT}/limits"]) == 1
    assert {one.status for one in endpoints if "/compute/" in one.url} == {404}


def test_an_address_where_nobody_answers_is_told(api: ApiServer, cloud: Cloud) -> None:
    endpoints = api._here(RECORDED["identity /endpoints"]["body"])
    for one in endpoints["endpoints"]:
        if one["interface"] == "internal":
            one["url"] = "http://127.0.0.1:1/nobody"
    api.exchanged["/identity/v3/endpoints"] = (200, endpoints)
    internal = [one for one in need(_observed(cloud).identity).endpoints if one.interface == "internal"]
    assert all(one.status is None and "127.0.0.1" in one.error for one in internal)


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_lists_only_are_asked_for(delay: float, api: ApiServer, cloud: Cloud) -> None:
    api.delay = delay
    _observed(cloud)
    # Placement has no list of inventories, and each address of the catalog is tried once.
    lists = [one for one in api.asked if "/resource_providers/" not in one and not _tries(one)]
    assert len(lists) < 40, lists
    assert len([one for one in api.asked if _tries(one)]) <= len(PLACES)


def _tries(asked: str) -> bool:
    """Whether it is what a client asks first of an address of the catalog."""
    return asked.endswith(("/limits", "/v2/schemas/image", "/v2.0/extensions", "/placement/", "/identity/v3/"))


def test_services_are_discovered_once(api: ApiServer, cloud: Cloud) -> None:
    api.delay = 0.05
    _observed(cloud)
    versions = [one for one in api.asked if one.rstrip("/").endswith(("/v3", "/v2.1", "/placement"))]
    assert sorted(versions) == sorted(set(versions))


@pytest.mark.parametrize(
    ("ending", "answer", "part", "says"),
    [
        ("/types/default", (404, {"itemNotFound": {"message": "no default"}}), "", ""),
        ("/info/stores", (404, "<html><title>404</title></html>"), "", ""),
        ("/os-services", (503, "<html><h1>503 Service Unavailable</h1></html>"), "volume_services", "503"),
        (
            "/types/default",
            (403, {"forbidden": {"message": "Policy does not allow it"}}),
            "volume_types",
            "Policy does not allow it",
        ),
        ("/get_pools?detail=True", (200, "<html>login</html>"), "backend_pools", "block storage, pools"),
        ("/image/", (200, {"unexpected": 1}), "image_api", "not understood: KeyError: 'versions'"),
    ],
)
def test_a_part_is_unreadable_by_itself(
    ending: str, answer: tuple[int, Any], part: str, says: str, api: ApiServer, cloud: Cloud
) -> None:
    api.exchanged[ending] = answer
    facts = _observed(cloud)
    unreadable = {name: value.unreadable for name, value in facts if isinstance(value, Unreadable)}
    assert part in unreadable or not part, unreadable
    assert says in unreadable.get(part, ""), unreadable
    if not part:
        assert not unreadable


def test_a_cloud_without_stores_api_tells_none(api: ApiServer, cloud: Cloud) -> None:
    api.exchanged["/info/stores"] = (404, {"error": "not found"})
    told = _observed(cloud).image_api
    assert not isinstance(told, Unreadable)
    assert told.stores == {}


def test_a_refused_login_is_unreadable_whole(api: ApiServer, cloud: Cloud) -> None:
    api.exchanged["/auth/tokens"] = (
        401,
        {"error": {"code": 401, "message": "The request you have made requires authentication."}},
    )
    lines: list[str] = []
    facts = observe_openstack(cloud, lines.append)
    assert isinstance(facts, Unreadable)
    assert "cloud here: no login" in facts.unreadable
    assert "401" in facts.unreadable
    assert PASSWORD not in facts.unreadable
    assert len(lines) == 1


def test_a_dead_cloud_is_unreadable_whole(tmp_path: Path) -> None:
    facts = observe_openstack(_cloud(tmp_path, "http://127.0.0.1:9"), lambda _: None)
    assert isinstance(facts, Unreadable)
    assert "127.0.0.1" in facts.unreadable


def test_a_slow_cloud_costs_its_timeout(api: ApiServer, tmp_path: Path) -> None:
    api.delay = 3.0
    started = time.monotonic()
    facts = observe_openstack(_cloud(tmp_path, api.url, timeout=1), lambda _: None)
    assert isinstance(facts, Unreadable)
    assert "timed out" in facts.unreadable
    assert time.monotonic() - started < 6


def test_a_missing_entry_names_the_file(tmp_path: Path) -> None:
    cloud = _cloud(tmp_path, "http://127.0.0.1:9")
    other = cloud.model_copy(update={"openstack": OpenStack(cloud="nosuch", clouds_yaml=tmp_path / "clouds.yaml")})
    with pytest.raises(ConfigException, match=r"clouds\.yaml: Cloud nosuch was not found"):
        open_openstack(other)
    absent = cloud.model_copy(update={"openstack": OpenStack(cloud="here", clouds_yaml=tmp_path / "none.yaml")})
    with pytest.raises(ConfigException, match="the file is not there"):
        open_openstack(absent)


def test_what_projects_have_is_listed(api: ApiServer, cloud: Cloud) -> None:
    facts = _observed(cloud)
    volumes, servers = need(facts.volumes), need(facts.servers)
    assert [(one.status, one.backend, one.name_id, one.servers) for one in volumes] == [
        ("in-use", "rbd", "", (servers[0].id,))
    ]
    assert [(one.status, one.task, one.host, one.from_image) for one in servers] == [
        ("SHUTOFF", "", "compute1", True),
        ("ACTIVE", "deleting", "compute2", False),
    ]
    assert servers[0].updated_at == "2026-01-01T00:01:00Z"
    assert need(facts.volume_snapshots)[0].volume_id == need(facts.backups)[0].volume_id == volumes[0].id
    assert all("all_tenants=True" in asked for asked in api.asked if "/detail" in asked)


def test_a_connection_is_told_without_what_old_releases_put_there(cloud: Cloud) -> None:
    facts = _observed(cloud)
    assert not isinstance(facts.attachments, Unreadable)
    (attachment,) = facts.attachments
    assert (attachment.driver, attachment.user, attachment.addresses) == ("rbd", "cinder", ("192.0.2.13",))
    assert attachment.image == f"volumes/volume-{attachment.volume}"
    assert PASSWORD not in facts.model_dump_json()


def test_roles_of_users_are_told_by_name(cloud: Cloud) -> None:
    assigned = _observed(cloud).role_assignments
    assert not isinstance(assigned, Unreadable)
    assert [(one.user, one.role, one.project) for one in assigned] == [
        ("cinder", "service", "service"),
        ("admin", "admin", ""),
    ]


def test_specs_of_quality_know_their_types(api: ApiServer, cloud: Cloud) -> None:
    specs = _observed(cloud).qos_specs
    assert not isinstance(specs, Unreadable)
    (spec,) = specs
    assert (spec.consumer, spec.specs, spec.types) == ("back-end", {"total_iops_sec": "500"}, ())
    kinds = RECORDED["block_storage /types"]["body"]["volume_types"]
    bound = [kind | {"qos_specs_id": "0fa17000-0000-4000-8000-0000000000aa"} for kind in kinds[:1]]
    api.exchanged["/types?is_public=None"] = (200, {"volume_types": bound})
    again = _observed(cloud).qos_specs
    assert not isinstance(again, Unreadable) and again[0].types == (kinds[0]["name"],)


def test_disks_of_hypervisors_are_told_by_placement(api: ApiServer, cloud: Cloud) -> None:
    (disk,) = need(_observed(cloud).disks)
    assert (disk.provider, disk.total, disk.reserved, disk.ratio, disk.allocated) == ("compute1", 60, 10, 0.1, 3)
    assert disk.usable == pytest.approx(5.0)
    asked = [one for one in api.asked if "/resource_providers/" in one]
    assert len(asked) == 3, "nothing of nested providers, and no usage of what has no disk"


def test_a_provider_that_goes_meanwhile_has_no_disk(api: ApiServer, cloud: Cloud) -> None:
    api.exchanged["/usages"] = (404, {"errors": [{"status": 404, "title": "Not Found"}]})
    assert need(_observed(cloud).disks) == ()


def test_a_placement_that_refuses_leaves_disks_unread(api: ApiServer, cloud: Cloud) -> None:
    api.exchanged["/inventories"] = (403, {"errors": [{"status": 403, "title": "Forbidden"}]})
    disks = _observed(cloud).disks
    assert isinstance(disks, Unreadable)
    assert "placement, disks of hypervisors" in disks.unreadable
