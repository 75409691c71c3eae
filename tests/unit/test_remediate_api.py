"""Steps on OpenStack's APIs: looked at, taken, and taken back, on a made-up block storage service."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from openstack.exceptions import SDKException

from fixtures.ceph import CephAccess
from remediate.model import VolumeType
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


def site_of(storage: Storage) -> Site:
    return Site({}, cast(CephAccess, None), "run", openstack=lambda: cast(Any, SimpleNamespace(block_storage=storage)))


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
