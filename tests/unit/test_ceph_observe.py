"""Ceph's facts from answers that real clusters (16.2.15) gave; keys in them are replaced."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.ceph import Answer, Ask, CephAccess, CephDenied, CephError, CephUnreachable, Change
from fixtures.ceph.access import Header
from fixtures.cloud.model import Ceph, Cinder, Cloud, Host, OpenStack, Pools, Users
from fixtures.digest import digest
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import (
    AuthEntity,
    Balancer,
    CephFacts,
    Ciphers,
    Mirror,
    RbdImage,
    RbdLock,
    RbdWatcher,
    TrashEntry,
)
from fixtures.facts.images import ImageLook
from fixtures.observe import ceph as observation
from fixtures.observe.ceph import observe_ceph, read_ceph

DATA = Path(__file__).parent / "data/ceph"
PARTS: dict[str, Any] = json.loads((DATA / "parts.json").read_text())
"""Answers of a lab's cluster to the commands that stand for themselves."""
SALT = b"salt"
CLOUD = Cloud(
    name="recorded",
    hosts={"one": Host(roles=("ceph-mon", "glance-api", "cinder-volume"), reach="local")},
    ceph=Ceph(
        pools=Pools(images="images", volumes="volumes", vms="vms", backups="backups"),
        users=Users(glance="glance", cinder="cinder", nova="cinder", backup="cinder-backup"),
    ),
    cinder=Cinder(backend="rbd", volume_type="ceph"),
    openstack=OpenStack(cloud="none"),
)


class Recorded(CephAccess):
    """Answers as they were recorded."""

    source = "recorded"
    connected_in = 0.5

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.state = state
        self.asked: list[str] = []

    def many(self, asks: Sequence[Ask]) -> list[Answer]:
        self._count()
        self.asked += map(str, asks)
        return [self._answer(str(ask)) for ask in asks]

    def _answer(self, ask: str) -> Answer:
        every = PARTS | self.state["answers"]
        if ask not in every:
            return CephError(self.source, ask, 22, "not recorded")
        answer = every[ask]
        if isinstance(answer, dict) and "error" in answer:
            return CephDenied(answer["error"])
        return answer

    def auth(self, salt: bytes) -> tuple[AuthEntity, ...]:
        if self.state["auth"] is None:
            raise CephDenied("auth ls: access denied")
        return tuple(
            AuthEntity(entity=one["entity"], key=digest(salt, one["key"]), caps=one["caps"])
            for one in self.state["auth"]
        )

    def image_names(self, pool: str) -> tuple[str, ...]:
        if pool not in self.state["images"]:
            raise CephError(self.source, f"rbd ls {pool}", 2, "no such pool")
        return tuple(one["name"] for one in self.state["images"][pool])

    def image_ids(self, pool: str) -> dict[str, str]: ...  # type: ignore[empty-body]
    def headers(self, pool: str, ids: Sequence[str]) -> list[Header | None]: ...  # type: ignore[empty-body]
    def looks(self, pool: str, names: Sequence[str]) -> dict[str, ImageLook]: ...  # type: ignore[empty-body]

    def images(self, pool: str, names: Sequence[str], *, magic: bool = False) -> tuple[RbdImage, ...]:
        return tuple(RbdImage.model_validate(one) for one in self.state["images"][pool] if one["name"] in names)

    def object_exists(self, pool: str, name: str) -> bool:
        return bool(self.state["rbd_info"][pool])

    def change(self, change: Change) -> None: ...

    def close(self) -> None: ...

    def overrides(self, pool: str) -> dict[str, str]:
        return {"rbd_default_features": "1"} if pool == "volumes" else {}

    def mirror(self, pool: str) -> Mirror:
        if pool == "vms":
            raise CephDenied("rbd mirror pool info vms: refused")
        return Mirror(mode="image", peers=("west",), states={"replaying": 2})

    def stored_bytes(self, pool: str, name: str) -> int: ...  # type: ignore[empty-body]
    def watchers(self, pool: str, name: str) -> tuple[RbdWatcher, ...]: ...  # type: ignore[empty-body]
    def locks(self, pool: str, name: str) -> tuple[RbdLock, ...]: ...  # type: ignore[empty-body]
    def children(self, pool: str, name: str) -> tuple[str, ...]: ...  # type: ignore[empty-body]
    def trash(self, pool: str) -> tuple[TrashEntry, ...]: ...  # type: ignore[empty-body]
    def read(self, pool: str, name: str, offset: int, length: int, snapshot: str = "") -> bytes: ...  # type: ignore[empty-body]
    def write(self, pool: str, name: str, offset: int, data: bytes) -> None: ...
    def content_digest(self, pool: str, name: str, snapshot: str = "") -> str: ...  # type: ignore[empty-body]


