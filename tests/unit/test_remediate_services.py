"""What repairs of OpenStack's services ask for: on a recorded lab with options made wrong, and on one not joined."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import pytest

from fixtures.facts.base import Unreadable, need
from fixtures.facts.ceph import RbdWatcher
from fixtures.facts.files import File
from fixtures.facts.host import ConfigEntry, Folder, Libvirt, Report, Service, Unit
from fixtures.facts.openstack import OpenStackFacts, ServiceState, Volume
from fixtures.facts.run import Facts
from remediate.model import (
    Attributes,
    BaseImages,
    CinderRow,
    CinderSchema,
    EmptyCache,
    GlanceSchema,
    ImageStore,
    NeedsOperator,
    NewSnapshot,
    Option,
    PolicyInYaml,
    Restart,
    Secret,
    Step,
    VolumeType,
)
from remediate.model import Unit as UnitStep
from remediate.nova import IN_JSON
from remediate.registry import Manual, Repair, known
from remediate.secrets import wanted_uuid
from tests.unit.test_remediate_plan import CONTROLLER, asked, the_cloud, the_facts, with_ceph, with_host, with_option

HYPERVISORS = ("compute1", "compute2")
RBD_OPTIONS = (
    "images_",
    "rbd_",
    "disk_cachemodes",
    "hw_disk_discard",
    "backup_",
    "default_backend",
    "enabled_backends",
)


@pytest.fixture(autouse=True)
def _lab_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")


def service(facts: Facts, host: str, role: str) -> Service:
    return cast(Service, facts.host(host).services[role])


def with_service(facts: Facts, host: str, role: str, **changes: Any) -> Facts:
    changed = service(facts, host, role).model_copy(update=changes)
    return with_host(host, facts, services={**facts.host(host).services, role: changed})


def entries_of(facts: Facts, host: str, role: str) -> list[ConfigEntry]:
    return list(cast(Any, service(facts, host, role).entries))


def with_entry(facts: Facts, host: str, role: str, section: str, key: str, value: str, file: str = "") -> Facts:
    """An option that is set last, in its service's last file or another."""
    there = [it for it in entries_of(facts, host, role) if (it.section, it.key, file) != (section, key, "")]
    path = file or service(facts, host, role).config_files[-1]
    entry = ConfigEntry(file=path, line=1, section=section, key=key, value=value)
    return with_service(facts, host, role, entries=(*there, entry))


def with_apis(facts: Facts, **changes: Any) -> Facts:
    return facts.model_copy(update={"apis": cast(OpenStackFacts, facts.apis).model_copy(update=changes)})


def with_secrets(facts: Facts, secrets: Any) -> Facts:
    for name in HYPERVISORS:
        libvirt = cast(Libvirt, facts.host(name).libvirt)
        facts = with_host(name, facts, libvirt=libvirt.model_copy(update={"secrets": secrets}))
    return facts


def unjoined() -> Facts:
    """OpenStack runs and nothing of its services names RBD; pools, users and keyrings are there."""
    facts = the_facts()
    for host, roles in (
        (CONTROLLER, ("glance-api", "cinder-api", "cinder-volume", "cinder-backup")),
        *((name, ("nova-compute",)) for name in HYPERVISORS),
    ):
        for role in roles:
            kept = [
                it
                for it in entries_of(facts, host, role)
                if it.section != "rbd" and not it.key.startswith(RBD_OPTIONS) and it.key != "default_volume_type"
            ]
            facts = with_service(facts, host, role, entries=tuple(kept))
    return with_apis(with_secrets(facts, ()), volume_types=(), servers=(), volumes=())


def options(steps: list[Step]) -> dict[tuple[str, str], str | None]:
    return {(step.section, step.key): step.value for step in steps if isinstance(step, Option)}


