"""What repairs ask for, on a recorded lab with something made wrong in it."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

import recorded
from fixtures.backing import BACKING
from fixtures.caps import Caps as Parsed
from fixtures.cloud import Cloud, Role, load_cloud
from fixtures.facts.base import Unreadable, need
from fixtures.facts.ceph import CephFacts
from fixtures.facts.host import ConfigEntry, Keyring, Libvirt, Report, Service, TokenTry
from fixtures.facts.images import PoolContent
from fixtures.facts.network import Reached
from fixtures.facts.openstack import OpenStackFacts, Server
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts
from remediate.journal import Taken
from remediate.model import (
    Attributes,
    Caps,
    CellHosts,
    File,
    HardReboot,
    NeedsOperator,
    Option,
    PoolApplication,
    PoolOption,
    Restart,
    Secret,
    Step,
    Unit,
)
from remediate.plan import Failure, Plan, make_plan
from remediate.registry import Repair, known
from remediate.restarts import owed, started_since
from remediate.site import Preview, Site

CONTROLLER = "controller"
OTHER = r"also holds client\.glance, which may be in use"


@cache
def the_cloud() -> Cloud:
    return load_cloud(recorded.CLOUDS["default"])


@cache
def the_facts() -> Facts:
    return load_facts(recorded.folder("default"))


@pytest.fixture(autouse=True)
def _lab_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")


def with_ceph(**changes: Any) -> Facts:
    ceph = cast(CephFacts, the_facts().ceph_cluster)
    return the_facts().model_copy(update={"ceph_cluster": ceph.model_copy(update=changes)})


def with_caps(entity: str, **caps: str) -> Facts:
    auth = [it.model_copy(update={"caps": caps}) if it.entity == entity else it for it in _auth()]
    return with_ceph(auth=tuple(auth))


def _auth() -> Any:
    return the_facts().ceph.auth


def with_pool(name: str, **changes: Any) -> Facts:
    pools = the_facts().ceph.pools
    return with_ceph(pools=tuple(it.model_copy(update=changes) if it.name == name else it for it in pools))


def with_host(name: str, facts: Facts | None = None, **changes: Any) -> Facts:
    facts = facts or the_facts()
    hosts = {**facts.hosts, name: facts.host(name).model_copy(update=changes)}
    return facts.model_copy(update={"hosts": hosts})


def with_option(name: str, role: str, key: str, value: str | None, facts: Facts | None = None) -> Facts:
    """An option with another value, or taken out, wherever it stands."""
    facts = facts or the_facts()
    service = cast(Service, facts.host(name).services[role])
    entries = [it for it in cast(Any, service.entries) if it.key != key or value is not None]
    entries = [it.model_copy(update={"value": value}) if it.key == key else it for it in entries]
    changed = service.model_copy(update={"entries": tuple(entries)})
    return with_host(name, facts, services={**facts.host(name).services, role: changed})


def asked(check: str, target: str, facts: Facts) -> list[Step]:
    repair = known()[check]
    assert isinstance(repair, Repair)
    return repair.of(target, the_cloud(), facts)


class Imagined:
    """A site on which every step would change something."""

    def __init__(self, managed: str = "", changed: float = 0.0) -> None:
        self.managed, self.changed = managed, changed

    def previews(self, steps: Sequence[Step]) -> list[Preview]:
        before, after = {"active": False, "is": 1}, {"active": True, "is": 2}
        return [
            Preview(
                before,
                after,
                diff=(str(step),),
                managed=self.managed if isinstance(step, Option) else "",
                changed=self.changed,
            )
            for step in steps
        ]


def plan_of(
    failures: Sequence[tuple[str, str]],
    facts: Facts,
    allowed: Any = "safe",
    managed: str = "",
    owing: Sequence[Taken] = (),
) -> Plan:
    told = [Failure(check=check, target=target) for check, target in failures]
    restarts = owed({"6920aabb00112233": owing}, the_cloud(), facts)
    return make_plan(told, known(), the_cloud(), facts, cast(Site, Imagined(managed)), allowed, restarts)


# Order


@pytest.mark.parametrize(
    ("check", "target", "held"),
    [
        ("host.keyring.readable", "compute1/nova-compute/client.nova", True),
        ("pkg.qemu_rbd", "compute1", True),
        ("ceph.auth.nova.osd", "cloud", True),
        ("pkg.qemu_rbd", "compute2", False),
        ("hyg.trash", "cloud", False),
        ("pkg.librbd_loaded", "compute1", False),
    ],
)
def test_a_guest_is_not_started_anew_where_it_may_not_come_back(check: str, target: str, held: bool) -> None:
    reboot = HardReboot(server="s", hypervisor="compute1")
    kept_out = Failure(check="hyg.blocklist", target="cloud")
    repairs = {"hyg.blocklist": Repair(lambda: (reboot,), "disruptive")}
    failures = [kept_out, Failure(check=check, target=target)]
    plan = make_plan(failures, repairs, the_cloud(), the_facts(), cast(Site, Imagined()), "disruptive")
    assert [one.step for one in plan.steps] == ([] if held else [reboot])
    told = [left for left in plan.left if left.failure == kept_out]
    assert [(check in left.reason, left.lines) for left in told] == ([(True, (str(reboot),))] if held else [])


# The registry


def test_a_repair_that_finds_nothing_to_do_says_what_a_person_does() -> None:
    class Sound(Imagined):
        def previews(self, steps: Sequence[Step]) -> list[Preview]:
            return [Preview({"osd": True}, {"osd": True}) for _ in steps]

    failure = Failure(check="ceph.osd.up_in", target="cloud")
    plan = make_plan([failure], known(), the_cloud(), the_facts(), cast(Site, Sound()), "destructive")
    (left,) = plan.left
    assert not plan.steps
    assert "ceph osd in" in left.reason


def test_every_repair_is_of_a_check_that_there_is() -> None:
    declared = {
        node.args[0].value
        for path in (recorded.PROJECT / "suites").rglob("*.py")
        for node in ast.walk(ast.parse(Path(path).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.check"
        if isinstance(node.args[0], ast.Constant)
    }
    assert not known().keys() - declared


def test_nothing_is_asked_for_on_a_sound_cloud_that_is_not_so_already() -> None:
    """A repair that is asked although all is well wants what is there."""
    assert not asked("ceph.auth.mon_blocklist", "client.glance", the_facts())
    assert not asked("ceph.pool.min_size", "images", the_facts())
    assert not asked("host.keyring.owner_mode", "compute1/nova-compute/client.cinder", the_facts())


# Caps


def test_missing_rights_are_added_to_all_that_is_there() -> None:
    facts = with_caps(
        "client.glance", mon="allow r", osd="profile rbd pool=images, allow r pool=backups", mds="allow r"
    )
    (step,) = asked("ceph.auth.mon_blocklist", "client.glance", facts)
    assert isinstance(step, Caps)
    assert step.caps["mon"] == "allow r, profile rbd"
    assert step.caps["osd"].startswith("profile rbd pool=images, allow r pool=backups, profile rbd-read-only pool=")
    assert step.caps["mds"] == "allow r"
    assert step.caps["mgr"] == "profile rbd pool=images"
    assert Parsed.of(step.caps).mon.can_blocklist(17)


@pytest.mark.parametrize(
    ("check", "target", "entity"),
    [
        ("ceph.auth.glance.osd", "cloud", "client.glance"),
        ("ceph.auth.cinder.osd", "cloud", "client.cinder"),
        ("ceph.auth.nova.osd", "cloud", "client.cinder"),
        ("ceph.auth.nova.volumes", "cloud", "client.cinder"),
        ("ceph.auth.backup.osd", "cloud", "client.cinder-backup"),
        ("ceph.auth.mgr_profile", "client.cinder", "client.cinder"),
    ],
)
def test_a_user_gets_all_that_its_services_need_at_once(check: str, target: str, entity: str) -> None:
    (step,) = asked(check, target, with_caps(entity, mon="allow r"))
    assert isinstance(step, Caps)
    assert step.entity == entity
    assert not asked(check, target, with_caps(entity, **step.caps)), "after it nothing is missing"


def test_caps_that_cannot_be_read_are_not_overwritten() -> None:
    with pytest.raises(NeedsOperator, match="rights that cannot be read") as refused:
        asked("ceph.auth.mgr_profile", "client.glance", with_caps("client.glance", mon="profile rbd", osd="allow rwd"))
    mgr_and_mon = "mgr 'profile rbd pool=images' mon 'profile rbd'"
    assert refused.value.lines[0].startswith(f"ceph auth caps client.glance {mgr_and_mon} osd 'profile rbd pool=")


# Pools


def test_a_pool_of_another_application_is_left_alone() -> None:
    (step,) = asked("ceph.pool.application", "images", with_pool("images", applications=frozenset()))
    assert step == PoolApplication(pool="images", application="rbd")
    with pytest.raises(NeedsOperator, match="belongs to rgw"):
        asked("ceph.pool.application", "images", with_pool("images", applications=frozenset({"rgw"})))


def test_min_size_is_not_raised_while_copies_are_missing() -> None:
    facts = with_pool("images", min_size=1)
    (step,) = asked("ceph.pool.min_size", "images", facts)
    assert step == PoolOption(pool="images", option="min_size", value="2")
    degraded = cast(CephFacts, facts.ceph_cluster).model_copy(update={"pg_states": {"active+undersized+degraded": 3}})
    with pytest.raises(NeedsOperator, match="would stop I/O"):
        asked("ceph.pool.min_size", "images", facts.model_copy(update={"ceph_cluster": degraded}))


# Options


@pytest.mark.parametrize(
    ("check", "role", "key", "value", "wanted"),
    [
        ("glance.config.rbd_store_user", "glance-api", "rbd_store_user", "client.glance", "glance"),
        ("glance.config.show_image_direct_url", "glance-api", "show_image_direct_url", "False", "True"),
        ("cinder.config.rbd_pool", "cinder-volume", "rbd_pool", "volume", "volumes"),
        ("cinder.config.rbd_user", "cinder-volume", "rbd_user", None, "cinder"),
        ("backup.config.target", "cinder-backup", "backup_ceph_user", "cinder", "cinder-backup"),
    ],
)
def test_an_option_is_set_where_it_has_the_last_word(
    check: str, role: str, key: str, value: str | None, wanted: str
) -> None:
    (step,) = asked(check, CONTROLLER, with_option(CONTROLLER, role, key, value))
    assert isinstance(step, Option)
    assert (step.key, step.value, step.restarts) == (key, wanted, (role,))
    service = cast(Service, the_facts().host(CONTROLLER).services[role])
    assert step.path in service.config_files


def test_a_file_of_a_tool_is_left_with_the_lines_for_it() -> None:
    facts = with_option(CONTROLLER, "cinder-volume", "rbd_pool", "volume")
    plan = plan_of([("cinder.config.rbd_pool", CONTROLLER)], facts, managed="# Ansible managed")
    assert not plan.steps
    (left,) = plan.left
    assert "'# Ansible managed'" in left.reason
    assert left.lines[1:] == ("[rbd]", "rbd_pool = volumes")


def test_a_service_in_a_container_is_left_to_its_tool() -> None:
    facts = with_option(CONTROLLER, "cinder-volume", "rbd_pool", "volume")
    facts = with_host(CONTROLLER, facts, inside={"cinder-volume": "cinder_volume"})
    (left,) = plan_of([("cinder.config.rbd_pool", CONTROLLER)], facts).left
    assert "runs in the container cinder_volume" in left.reason


# Hosts


def test_a_keyring_is_written_by_name_of_its_key_only() -> None:
    client = "compute1/nova-compute/client.cinder"
    keyring = cast(Keyring, the_facts().host("compute1").keyrings["/etc/ceph/ceph.client.cinder.keyring"])
    absent = keyring.model_copy(update={"stat": keyring.stat.model_copy(update={"kind": "absent"}), "keys": {}})
    facts = with_host("compute1", keyrings={keyring.stat.path: absent})
    (step,) = asked("host.keyring.present", client, facts)
    assert step == File(
        host="compute1",
        path=keyring.stat.path,
        text="[client.cinder]\n\tkey = {key}\n",
        key_of="client.cinder",
        owner="nova",
        group="nova",
        mode=0o640,
    )
    for name, refusal in (("client.else", nullcontext()), ("client.glance", pytest.raises(NeedsOperator, match=OTHER))):
        other = keyring.model_copy(update={"keys": {name: next(iter(keyring.keys.values()))}})
        with refusal:
            facts = with_host("compute1", keyrings={keyring.stat.path: other})
            assert asked("host.keyring.entity_key", client, facts) == [step]


def test_a_keyring_goes_back_to_its_service() -> None:
    keyring = cast(Keyring, the_facts().host(CONTROLLER).keyrings["/etc/ceph/ceph.client.glance.keyring"])
    roots = keyring.model_copy(update={"stat": keyring.stat.model_copy(update={"owner": "root", "mode": 0o644})})
    facts = with_host(CONTROLLER, keyrings={keyring.stat.path: roots})
    (step,) = asked("host.keyring.owner_mode", "controller/glance-api/client.glance", facts)
    assert step == Attributes(host=CONTROLLER, path=keyring.stat.path, owner="glance", group="glance", mode=0o640)


def test_a_secret_that_is_missing_is_defined_with_the_key_of_its_user() -> None:
    libvirt = cast(Libvirt, the_facts().host("compute2").libvirt)
    facts = with_host("compute2", libvirt=libvirt.model_copy(update={"secrets": ()}))
    (step,) = asked("nova.secret.exists", "compute2/volumes", facts)
    assert isinstance(step, Secret)
    assert (step.host, step.key_of, step.private) == ("compute2", "client.cinder", True)
    plan = plan_of([("nova.secret.exists", "compute2/volumes"), ("nova.secret.exists", "compute2/vms")], facts)
    assert len({one.step.model_dump_json() for one in plan.steps}) == len(plan.steps)


def test_disks_are_not_moved_under_guests() -> None:
    facts = with_option("compute1", "nova-compute", "images_type", "qcow2")
    api = cast(OpenStackFacts, facts.apis)
    server = Server(id="8e4f", status="ACTIVE", host="compute1", from_image=True)
    with_guest = facts.model_copy(update={"apis": api.model_copy(update={"servers": (server,)})})
    with pytest.raises(NeedsOperator, match="has guests") as refused:
        asked("nova.config.images_type", "compute1", with_guest)
    assert refused.value.lines[0] == "openstack server migrate --wait 8e4f"
    stored = with_guest.contents | {"vms": PoolContent(names={"8e4f_disk": "1"})}
    assert asked("nova.config.images_type", "compute1", with_guest.model_copy(update={"contents": stored}))
    assert asked("nova.config.images_type", "compute2", with_option("compute2", "nova-compute", "images_type", "qcow2"))


# The plan


def test_a_service_is_restarted_once_after_all_edits_of_its_host() -> None:
    facts = with_option(CONTROLLER, "cinder-volume", "rbd_pool", "volume")
    facts = facts.model_copy(update={"ceph_cluster": with_pool("images", applications=frozenset()).ceph_cluster})
    failures = [
        ("cinder.config.rbd_pool", CONTROLLER),
        ("cinder.config.rbd_user", CONTROLLER),
        ("ceph.pool.application", "images"),
    ]
    plan = plan_of(failures, facts)
    kinds = [one.step.kind for one in plan.steps]
    assert kinds == ["pool-application", "option", "option", "restart"]
    restart = plan.steps[-1]
    assert isinstance(restart.step, Restart)
    assert len(restart.failures) == 2
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_what_is_not_allowed_is_shown_and_not_done() -> None:
    failures = [("ceph.pool.min_size", "images")]
    plan = plan_of(failures, with_pool("images", min_size=1))
    assert not plan.steps
    assert [one.disruption for one in plan.withheld] == ["disruptive"]
    assert "not done, since disruptive (--remediate-allow=disruptive)" in "\n".join(plan.lines())
    assert len(plan_of(failures, with_pool("images", min_size=1), "disruptive").steps) == 1


def test_a_unit_is_started_and_not_started_anew() -> None:
    service = cast(Service, the_facts().host(CONTROLLER).services["cinder-backup"])
    unit = service.unit.model_copy(update={"active": "inactive", "sub": "dead", "enabled": "disabled"})
    stopped = service.model_copy(update={"unit": unit})
    facts = with_host(CONTROLLER, services={**the_facts().host(CONTROLLER).services, "cinder-backup": stopped})
    plan = plan_of([("backup.service.up", CONTROLLER), ("backup.config.driver", CONTROLLER)], facts)
    assert [one.step.kind for one in plan.steps] == ["option", "unit"]
    assert plan.steps[-1].step == Unit(host=CONTROLLER, role="cinder-backup", unit=unit.name, enable=True)


def test_a_back_end_that_is_down_is_started_and_one_that_runs_is_started_anew() -> None:
    service = cast(Service, the_facts().host(CONTROLLER).services["cinder-volume"])
    stopped = service.model_copy(update={"unit": service.unit.model_copy(update={"active": "failed"})})
    services = {**the_facts().host(CONTROLLER).services, "cinder-volume": stopped}
    (step,) = asked("cinder.backend.state", "cloud", with_host(CONTROLLER, services=services))
    assert isinstance(step, Unit)
    (step,) = asked("cinder.backend.state", "cloud", the_facts())
    assert isinstance(step, Restart)


def test_what_has_no_repair_is_left_with_a_reason() -> None:
    plan = plan_of([("area.of.tomorrow", "cloud")], the_facts())
    assert [left.reason for left in plan.left] == ["there is no repair for this check yet"]


def test_all_facts_of_a_host_that_was_not_reached_are_missed_in_words() -> None:
    hosts = {**the_facts().hosts}
    del hosts[CONTROLLER]
    facts = the_facts().model_copy(update={"hosts": hosts})
    (left,) = plan_of([("cinder.config.rbd_pool", CONTROLLER)], facts).left
    assert "could not be read" in left.reason


@pytest.mark.parametrize(("later", "again"), [(-1.0, True), (1.0, False)])
def test_the_way_back_starts_a_service_anew_only_if_it_had_read_what_comes_back(later: float, again: bool) -> None:
    service = the_facts().host(CONTROLLER).services["glance-api"]
    assert isinstance(service, Service)
    site = Imagined(changed=service.unit.since + later)
    failure = Failure(check="glance.config.show_image_direct_url", target=CONTROLLER)
    facts = with_option(CONTROLLER, "glance-api", "show_image_direct_url", "False")
    plan = make_plan([failure], known(), the_cloud(), facts, cast(Site, site), "safe")
    restart = plan.steps[-1].step
    assert isinstance(restart, Restart)
    assert restart.again == again


# What a run that was cut short owes


def test_a_service_is_started_anew_for_what_a_run_changed_that_was_cut_short() -> None:
    service = cast(Service, the_facts().host(CONTROLLER).services["glance-api"])
    path = "/etc/glance/glance-api.conf"
    option = Option(host=CONTROLLER, path=path, section="x", key="y", value="1", restarts=("glance-api",))
    restart = Restart(host=CONTROLLER, role="glance-api", unit=service.unit.name, again=False)
    changed = Taken(1, option, {}, {}, True, service.unit.since + 1)
    begun = Taken(2, restart, {}, {}, False, service.unit.since + 2)

    (planned,) = plan_of([], the_facts(), owing=[changed, begun]).steps
    assert planned.step == restart
    assert planned.diff == ("owed by run 6920aabb00112233, which was cut short",)

    assert not plan_of([], the_facts(), owing=[changed, replace(begun, done=True)]).steps
    assert not plan_of([], the_facts(), owing=[replace(changed, at=service.unit.since)]).steps, "started anew since"
    lacking = with_ceph(pools=())
    assert not plan_of([], lacking, owing=[changed]).steps, "it would not come back"
    wanted = plan_of([("glance.config.show_image_direct_url", CONTROLLER)], without_direct_url(), owing=[changed])
    assert [type(one.step) for one in wanted.steps] == [Option, Restart]


def test_libvirt_started_anew_is_no_restart_of_nova_compute() -> None:
    service = cast(Service, the_facts().host("compute1").services["nova-compute"])
    path = "/etc/nova/nova.conf"
    option = Option(host="compute1", path=path, section="x", key="y", value="1", restarts=("nova-compute",))
    changed = Taken(1, option, {}, {}, True, service.unit.since + 1)
    libvirt = Restart(host="compute1", role="nova-compute", unit="libvirtd.service")
    (planned,) = plan_of(
        [], the_facts(), owing=[changed, Taken(2, libvirt, {}, {}, True, service.unit.since + 2)]
    ).steps
    assert isinstance(planned.step, Restart)
    assert planned.step.unit == "nova-compute.service"


@pytest.mark.parametrize(
    ("active", "wrong", "awaited"),
    [
        ("active", [("nova.qemu.limits", "compute1")], "nova-compute"),
        ("inactive", [("nova.qemu.limits", "compute1")], None),
        ("inactive", [("nova.qemu.limits", "compute1"), ("nova.compute.up", "compute1")], "nova-compute"),
    ],
)
def test_a_service_that_is_stopped_and_stays_so_is_not_waited_for(
    active: str, wrong: list[tuple[str, str]], awaited: str | None
) -> None:
    host = the_facts().host("compute1")
    libvirt, service = cast(Libvirt, host.libvirt), cast(Service, host.services["nova-compute"])
    unit = service.unit.model_copy(update={"active": active})
    services = {**host.services, "nova-compute": service.model_copy(update={"unit": unit})}
    limits = libvirt.model_copy(update={"qemu_conf": {"max_files": "1024"}})
    restart = plan_of(wrong, with_host("compute1", libvirt=limits, services=services)).steps[-1].step
    assert isinstance(restart, Restart)
    assert (restart.unit, restart.role) == ("libvirtd.service", awaited)


def test_a_service_that_was_started_since_has_read_what_a_rollback_takes_back() -> None:
    service = cast(Service, the_facts().host(CONTROLLER).services["glance-api"])
    path = "/etc/glance/glance-api.conf"
    option = Option(host=CONTROLLER, path=path, section="x", key="y", value="1", restarts=("glance-api",))
    restart = Restart(host=CONTROLLER, role="glance-api", unit=service.unit.name)
    changed = Taken(1, option, {}, {}, True, service.unit.since - 1)
    assert started_since([changed], the_facts()) == [restart]
    assert not started_since([replace(changed, at=service.unit.since + 1)], the_facts()), "it runs on as before"
    assert not started_since([changed, Taken(2, restart, {}, {}, True, 0.0)], the_facts()), "by the run itself"


def without_direct_url() -> Facts:
    return with_option(CONTROLLER, "glance-api", "show_image_direct_url", "False")


def deletions_refused(section: str, key: str, value: str | None) -> Plan:
    """What is planned for cinder-volume whose files somebody changed since it was started."""
    facts = with_option(CONTROLLER, "cinder-volume", "rbd_flatten_volume_from_snapshot", "True")
    service = cast(Service, facts.host(CONTROLLER).services["cinder-volume"])
    entries = [it for it in cast(Any, service.entries) if (it.section, it.key) != (section, key)]
    if value is not None:
        entries.append(ConfigEntry(file="/etc/cinder/cinder.conf", line=1, section=section, key=key, value=value))
    changed = service.model_copy(update={"entries": tuple(entries)})
    services = {**facts.host(CONTROLLER).services, "cinder-volume": changed}
    return plan_of([FLATTENS], with_host(CONTROLLER, facts, services=services))


FLATTENS = ("cinder.config.clone_policy", CONTROLLER)


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("rbd", "backend_host", "hostgroup", "its files name it hostgroup@rbd, and volumes are of controller@rbd"),
        ("DEFAULT", "host", "other", "its files name it other@rbd"),
        ("DEFAULT", "cluster", "ceph", "with locks that only this host sees"),
        ("database", "connection", None, "it would begin with an empty file"),
    ],
)
def test_a_service_is_left_running_that_would_not_find_its_own(
    section: str, key: str, value: str | None, reason: str
) -> None:
    plan = deletions_refused(section, key, value)
    assert not plan.steps
    assert reason in plan.left[0].reason


def test_a_service_that_stays_itself_is_started_anew() -> None:
    assert deletions_refused("DEFAULT", "host", CONTROLLER).steps
    assert deletions_refused("database", "connection", "sqlite:////var/lib/cinder/cinder.sqlite").steps


HIDDEN = ("glance.config.show_image_direct_url", CONTROLLER)


def test_a_service_is_left_running_whose_login_is_of_a_user_unknown_to_keystone() -> None:
    facts = with_option(CONTROLLER, "glance-api", "show_image_direct_url", "False")
    assert plan_of([HIDDEN], facts).steps
    renamed = with_option(CONTROLLER, "glance-api", "username", "glance-of-old", facts)
    plan = plan_of([HIDDEN], renamed)
    assert not plan.steps
    assert "user glance-of-old has no role in project service" in plan.left[0].reason


def test_a_service_is_left_running_whose_login_was_refused() -> None:
    facts = with_option(CONTROLLER, "glance-api", "show_image_direct_url", "False")
    places = ("glance-api: [keystone_authtoken]",)
    tried = TokenTry(user="glance", project="service", url="http://keystone", places=places, status=401)
    plan = plan_of([HIDDEN], with_host(CONTROLLER, facts, tokens=(tried,)))
    assert not plan.steps
    assert "Keystone refuses glance in service" in plan.left[0].reason
    silent = tried.model_copy(update={"status": None})
    assert plan_of([HIDDEN], with_host(CONTROLLER, facts, tokens=(silent,))).steps, "nothing is known of it"


def _tried(role: Role, facts: Facts, host: str, *told: dict[str, Any]) -> Facts:
    """A service of Nova told that of what it leans on."""
    service = need(facts.host(host).services[role])
    reports = {**service.reports, BACKING: Report(rc=0, output=tuple(map(json.dumps, told)))}
    services = {**facts.host(host).services, role: service.model_copy(update={"reports": reports})}
    return with_host(host, facts, services=services)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("AccessRefused: (403)", "compute1: nova-compute would not come back from a restart: bus transport_url"),
        ("", ""),
    ],
)
def test_nova_compute_is_left_running_whose_bus_does_not_let_it_in(error: str, reason: str) -> None:
    facts = with_option("compute1", "nova-compute", "hw_disk_discard", "ignore")
    told = {"what": "bus", "name": "transport_url", "place": "10.0.0.1:5672/", "error": error}
    plan = plan_of([("nova.config.discard", "compute1")], _tried("nova-compute", facts, "compute1", told))
    assert bool(plan.steps) is not bool(reason)
    assert reason in (plan.left[0].reason if plan.left else "")


def test_hypervisors_in_no_cell_get_theirs() -> None:
    told = {"what": "hosts", "name": "cell1", "lost": 2, "named": "compute1, compute2"}
    plan = plan_of([("nv.mq_db", CONTROLLER)], _tried("nova-control", the_facts(), CONTROLLER, told), "disruptive")
    steps = [one.step for one in plan.steps]
    assert steps == [CellHosts(host=CONTROLLER, account="nova", hosts=("compute1", "compute2"))]


@pytest.mark.parametrize(("lost", "who"), [(2, "compute1, retired"), (3, "compute1, compute2")])
def test_hypervisors_that_may_be_gone_get_no_cell(lost: int, who: str) -> None:
    told = {"what": "hosts", "name": "cell1", "lost": lost, "named": who}
    plan = plan_of([("nv.mq_db", CONTROLLER)], _tried("nova-control", the_facts(), CONTROLLER, told), "disruptive")
    assert not plan.steps
    assert "not at work either" in plan.left[0].reason


def test_folders_are_given_back_whatever_is_to_be_said_of_cells() -> None:
    gone = {"what": "hosts", "name": "cell1", "lost": 1, "named": "retired"}
    locks = {"what": "folder", "name": "lock_path", "path": "/var/lock/nova", "owner": "root"}
    facts = _tried("nova-control", the_facts(), CONTROLLER, gone, locks)
    unasked = facts.model_copy(update={"apis": Unreadable(unreadable="not asked")})
    for told in (facts, unasked):
        (step,) = asked("nv.mq_db", CONTROLLER, told)
        assert isinstance(step, Attributes) and (step.path, step.owner) == ("/var/lock/nova", "nova")


def test_nova_compute_is_left_running_that_would_leave_the_disks_of_some_guests_behind() -> None:
    facts = with_option("compute1", "nova-compute", "images_type", "qcow2")
    facts = with_option("compute1", "nova-compute", "hw_disk_discard", "ignore", facts)
    servers = tuple(Server(id=name, status="ACTIVE", host="compute1", from_image=True) for name in ("8e4f", "77a1"))
    wrong = ("nova.config.discard", "compute1")
    facts = facts.model_copy(update={"apis": facts.openstack.model_copy(update={"servers": servers})})

    def with_disks(*disks: str) -> Facts:
        return facts.model_copy(
            update={"contents": facts.contents | {"vms": PoolContent(names=dict.fromkeys(disks, "1"))}}
        )

    (left,) = plan_of([wrong], with_disks("8e4f_disk")).left
    assert "in vms are those of 1 of its 2 guests" in left.reason
    assert plan_of([wrong], with_disks()).steps, "none of them is in the pool, as the files say"
    assert plan_of([wrong], with_disks("8e4f_disk", "77a1_disk")).steps, (
        "what the files say is repaired in the same run"
    )


def test_what_the_apis_do_not_tell_keeps_no_service_from_its_repair() -> None:
    facts = with_option(CONTROLLER, "cinder-volume", "rbd_flatten_volume_from_snapshot", "True")
    silent = facts.model_copy(update={"apis": Unreadable(unreadable="timed out")})
    assert plan_of([FLATTENS], silent).steps


def test_a_service_is_left_running_where_the_way_to_ceph_is_barred() -> None:
    facts = with_option(CONTROLLER, "glance-api", "show_image_direct_url", "False")
    addresses = [address for monitor in facts.ceph.monitors for address in monitor.addresses]
    barred = with_host(CONTROLLER, facts, reached=Reached(ports=dict.fromkeys(addresses, "refused")))
    (left,) = plan_of([("glance.config.show_image_direct_url", CONTROLLER)], barred).left
    assert "reaches no monitor" in left.reason
    one = with_host(CONTROLLER, facts, reached=Reached(ports={**dict.fromkeys(addresses, ""), addresses[0]: "refused"}))
    assert plan_of([("glance.config.show_image_direct_url", CONTROLLER)], one).steps