def _state(name: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return state


def _facts(name: str) -> CephFacts:
    return read_ceph(Recorded(_state(name)), CLOUD, SALT)


def test_a_healthy_cluster_is_told_whole() -> None:
    facts = _facts("healthy")
    assert facts.health == "HEALTH_OK"
    assert facts.health_checks == ()
    assert [(monitor.name, monitor.in_quorum) for monitor in facts.monitors] == [("a", True)]
    assert facts.monitors[0].addresses == ("v2:127.0.0.1:13300", "v1:127.0.0.1:16789")
    assert (facts.mgr_active, facts.mgr_standbys, facts.rbd_support) == ("x", (), True)
    assert (facts.osds.total, facts.osds.up, facts.osds.in_) == (3, 3, 3)
    assert set(facts.pg_states) == {"active+clean"}
    assert list(facts.versions.values()) == [5]
    assert facts.require_osd_release == "pacific"
    assert facts.config == dict.fromkeys(observation.AUTH_OPTIONS, "cephx")
    assert not facts.clone_v2


def test_pools_are_told_with_what_rbd_needs() -> None:
    facts = _facts("healthy")
    pool = facts.pool("images")
    assert pool is not None
    assert (pool.type, pool.size, pool.min_size, pool.autoscale_mode) == ("replicated", 3, 2, "on")
    assert pool.applications == {"rbd"}
    assert "selfmanaged_snaps" in pool.flags
    assert pool.rbd_initialised is True
    other = facts.pool("device_health_metrics")
    assert other is not None
    assert isinstance(other.rbd_initialised, Unreadable)


def test_images_are_told_with_the_beginning_of_their_content() -> None:
    images = _facts("healthy").images["images"]
    assert not isinstance(images, Unreadable)
    assert {image.name: image.magic for image in images} == {"base": "eb589000", "qcow": "514649fb"}


def test_keys_are_digests_only() -> None:
    facts = _facts("healthy")
    assert not isinstance(facts.auth, Unreadable)
    entities = {one.entity: one for one in facts.auth}
    assert entities["client.glance"].key == digest(SALT, "key-of-client.glance")
    assert entities["client.glance"].caps["mon"] == "profile rbd"
    assert "key-of" not in facts.model_dump_json()


def test_what_is_wrong_is_told() -> None:
    facts = _facts("degraded")
    codes = {check.code: check for check in facts.health_checks}
    assert facts.health == "HEALTH_WARN"
    assert {"OSDMAP_FLAGS", "OSD_DOWN", "POOL_HAS_TARGET_SIZE_BYTES_AND_RATIO"} <= set(codes)
    assert codes["OSDMAP_FLAGS"].muted
    assert not codes["OSD_DOWN"].muted
    assert codes["OSD_DOWN"].message == "1 osds down"
    assert (facts.osds.up, facts.osds.in_, facts.osds.down, facts.osds.out) == (2, 3, (2,), ())
    assert "noout" in facts.osd_flags
    assert any("undersized" in state for state in facts.pg_states)
    pools = {pool.name: pool for pool in facts.pools}
    assert pools["vms"].applications == frozenset()
    assert (pools["backups"].size, pools["backups"].min_size, pools["backups"].rbd_initialised) == (2, 1, False)
    assert (pools["volumes"].autoscale_mode, pools["volumes"].target_size_ratio) == ("warn", 0.5)
    assert pools["volumes"].target_size_bytes == 1_000_000


def test_without_a_manager_none_is_asked() -> None:
    ceph = Recorded(_state("no-manager"))
    facts = read_ceph(ceph, CLOUD, SALT)
    assert (facts.mgr_active, facts.rbd_support) == ("", False)
    assert "rbd task list" not in ceph.asked


def test_a_monitoring_user_sees_all_but_the_keys() -> None:
    facts = _facts("readonly")
    assert isinstance(facts.auth, Unreadable)
    assert "denied" in facts.auth.unreadable
    assert facts.config == dict.fromkeys(observation.AUTH_OPTIONS, "cephx")  # by the manager's word
    assert facts.rbd_support is True
    assert facts.health == "HEALTH_OK"


def test_a_manager_tells_booleans_as_json_has_them() -> None:
    state = _state("readonly")
    state["answers"]["config show who=mon.a key=auth_allow_insecure_global_id_reclaim"] = False
    assert read_ceph(Recorded(state), CLOUD, SALT).insecure_reclaim == "false"


def test_without_a_manager_the_central_configuration_has_the_last_word() -> None:
    state = _state("readonly")
    for ask in state["answers"]:
        if ask.startswith("config show"):
            state["answers"][ask] = {"error": "denied"}
    assert read_ceph(Recorded(state), CLOUD, SALT).config["auth_client_required"] == "cephx, none"


def test_monitors_that_disagree_are_told_apart() -> None:
    state = _state("healthy")
    state["answers"]["quorum_status"]["quorum_names"] = ["a", "b"]
    for option in observation.AUTH_OPTIONS:
        state["answers"][f"tell mon.b config get var={option}"] = {option: "none"}
    assert read_ceph(Recorded(state), CLOUD, SALT).config["auth_client_required"] == "mon.a: cephx, mon.b: none"


def test_a_monitor_out_of_quorum_is_told() -> None:
    state = _state("healthy")
    away = copy.deepcopy(state["answers"]["quorum_status"]["monmap"]["mons"][0]) | {"name": "b"}
    state["answers"]["quorum_status"]["monmap"]["mons"].append(away)
    monitors = read_ceph(Recorded(state), CLOUD, SALT).monitors
    assert [(monitor.name, monitor.in_quorum) for monitor in monitors] == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    ("clone_format", "least", "v2"),
    [
        ("auto", "luminous", False),
        ("auto", "mimic", True),
        ("auto", "reef", True),
        (2, "jewel", True),
        ("1", "reef", False),
    ],
)
def test_the_clones_version_is_librbds_choice(clone_format: Any, least: str, v2: bool) -> None:
    state = _state("healthy")
    state["answers"]["config get who=client key=rbd_default_clone_format"] = clone_format
    state["answers"]["osd dump"]["require_min_compat_client"] = least
    assert read_ceph(Recorded(state), CLOUD, SALT).clone_v2 == v2