@pytest.mark.parametrize(
    ("check", "host", "role", "section", "key", "value", "wanted"),
    [
        ("glance.config.chunk_size", CONTROLLER, "glance-api", "rbd", "rbd_store_chunk_size", "12", "8"),
        ("glance.config.rados_timeout", CONTROLLER, "glance-api", "rbd", "rados_connect_timeout", "-30", None),
        ("glance.config.option_placement", CONTROLLER, "glance-api", "DEFAULT", "rbd_store_pool", "x", None),
        ("glance.config.legacy_api", CONTROLLER, "glance-api", "DEFAULT", "enable_v1_api", "True", None),
        ("glance.config.keystone", CONTROLLER, "glance-api", "keystone_authtoken", "admin_user", "x", None),
        ("glance.config.paste_flavor", CONTROLLER, "glance-api", "paste_deploy", "flavor", "caching", "keystone"),
        ("cinder.config.enabled_backends", CONTROLLER, "cinder-volume", "DEFAULT", "enabled_backends", "lvm", "rbd"),
        ("cinder.config.enabled_backends", CONTROLLER, "cinder-volume", "DEFAULT", "rbd_pool", "volumes", None),
        ("cinder.config.chunk_timeout", CONTROLLER, "cinder-volume", "rbd", "rados_connect_timeout", "0", None),
        ("cinder.config.clone_policy", CONTROLLER, "cinder-volume", "rbd", "rbd_max_clone_depth", "0", None),
        ("cinder.config.ceph_conf_cluster", CONTROLLER, "cinder-volume", "rbd", "rbd_cluster_name", "site2", "ceph"),
        ("cinder.config.glance_api_version", CONTROLLER, "cinder-volume", "DEFAULT", "glance_api_version", "2", None),
        ("cinder.config.no_rbd_keyring_conf", CONTROLLER, "cinder-volume", "rbd", "rbd_keyring_conf", "/x", None),
        (
            *("cinder.config.exclusive_pool", CONTROLLER, "cinder-volume"),
            *("rbd", "rbd_exclusive_cinder_pool", "false", "True"),
        ),
        ("cinder.config.deferred_deletion", CONTROLLER, "cinder-volume", "rbd", "deferred_deletion_delay", "9", None),
        ("backup.config.tuning", CONTROLLER, "cinder-backup", "DEFAULT", "backup_ceph_max_snapshots", "-1", None),
        ("nova.config.section", "compute1", "nova-compute", "DEFAULT", "disk_cachemodes", "writeback", None),
        ("nova.config.discard", "compute1", "nova-compute", "libvirt", "hw_disk_discard", "ignore", "unmap"),
        ("nova.config.rbd_timeouts", "compute1", "nova-compute", "libvirt", "rbd_connect_timeout", "-1", None),
        ("nova.config.rbd_download", "compute1", "nova-compute", "glance", "enable_rbd_download", "True", None),
        (
            *("nova.config.service_user", "compute1", "nova-compute"),
            *("service_user", "send_service_user_token", "False", "True"),
        ),
        ("lm.config.transport", "compute1", "nova-compute", "libvirt", "live_migration_scheme", "tcp", "tls"),
        ("lm.config.transport", "compute1", "nova-compute", "libvirt", "live_migration_uri", "qemu://%s", None),
        ("lm.config.flags", "compute1", "nova-compute", "libvirt", "live_migration_flag", "X", None),
        ("lm.config.tunnelled", "compute1", "nova-compute", "libvirt", "live_migration_tunnelled", "True", None),
    ],
)
def test_a_wrong_option_is_set_or_taken_out(
    check: str, host: str, role: str, section: str, key: str, value: str, wanted: str | None
) -> None:
    facts = with_entry(the_facts(), host, role, section, key, value)
    assert options(asked(check, host, facts)) == {(section, key): wanted}


# From nothing


