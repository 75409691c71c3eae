"""Area sec: what a tenant can do with the locations of images."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.scratch.judging import asking
from fixtures.scratch.resources import REMEDIES, Scratch

pytestmark = [pytest.mark.dynamic]

FORBIDDEN: Final = 403
PATCH: Final = "application/openstack-images-v2.1-json-patch"
SIZE: Final = 1 << 20


@pytest.mark.check("sec.image.location_patch", severity="critical", source="OSSN-0065 OSSA-2016-006")
def test_tenant_cannot_change_where_an_image_is(scratch: Scratch, facts: Facts, cloud: Cloud, tmp_path: Path) -> None:
    """A member who adds, replaces or removes locations of an image of its own is refused with HTTP 403.

    Why: whoever may add a location reads other tenants' images by it, or swaps the data of an image that others
    already trust.
    """
    content = tmp_path / "content.raw"
    content.write_bytes(random.randbytes(SIZE))
    image = scratch.image(content)
    location = f"rbd://{facts.fsid}/{cloud.ceph.pools.images}/{image.id}/snap"
    answers = {str(change["op"]): _answer(scratch, image.id, change) for change in _changes(location)}
    allowed = {op: f"HTTP {status}" for op, status in answers.items() if status != FORBIDDEN}
    assert not allowed, finding(
        scratch.where(image),
        found=allowed,
        expected=f"HTTP {FORBIDDEN} for each",
        remedy="show_multiple_locations = false in glance-api.conf of the API that tenants reach; else the policies "
        "set_image_location and delete_image_location for services only",
    )
    scratch.clean_up()


def _changes(location: str) -> list[Mapping[str, Any]]:
    value = {"url": location, "metadata": {}}
    return [
        {"op": "add", "path": "/locations/-", "value": value},
        {"op": "replace", "path": "/locations", "value": [value]},
        {"op": "remove", "path": "/locations/0"},
    ]


def _answer(scratch: Scratch, image_id: str, change: Mapping[str, Any]) -> int:
    with asking(f"image {image_id}", expected="an answer", remedy=REMEDIES["image"]):
        answer = scratch.tenant.connection.image.patch(
            f"/images/{image_id}", json=[change], headers={"Content-Type": PATCH}
        )
    return int(answer.status_code)
