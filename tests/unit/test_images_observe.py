"""What the pools hold: headers as librbd 16.2 wrote them, and lists that change while they are read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fixtures import inventory
from fixtures.ceph import Answer, Ask, CephDenied, bulk
from fixtures.ceph.access import Header, Json
from fixtures.facts.base import Unreadable
from fixtures.facts.ceph import CephFacts, RbdWatcher, TrashEntry
from fixtures.facts.images import ImageLook, NewImage, PoolContent
from fixtures.facts.openstack import Backup, Image, ImageApi, OpenStackFacts, Server, Volume, VolumeSnapshot
from fixtures.facts.run import Facts
from fixtures.observe import images as observation
from tests.unit.test_ceph_observe import CLOUD, Recorded, _facts, _state

SNAPSHOT = bytes.fromhex(
    "08086100000022000000000000002d000000736e617073686f742d37373737373737372d313131312d323232322d333333332d34343434"
    "3434343434343434000040000000000002000000000000000001"
    "0104000000000000007a5e016b1a22b6070000000000"
)
LOCKED = bytes.fromhex(
    "01016d0000000100000001012100000008bc37000000000000140000006175746f2031333939303937303036303530373201012f00000000"
    "000000000000000101011c000000010000003be0929410000000020000000a4615010000000000000000000000000108000000"
    "696e7465726e616c"
)
UNLOCKED = bytes.fromhex("010111000000000000000108000000696e7465726e616c")
SIZE = bytes.fromhex("0000400000000000")
FEATURES = bytes.fromhex("3d00000000000000")
CREATED, CREATED_AT = bytes.fromhex("a98b016b9a9ac223"), "2026-11-21T12:16:41Z"
MIGRATING = bytes.fromhex("3d02000000000000")

A, B, C = (f"{digit * 8}-1111-1111-1111-111111111111" for digit in "abc")


class Rados:
    """As much of librados as headers are read with; pages of two keys."""

    class ObjectNotFound(Exception): ...

    class NoData(Exception): ...

    class ReadOpCtx:
        page: Any = ()

        def __enter__(self) -> Rados.ReadOpCtx:
            return self

        def __exit__(self, *_: object) -> None: ...

    def __init__(self, objects: dict[str, dict[str, bytes]], locks: dict[str, bytes]) -> None:
        self.objects, self.locks = objects, locks

    def get_omap_vals(self, read: Any, after: str, _prefix: str, most: int) -> tuple[Iterator[Any], int]:
        read.after, read.most, read.found = after, most, []
        return iter(read.found), 0

    def operate_read_op(self, read: Any, name: str) -> None:
        if name not in self.objects:
            raise Rados.ObjectNotFound
        keys = sorted(key for key in self.objects[name] if key > read.after)[: read.most]
        read.found += [(key, self.objects[name][key]) for key in keys]

    def get_xattr(self, name: str, _key: str) -> bytes:
        if name not in self.locks:
            raise Rados.NoData
        return self.locks[name]


def _header(keys: dict[str, bytes], lock: bytes | None = None) -> Any:
    io = Rados({"rbd_header.x": keys}, {} if lock is None else {"rbd_header.x": lock})
    return bulk.header(Rados, io, "x")


@pytest.mark.parametrize(("flags", "invalid"), [(0, False), (1, True), (2, True), (4, False)])
def test_a_header_tells_whether_its_maps_are_invalid(flags: int, invalid: bool) -> None:
    told = _header({"size": SIZE, "features": FEATURES, "flags": flags.to_bytes(8, "little")}, LOCKED)
    assert told["invalid"] == invalid


def test_a_header_tells_what_the_image_has() -> None:
    keys = {"size": SIZE, "features": FEATURES, "create_timestamp": CREATED, "snapshot_0000000000000022": SNAPSHOT}
    told = _header(keys, LOCKED)
    assert told == {
        "size": 4 << 20,
        "features": 61,
        "created": CREATED_AT,
        "snapshots": ["snapshot-77777777-1111-2222-3333-444444444444"],
        "lockers": ["client.14268"],
        "migrating": False,
        "invalid": False,
    }


def test_a_lock_that_was_given_back_is_none() -> None:
    assert _header({"size": SIZE, "features": FEATURES}, UNLOCKED)["lockers"] == []
    assert _header({"size": SIZE, "features": FEATURES})["lockers"] == []


def test_a_header_of_a_migration_says_so() -> None:
    assert _header({"size": SIZE, "features": MIGRATING})["migrating"]


def test_a_header_of_many_pages_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "KEYS_A_READ", 2)
    snapshots = {f"snapshot_{nth:016x}": SNAPSHOT for nth in range(7)}
    assert len(_header({"size": SIZE, "features": FEATURES, **snapshots})["snapshots"]) == 7


def test_an_image_without_header_is_gone() -> None:
    assert bulk.header(Rados, Rados({}, {}), "x") is None


@pytest.mark.parametrize("cut", range(1, len(LOCKED), 7))
def test_a_record_that_is_cut_off_is_not_half_understood(cut: int) -> None:
    with pytest.raises((ValueError, struct.error)):
        bulk.lockers(LOCKED[:cut])


# ---------------------------------------------------------------------------- images without being opened


class Cluster:
    """A pool with objects' bytes as of snapshots, which counts what is asked of it."""

    def __init__(self, headers: dict[str, dict[str, bytes]], data: dict[tuple[str, int | None], bytes]) -> None:
        self.headers, self.data, self.asked = headers, data, list[str]()

    def open_ioctx(self, pool: str) -> Pool:
        assert pool == "images"
        return Pool(self)