def test_a_missing_pool_is_no_error_of_the_others() -> None:
    state = _state("healthy")
    state["answers"]["osd dump"]["pools"] = [
        pool for pool in state["answers"]["osd dump"]["pools"] if pool["pool_name"] != "images"
    ]
    del state["images"]["images"]
    facts = read_ceph(Recorded(state), CLOUD, SALT)
    assert facts.images["images"] == Unreadable(unreadable="pool images does not exist")
    assert facts.pool("images") is None
    assert facts.pool("volumes") is not None


def _observed(monkeypatch: pytest.MonkeyPatch, opened: Any) -> tuple[CephFacts | Unreadable, list[str]]:
    def open_ceph(*_: object) -> Any:
        if isinstance(opened, Exception):
            raise opened
        return opened

    lines: list[str] = []
    monkeypatch.setattr(observation, "open_ceph", open_ceph)
    return observe_ceph(CLOUD, SALT, {}, lines.append), lines


def test_observing_reports_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, lines = _observed(monkeypatch, Recorded(_state("healthy")))
    assert isinstance(facts, CephFacts)
    assert facts.answered_in == 0.5
    assert len(lines) == 1
    assert "(recorded)" in lines[0]


def test_an_unreachable_cluster_is_unreadable_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, lines = _observed(monkeypatch, CephUnreachable("no monitor answered"))
    assert facts == Unreadable(unreadable="no monitor answered")
    assert "not observed" in lines[0]


def test_a_refused_user_is_unreadable_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _state("healthy")
    state["answers"]["mgr dump"] = {"error": "mgr dump: access denied"}
    facts, _ = _observed(monkeypatch, Recorded(state))
    assert facts == Unreadable(unreadable="mgr dump: access denied")


