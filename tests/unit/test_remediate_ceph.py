"""Steps on the cluster, its pools and images: taken, seen, taken back on a constructed cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from fixtures.ceph import Ask, CephAccess, CephDenied, CephError, Change
from fixtures.ceph.access import Header
from fixtures.facts.ceph import Mirror, RbdImage, RbdLock, RbdSnapshot, RbdWatcher, TrashEntry
from fixtures.facts.images import ImageLook
from remediate import ceph_steps
from remediate.converge import apply, take_back
from remediate.journal import Journal, left_by_runs
from remediate.model import (
    Balancer,
    BreakLock,
    CephStep,
    DaemonOption,
    FromTrash,
    IntoTrash,
    MinClient,
    NewPool,
    NewSnapshot,
    ObjectMap,
    OldSnapshot,
    PoolInit,
    PoolMirror,
    PoolOption,
    PoolOverride,
    PoolQuota,
    TrashSchedule,
)
from remediate.plan import Failure, Plan, make_plan
from remediate.registry import Repair
from remediate.site import Site
from tests.unit.test_remediate_steps import FSID, RUN, Quiet

DEAD = "10.0.0.9:0/4711"


@dataclass
class Cluster:
    """As much of a cluster as steps on pools and images ask for."""

    source: str = "made up"
    pools: dict[str, dict[str, str]] = field(default_factory=lambda: {"volumes": {"size": "2", "pg_num": "24"}})
    quotas: dict[str, int] = field(default_factory=dict)
    initialised: set[str] = field(default_factory=set)
    overridden: dict[str, str] = field(default_factory=dict)
    mode: str = "pool"
    intervals: list[str] = field(default_factory=list)
    release: str = "luminous"
    balanced: tuple[bool, str] = (False, "none")
    told: dict[str, str] = field(default_factory=lambda: {"auth_service_required": "cephx, none"})
    images: dict[str, str] = field(default_factory=lambda: {"disk": "1a"})
    trashed: dict[str, str] = field(default_factory=lambda: {"2b": "old"})
    held: list[RbdLock] = field(
        default_factory=lambda: [RbdLock(owner="client.5", id="auto 4711", address="10.0.0.9:0/4711")]
    )
    watching: tuple[RbdWatcher, ...] = ()
    invalid: bool = True
    deletes_pools: bool = True
    modes_set: int = 0
    snapshots: dict[str, bool] = field(default_factory=lambda: {"old": True})
    clones: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def mon(self, prefix: str, **args: Any) -> Any:
        return getattr(self, "_" + prefix.replace(" ", "_").replace("-", "_"))(**args)

    mgr = mon

    def ask(self, ask: Ask) -> Any:
        option = ask.args["var"]
        if ask.prefix == "config unset":
            self.told.pop(option, None)
        elif ask.prefix == "config set":
            self.told[option] = ask.args["val"][0]
        return {"diff": {option: {"default": "cephx", **({"override": it} if (it := self.told.get(option)) else {})}}}

    def _osd_pool_ls(self, detail: str = "") -> Any:
        told = [{"pool_name": name, "pg_num_target": of.get("pg_num"), "pg_num": 1} for name, of in self.pools.items()]
        return told if detail else list(self.pools)

    def _osd_pool_create(self, pool: str, pool_type: str, rule: str, size: int) -> None:
        self.pools[pool] = {"size": str(size), "crush_rule": rule}

    def _osd_pool_delete(self, pool: str, pool2: str, yes_i_really_really_mean_it: bool) -> None:
        if not self.deletes_pools:
            raise CephDenied("pool deletion is disabled")
        del self.pools[pool]

    def _osd_pool_application_enable(self, pool: str, app: str) -> None:
        self.pools[pool][app] = "tagged"

    def _osd_pool_get(self, pool: str, var: str) -> Any:
        if var not in self.pools.get(pool, {}):
            raise CephError(self.source, "osd pool get", 2, f"option '{var}' is not set on pool '{pool}'")
        return {var: self.pools[pool][var]}

    def _osd_pool_set(self, pool: str, var: str, val: str) -> None:
        self.pools[pool][var] = val
        if val == "0":
            del self.pools[pool][var]

    def _osd_pool_get_quota(self, pool: str) -> Any:
        return {"quota_max_bytes": self.quotas.get("max_bytes", 0), "quota_max_objects": 0}

    def _osd_pool_set_quota(self, pool: str, field: str, val: str) -> None:
        self.quotas[field] = int(val)

    def _osd_dump(self) -> Any:
        return {"require_min_compat_client": self.release}

    def _osd_set_require_min_compat_client(self, version: str) -> None:
        self.release = version

    def _balancer_status(self) -> Any:
        return {"active": self.balanced[0], "mode": self.balanced[1]}

    def _balancer_mode(self, mode: str) -> None:
        self.modes_set += 1
        self.balanced = (self.balanced[0], mode)

    def _balancer_on(self) -> None:
        self.balanced = (True, self.balanced[1])

    def _balancer_off(self) -> None:
        self.balanced = (False, self.balanced[1])

    def _rbd_trash_purge_schedule_list(self) -> Any:
        return {"2": {"name": "volumes/", "schedule": [{"interval": one} for one in self.intervals]}}

    def _rbd_trash_purge_schedule_add(self, level_spec: str, interval: str) -> None:
        self.intervals.append(interval)

    def _rbd_trash_purge_schedule_remove(self, level_spec: str, interval: str) -> None:
        self.intervals.remove(interval)

    def object_exists(self, pool: str, name: str) -> bool:
        return pool in self.initialised

    def overrides(self, pool: str) -> dict[str, str]:
        return self.overridden

    def mirror(self, pool: str) -> Mirror:
        return Mirror(mode=self.mode)

    def image_ids(self, pool: str) -> dict[str, str]:
        return self.images if pool == "volumes" else {}

    def trash(self, pool: str) -> tuple[TrashEntry, ...]:
        return tuple(TrashEntry(id=one, name=name) for one, name in self.trashed.items()) if pool == "volumes" else ()

    def image(self, pool: str, name: str) -> RbdImage | None:
        snapshots = tuple(RbdSnapshot(name=it, size=1, protected=so) for it, so in self.snapshots.items())
        there = name in self.images
        return (
            RbdImage(pool=pool, name=name, size=1, order=22, features=frozenset(), snapshots=snapshots)
            if there
            else None
        )

    def looks(self, pool: str, names: Sequence[str]) -> dict[str, ImageLook]:
        return {name: ImageLook(size=1, clones=self.clones) for name in names}

    def _make_snapshot(self, pool: str, image: str, snapshot: str) -> None:
        self.snapshots[snapshot] = False

    def _protect_snapshot(self, pool: str, image: str, snapshot: str) -> None:
        self.snapshots[snapshot] = True

    def _unprotect_snapshot(self, pool: str, image: str, snapshot: str) -> None:
        self.snapshots[snapshot] = False

    def _remove_snapshot(self, pool: str, image: str, snapshot: str) -> None:
        assert not self.snapshots.pop(snapshot), "a protected one is not removed"

    def locks(self, pool: str, name: str) -> tuple[RbdLock, ...]:
        return tuple(self.held)

    def watchers(self, pool: str, name: str) -> tuple[RbdWatcher, ...]:
        return self.watching

    def headers(self, pool: str, ids: Sequence[str]) -> list[Header]:
        return [Header(1, invalid=self.invalid)]

    def change(self, change: Change) -> None:
        getattr(self, "_" + change.does.replace("-", "_"))(change.pool, *change.words)

    def _init_pool(self, pool: str) -> None:
        self.initialised.add(pool)

    def _uninit_pool(self, pool: str) -> None:
        self.initialised.discard(pool)

    def _set_option(self, pool: str, option: str, value: str) -> None:
        self.overridden[option] = value

    def _remove_option(self, pool: str, option: str) -> None:
        del self.overridden[option]

    def _mirror(self, pool: str, mode: str) -> None:
        self.mode = mode

    def _move_to_trash(self, pool: str, image: str) -> None:
        self.trashed[self.images.pop(image)] = image

    def _restore_from_trash(self, pool: str, image_id: str, name: str) -> None:
        self.images[self.trashed.pop(image_id)] = image_id

    def _remove_from_trash(self, pool: str, image_id: str) -> None:
        del self.trashed[image_id]

    def _break_lock(self, pool: str, image: str, lock: str, owner: str) -> None:
        self.held = [one for one in self.held if (one.id, one.owner) != (lock, owner)]

    def _rebuild_map(self, pool: str, image: str) -> None:
        self.invalid = False


REVERSIBLE: list[CephStep] = [
    NewPool(pool="vms", size=3, min_size=2, rule="replicated_rule"),
    PoolInit(pool="volumes"),
    PoolQuota(pool="volumes", quota="max_bytes", value=4096),
    PoolOverride(pool="volumes", option="rbd_cache", value="true"),
    PoolMirror(pool="volumes", mode="image"),
    PoolOption(pool="volumes", option="target_size_ratio", value="0.5"),
    TrashSchedule(pool="volumes", interval="1d"),
    MinClient(release="mimic"),
    Balancer(mode="upmap"),
    DaemonOption(daemon="mon.a", option="auth_service_required", value=None),
    IntoTrash(pool="volumes", image="disk", image_id="1a"),
    NewSnapshot(pool="volumes", image="disk", snapshot="snap"),
    PoolOption(pool="volumes", option="pg_num", value="32"),
]
FINAL: list[CephStep] = [
    FromTrash(pool="volumes", image="old", image_id="2b"),
    BreakLock(pool="volumes", image="disk", lock="auto 4711", owner="client.5"),
    ObjectMap(pool="volumes", image="disk", image_id="1a"),
    OldSnapshot(pool="volumes", image="disk", snapshot="old"),
]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site({}, cast(CephAccess, cluster), RUN)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.create(tmp_path, RUN, FSID)
    yield made
    made.close()


def plan_of(site: Site, *steps: CephStep, allowed: Any = "destructive") -> Plan:
    """All of them are asked for by one repair that calls itself safe."""
    repair = Repair(lambda: steps, "safe")
    failure = Failure(check="some.check", target="cloud")
    return make_plan([failure], {"some.check": repair}, cast(Any, Nowhere()), cast(Any, None), site, allowed)


class Nowhere:
    """A cloud file that names no host."""

    hosts: dict[str, Any] = {}  # noqa: RUF012


@pytest.mark.parametrize("step", REVERSIBLE, ids=lambda step: step.kind)
def test_what_is_brought_about_is_seen_and_taken_back(
    step: CephStep, site: Site, cluster: Cluster, journal: Journal
) -> None:
    before = ceph_steps.look(cast(CephAccess, cluster), step)

    applied = apply(plan_of(site, step), site, Quiet(), journal, print)

    assert applied.taken == [1], applied.stopped
    assert ceph_steps.look(cast(CephAccess, cluster), step) == ceph_steps.wanted(step) != before
    assert not plan_of(site, step).steps, "a second plan has nothing to do"
    if isinstance(step, PoolInit):
        cluster.overridden.clear()
    assert not take_back(journal.taken(), site, Quiet(), journal, print)
    assert ceph_steps.look(cast(CephAccess, cluster), step) == before


def test_a_mode_of_the_balancer_that_is_the_default_is_not_set(site: Site, cluster: Cluster, journal: Journal) -> None:
    cluster.balanced = (False, "upmap")
    assert apply(plan_of(site, Balancer(mode="upmap")), site, Quiet(), journal, print).taken == [1]
    assert cluster.balanced == (True, "upmap")
    assert not take_back(journal.taken(), site, Quiet(), journal, print)
    assert cluster.balanced == (False, "upmap")
    assert cluster.modes_set == 0, "it would be an option of its own from then on"


@pytest.mark.parametrize("step", FINAL, ids=lambda step: step.kind)
def test_what_cannot_be_undone_says_so_in_the_plan_and_in_the_rollback(
    step: CephStep, site: Site, cluster: Cluster, journal: Journal
) -> None:
    plan = plan_of(site, step)
    assert f"cannot be undone: {step.irreversible}" in "\n".join(plan.lines())
    assert not plan_of(site, step, allowed="safe").steps, "it is of its own class, whoever asks for it"

    applied = apply(plan, site, Quiet(), journal, print)
    assert applied.taken == [1], applied.stopped
    problems = take_back(journal.taken(), site, Quiet(), journal, print, force=True)

    assert problems == [f"{step}: cannot be undone: {step.irreversible}"]
    assert ceph_steps.look(cast(CephAccess, cluster), step) == ceph_steps.wanted(step)


@pytest.mark.parametrize(
    ("step", "wanted"), [(FINAL[-1], None), (REVERSIBLE[-2], {"there": False, "protected": False})]
)
def test_a_snapshot_stays_that_something_was_cloned_from(step: CephStep, wanted: Any, cluster: Cluster) -> None:
    access = cast(CephAccess, cluster)
    cluster.clones = {"old": ("volumes/clone",), "snap": ("volumes/clone",)}
    cluster.snapshots["snap"] = True
    with pytest.raises(CephError, match="cloned from it by now"):
        ceph_steps.bring(access, step, wanted or ceph_steps.wanted(step))
    assert cluster.snapshots == {"old": True, "snap": True}


def test_a_pool_is_made_whole_and_finished_after_a_kill(site: Site, cluster: Cluster) -> None:
    step = NewPool(pool="vms", size=3, min_size=2, rule="by_host")
    cluster.pools["vms"] = {"size": "3", "crush_rule": "by_host"}
    ceph_steps.bring(cast(CephAccess, cluster), step, {"exists": True})
    wanted = {"size": "3", "crush_rule": "by_host", "min_size": "2", "pg_autoscale_mode": "on", "rbd": "tagged"}
    assert cluster.pools["vms"] == wanted
    assert "vms" in cluster.initialised


def test_a_pool_is_removed_only_while_it_is_empty(cluster: Cluster) -> None:
    step = NewPool(pool="volumes", size=3, min_size=2, rule="by_host")
    with pytest.raises(CephError, match="holds images by now"):
        ceph_steps.bring(cast(CephAccess, cluster), step, {"exists": False})
    assert "volumes" in cluster.pools


def test_monitors_that_remove_no_pool_are_told_how(cluster: Cluster) -> None:
    step = NewPool(pool="vms", size=3, min_size=2, rule="by_host")
    ceph_steps.bring(cast(CephAccess, cluster), step, {"exists": True})
    cluster.deletes_pools = False
    with pytest.raises(CephError, match="ceph config set mon mon_allow_pool_delete true; ceph osd pool rm vms vms"):
        ceph_steps.bring(cast(CephAccess, cluster), step, {"exists": False})


def test_the_lock_of_a_client_that_came_back_is_left(site: Site, cluster: Cluster, journal: Journal) -> None:
    plan = plan_of(site, FINAL[1])
    cluster.watching = (RbdWatcher(address=DEAD, client=5, cookie=1),)
    applied = apply(plan, site, Quiet(), journal, print)
    assert "client.5 has the image open by now" in applied.stopped
    assert cluster.held


def test_initialisation_is_not_taken_back_under_options_of_the_pool(cluster: Cluster) -> None:
    cluster.overridden["rbd_cache"] = "true"
    with pytest.raises(CephError, match="options of the pool"):
        ceph_steps.bring(cast(CephAccess, cluster), PoolInit(pool="volumes"), {"initialised": False})


@pytest.mark.parametrize(("begun_with", "counts"), [(FSID, True), ("", True), ("0" * 36, False)])
def test_runs_on_this_cluster_are_known_later(tmp_path: Path, begun_with: str, counts: bool) -> None:
    """Also one that began while Ceph was silent: it has no fsid, and what it owes is owed."""
    journal = Journal.create(tmp_path, RUN, begun_with)
    journal.intend(REVERSIBLE[0], {}, {})
    journal.close()

    assert (RUN in left_by_runs(tmp_path, FSID)) is counts
