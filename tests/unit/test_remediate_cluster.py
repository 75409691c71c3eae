"""What repairs of Ceph, of room and of leftovers ask for, on a recorded lab with something made wrong in it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from fixtures.caps import Caps as Parsed
from fixtures.cloud.model import CephExport, Dumps, Hygiene, KeyBackup
from fixtures.facts.base import need
from fixtures.facts.ceph import Balancer as BalancerFact
from fixtures.facts.ceph import HealthCheck, Mirror, Pool, PoolUse, PurgeSchedules, RbdLock, RbdWatcher, TrashEntry
from fixtures.facts.host import IniFile
from fixtures.facts.images import ImageLook, PoolContent
from fixtures.facts.openstack import Server, Volume
from fixtures.facts.run import Facts
from fixtures.facts.system import Leftover
from fixtures.targets import cephx_users
from remediate.model import (
    Attributes,
    Balancer,
    BreakLock,
    Caps,
    ClusterOption,
    DaemonOption,
    File,
    FromTrash,
    HardReboot,
    IntoTrash,
    Job,
    MinClient,
    NeedsOperator,
    NewPool,
    ObjectMap,
    OldSnapshot,
    Option,
    OsdFlag,
    PoolInit,
    PoolMirror,
    PoolOption,
    PoolOverride,
    PoolQuota,
    TrashSchedule,
)
from remediate.registry import Manual, Repair, known
from suites.security import test_caps as narrowness
from tests.unit.test_remediate_plan import (
    asked,
    plan_of,
    the_cloud,
    the_facts,
    with_caps,
    with_ceph,
    with_host,
    with_option,
    with_pool,
)

DEAD = "10.0.0.9:0/4711"
DELETED = "volume-0badf00d-0000-4000-8000-000000000002.deleted"
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _lab_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")


def with_content(pool: str, facts: Facts | None = None, **changes: Any) -> Facts:
    facts = facts or the_facts()
    content = cast(PoolContent, facts.contents[pool]).model_copy(update=changes)
    return facts.model_copy(update={"contents": {**facts.contents, pool: content}})


def with_apis(facts: Facts, **rows: Any) -> Facts:
    return facts.model_copy(update={"apis": facts.openstack.model_copy(update=rows)})


def without_pool(name: str, *others: Pool) -> Facts:
    return with_ceph(pools=(*(pool for pool in the_facts().ceph.pools if pool.name != name), *others))


def refused(check: str, target: str, facts: Facts) -> NeedsOperator:
    with pytest.raises(NeedsOperator) as refusal:
        asked(check, target, facts)
    return refusal.value


def a_pool(name: str, *applications: str) -> Pool:
    template = next(iter(the_facts().ceph.pools))
    return template.model_copy(update={"name": name, "id": 99, "applications": frozenset(applications)})


# All


def test_each_check_of_these_areas_has_a_repair_or_a_reason_that_helps() -> None:
    areas = ("ceph.", "cap.", "dr.", "hyg.")
    reasons = {check: it.reason for check, it in known().items() if check.startswith(areas) and isinstance(it, Manual)}
    assert len(reasons) > 10
    assert all(len(reason.split()) > 12 for reason in reasons.values())


# Pools


def test_a_missing_pool_is_made_as_the_policy_says() -> None:
    facts = with_apis(without_pool("backups"), backups=())
    (step,) = asked("ceph.pool.exists", "backups", facts)
    assert step == NewPool(pool="backups", size=3, min_size=2, rule="replicated_rule")
    assert not asked("ceph.pool.exists", "backups", the_facts())


def test_a_pool_is_not_made_where_data_is_missed() -> None:
    volume = Volume(id="v", status="available", host=f"controller@{the_cloud().cinder.backend}#rbd")
    facts = with_apis(without_pool("volumes"), volumes=(volume,))
    assert "1 volumes that were in pool volumes" in str(refused("ceph.pool.exists", "volumes", facts))
    facts = with_apis(without_pool("vms"), servers=(Server(id="s", status="ACTIVE", from_image=True),))
    assert "1 servers" in str(refused("ceph.pool.exists", "vms", facts))


def test_a_pool_is_not_made_where_it_may_have_another_name() -> None:
    facts = with_apis(without_pool("backups", a_pool("elsewhere", "rbd")), backups=())
    refusal = refused("ceph.pool.exists", "backups", facts)
    assert refusal.lines[0] == "ceph osd pool rename elsewhere backups"
    alone = with_ceph(pools=(a_pool("of-others", "rbd"),))
    assert asked("ceph.pool.exists", "backups", with_apis(alone, backups=())), "nothing is integrated yet"


def test_a_pool_is_initialised_for_rbd() -> None:
    assert asked("ceph.pool.rbd_init", "images", with_pool("images", rbd_initialised=False)) == [
        PoolInit(pool="images")
    ]
    assert "not one for RBD" in str(refused("ceph.pool.rbd_init", "images", with_pool("images", type="erasure")))


def test_placement_groups_chosen_by_hand_go_to_the_autoscaler_or_stay_a_persons() -> None:
    facts = with_pool("backups", autoscale_mode="off", pg_num=24)
    step, rounded = asked("ceph.pool.pg_num", "backups", facts)
    assert [step] == asked("ceph.pool.autoscale", "backups", facts), "one step for both"
    assert step == PoolOption(pool="backups", option="pg_autoscale_mode", value="on")
    assert rounded == PoolOption(pool="backups", option="pg_num", value="32")
    assert asked("ceph.pool.pg_num", "backups", with_pool("backups", autoscale_mode="off", pg_num=16)) == [step]
    refusal = refused("ceph.pool.pg_num", "backups", with_pool("backups", autoscale_mode="warn", pg_num=24))
    assert refusal.lines[0] == "ceph osd pool set backups pg_num 32"


def test_a_quota_is_raised_as_far_as_there_is_room() -> None:
    used = {"images": PoolUse(stored=9 * GIB, objects=90, max_avail=100 * GIB)}
    facts = with_pool("images", quota_bytes=10 * GIB, quota_objects=100)
    facts = facts.model_copy(update={"ceph_cluster": facts.ceph.model_copy(update={"usage": used})})
    first, second = asked("ceph.pool.quota_full", "images", facts)
    assert first == PoolQuota(pool="images", quota="max_bytes", value=15 * GIB)
    assert second == PoolQuota(pool="images", quota="max_objects", value=151)
    assert asked("cap.pool_headroom", "images", facts) == [first, second], "one step for both checks"
    short = {"images": used["images"].model_copy(update={"max_avail": GIB})}
    facts = facts.model_copy(update={"ceph_cluster": facts.ceph.model_copy(update={"usage": short})})
    assert "add OSDs first" in str(refused("cap.pool_headroom", "images", facts))


def test_features_are_given_back_where_they_were_taken() -> None:
    overridden = with_pool("volumes", overrides={"rbd_default_features": "1"})
    step = PoolOverride(pool="volumes", option="rbd_default_features", value=None)
    assert asked("ceph.pool.default_features", "volumes", overridden) == [step]

    conf = cast(IniFile, the_facts().host("compute1").ceph_conf)
    entry = conf.entries[0].model_copy(update={"section": "global", "key": "rbd default features", "value": "3"})
    facts = with_host("compute1", ceph_conf=conf.model_copy(update={"entries": (*conf.entries, entry)}))
    (option,) = asked("ceph.pool.default_features", "vms", facts)
    assert isinstance(option, Option)
    assert (option.key, option.value, option.reader) == ("rbd default features", None, "ceph")
    assert option.restarts == ("nova-compute",)

    options = {**the_facts().ceph.options, "client.glance": {"rbd_default_features": "layering"}}
    steps = asked("ceph.pool.default_features", "images", with_ceph(options=options))
    assert {step.who for step in steps if isinstance(step, ClusterOption)} == {"client.glance", "client", "global"}


def test_a_trash_that_nobody_purges_gets_a_schedule() -> None:
    none = PurgeSchedules(levels=(), planned=frozenset())
    assert asked("ceph.pool.trash_purge", "cloud", with_ceph(purge_schedules=none)) == [
        TrashSchedule(pool="volumes", interval="1d")
    ]
    hanging = PurgeSchedules(levels=("",), planned=frozenset())
    assert refused("ceph.pool.trash_purge", "cloud", with_ceph(purge_schedules=hanging)).lines == ("ceph mgr fail",)


def test_volumes_are_mirrored_by_image_where_there_is_a_peer() -> None:
    (step,) = asked("ceph.pool.mirror_mode", "cloud", with_pool("volumes", mirror=Mirror(mode="pool", peers=("west",))))
    assert step == PoolMirror(pool="volumes", mode="image")
    assert "no peer" in str(refused("ceph.pool.mirror_mode", "cloud", with_pool("volumes", mirror=Mirror(mode="pool"))))


def test_copies_move_to_a_rule_that_keeps_them_apart() -> None:
    (step,) = asked("ceph.crush.failure_domain", "images", with_pool("images", crush_rule=7))
    assert step == PoolOption(pool="images", option="crush_rule", value="replicated_rule")
    lines = refused("ceph.crush.failure_domain", "images", with_ceph(crush_rules=())).lines
    assert lines == ("ceph osd crush rule create-replicated NAME default osd",)


# The cluster


def test_flags_that_stop_clients_are_left_to_who_set_them() -> None:
    facts = with_ceph(osd_flags=frozenset({"noout", "nosnaptrim", "sortbitwise"}))
    wanted = [OsdFlag(flag="noout", on=False), OsdFlag(flag="nosnaptrim", on=False)]
    assert asked("ceph.osdmap.flags", "cloud", facts) == wanted == asked("ceph.health.status", "cloud", facts)
    lines = refused("ceph.osdmap.flags", "cloud", with_ceph(osd_flags=frozenset({"pauserd"}))).lines
    assert lines == ("ceph osd unset pauserd",)


def test_cephx_is_required_in_all_places_that_say_otherwise() -> None:
    config = {**the_facts().ceph.config, "auth_service_required": "cephx, none"}
    steps = asked("ceph.auth.cephx_required", "cloud", with_ceph(config=config))
    assert ClusterOption(who="global", option="auth_service_required", value="cephx") in steps
    assert ClusterOption(who="mon", option="auth_service_required", value=None) in steps
    assert DaemonOption(daemon="mon.a", option="auth_service_required", value=None) in steps
    assert not any("cluster_required" in str(step) for step in steps), "the others are right"


def test_ids_are_not_refused_while_clients_need_that() -> None:
    facts = with_ceph(insecure_reclaim="true")
    (step,) = asked("ceph.auth.global_id_reclaim", "cloud", facts)
    assert step == ClusterOption(who="mon", option="auth_allow_insecure_global_id_reclaim", value="false")
    old = HealthCheck(code="AUTH_INSECURE_GLOBAL_ID_RECLAIM", severity="HEALTH_WARN", message="1 client")
    facts = with_ceph(insecure_reclaim="true", health_checks=(old,))
    assert "old clients are connected" in str(refused("ceph.auth.global_id_reclaim", "cloud", facts))


def test_old_clients_are_shut_out_only_when_none_is_connected() -> None:
    assert asked("ceph.compat.min_client", "cloud", with_ceph(min_client="luminous")) == [MinClient(release="mimic")]
    steps = asked("ceph.compat.min_client", "cloud", with_ceph(clone_format="1"))
    assert [str(step) for step in steps] == [
        "ceph config rm client rbd_default_clone_format",
        "ceph config rm global rbd_default_clone_format",
    ]
    facts = with_ceph(min_client="luminous", client_releases={"jewel": 2})
    assert "jewel" in str(refused("ceph.compat.min_client", "cloud", facts))


def test_an_image_of_few_features_is_its_owners() -> None:
    """All that makes images is right."""
    plan = plan_of([("ceph.pool.default_features", "vms")], the_facts())
    assert not plan.steps
    assert "rbd feature enable" in plan.left[0].reason


# Users


def user(name: str) -> Any:
    return next(it for it in cephx_users(the_cloud()) if it.id == name)


@pytest.mark.parametrize(
    "caps",
    [
        {"mon": "profile rbd", "osd": "allow *"},
        {"mon": "allow *", "osd": "profile rbd pool=images"},
        {"mon": "profile rbd", "osd": "allow rwx", "mgr": "allow *"},
        {"mon": "profile rbd", "osd": "profile rbd pool=images, profile rbd pool=volumes"},
        {"mon": "profile rbd", "osd": "profile rbd pool=images", "mds": "allow rw"},
        {"mon": "allow rw", "osd": "allow class-read object_prefix rbd_children, allow rwx pool=images"},
    ],
)
def test_rights_that_go_too_far_are_taken_away_and_no_other(caps: dict[str, str]) -> None:
    """What a user lacks is added first; what is too much goes after that."""
    facts = with_caps("client.glance", **caps)
    for step in asked("ceph.auth.mgr_profile", "client.glance", facts):
        facts = with_caps("client.glance", **cast(Caps, step).caps)
    (step,) = asked("sec.caps.least_privilege", "client.glance", facts)
    assert isinstance(step, Caps)
    after = with_caps("client.glance", **step.caps)
    entity = next(it for it in cast(Any, after.ceph.auth) if it.entity == "client.glance")
    narrowness.test_user_has_no_more_rights_than_it_needs(entity, user("glance"), after, the_cloud())
    assert Parsed.of(step.caps).osd.access("images").rbd_read_write
    assert not asked("ceph.auth.mgr_profile", "client.glance", after), "and nothing is lacking"
    assert "object_prefix rbd_children" in step.caps["osd"] or "rbd_children" not in caps["osd"]


def test_what_lacks_comes_with_the_narrowing_even_where_no_check_misses_it() -> None:
    foreign = {
        "mon": "profile rbd",
        "mgr": "profile rbd pool=backups",
        "osd": "profile rbd pool=backups, profile rbd pool=images",
    }
    facts = with_caps("client.cinder-backup", **foreign)
    (step,) = asked("sec.caps.least_privilege", "client.cinder-backup", facts)
    wanted = {**foreign, "osd": "profile rbd pool=backups, profile rbd-read-only pool=volumes"}
    assert step == Caps(entity="client.cinder-backup", caps=wanted)


def test_rights_are_narrowed_after_what_a_check_misses_is_added() -> None:
    facts = with_caps("client.glance", mon="allow *", osd="profile rbd pool=images")
    failures = [("ceph.auth.mgr_profile", "client.glance"), ("sec.caps.least_privilege", "client.glance")]
    plan = plan_of(failures, facts)
    (one,) = plan.steps
    assert cast(Caps, one.step).caps["mon"] == "allow *", "nothing is taken away yet"
    (left,) = plan.left
    assert left.reason.startswith("wants to be otherwise what is first made so")
    assert "mon 'profile rbd'" in left.lines[0]


def test_rights_in_a_pool_that_a_service_of_yours_may_use_are_left() -> None:
    full = {"mon": "profile rbd", "mgr": "profile rbd pool=images"}
    reads = ", ".join(f"profile rbd-read-only pool={pool}" for pool in ("vms", "volumes"))
    named = with_caps("client.glance", **full, osd=f"profile rbd pool=images, {reads}, profile rbd pool=fast")
    facts = named.model_copy(
        update={"ceph_cluster": named.ceph.model_copy(update={"pools": (*named.ceph.pools, a_pool("fast", "rgw"))})}
    )
    assert "reach fast" in str(refused("sec.caps.least_privilege", "client.glance", facts))
    everywhere = with_caps("client.glance", **full, osd="allow *")
    facts = everywhere.model_copy(
        update={
            "ceph_cluster": everywhere.ceph.model_copy(update={"pools": (*everywhere.ceph.pools, a_pool("ssd", "rbd"))})
        }
    )
    assert "reach ssd" in str(refused("sec.caps.least_privilege", "client.glance", facts))


def test_what_grants_nothing_is_left_out_and_what_was_meant_is_added() -> None:
    caps = {"mon": "profile rbd", "osd": "profile rbd pool=backups, profile rbd-ready-only pool=volumes"}
    (step,) = asked("ceph.auth.caps_valid", "client.cinder-backup", with_caps("client.cinder-backup", **caps))
    assert cast(Caps, step).caps["osd"] == "profile rbd pool=backups, profile rbd-read-only pool=volumes"
    assert [step] == asked("ceph.auth.backup.osd", "cloud", with_caps("client.cinder-backup", **caps)), (
        "one step for all"
    )

    unknown = {**cast(Caps, step).caps, "osd": f"{cast(Caps, step).caps['osd']}, profile tentacles pool=volumes"}
    refusal = refused("ceph.auth.caps_valid", "client.cinder-backup", with_caps("client.cinder-backup", **unknown))
    assert "like none known" in str(refusal)


# Room


def test_osds_are_balanced() -> None:
    facts = with_ceph(balancer=BalancerFact(active=False, mode="none"))
    assert asked("cap.balance", "cloud", facts) == [Balancer(mode="upmap")]
    facts = with_ceph(balancer=BalancerFact(active=False, mode="none"), min_client="jewel")
    assert "clients of luminous" in str(refused("cap.balance", "cloud", facts))


def test_object_maps_are_rebuilt_of_idle_images_only() -> None:
    name, image_id = next(iter(cast(PoolContent, the_facts().contents["images"]).names.items()))
    idle = with_content("images", invalid=frozenset({name}), watchers={}, lockers={})
    assert asked("cap.object_map", "images", idle) == [ObjectMap(pool="images", image=name, image_id=image_id)]
    busy = with_content("images", invalid=frozenset({name}), lockers={name: ("client.5",)})
    assert refused("cap.object_map", "images", busy).lines == (f"rbd object-map rebuild images/{name}",)


# What was left lying


def locked(address: str, watchers: tuple[RbdWatcher, ...] = (), image: str = "fault") -> Facts:
    lock = RbdLock(owner="client.5", id="auto 4711", address=address)
    look = ImageLook(size=1, locks=(lock,), watchers=watchers)
    facts = with_ceph(blocklist={DEAD: "until then"})
    return with_content("volumes", facts, lockers={image: ("client.5",)}, watchers={}, looks={image: look})


def test_a_lock_is_taken_only_from_a_client_that_is_kept_out_and_gone() -> None:
    (step,) = asked("hyg.lock.stale", "volumes", locked(DEAD))
    assert step == BreakLock(pool="volumes", image="fault", lock="auto 4711", owner="client.5")
    assert str(step) == "rbd lock rm volumes/fault 'auto 4711' client.5"
    refusal = refused("hyg.lock.stale", "volumes", locked("10.0.0.8:0/1"))
    assert refusal.lines == ("ceph osd blocklist add 10.0.0.8:0/1", str(step))
    watching = (RbdWatcher(address=DEAD, client=5, cookie=1),)
    assert not refused("hyg.lock.stale", "volumes", locked(DEAD, watching)).lines


def test_a_guest_that_is_kept_out_is_started_anew_unless_something_is_done_with_it() -> None:
    server = Server(id="s", status="ACTIVE", from_image=False)
    volume = Volume(id="v", status="in-use", servers=("s", "other"))

    def with_servers(*servers: Server, address: str = DEAD) -> Facts:
        return with_apis(locked(address, image="volume-v"), volumes=(volume,), servers=servers)

    assert asked("hyg.blocklist", "cloud", with_servers(server)) == [HardReboot(server="s")]
    assert not asked("hyg.blocklist", "cloud", with_servers(server, address="10.0.0.8:0/1"))
    again = locked(DEAD, (RbdWatcher(address="10.0.0.8:0/2", client=6, cookie=1),), "volume-v")
    assert not asked("hyg.blocklist", "cloud", with_apis(again, volumes=(volume,), servers=(server,))), (
        "it was rebooted"
    )
    busy = server.model_copy(update={"task": "migrating"})
    shared = server.model_copy(update={"id": "other"})
    row = next(row for row in need(the_facts().openstack.compute_services) if row.binary == "nova-compute")
    deaf = with_servers(server.model_copy(update={"host": row.host}))
    (reboot,) = asked("hyg.blocklist", "cloud", deaf)
    assert reboot == HardReboot(server="s", hypervisor=row.host)
    deaf = with_apis(deaf, compute_services=(row.model_copy(update={"state": "down"}),))
    assert "nova-compute is not up" in str(refused("hyg.blocklist", "cloud", deaf))
    for servers in ((busy,), (server, shared)):
        assert "look at each" in str(refused("hyg.blocklist", "cloud", with_servers(*servers)))


def test_a_lock_is_not_taken_under_a_guest_that_runs() -> None:
    volume = Volume(id="v", status="in-use", servers=("s",))
    rows = {"volumes": (volume,), "servers": (Server(id="s", status="ACTIVE", from_image=False),)}
    facts = with_apis(locked(DEAD, image="volume-v"), **rows)
    assert "runs on without a disk" in str(refused("hyg.lock.stale", "volumes", facts))


def test_a_deleted_volume_without_anything_goes_into_the_trash() -> None:
    names = {DELETED: "1a"}
    forgotten = with_content("volumes", names=names, looks={DELETED: ImageLook(size=1)})
    step = IntoTrash(pool="volumes", image=DELETED, image_id="1a")
    assert asked("hyg.volume.deleted_suffix", "cloud", forgotten) == [step]
    kept = with_content("volumes", names=names, looks={DELETED: ImageLook(size=1, clones={"snap": ()})})
    assert refused("hyg.volume.deleted_suffix", "cloud", kept).lines[0].startswith("rbd children --all volumes/")


def test_the_trash_is_purged_of_what_nothing_holds() -> None:
    old = TrashEntry(id="1a", name="a", source="USER", deferred_until="2020-01-01T00:00:00Z", size=1, snapshots=0)
    held = old.model_copy(update={"id": "2b", "name": "b", "snapshots": 1})
    mirrored = old.model_copy(update={"id": "3c", "source": "MIRRORING"})
    facts = with_content("volumes", trash=(old, held, mirrored))
    assert asked("hyg.trash", "volumes", facts) == [FromTrash(pool="volumes", image="a", image_id="1a")]
    lines = refused("hyg.trash", "volumes", with_content("volumes", trash=(held,))).lines
    assert lines == ("rbd children --all --pool volumes --image-id 2b  # b",)


@pytest.mark.parametrize(("seconds", "goes"), [(-60, True), (86400, False)])
def test_what_fills_the_pool_from_the_trash_goes_once_it_may(seconds: int, goes: bool) -> None:
    until = (the_facts().now + timedelta(seconds=seconds)).isoformat()
    fresh = TrashEntry(id="1a", name="a", source="USER", deferred_until=until, size=1, snapshots=0)
    facts = with_content("volumes", trash=(fresh,))
    if goes:
        assert asked("hyg.trash", "volumes", facts) == [FromTrash(pool="volumes", image="a", image_id="1a")]
    else:
        refusal = refused("hyg.trash", "volumes", facts)
        assert "kept for who deleted it" in str(refusal)
        assert refusal.lines == ("rbd trash rm --force --pool volumes 1a  # a",)


def test_what_a_migration_put_into_the_trash_is_left_to_it() -> None:
    until = the_facts().now.isoformat()
    source = TrashEntry(id="1a", name="a", source="MIGRATION", deferred_until=until, size=1, snapshots=0)
    refusal = refused("hyg.trash", "volumes", with_content("volumes", trash=(source,)))
    assert "commit or abort" in str(refusal)
    assert not refusal.lines


def test_orphans_go_into_the_trash_where_nobody_else_may_own_them_and_nobody_has_them_open() -> None:
    name = "volume-0badf00d-0000-4000-8000-000000000001"
    idle = with_content("volumes", names={name: "1a"}, looks={name: ImageLook(size=1)})
    alone = the_cloud().model_copy(update={"hygiene": Hygiene(alone=True)})
    shared = the_cloud().model_copy(update={"hygiene": Hygiene()})
    repair = known()["hyg.volume.orphan"]
    assert isinstance(repair, Repair)
    assert repair.of("cloud", alone, idle) == [IntoTrash(pool="volumes", image=name, image_id="1a")]
    kept = with_content("volumes", names={name: "1a"}, looks={name: ImageLook(size=1, clones={"snap": ()})})
    for cloud, facts in ((shared, idle), (alone, kept)):
        with pytest.raises(NeedsOperator) as refusal:
            repair.of("cloud", cloud, facts)
        assert f"rbd trash mv volumes/{name}" in refusal.value.lines[0]


@pytest.mark.parametrize(
    "name",
    ["snapshot-0badf00d-0000-4000-8000-000000000003", f"volume-{'0badf00d-0000-4000-8000-00000000000'}4.clone_snap"],
)
def test_a_snapshot_goes_that_nobody_knows_and_nothing_was_cloned_from(name: str) -> None:
    repair, alone = known()["hyg.snapshot.orphan"], the_cloud().model_copy(update={"hygiene": Hygiene(alone=True)})
    assert isinstance(repair, Repair)

    def found(*clones: str, looked: bool = True) -> Facts:
        looks = {"volume-1": ImageLook(size=1, clones={name: clones})} if looked else {}
        return with_content("volumes", names={"volume-1": "1a"}, snapshots={"volume-1": (name,)}, looks=looks)

    step = OldSnapshot(pool="volumes", image="volume-1", snapshot=name)
    assert repair.of("cloud", alone, found()) == [step]
    shared = the_cloud().model_copy(update={"hygiene": Hygiene()})
    making = with_apis(found(), volumes=(Volume(id=name.partition("-")[2].partition(".")[0], status="creating"),))
    kept = [(shared, found()), (alone, found("volumes/volume-2")), (alone, found(looked=False))]
    for cloud, facts in [*kept, *([(alone, making)] if name.startswith("volume") else [])]:
        with pytest.raises(NeedsOperator):
            repair.of("cloud", cloud, facts)


def test_forgotten_files_go_if_a_copy_of_them_can_be_kept() -> None:
    host = the_facts().host("controller")
    file = Leftover(path="/var/lib/cinder/conversion/tmp1", mtime=host.collected_at - 1e6, size=10, open=False)
    used, large = file.model_copy(update={"open": True}), file.model_copy(update={"size": GIB})

    def left(*files: Leftover) -> Facts:
        return with_host("controller", system=host.system.model_copy(update={"leftovers": files}))

    step = File(host="controller", path=file.path, text=None)
    assert asked("hyg.tmp_files", "controller", left(file, used, large)) == [step]
    assert refused("hyg.tmp_files", "controller", left(large)).lines == (f"rm {file.path}",)


# The day when all is lost


def test_copies_that_others_may_read_are_closed() -> None:
    kept = the_cloud().recovery.keys
    assert kept is not None
    system = the_facts().host(kept.host).system
    archive = cast(Any, system.archive)
    opened = archive.model_copy(update={"stat": archive.stat.model_copy(update={"mode": 0o644})})
    facts = with_host(kept.host, system=system.model_copy(update={"archive": opened}))
    assert asked("dr.keys", "cloud", facts) == [Attributes(host=kept.host, path=opened.stat.path, mode=0o600)]


def test_what_is_kept_is_made_anew_by_the_unit_that_the_cloud_file_names() -> None:
    kept = the_cloud().recovery
    assert kept.database and kept.keys and kept.ceph
    made: dict[str, Dumps | KeyBackup | CephExport] = {
        "dr.db.dump_fresh": kept.database,
        "dr.keys": kept.keys,
        "dr.ceph.meta": kept.ceph,
    }
    for check, one in made.items():
        assert one.unit
        assert asked(check, "cloud", the_facts()) == [Job(host=one.host, unit=one.unit, path=one.path)]
    system = the_facts().host(kept.ceph.host).system
    plain = cast(Any, system.export).model_copy(update={"plain_keys": ("auth",)})
    facts = with_host(kept.ceph.host, system=system.model_copy(update={"export": plain}))
    assert "with whose key" in str(refused("dr.ceph.meta", "cloud", facts))


def test_a_user_that_only_cinder_conf_names_gets_no_rights_on_volumes() -> None:
    facts = with_option("controller", "cinder-volume", "rbd_user", "glance")
    assert "repaired first" in str(refused("ceph.auth.nova.volumes", "cloud", facts))
    assert not asked("ceph.auth.mon_blocklist", "client.glance", facts)