def test_glance_gets_a_whole_store_at_once_and_keeps_its_files() -> None:
    """Without default_backend or a store's user it would not start again."""
    images = cast(Any, the_facts().openstack.images)
    facts = with_apis(unjoined(), images=tuple(it.model_copy(update={"direct_url": "file:///x"}) for it in images))
    found = options(asked("glance.config.stores", CONTROLLER, facts))
    assert found == {
        ("DEFAULT", "enabled_backends"): "file:file,rbd:rbd",
        ("glance_store", "default_backend"): "rbd",
        ("file", "filesystem_store_datadir"): "/var/lib/glance/images/",
        ("rbd", "rbd_store_pool"): "images",
        ("rbd", "rbd_store_user"): "glance",
        ("rbd", "rbd_store_ceph_conf"): "/etc/ceph/ceph.conf",
    }
    assert options(asked("glance.config.default_store", CONTROLLER, facts)) == found


def test_cinder_gets_a_whole_back_end_and_a_type_that_leads_to_it() -> None:
    facts = unjoined()
    uuid = wanted_uuid(the_cloud(), facts, "volumes")
    assert options(asked("cinder.config.enabled_backends", CONTROLLER, facts)) == {
        ("DEFAULT", "enabled_backends"): "rbd",
        ("rbd", "volume_driver"): "cinder.volume.drivers.rbd.RBDDriver",
        ("rbd", "volume_backend_name"): "rbd",
        ("rbd", "rbd_pool"): "volumes",
        ("rbd", "rbd_user"): "cinder",
        ("rbd", "rbd_ceph_conf"): "/etc/ceph/ceph.conf",
        ("rbd", "rbd_secret_uuid"): uuid,
    }
    steps = asked("cinder.config.volume_backend_name", CONTROLLER, facts)
    assert VolumeType(name="ceph", specs={"volume_backend_name": "rbd"}) in steps
    assert options(steps)["DEFAULT", "default_volume_type"] == "ceph"


def test_all_get_one_secret_that_comes_out_the_same_each_time() -> None:
    facts = unjoined()
    uuid = wanted_uuid(the_cloud(), facts, "volumes")
    assert uuid == wanted_uuid(the_cloud(), facts, "vms"), "one user, one secret"
    steps = asked("cinder.config.rbd_secret_uuid", CONTROLLER, facts)
    assert {(it.host, it.uuid) for it in steps if isinstance(it, Secret)} == {(name, uuid) for name in HYPERVISORS}
    steps = asked("nova.config.rbd_user_secret", "compute1", facts)
    assert options(steps) == {("libvirt", "rbd_user"): "cinder", ("libvirt", "rbd_secret_uuid"): uuid}
    assert [(it.uuid, it.private) for it in steps if isinstance(it, Secret)] == [(uuid, True)]


def test_nova_and_backups_get_what_they_need_from_nothing() -> None:
    facts = unjoined()
    assert options(asked("nova.config.images_type", "compute1", facts)) == {
        ("libvirt", "images_type"): "rbd",
        ("libvirt", "images_rbd_pool"): "vms",
        ("libvirt", "images_rbd_ceph_conf"): "/etc/ceph/ceph.conf",
    }
    assert options(asked("backup.config.driver", CONTROLLER, facts)) == {
        ("DEFAULT", "backup_driver"): "cinder.backup.drivers.ceph.CephBackupDriver",
        ("DEFAULT", "backup_ceph_conf"): "/etc/ceph/ceph.conf",
        ("DEFAULT", "backup_ceph_user"): "cinder-backup",
        ("DEFAULT", "backup_ceph_pool"): "backups",
    }


@pytest.mark.parametrize("lost", ["pool", "user", "keyring"])
def test_no_service_is_restarted_before_what_it_needs_of_ceph_is_there(lost: str) -> None:
    ceph = the_facts().ceph
    facts = unjoined()
    if lost == "pool":
        pools = tuple(it for it in ceph.pools if it.name != "volumes")
        facts = facts.model_copy(update={"ceph_cluster": with_ceph(pools=pools).ceph_cluster})
    elif lost == "user":
        auth = tuple(it for it in cast(Any, ceph.auth) if it.entity != "client.cinder")
        facts = facts.model_copy(update={"ceph_cluster": with_ceph(auth=auth).ceph_cluster})
    else:
        path = "/etc/ceph/ceph.client.cinder.keyring"
        keyring = cast(Any, facts.host(CONTROLLER).keyrings[path])
        gone = keyring.model_copy(update={"stat": keyring.stat.model_copy(update={"kind": "absent"}), "keys": {}})
        facts = with_host(CONTROLLER, facts, keyrings={**facts.host(CONTROLLER).keyrings, path: gone})
    with pytest.raises(NeedsOperator, match="would not come back from a restart yet"):
        asked("cinder.config.volume_driver", CONTROLLER, facts)


