"""What Ceph still holds of a scratch resource."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.ceph import CephError, Change
from fixtures.facts.ceph import RbdImage, RbdSnapshot
from fixtures.scratch.ledger import Record
from fixtures.scratch.site import CloudSite


class Pools:
    """Pools by name; another one is not there, or cannot be asked."""

    def __init__(self, code: int = errno.ENOENT, **images: tuple[str, ...]) -> None:
        self._code, self._images = code, images
        self.changes: list[str] = []

    def image_names(self, pool: str) -> tuple[str, ...]:
        if pool not in self._images:
            raise CephError("librados", f"rbd ls {pool}", self._code, "no")
        return self._images[pool]

    def trash(self, pool: str) -> tuple[Any, ...]:
        return ()

    def images(self, pool: str, names: list[str]) -> tuple[RbdImage, ...]:
        held = (RbdSnapshot(name="clone_snap", size=1, protected=True), RbdSnapshot(name="s", size=1, protected=False))
        sizes = {"pool": pool, "size": 1, "order": 22, "features": frozenset[str](), "snapshots": held}
        return tuple(RbdImage.model_validate({"name": name, **sizes}) for name in names)

    def change(self, change: Change) -> None:
        self.changes.append(str(change))


SERVER = cast(Record, SimpleNamespace(kind="server", id="8e4f"))


def remains(ceph: Pools) -> list[str]:
    return CloudSite(cast(Any, None), {"server": "vms"}, cast(Any, ceph)).remains(SERVER)


def test_a_pool_that_is_not_there_holds_nothing() -> None:
    assert remains(Pools(vms=("8e4f_disk", "other"))) == ["vms/8e4f_disk"]
    assert remains(Pools()) == []


def test_a_pool_that_cannot_be_asked_is_not_taken_for_empty() -> None:
    with pytest.raises(CephError):
        remains(Pools(errno.EPERM))


def test_a_volume_that_its_service_forgot_goes_with_its_snapshots_and_without_its_backups() -> None:
    ceph = Pools(volumes=("other", "volume-8e4f.backup.base", "volume-8e4f.deleted"))
    volume = cast(Record, SimpleNamespace(kind="volume", id="8e4f"))
    CloudSite(cast(Any, None), {"volume": "volumes"}, cast(Any, ceph)).purge(volume)
    assert ceph.changes == [
        "rbd unprotect-snapshot volumes volume-8e4f.deleted clone_snap",
        "rbd remove-snapshots volumes volume-8e4f.deleted",
        "rbd remove-image volumes volume-8e4f.deleted",
    ]