class Pool(Rados):
    """A handle of it, as of the head or of one snapshot."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.headers, {})
        self.cluster, self.snapshot = cluster, None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def operate_read_op(self, read: Any, name: str) -> None:
        self.cluster.asked.append(name)
        super().operate_read_op(read, name)

    def set_read(self, snapshot: Any) -> None:
        self.snapshot = snapshot

    def read(self, name: str, length: int = 8192) -> bytes:
        self.cluster.asked.append(name)
        if (name, self.snapshot) not in self.cluster.data:
            raise Rados.ObjectNotFound
        return self.cluster.data[name, self.snapshot][:length]


class Library:
    """librbd where nothing may be opened but what is named."""

    class ImageNotFound(Exception): ...

    def __init__(self, *known: str) -> None:
        self.known = known

    def Image(self, _io: object, name: str, read_only: bool) -> Any:  # noqa: N802
        raise self.ImageNotFound if name not in self.known else AssertionError(f"{name} was opened")


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


SNAP = SNAPSHOT[:2] + struct.pack("<I", len(SNAPSHOT) - 6 - 41) + SNAPSHOT[6:14] + _text("snap") + SNAPSHOT[63:]
"""The recorded snapshot under the name that Glance gives."""
PLAIN = {
    "size": SIZE,
    "features": FEATURES,
    "order": b"\x17",
    "object_prefix": _text("rbd_data.x"),
    "snapshot_0000000000000022": SNAP,
}
FIRST = "rbd_data.x.0000000000000000"


def _images(keys: dict[str, bytes], data: dict[int | None, bytes], rbd: Library | None = None) -> tuple[Any, list[str]]:
    of_objects = {(FIRST, snapshot): found for snapshot, found in data.items()}
    cluster = Cluster({"rbd_header.x": keys}, {("rbd_id.one", None): _text("x"), **of_objects})
    return bulk.images(Rados, rbd or Library(), cluster, "images", True, ["one"])[0], cluster.asked


def test_an_image_is_told_in_three_steps() -> None:
    told, asked = _images(PLAIN, {0x22: b"QFI\xfb and more", None: b"else"})
    assert told == {
        "size": 4 << 20,
        "order": 23,
        "features": ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"],
        "parent": "",
        "snapshots": [{"name": "snap", "size": 4 << 20, "protected": True}],
        "magic": "514649fb",
    }
    assert asked == ["rbd_id.one", "rbd_header.x", FIRST]


@pytest.mark.parametrize(
    ("changed", "data", "magic"),
    [
        ({}, {}, "00000000"),
        ({}, {0x22: b"\x01"}, "01000000"),
        ({"snapshot_0000000000000022": SNAPSHOT}, {None: b"head", 0x22: b"snap"}, b"head".hex()),
        ({"snapshot_0000000000000022": SNAP.replace(SIZE, bytes(8))}, {0x22: b"snap"}, ""),
    ],
)
def test_the_beginning_is_what_the_library_would_read(
    changed: dict[str, bytes], data: dict[int | None, bytes], magic: str
) -> None:
    told, _ = _images(PLAIN | changed, data)
    assert told["magic"] == magic


@pytest.mark.parametrize(
    "changed",
    [
        {"parent": b""},
        {"features": MIGRATING},
        {"features": bytes.fromhex("bd00000000000000")},  # data in another pool
        {"snapshot_0000000000000022": b"\x07\x01" + SNAP[2:]},  # of Mimic
        {"snapshot_0000000000000022": SNAP[:20]},
        {"object_prefix": b"\xff"},
    ],
)
def test_an_image_that_shares_its_data_or_is_not_understood_is_opened(changed: dict[str, bytes]) -> None:
    with pytest.raises(AssertionError, match="one was opened"):
        _images(PLAIN | changed, {}, Library("one"))


def test_an_image_that_is_gone_is_none() -> None:
    assert bulk.images(Rados, Library(), Cluster({}, {}), "images", True, ["one", "two"]) == [None, None]


# ---------------------------------------------------------------------------- lists that change


class Pools(Recorded):
    """Pools that change from one listing to the next; the last state lasts."""

    def __init__(self, *states: dict[str, dict[str, Header]]) -> None:
        super().__init__(_state("healthy"))
        self.states = list(states)
        self.listed: dict[str, int] = {}
        self.watched: list[dict[str, Any]] | Exception = []
        self.looked: dict[str, list[ImageLook]] = {}
        self.opened: list[str] = []

    def many(self, asks: Sequence[Ask]) -> list[Answer]:
        return [self._told(str(ask)) for ask in asks]

    def _told(self, ask: str) -> Json:
        if "dump_watchers" not in ask:
            return [0, 1, 2]
        return self.watched if isinstance(self.watched, Exception) or "osd.0" in ask else []

    def image_ids(self, pool: str) -> dict[str, str]:
        nth = self.listed.get(pool, 0)
        self.listed[pool] = nth + 1
        self.state["now"] = self.states[min(nth, len(self.states) - 1)]
        return {name: f"id-{name}" for name in self.state["now"].get(pool, {})}

    def headers(self, pool: str, ids: Sequence[str]) -> list[Header | None]:
        state = self.states[min(self.listed[pool] - 1, len(self.states) - 1)][pool]
        return [state.get(one.removeprefix("id-")) for one in ids]

    def looks(self, pool: str, names: Sequence[str]) -> dict[str, ImageLook]:
        self.opened += names
        return {name: self._look(name) for name in names}

    def _look(self, name: str) -> ImageLook:
        told = self.looked.get(name, [ImageLook(size=1)])
        return told.pop(0) if len(told) > 1 else told[0]

    def trash(self, pool: str) -> tuple[TrashEntry, ...]:
        return ()


def rows(**lists: Any) -> OpenStackFacts:
    """The APIs, with no rows but the given ones."""
    empty: dict[str, Any] = dict.fromkeys(("images", "volumes", "volume_snapshots", "backups", "servers"), ())
    other = dict.fromkeys(("volume_services", "compute_services", "volume_types", "backend_pools"), ())
    api = ImageApi(endpoint="x", versions=(), stores={})
    return OpenStackFacts(region="r", image_api=api, **{**other, **empty, **lists})


def volume(uuid: str, status: str = "available", **more: Any) -> Volume:
    return Volume(id=uuid, status=status, host="one@rbd#rbd", **more)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Facts]:
    monkeypatch.setattr(observation, "_PAUSE", 0.0)

    def reading(ceph: Pools, before: OpenStackFacts, after: OpenStackFacts | None = None) -> Facts:
        monkeypatch.setattr(observation, "read_again", lambda cloud, facts: after or facts)
        cluster: CephFacts = _facts("healthy")
        facts = Facts(observed_at=0.0, hosts={}, ceph_cluster=cluster, apis=before)
        return observation.read_contents(ceph, CLOUD, facts)

    return reading


def _volumes(*uuids: str, **more: Any) -> dict[str, dict[str, Header]]:
    return {"volumes": {f"volume-{uuid}": Header(1, **more) for uuid in uuids}}


def test_a_volume_that_was_made_meanwhile_is_no_orphan(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(A, B)), rows(volumes=(volume(A),)), rows(volumes=(volume(A), volume(B))))
    assert not inventory.volumes(CLOUD, facts)


def test_a_volume_that_was_deleted_meanwhile_is_no_orphan(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(A, B), _volumes(A)), rows(volumes=(volume(A),)))
    assert not inventory.volumes(CLOUD, facts)


def test_a_volume_that_came_after_the_second_list_is_no_orphan(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(A), _volumes(A, B, C)), rows(volumes=(volume(A), volume(B))))
    assert not inventory.volumes(CLOUD, facts)


def test_an_image_that_stays_without_a_row_is_an_orphan(read: Callable[..., Facts]) -> None:
    ceph = Pools(_volumes(A, B))
    facts = read(ceph, rows(volumes=(volume(A),)))
    assert inventory.volumes(CLOUD, facts).orphans == (f"volume-{B}",)
    assert ceph.opened == [f"volume-{B}"]


def test_a_row_that_stays_without_an_image_is_lost(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(A)), rows(volumes=(volume(A), volume(B), volume(C, "creating"))))
    assert inventory.volumes(CLOUD, facts).lost == (B,)


def test_a_row_whose_image_went_with_it_is_not_lost(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(A)), rows(volumes=(volume(A), volume(B))), rows(volumes=(volume(A),)))
    assert not inventory.volumes(CLOUD, facts)


def test_a_migrated_volume_is_known_by_its_other_name(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(B)), rows(volumes=(volume(A, name_id=B),)))
    assert not inventory.volumes(CLOUD, facts)


def test_snapshots_are_joined_both_ways(read: Callable[..., Facts]) -> None:
    spec = (f"snapshot-{A}", f"backup.{B}.snap.1700000000.12", "made-by-hand")
    facts = read(
        Pools(_volumes(A, snapshots=spec)),
        rows(
            volumes=(volume(A),),
            volume_snapshots=(VolumeSnapshot(id=C, volume_id=A, status="available"),),
            backups=(Backup(id=C, volume_id=A, status="available"),),
        ),
    )
    found = inventory.snapshots(CLOUD, facts)
    assert found.orphans == (f"volume-{A}@backup.{B}.snap.1700000000.12", f"volume-{A}@snapshot-{A}")
    assert found.lost == (f"snapshot {C} of volume {A}",)


def test_a_snapshot_that_was_deleted_meanwhile_is_no_orphan(read: Callable[..., Facts]) -> None:
    ceph = Pools(_volumes(A, snapshots=(f"snapshot-{A}",)), _volumes(A))
    assert not inventory.snapshots(CLOUD, read(ceph, rows(volumes=(volume(A),))))


def test_disks_are_joined_both_ways(read: Callable[..., Facts]) -> None:
    disks = {f"{A}_disk": Header(1, snapshots=("nova-resize",)), f"{B}_disk.config": Header(1)}
    one = CLOUD.model_copy(
        update={"hosts": {"one": CLOUD.hosts["one"].model_copy(update={"roles": ("nova-compute",)})}}
    )
    servers = tuple(Server(id=uuid, status="ACTIVE", host="one.example", from_image=True) for uuid in (A, C))
    facts = read(Pools({"vms": disks}), rows(servers=servers))
    assert inventory.disks(one, facts) == inventory.Difference((f"{B}_disk.config",), (f"{C}_disk",))
    assert inventory.resize_leftovers(one, facts) == [f"{A}_disk@nova-resize"]


def test_images_are_joined_both_ways(read: Callable[..., Facts]) -> None:
    cluster: CephFacts = _facts("healthy")

    def image(uuid: str, fsid: str) -> Image:
        url = f"rbd://{fsid}/images/{uuid}/snap"
        about = {"disk_format": "raw", "container_format": "bare", "size": 1}
        return Image(id=uuid, name="", status="active", direct_url=url, **about)

    facts = read(
        Pools({"images": {A: Header(1), "foreign": Header(1)}}),
        rows(images=(image(A, cluster.fsid), image(B, cluster.fsid), image(C, "another-cluster"))),
    )
    assert inventory.images(CLOUD, facts) == inventory.Difference(("foreign",), (B,))


# ---------------------------------------------------------------------------- locks and watchers


def _watch(name: str, client: int) -> dict[str, Any]:
    return {
        "object": f"rbd_header.id-{name}",
        "entity_name": {"type": "client", "num": client},
        "cookie": client,
        "entity_addr_t": {"addr": "10.0.0.1:0", "nonce": 7},
    }


def test_only_locks_of_the_absent_are_opened(read: Callable[..., Facts]) -> None:
    ceph = Pools(_volumes(A, B, C, lockers=("client.5",)))
    ceph.watched = [_watch(f"volume-{A}", 5), _watch(f"volume-{B}", 6)]
    facts = read(ceph, rows(volumes=(volume(A, "in-use"), volume(B, "in-use"), volume(C, "in-use"))))
    content = inventory.content_of(facts, "volumes")
    assert ceph.opened == [f"volume-{B}", f"volume-{C}"]
    assert content.watchers == {
        f"volume-{A}": (RbdWatcher(address="10.0.0.1:0/7", client=5, cookie=5),),
        f"volume-{B}": (RbdWatcher(address="10.0.0.1:0/7", client=6, cookie=6),),
    }


def test_where_osds_do_not_tell_watchers_images_are_opened(read: Callable[..., Facts]) -> None:
    ceph = Pools({"volumes": {f"volume-{A}": Header(1, lockers=("client.5",)), f"volume-{B}": Header(1)}})
    ceph.watched = CephDenied("only for administrators")
    facts = read(ceph, rows(volumes=(volume(A, "in-use"), volume(B))))
    assert isinstance(inventory.content_of(facts, "volumes").watchers, Unreadable)
    assert ceph.opened == [f"volume-{A}", f"volume-{B}"]


def test_a_watcher_that_leaves_is_none(read: Callable[..., Facts]) -> None:
    busy = ImageLook(size=1, watchers=(RbdWatcher(address="10.0.0.1:0/7", client=5, cookie=5),))
    ceph = Pools(_volumes(A))
    ceph.watched = [_watch(f"volume-{A}", 5)]
    ceph.looked = {f"volume-{A}": [busy, busy, ImageLook(size=1)]}
    facts = read(ceph, rows(volumes=(volume(A),)))
    assert inventory.content_of(facts, "volumes").looks[f"volume-{A}"].watchers == ()


def test_a_watcher_that_stays_is_told(read: Callable[..., Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "WATCH_SECONDS", 0.01)
    busy = ImageLook(size=1, watchers=(RbdWatcher(address="10.0.0.1:0/7", client=5, cookie=5),))
    ceph = Pools(_volumes(A))
    ceph.watched = [_watch(f"volume-{A}", 5)]
    ceph.looked = {f"volume-{A}": [busy]}
    facts = read(ceph, rows(volumes=(volume(A),)))
    assert inventory.content_of(facts, "volumes").looks[f"volume-{A}"].watchers == busy.watchers


def test_the_newest_image_is_told_with_its_features(read: Callable[..., Facts]) -> None:
    old, new = Header(1, features=61, created="2025-01-01T00:00:00Z"), Header(1, features=1, created=CREATED_AT)
    state = {"volumes": {f"volume-{A}": new, f"volume-{B}": old, f"volume-{C}": Header(1, features=61)}}
    newest = inventory.content_of(read(Pools(state), rows()), "volumes").newest
    assert newest == NewImage(name=f"volume-{A}", created=CREATED_AT, features=frozenset({"layering"}))
    assert inventory.content_of(read(Pools({"volumes": {}}), rows()), "volumes").newest is None


def test_when_images_were_made_may_not_be_told(read: Callable[..., Facts]) -> None:
    untold = Pools({"volumes": {f"volume-{A}": Header(1, created=None), f"volume-{B}": Header(1, created=CREATED_AT)}})
    assert isinstance(inventory.content_of(read(untold, rows()), "volumes").newest, Unreadable)


def test_contents_survive_json(read: Callable[..., Facts]) -> None:
    facts = read(Pools(_volumes(A, snapshots=("one",))), rows(volumes=(volume(A),)))
    assert Facts.model_validate_json(facts.model_dump_json()) == facts


def test_one_pool_that_cannot_be_read_is_unreadable_by_itself(read: Callable[..., Facts]) -> None:
    ceph = Pools(_volumes(A))
    ceph.headers = lambda pool, ids: [None]  # type: ignore[method-assign]
    facts = read(ceph, rows(volumes=(volume(A), volume(B))))
    assert isinstance(facts.contents["volumes"], PoolContent)
    ceph.headers = lambda pool, ids: []  # type: ignore[method-assign]
    assert isinstance(read(ceph, rows()).contents["volumes"], Unreadable)


def test_an_entry_of_the_trash_is_told_whoever_put_it_there() -> None:
    raw = bytes.fromhex("020118000000020200000066 6d0f67016bcb9656240f67016bcb96562400")
    assert bulk.trashed("3f2de1bae73a", raw) == {
        "id": "3f2de1bae73a",
        "name": "fm",
        "source": "MIGRATION",
        "deferred_until": "2026-11-21T09:40:31Z",
    }