# Secrets


def test_the_secret_that_hypervisors_have_wins_over_one_that_only_a_file_names() -> None:
    held = wanted_uuid(the_cloud(), the_facts(), "volumes")
    wrong = with_entry(
        the_facts(), CONTROLLER, "cinder-volume", "rbd", "rbd_secret_uuid", "11111111-2222-4333-8444-555555555555"
    )
    for check, target in (("cinder.config.rbd_secret_uuid", CONTROLLER), ("nova.secret.exists", "compute1/volumes")):
        assert options(asked(check, target, wrong)) == {("rbd", "rbd_secret_uuid"): held}


# Where options are edited


def test_the_distributions_file_is_never_edited() -> None:
    packaged = "/usr/share/nova/nova-dist.conf"
    facts = the_facts()
    entry = ConfigEntry(file=packaged, line=1, section="DEFAULT", key="force_raw_images", value="False")
    entries = [it for it in entries_of(facts, "compute1", "nova-compute") if it.key != "force_raw_images"]
    files = (packaged, *service(facts, "compute1", "nova-compute").config_files)
    facts = with_service(facts, "compute1", "nova-compute", config_files=files, entries=(entry, *entries))
    (step,) = asked("nova.config.force_raw", "compute1", facts)
    assert isinstance(step, Option)
    assert step.path.startswith("/etc/nova/")
    assert step.value == "True", "what cannot be taken out is overridden"


def test_an_option_is_taken_out_of_every_file_that_has_it() -> None:
    facts = with_entry(the_facts(), "compute1", "nova-compute", "libvirt", "live_migration_tunnelled", "True", "/a")
    facts = with_entry(facts, "compute1", "nova-compute", "libvirt", "live_migration_tunnelled", "True", "/b")
    steps = asked("lm.config.tunnelled", "compute1", facts)
    assert [step.path for step in steps if isinstance(step, Option)] == ["/a", "/b"]


def test_what_only_looks_like_the_option_goes() -> None:
    facts = with_entry(the_facts(), CONTROLLER, "cinder-volume", "rbd", "RBD_Pool", "volumes")
    facts = with_entry(facts, CONTROLLER, "cinder-volume", "rbd", "rbd_pool", "else")
    found = options(asked("cinder.config.rbd_pool", CONTROLLER, facts))
    assert found == {("rbd", "rbd_pool"): "volumes", ("rbd", "RBD_Pool"): None}


# Services and libvirt


def test_limits_of_guests_are_raised_and_libvirt_started_anew() -> None:
    libvirt = cast(Libvirt, the_facts().host("compute1").libvirt)
    facts = with_host("compute1", libvirt=libvirt.model_copy(update={"qemu_conf": {"max_files": "1024"}}))
    steps = asked("nova.qemu.limits", "compute1", facts)
    assert options(steps)["", "max_files"] == "32768"
    assert isinstance(steps[-1], Restart)
    assert steps[-1].unit == "libvirtd.service"


def test_what_somebody_disabled_is_left_to_him() -> None:
    rows = cast(Any, the_facts().openstack.compute_services)
    disabled = tuple(it.model_copy(update={"status": "disabled"}) for it in rows)
    with pytest.raises(NeedsOperator, match="an administrator disabled") as refused:
        asked("nova.compute.up", "compute1", with_apis(the_facts(), compute_services=disabled))
    assert refused.value.lines[0].startswith("openstack compute service set --enable compute1")


