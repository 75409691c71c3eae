"""What mirrored images in error are told to be, by `rbd` and by librbd, and how it is judged."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import rbd

from fixtures.ceph.access import mirror_errors
from fixtures.ceph.cli import CliAccess
from fixtures.ceph.native import NativeAccess
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.ceph import Mirror
from fixtures.facts.run import Facts
from fixtures.inventory import content_of
from suites.hygiene import test_use as hygiene
from tests.unit.test_old_releases import RECORDED

INFO = {
    "mode": "image",
    "site_name": "east",
    "peers": [
        {"uuid": "8d2a", "direction": "rx-tx", "site_name": "west", "mirror_uuid": "", "client_name": "client.mirror"}
    ],
}
VERBOSE: Any = {
    "summary": {
        "health": "ERROR",
        "daemon_health": "OK",
        "image_health": "ERROR",
        "states": {"error": 3, "replaying": 1},
    },
    "daemons": [],
    "images": [
        {
            "name": "split",
            "global_id": "c3f2",
            "state": "up+error",
            "description": "split-brain",
            "daemon_service": {"service_id": "4121", "instance_id": "4123", "daemon_id": "m", "hostname": "east1"},
            "last_update": "2024-05-01 10:00:00",
            "peer_sites": [
                {
                    "site_name": "west",
                    "mirror_uuids": "77aa",
                    "state": "up+stopped",
                    "description": "local image is primary",
                    "last_update": "2024-05-01 10:00:00",
                }
            ],
        },
        {
            "name": "split-over-there",
            "global_id": "c3f3",
            "state": "up+stopped",
            "description": "local image is primary",
            "last_update": "2024-05-01 10:00:00",
            "peer_sites": [
                {
                    "site_name": "west",
                    "mirror_uuids": "77aa",
                    "state": "up+error",
                    "description": "split-brain detected",
                    "last_update": "2024-05-01 10:00:00",
                }
            ],
        },
        {"name": "stuck", "global_id": "c3f4", "state": "down+error", "description": "error bootstrapping replay"},
        {"name": "well", "global_id": "c3f5", "state": "up+replaying", "description": "replaying, {}"},
    ],
}
ERRORS = {"split": "split-brain", "split-over-there": "split-brain detected", "stuck": "error bootstrapping replay"}
"""As Ceph 15 and later tell them; see src/tools/rbd/action/MirrorPool.cc."""


def test_errors_are_told_of_both_sites() -> None:
    assert mirror_errors(VERBOSE["images"]) == ERRORS


class _Rbd(CliAccess):
    """Answers the commands of rbd."""

    _who, _connect_timeout = "--id admin", 5

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers, self.asked = answers, list[str]()

    def _json(self, task: Any) -> Any:
        self.asked.append(task.what)
        return next(answer for part, answer in self.answers.items() if part in task.what)


def test_every_image_is_opened_only_where_one_is_in_error() -> None:
    summary = {"summary": VERBOSE["summary"]}
    access = _Rbd({"pool info": INFO, "--verbose": VERBOSE, "pool status": summary})
    assert access.mirror("volumes") == Mirror(
        mode="image", peers=("west",), states=VERBOSE["summary"]["states"], errors=ERRORS
    )
    well = _Rbd({"pool info": INFO, "pool status": {"summary": {"states": {"replaying": 4}}}})
    assert well.mirror("volumes").errors == {}
    assert not [words for words in well.asked if "--verbose" in words]


# librbd's binding


class _Binding:
    """What rbd.RBD tells of a pool with one image in error."""

    listed: Any

    def mirror_mode_get(self, io: object) -> int:
        return int(rbd.RBD_MIRROR_MODE_IMAGE)

    def mirror_peer_list(self, io: object) -> Iterator[Any]:
        return iter([{"site_name": "west"}])

    def mirror_image_status_summary(self, io: object) -> list[tuple[int, int]]:
        return [(rbd.MIRROR_IMAGE_STATUS_STATE_ERROR, 1)]

    def mirror_image_status_list(self, io: object) -> Iterator[Any]:
        return iter(self.listed)


def _status(state: str, description: str) -> dict[str, Any]:
    number = getattr(rbd, f"MIRROR_IMAGE_STATUS_STATE_{state}")
    return {"state": number, "description": description, "up": True, "last_update": datetime.datetime(2024, 5, 1)}


REMOTE = {**_status("ERROR", "split-brain"), "mirror_uuid": "77aa"}


@pytest.mark.parametrize(
    ("status", "errors"),
    [
        ({**_status("ERROR", "split-brain"), "remote_statuses": []}, {"v": "split-brain"}),
        ({**_status("STOPPED", "local image is primary"), "remote_statuses": [REMOTE]}, {"v": "split-brain"}),
        ({"remote_statuses": [REMOTE]}, {"v": "split-brain"}),
        ({**_status("STOPPED", "local image is primary"), "remote_statuses": list(REMOTE)}, {}),  # Pacific
    ],
)
def test_the_binding_tells_the_same(
    status: dict[str, Any], errors: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _Binding.listed = [{"name": "v", "id": "1a", "info": {"global_id": "c3f2", "state": 1}, **status}]
    monkeypatch.setattr(rbd, "RBD", _Binding)
    monkeypatch.setattr(NativeAccess, "_pool", lambda self, pool: None)
    assert NativeAccess.__new__(NativeAccess).mirror("volumes") == Mirror(
        mode="image", peers=("west",), states={"error": 1}, errors=errors
    )


# Judging


def _with_mirror(mirror: Mirror | Unreadable | None) -> Facts:
    pools = tuple(pool.model_copy(update={"mirror": mirror}) for pool in RECORDED.ceph.pools)
    return RECORDED.model_copy(update={"ceph_cluster": RECORDED.ceph.model_copy(update={"pools": pools})})


def _judge(mirror: Mirror | Unreadable | None) -> None:
    facts = _with_mirror(mirror)
    hygiene.test_no_image_is_half_migrated_split_or_of_the_first_format("volumes", content_of(facts, "volumes"), facts)


def test_a_split_brain_is_found() -> None:
    with pytest.raises(AssertionError) as failed:
        _judge(Mirror(mode="image", peers=("west",), states={"error": 3}, errors=ERRORS))
    assert "split: split-brain" in str(failed.value)
    assert "split-over-there: split-brain detected" in str(failed.value)
    assert "stuck" not in str(failed.value)


def test_images_that_replay_or_are_not_mirrored_are_sound() -> None:
    _judge(Mirror(mode="image", peers=("west",), states={"replaying": 3, "stopped": 1}, errors={}))
    _judge(Mirror(mode="disabled"))


@pytest.mark.parametrize(
    "mirror",
    [
        Mirror(mode="image", states={"error": 1}),
        Mirror(mode="image", states={"error": 2}, errors={"one": "stuck"}),
        Unreadable(unreadable="refused"),
        None,
    ],
)
def test_what_was_not_told_is_not_measured(mirror: Mirror | Unreadable | None) -> None:
    with pytest.raises(NotMeasured):
        _judge(mirror)
