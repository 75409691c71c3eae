"""What Ceph still holds of a scratch resource."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.ceph import CephError
from fixtures.scratch.ledger import Record
from fixtures.scratch.site import CloudSite


class Pools:
    """Pools by name; another one is not there, or cannot be asked."""

    def __init__(self, code: int = errno.ENOENT, **images: tuple[str, ...]) -> None:
        self._code, self._images = code, images

    def image_names(self, pool: str) -> tuple[str, ...]:
        if pool not in self._images:
            raise CephError("librados", f"rbd ls {pool}", self._code, "no")
        return self._images[pool]

    def trash(self, pool: str) -> tuple[Any, ...]:
        return ()


SERVER = cast(Record, SimpleNamespace(kind="server", id="8e4f"))


def remains(ceph: Pools) -> list[str]:
    return CloudSite(cast(Any, None), {"server": "vms"}, cast(Any, ceph)).remains(SERVER)


def test_a_pool_that_is_not_there_holds_nothing() -> None:
    assert remains(Pools(vms=("8e4f_disk", "other"))) == ["vms/8e4f_disk"]
    assert remains(Pools()) == []


def test_a_pool_that_cannot_be_asked_is_not_taken_for_empty() -> None:
    with pytest.raises(CephError):
        remains(Pools(errno.EPERM))