def test_a_service_that_runs_and_does_not_report_is_started_anew() -> None:
    rows = cast(Any, the_facts().openstack.volume_services)
    silent = tuple(it.model_copy(update={"state": "down"} if it.binary == "cinder-backup" else {}) for it in rows)
    (step,) = asked("backup.service.up", CONTROLLER, with_apis(the_facts(), volume_services=silent))
    assert isinstance(step, Restart)
    assert step.role == "cinder-backup"


def test_every_service_is_started_that_does_not_run() -> None:
    unit = service(the_facts(), CONTROLLER, "cinder-scheduler").unit
    stopped: Unit = unit.model_copy(update={"active": "inactive", "sub": "dead"})
    facts = with_service(the_facts(), CONTROLLER, "cinder-scheduler", unit=stopped)
    silent = with_apis(facts, volume_services=Unreadable(unreadable="timed out"))
    for told in (facts, silent):
        (step,) = asked("cinder.service.up", "cloud", told)
        assert step.kind == "unit"


@pytest.mark.parametrize("area", ["glance.", "cinder.", "backup.", "nova.", "lm.", "fn."])
def test_a_reason_is_a_sentence_that_says_what_to_do(area: str) -> None:
    reasons = [it.reason for check, it in known().items() if check.startswith(area) and isinstance(it, Manual)]
    assert all(len(reason.split()) > 8 for reason in reasons)


# Decisions that the cloud file states


def repair(check: str, target: str, facts: Facts, **policy: Any) -> list[Step]:
    """The steps where the policy is another."""
    found, cloud = known()[check], the_cloud()
    assert isinstance(found, Repair)
    changed = cloud.model_copy(update={"policy": cloud.policy.model_copy(update=policy)})
    return found.of(target, changed, facts)


def test_images_elsewhere_are_moved_if_the_policy_has_it_so() -> None:
    images = [it.model_copy(update={"direct_url": "file:///x"}) for it in cast(Any, the_facts().openstack.images)]
    facts = with_apis(the_facts(), images=(images[0].model_copy(update={"stores": ("file",)}), *images[1:]))
    moved = repair("glance.image.location_rbd", "cloud", facts, move_images=True)
    assert moved[0] == ImageStore(image=images[0].id, name=images[0].name, store="rbd")
    with pytest.raises(NeedsOperator, match=r"policy\.move_images is off") as refused:
        repair("glance.image.location_rbd", "cloud", facts, move_images=False)
    assert refused.value.lines[:2] == (
        f"glance image-import {images[0].id} --import-method copy-image --stores rbd",
        f"glance stores-delete --store file {images[0].id}  # once it is in both",
    )
    with pytest.raises(NeedsOperator, match="Glance has no store to copy them to"):
        repair(
            "glance.image.location_rbd",
            "cloud",
            with_apis(unjoined(), images=cast(Any, facts.apis).images),
            move_images=True,
        )


def test_images_that_glance_counts_to_the_store_though_they_lie_elsewhere_are_not_copied() -> None:
    """It copies nothing to a store that an image is in by its own account."""
    image = cast(Any, the_facts().openstack.images)[0]
    location = f"rbd://another-cluster/images/{image.id}/snap"
    abroad = image.model_copy(update={"direct_url": location, "stores": ("rbd",)})
    with pytest.raises(NeedsOperator, match="counts them to its store already") as refused:
        repair("glance.image.location_rbd", "cloud", with_apis(the_facts(), images=(abroad,)), move_images=True)
    assert refused.value.lines[0] == f"openstack image save --file {image.id} {image.id}"
    beside = image.model_copy(update={"id": "beside", "direct_url": "file:///x", "stores": ("file",)})
    moved = repair(
        "glance.image.location_rbd", "cloud", with_apis(the_facts(), images=(abroad, beside)), move_images=True
    )
    assert moved == [ImageStore(image="beside", name=image.name, store="rbd")]