def test_an_answer_of_another_form_is_unreadable_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _state("healthy")
    del state["answers"]["osd dump"]["osds"]
    facts, _ = _observed(monkeypatch, Recorded(state))
    assert isinstance(facts, Unreadable)
    assert "not understood: KeyError: 'osds'" in facts.unreadable


def test_facts_survive_json() -> None:
    facts = _facts("degraded")
    assert CephFacts.model_validate_json(facts.model_dump_json()) == facts


def test_parts_are_told() -> None:
    facts = _facts("healthy")
    assert (facts.min_client, facts.clone_format, facts.insecure_reclaim) == ("luminous", "auto", "false")
    assert facts.client_releases == {"luminous": 3}
    assert facts.daemons == {"mon": 1, "mgr": 1, "osd": 3}
    assert facts.balancer == Balancer(active=True, mode="upmap")
    assert facts.crashes == ()
    assert facts.clock_skews == {}


def test_the_place_of_an_osd_is_told() -> None:
    osds = _facts("healthy").osd_use
    assert not isinstance(osds, Unreadable | None)
    assert [osd.id for osd in osds] == [0, 1, 2]
    assert osds[0].place == {"root": "default", "host": "storage", "osd": "osd.0"}
    assert 0 < osds[0].used < osds[0].size == 20 << 30


def test_rules_are_told_as_words() -> None:
    rules = _facts("healthy").crush_rules
    assert not isinstance(rules, Unreadable | None)
    assert rules[0].steps == ("take default", "choose_firstn 0 osd", "emit")


def test_options_are_told_per_client_and_pool() -> None:
    facts = _facts("healthy")
    assert facts.options["client.glance"]["rbd_blocklist_expire_seconds"] == "0"
    assert isinstance(facts.options["client.cinder"]["rbd_default_features"], Unreadable)
    volumes, vms = facts.pool("volumes"), facts.pool("vms")
    assert volumes is not None and vms is not None
    assert volumes.overrides == {"rbd_default_features": "1"}
    assert volumes.mirror == Mirror(mode="image", peers=("west",), states={"replaying": 2})
    assert isinstance(vms.mirror, Unreadable)


def test_a_part_that_is_refused_leaves_the_others() -> None:
    state = _state("healthy")
    state["answers"]["osd df output_method=tree"] = {"error": "osd df: access denied"}
    facts = read_ceph(Recorded(state), CLOUD, SALT)
    assert facts.osd_use == Unreadable(unreadable="osd df: access denied")
    assert not isinstance(facts.usage, Unreadable)


def test_without_a_manager_its_parts_are_unreadable() -> None:
    facts = read_ceph(Recorded(_state("no-manager")), CLOUD, SALT)
    assert facts.balancer == Unreadable(unreadable="no manager is active")


def test_key_types_are_told_by_newer_monitors() -> None:
    state = _state("healthy")
    state["answers"]["quorum_status"]["monmap"] |= {
        "auth_service_cipher": {"name": "aes256k", "value": 2},
        "auth_allowed_ciphers": [{"name": "aes", "value": 1}, {"name": "aes256k", "value": 2}],
    }
    assert read_ceph(Recorded(state), CLOUD, SALT).ciphers == Ciphers(service="aes256k", allowed={"aes", "aes256k"})


def test_skews_of_monitors_are_told() -> None:
    state = _state("healthy")
    state["answers"]["time-sync-status"] = {
        "time_skew_status": {"a": {"skew": 0, "latency": 0, "health": "HEALTH_OK"}, "b": {"skew": -0.2, "latency": 0.1}}
    }
    assert read_ceph(Recorded(state), CLOUD, SALT).clock_skews == {"a": 0.0, "b": 0.2}


def test_osds_are_asked_what_they_run_with_where_iscsi_gateways_are() -> None:
    state = _state("healthy")
    state["answers"]["versions"]["tcmu-runner"] = {"ceph version 16.2.15": 2}
    for osd in range(3):
        state["answers"][f"config show who=osd.{osd} key=osd_heartbeat_interval"] = 6
    facts = read_ceph(Recorded(state), CLOUD, SALT)
    assert facts.daemons["tcmu-runner"] == 2
    assert facts.osd_options["osd_heartbeat_interval"] == {"osd.0": "6", "osd.1": "6", "osd.2": "6"}
