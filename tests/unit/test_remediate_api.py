"""Steps on OpenStack's APIs: looked at, taken, and taken back, on a made-up block storage service."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openstack.exceptions import SDKException

from fixtures.ceph import CephAccess
from remediate.model import CatalogEndpoint, HardReboot, ImageStore, VolumeType
from remediate.site import Site, StepFailed

STEP = VolumeType(name="ceph", specs={"volume_backend_name": "rbd"})


@dataclass
class Storage:
    """Volume types by name, with their extra specs."""

    types: dict[str, dict[str, str]] = field(default_factory=dict)
    in_use: bool = False

    def get(self, path: str, params: dict[str, str]) -> Any:
        assert (path, params) == ("/types", {"is_public": "None"})
        told = [{"name": name, "id": f"id-{name}", "extra_specs": specs} for name, specs in self.types.items()]
        return SimpleNamespace(status_code=200, json=lambda: {"volume_types": told})

    def create_type(self, name: str, extra_specs: dict[str, str]) -> None:
        self.types[name] = dict(extra_specs)

    def update_type_extra_specs(self, kind: str, **specs: str) -> None:
        self.types[kind.removeprefix("id-")].update(specs)

    def delete_type_extra_specs(self, kind: str, keys: list[str]) -> None:
        for key in keys:
            del self.types[kind.removeprefix("id-")][key]

    def delete_type(self, kind: str) -> None:
        if self.in_use:
            raise SDKException("the type is in use")
        del self.types[kind.removeprefix("id-")]


@dataclass
class Images:
    """One image in some stores; a copy takes a look or two, or fails."""

    stores: list[str]
    fails: bool = False
    copying: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def get(self, path: str) -> Any:
        assert path == "/images/8e4f"
        told = {"id": "8e4f", "stores": ",".join(self.stores), "os_glance_importing_to_stores": ",".join(self.copying)}
        if self.copying and self.fails:
            told["os_glance_failed_import"] = ",".join(self.copying)
        elif self.copying:
            self.stores.append(self.copying.pop())
        return SimpleNamespace(status_code=200, json=lambda: told)

    def post(self, path: str, json: dict[str, Any]) -> Any:
        assert json["method"] == {"name": "copy-image"}
        self.asked.append(f"POST {path} {','.join(json['stores'])}")
        self.copying = list(json["stores"])
        return SimpleNamespace(status_code=202)

    def delete(self, path: str) -> Any:
        self.asked.append(f"DELETE {path}")
        self.stores.remove(path.split("/")[2])
        return SimpleNamespace(status_code=204)


@dataclass
class Catalog:
    """One endpoint."""

    url: str

    def get(self, path: str) -> Any:
        assert path == "/endpoints/e1"
        return SimpleNamespace(status_code=200, json=lambda: {"endpoint": dict(vars(self))})

    def patch(self, path: str, json: dict[str, dict[str, str]]) -> Any:
        vars(self).update(json["endpoint"])
        return self.get(path)


@dataclass
class Servers:
    """One server, which is busy for a look after it was rebooted."""

    after: str = "ACTIVE"
    rebooted: int = 0
    busy: int = 0

    def get(self, path: str) -> Any:
        if path == "/servers/s1/os-instance-actions":
            told: dict[str, Any] = {"instanceActions": [{"action": "create"}, *[{"action": "reboot"}] * self.rebooted]}
        else:
            assert path == "/servers/s1"
            status, task = (self.after, None) if not self.busy else ("HARD_REBOOT", "reboot_started_hard")
            self.busy = 0
            told = {"server": {"status": status, "OS-EXT-STS:task_state": task}}
        return SimpleNamespace(status_code=200, json=lambda: told)

    def post(self, path: str, json: dict[str, Any]) -> Any:
        assert (path, json) == ("/servers/s1/action", {"reboot": {"type": "HARD"}})
        self.rebooted, self.busy = self.rebooted + 1, 1
        return SimpleNamespace(status_code=202)


def site_of(
    storage: Storage | None = None,
    image: Images | None = None,
    identity: Catalog | None = None,
    compute: Servers | None = None,
) -> Site:
    api = SimpleNamespace(block_storage=storage, image=image, identity=identity, compute=compute)
    return Site({}, cast(CephAccess, None), "run", openstack=lambda: cast(Any, api))


@pytest.mark.parametrize(
    "types", [{}, {"ceph": {}}, {"ceph": {"volume_backend_name": "else", "multiattach": "<is> True"}}]
)
def test_a_volume_type_leads_to_the_back_end_and_back(types: dict[str, dict[str, str]]) -> None:
    storage = Storage({name: dict(specs) for name, specs in types.items()})
    site = site_of(storage)
    preview = site.previews([STEP])[0]
    assert preview.changes
    assert storage.types == types, "a preview changes nothing"
    assert site.do(1, STEP) == preview.after
    assert storage.types["ceph"] == {**types.get("ceph", {}), **STEP.specs}
    assert not site.previews([STEP])[0].changes
    assert site.undo(1, STEP, preview.before) == preview.before
    assert storage.types == types


def test_a_type_that_is_in_use_by_now_is_not_taken_away() -> None:
    site = site_of(Storage({"ceph": {}}, in_use=True))
    with pytest.raises(StepFailed, match="the type is in use"):
        site.undo(1, STEP, {"exists": False, "specs": {"volume_backend_name": None}})


MOVE = ImageStore(image="8e4f", name="guest", store="rbd")


def test_an_image_is_copied_before_it_is_taken_away_and_goes_back_so() -> None:
    images = Images(["file"])
    site = site_of(image=images)
    preview = site.previews([MOVE])[0]
    assert preview.diff == ("image 8e4f (guest): file -> rbd",)
    assert site.do(1, MOVE) == preview.after == {"stores": ["rbd"]}
    assert images.asked == ["POST /images/8e4f/import rbd", "DELETE /stores/file/8e4f"]
    assert not site.previews([MOVE])[0].changes
    assert site.undo(1, MOVE, preview.before) == preview.before
    assert images.asked[2:] == ["POST /images/8e4f/import file", "DELETE /stores/rbd/8e4f"]


def test_a_killed_move_is_finished() -> None:
    images = Images(["file", "rbd"])
    assert site_of(image=images).do(1, MOVE) == {"stores": ["rbd"]}
    assert images.asked == ["DELETE /stores/file/8e4f"]


def test_an_image_stays_where_its_copy_fails() -> None:
    images = Images(["file"], fails=True)
    with pytest.raises(StepFailed, match="Glance could not copy image 8e4f to rbd"):
        site_of(image=images).do(1, MOVE)
    assert images.stores == ["file"]


def test_an_endpoint_is_corrected_and_goes_back() -> None:
    catalog = Catalog("http://api/v3/\\$(tenant_id)s")
    site = site_of(identity=catalog)
    step = CatalogEndpoint(endpoint="e1", name="volumev3 internal", url="http://api/v3/$(tenant_id)s")
    preview = site.previews([step])[0]
    assert preview.diff == ("endpoint volumev3 internal: http://api/v3/\\$(tenant_id)s -> http://api/v3/$(tenant_id)s",)
    assert site.do(1, step) == preview.after == {"url": catalog.url}
    assert not site.previews([step])[0].changes
    assert site.undo(1, step, preview.before) == preview.before


def test_a_server_is_rebooted_and_waited_for() -> None:
    step, servers = HardReboot(server="s1"), Servers(rebooted=1)
    site = site_of(compute=servers)
    preview = site.previews([step])[0]
    assert preview.before == {"reboots": 1}
    assert preview.diff[0] == "server s1: off and on again"
    assert site.do(1, step) == {"reboots": 2}
    with pytest.raises(StepFailed, match="s1 is ERROR after its reboot"):
        site_of(compute=Servers(after="ERROR")).do(2, step)