def test_volumes_are_promised_as_the_policy_says() -> None:
    facts = with_option(CONTROLLER, "cinder-volume", "max_over_subscription_ratio", None)
    assert options(repair("cap.overcommit", "cloud", facts, volumes_overcommit=3)) == {
        ("rbd", "max_over_subscription_ratio"): "3"
    }
    for undecided, ratio in ((facts, None), (the_facts(), 3)):
        with pytest.raises(NeedsOperator, match="is a decision"):
            repair("cap.overcommit", "cloud", undecided, volumes_overcommit=ratio)


def test_hypervisors_give_away_what_the_pool_holds() -> None:
    disks = [it.model_copy(update={"ratio": 1.0}) for it in cast(Any, the_facts().openstack.disks)]
    facts = with_apis(the_facts(), disks=tuple(disks))
    steps = repair("nova.placement.disk_gb", "cloud", facts, vms_overcommit=1)
    assert {step.host for step in steps if isinstance(step, Option)} == set(HYPERVISORS)
    ((place, value),) = options(steps).items()
    assert place == ("DEFAULT", "disk_allocation_ratio")
    assert 0.1 < float(value or 0) < 0.2
    given = with_apis(facts, disks=tuple(it.model_copy(update={"allocated": it.total}) for it in disks))
    with pytest.raises(NeedsOperator, match="given more than that already"):
        repair("nova.placement.disk_gb", "cloud", given)
    local = with_apis(facts, disks=tuple(it.model_copy(update={"total": it.total + 100}) for it in disks))
    with pytest.raises(NeedsOperator, match="is not Ceph's"):
        repair("nova.placement.disk_gb", "cloud", local)


def test_a_pool_that_is_shared_by_mistake_is_not_declared_to_be_shared() -> None:
    facts = with_option(CONTROLLER, "cinder-volume", "rbd_pool", None)
    for name in HYPERVISORS:
        facts = with_entry(facts, name, "nova-compute", "libvirt", "images_rbd_pool", "rbd")
    with pytest.raises(NeedsOperator, match="nova should use another pool"):
        repair("cinder.config.exclusive_pool", CONTROLLER, facts)


# What is bound to services


def rows_of_volumes(*hosts: str, state: str = "up") -> tuple[ServiceState, ...]:
    return tuple(
        ServiceState(binary="cinder-volume", host=host, zone="nova", status="enabled", state=state) for host in hosts
    )


def test_a_row_goes_that_no_configuration_names_and_no_volume_is_bound_to() -> None:
    rows = (*need(the_facts().openstack.volume_services, "rows"), *rows_of_volumes("controller@removed", state="down"))
    step = CinderRow(host=CONTROLLER, account="cinder", binary="cinder-volume", row="controller@removed")
    assert asked("cinder.service.up", "cloud", with_apis(the_facts(), volume_services=rows)) == [step]
    bound = (Volume(id="v", status="available", host="controller@removed#pool"),)
    with pytest.raises(NeedsOperator, match="volumes are bound to controller@removed"):
        asked("cinder.service.up", "cloud", with_apis(the_facts(), volume_services=rows, volumes=bound))


def test_a_back_end_keeps_the_name_that_its_volumes_know() -> None:
    backend = the_cloud().cinder.backend
    renamed = with_entry(the_facts(), CONTROLLER, "cinder-volume", backend, "backend_host", "new")
    old = with_apis(renamed, volume_services=rows_of_volumes(f"old@{backend}"), volumes=())
    (step,) = asked("cinder.config.ha_host", "cloud", old)
    assert options([step]) == {(backend, "backend_host"): "old"}
    assert not cast(Option, step).restarts, "it runs under that name"
    both = rows_of_volumes(f"old@{backend}", f"new@{backend}")
    elsewhere = (Volume(id="v", status="available", host=f"older@{backend}#pool"),)
    for changes in ({"volume_services": both}, {"volumes": elsewhere}):
        with pytest.raises(NeedsOperator, match="chosen once"):
            asked("cinder.config.ha_host", "cloud", with_apis(old, **changes))


def test_a_volume_of_no_back_end_is_told_with_whether_its_data_is_there() -> None:
    ids = [f"0badf00d-0000-4000-8000-00000000000{digit}" for digit in "12"]
    volumes = tuple(Volume(id=one, status="available", host="former") for one in ids)
    facts = with_apis(the_facts(), volumes=volumes)
    content = facts.contents["volumes"].model_copy(update={"names": {f"volume-{ids[0]}": "1a"}})
    facts = facts.model_copy(update={"contents": {**facts.contents, "volumes": content}})
    with pytest.raises(NeedsOperator) as refusal:
        asked("cinder.volume.host_mapping", "cloud", facts)
    first, *others = refusal.value.lines
    assert first == f"# volume {ids[1]} of former: no data in pool volumes"
    assert [line.startswith("cinder-manage volume update_host --currenthost former") for line in others] == [True]


# Images


def test_a_whole_image_gets_its_snapshot_again() -> None:
    facts = the_facts()
    image = next(it for it in need(facts.openstack.images, "images") if it.status == "active")
    (stored,) = (it for it in need(facts.ceph.images["images"], "images") if it.name == image.id)

    def bare(**changes: Any) -> Facts:
        images = {**facts.ceph.images, "images": (stored.model_copy(update={"snapshots": (), **changes}),)}
        told = with_apis(facts, images=(image,))
        return told.model_copy(update={"ceph_cluster": facts.ceph.model_copy(update={"images": images})})

    step = NewSnapshot(pool="images", image=image.id, snapshot="snap")
    assert asked("glance.image.rbd_backing", "cloud", bare()) == [step]
    with pytest.raises(NeedsOperator) as refusal:
        asked("glance.image.rbd_backing", "cloud", bare(size=1))
    assert "is 1 bytes of" in refusal.value.lines[0]
    content = facts.contents["images"]
    writer = {image.id: (RbdWatcher(address="10.0.0.9:0/1", client=5, cookie=1),)}
    busy = {**facts.contents, "images": content.model_copy(update={"watchers": writer})}
    with pytest.raises(NeedsOperator) as refusal:
        asked("glance.image.rbd_backing", "cloud", bare().model_copy(update={"contents": busy}))
    assert "somebody has it open" in refusal.value.lines[0]


def test_the_copies_of_a_cache_go_once_nothing_reads_them() -> None:
    folder = service(the_facts(), CONTROLLER, "glance-api").folders["image_cache_dir"]
    full = {"image_cache_dir": folder.model_copy(update={"files": 2, "size": 9})}
    facts = with_service(the_facts(), CONTROLLER, "glance-api", folders=full)
    step = EmptyCache(host=CONTROLLER, path=folder.path)  # type: ignore[union-attr]
    assert asked("glance.config.paste_flavor", CONTROLLER, facts) == [step]


def test_a_schema_is_upgraded_only_with_a_dump_of_it_at_hand() -> None:
    reports = {"db check": Report(rc=3, output=(), error="")}
    behind = with_service(the_facts(), CONTROLLER, "glance-api", reports=reports)
    step = GlanceSchema(host=CONTROLLER, account="glance", unit="glance-api.service", restarts=("glance-api",))
    assert asked("glance.db.sync", CONTROLLER, behind) == [step]
    keeper = the_cloud().recovery.database
    assert keeper
    system = the_facts().host(keeper.host).system
    dumps = tuple(it.model_copy(update={"complete": False}) for it in need(system.dumps, "dumps"))
    torn = with_host(keeper.host, behind, system=system.model_copy(update={"dumps": dumps}))
    with pytest.raises(NeedsOperator, match="no fresh and whole dump"):
        asked("glance.db.sync", CONTROLLER, torn)
    unknown = with_service(
        the_facts(), CONTROLLER, "glance-api", reports={"db check": Report(rc=1, output=(), error="")}
    )
    with pytest.raises(NeedsOperator, match="password's place"):
        asked("glance.db.sync", CONTROLLER, unknown)


def test_cinders_schema_is_upgraded_only_where_it_is_known_to_be_behind() -> None:
    def told(*lines: str, rc: int = 0) -> Facts:
        return with_service(
            the_facts(), CONTROLLER, "cinder-api", reports={"schema": Report(rc=rc, output=lines, error="")}
        )

    (step,) = asked("cinder.upgrade_check", "cloud", told("old", "new"))
    assert isinstance(step, CinderSchema)
    assert (step.host, step.account, step.version) == (CONTROLLER, "cinder", "new")
    assert not asked("cinder.upgrade_check", "cloud", told("new", "new"))
    for blind in (told(rc=1), told("old", "one other")):
        with pytest.raises(NeedsOperator, match="is not told"):
            asked("cinder.upgrade_check", "cloud", blind)


def test_policies_in_json_are_written_in_yaml_and_nothing_else_of_status_is_repaired() -> None:
    told = need(the_facts().host(CONTROLLER).upgrades["nova-control"])
    failed = [it.model_copy(update={"result": "Failure" if it.name == IN_JSON else it.result}) for it in told]
    facts = with_host(CONTROLLER, upgrades={"nova-control": tuple(failed)})
    facts = with_entry(facts, CONTROLLER, "nova-control", "oslo_policy", "policy_file", "rules.json")
    written, option = asked("nova.status", CONTROLLER, facts)
    assert written == PolicyInYaml(
        host=CONTROLLER, path="/etc/nova/rules.yaml", source="/etc/nova/rules.json", restarts=("nova-control",)
    )
    assert options([option]) == {("oslo_policy", "policy_file"): "/etc/nova/rules.yaml"}
    assert not asked("nova.status", CONTROLLER, the_facts())


def test_base_images_are_named_that_could_be_cloned() -> None:
    image = need(the_facts().openstack.images)[0].model_copy(update={"disk_format": "raw", "direct_url": "rbd://x"})
    name = hashlib.sha1(image.id.encode(), usedforsecurity=False).hexdigest()
    folder = need(service(the_facts(), "compute1", "nova-compute").instances)
    more = folder.model_copy(update={"base_images": (name, "0" * 40)})
    facts = with_service(with_apis(the_facts(), images=(image,)), "compute1", "nova-compute", instances=more)
    (step,) = asked("nova.image_cache.growth", "compute1", facts)
    assert step == BaseImages(host="compute1", path=folder.path, names=(name,))


def test_libvirts_socket_is_opened_and_nova_told() -> None:
    facts = with_host("compute1", listening=())
    (step,) = asked("lm.libvirt.listen", "compute1", facts)
    unit = UnitStep(host="compute1", unit="libvirtd-tls.socket", behind="libvirtd.service", restarts=("nova-compute",))
    assert step == unit


@pytest.mark.parametrize(
    ("owner", "group", "mode", "given"),
    [
        ("root", "root", 0o755, 0o755),
        ("root", "cinder", 0o500, 0o700),
        ("root", "cinder", 0o770, None),
        ("root", "root", 0o1777, None),
        ("cinder", "root", 0o700, None),
    ],
)
def test_cinder_is_given_its_folder_for_conversion(owner: str, group: str, mode: int, given: int | None) -> None:
    facts = the_facts()
    told = cast(Folder, service(facts, CONTROLLER, "cinder-volume").folders["image_conversion_dir"])
    folder = told.model_copy(update={"stat": File(path=told.path, kind="dir", owner=owner, group=group, mode=mode)})
    facts = with_service(facts, CONTROLLER, "cinder-volume", folders={"image_conversion_dir": folder})
    wanted = [Attributes(host=CONTROLLER, path=told.path, owner="cinder", group="cinder", mode=given)]
    if given is None:
        assert folder.closed_to("cinder", "cinder") == ""
    else:
        assert asked("cinder.config.upload_flags", CONTROLLER, facts) == wanted
