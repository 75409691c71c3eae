"""Cloud files drafted from recorded labs, and from those changed by hand into other clouds."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import recorded
from drafting import plugin, reading
from drafting.beside import beside
from drafting.choices import choices, release_of
from drafting.decide import (
    CEPH_CONF,
    Draft,
    Integration,
    Open,
    Value,
    ceph_access,
    integration,
    openstack_access,
    volume_type,
)
from drafting.errors import DraftError
from drafting.inventory import Inventory, Wanted, from_specs
from drafting.placing import places, settings_of
from drafting.reading import cloud_name, shared_services, whole
from drafting.seen import Account, Cluster, Container, Kept, Runner, Running, Seen, Survey, Told
from drafting.write import text_of
from fixtures.cloud import Cloud, CloudFileError, load_cloud
from fixtures.cloud.model import Reach
from fixtures.facts.base import Unreadable
from fixtures.facts.dashboard import Dashboard
from fixtures.facts.host import ConfigEntry, HostFacts, Service
from fixtures.facts.openstack import VolumeType
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts

PROFILES = ("default", "full")
RUNS = Running(load="loaded", active="active", enabled="enabled")
KOLLA_TAG = "quay.io/openstack.kolla/{}:2023.1-ubuntu-jammy"


@cache
def _facts(profile: str) -> Facts:
    return load_facts(recorded.folder(profile))


def _host(profile: str, name: str) -> HostFacts:
    return _facts(profile).host(name)


def _survey(host: HostFacts) -> Survey:
    """A first look, as the recorded host would have given it."""
    services = [it for it in host.services.values() if isinstance(it, Service)]
    units = {
        it.unit.name.replace(".target", "@a.service"): Running(
            load=it.unit.load, active=it.unit.active, enabled=it.unit.enabled
        )
        for it in services
    }
    conf, kept = host.ceph_conf, host.system.admin_keyrings
    named = {} if isinstance(conf, Unreadable) else {entry.key: entry.value for entry in conf.entries}
    return Survey(
        hostname=host.hostname,
        root=True,
        python=host.python,
        commands=("ceph", "rbd"),
        keyrings=tuple(it.path for it in kept) if isinstance(kept, tuple) else (),
        units=units,
        sites=tuple(
            it.dashboard.site.file for it in services if isinstance(it.dashboard, Dashboard) and it.dashboard.site
        ),
        clusters={CEPH_CONF: named["fsid"]} if "fsid" in named else {},
        backups={"ceph": ("/var/backups/ceph",), "dumps": ("/var/backups/openstack/*.sql.gz",)}
        if "ceph-mon" in host.services
        else {},
    )


def _seen(profile: str) -> Seen:
    facts = _facts(profile)
    hosts = {name: facts.host(name) for name in facts.hosts}
    rows = {row.name: Kept(size=row.size, min_size=row.min_size, crush_rule=row.crush_rule) for row in facts.ceph.pools}
    rules = facts.ceph.crush_rules
    apis = facts.openstack
    url = next(iter(apis.endpoints.values())) if isinstance(apis.endpoints, dict) else ""
    return Seen(
        {name: _survey(host) for name, host in hosts.items()},
        hosts,
        Runner(accounts=(Account("lab", url, "/etc/openstack/clouds.yaml", "", ("admin",), (url,)),)),
        Cluster(
            fsid=facts.ceph.fsid,
            monitors=len(facts.ceph.monitors),
            versions=tuple(facts.ceph.versions),
            pools=rows,
            rules=rules if isinstance(rules, tuple) else (),
        ),
        Told(apis.volume_types, apis.compute_services, apis.endpoints or {}, ("lab",)),
    )


def _drafted(seen: Seen, name: str = "lab", promised: Mapping[str, Any] | None = None) -> Draft:
    wanted = {host: Wanted(host, host, promised=(promised or {}).get(host, frozenset())) for host in seen.surveys}
    known = {host: (wanted[host], survey) for host, survey in seen.surveys.items()}
    return whole(name, Inventory(tuple(wanted.values()), Reach(user="root")), known, seen)


def _loaded(draft: Draft, folder: Path) -> Cloud:
    path = folder / "drafted.yaml"
    path.write_text(text_of(draft))
    return load_cloud(path)


def _set(seen: Seen, host: str, role: str, section: str, **options: str) -> Seen:
    """The same, with options of a service set behind all others."""
    facts = seen.hosts[host]
    assert isinstance(facts, HostFacts)
    service = facts.services[role]
    assert isinstance(service, Service)
    assert isinstance(service.entries, tuple)
    added = tuple(
        ConfigEntry(file="/etc/late.conf", line=nth, section=section, key=key, value=value)
        for nth, (key, value) in enumerate(options.items(), 1)
    )
    changed = service.model_copy(update={"entries": service.entries + added})
    whole_host = facts.model_copy(update={"services": {**facts.services, role: changed}})
    return replace(seen, hosts={**seen.hosts, host: whole_host})


# ---------------------------------------------------------------------------- the labs


@pytest.mark.parametrize("profile", PROFILES)
def test_a_drafted_file_says_what_the_labs_own_file_says(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/lab")
    own, drafted = load_cloud(recorded.CLOUDS[profile]), _loaded(_drafted(_seen(profile)), tmp_path)
    # Nothing on the hosts tells who is given which images over iSCSI.
    roles = {name: {role for role in host.roles if not role.startswith("iscsi-")} for name, host in own.hosts.items()}
    assert {name: set(host.roles) for name, host in drafted.hosts.items()} == {n: it for n, it in roles.items() if it}
    assert drafted.horizon == own.horizon
    assert (drafted.ceph.pools, drafted.ceph.users, drafted.glance) == (own.ceph.pools, own.ceph.users, own.glance)
    assert drafted.cinder == own.cinder
    assert drafted.ceph.access.host == own.ceph.access.host
    assert drafted.journeys.network == own.journeys.network
    differ = {key for key in type(own.policy).model_fields if getattr(own.policy, key) != getattr(drafted.policy, key)}
    # The lab's own file allows for smaller machines, says what no option says and what was recorded too early for, and
    # is for two releases of Debian.
    assert differ <= {
        *("min_host_memory", "min_host_cores", "volumes_overcommit", "move_images", "encrypted_volumes"),
        *("accepted_errors", "names_in_hosts", "ceph_security_floor", "security_groups", "service_users"),
    }


def test_encrypted_volumes_want_a_key_manager_on_every_hypervisor() -> None:
    seen = _set(_seen("default"), "controller", "cinder-volume", "key_manager", backend="barbican")
    for host in ("compute1", "compute2"):
        seen = _set(seen, host, "nova-compute", "key_manager", backend="barbican")
    found = choices(seen)["policy", "encrypted_volumes"]
    assert isinstance(found, Value)
    assert (found.value, bool(found.confirm)) == (True, True)
    without = _set(seen, "compute2", "nova-compute", "key_manager", backend="")
    assert ("policy", "encrypted_volumes") not in choices(without)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_drafted_file_makes_the_recorded_lab_green(profile: str, tmp_path: Path) -> None:
    _loaded(_drafted(_seen(profile), _facts(profile).cloud), tmp_path)
    command = [sys.executable, "-m", "pytest", "--cloud", str(tmp_path / "drafted.yaml"), "-m", "static", "-q"]
    command += ["--facts", str(recorded.folder(profile)), "--reports", str(tmp_path / "runs"), "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=recorded.PROJECT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("profile", PROFILES)
def test_each_value_says_where_it_was_found(profile: str) -> None:
    for path, entry in _drafted(_seen(profile)).items():
        if isinstance(entry, Value) and path[0] not in ("name", "reach", "hosts"):
            assert entry.found, path


@pytest.mark.parametrize("profile", PROFILES)
def test_no_digest_of_a_secret_is_in_a_draft(profile: str) -> None:
    assert "hmac:" not in text_of(_drafted(_seen(profile)))


def test_every_key_of_the_model_stands_in_a_draft() -> None:
    text = text_of(_drafted(_seen("default")))
    for key in ("observe_timeout", "ceph_security_floor", "trash_after", "max_heartbeat_gap", "os_brick", "waivers"):
        assert f"{key}:" in text


def test_a_cloud_with_a_quorum_keeps_the_defaults() -> None:
    """What is weaker in production is a finding, and not drafted away."""
    seen = _seen("default")
    assert isinstance(seen.ceph, Cluster)
    policy = {path[1] for path in choices(replace(seen, ceph=seen.ceph.model_copy(update={"monitors": 3})))}
    weaker = {"kind", "failure_domain", "ceph_security_floor", "encrypted", "min_host_cores", "risk_accepted"}
    assert not weaker & policy


def test_a_better_failure_domain_is_kept() -> None:
    seen = _seen("default")
    assert isinstance(seen.ceph, Cluster)
    rules = tuple(
        r.model_copy(update={"steps": ("take default", "chooseleaf_firstn 0 type rack")}) for r in seen.ceph.rules
    )
    found = choices(replace(seen, ceph=seen.ceph.model_copy(update={"monitors": 5, "rules": rules})))
    entry = found["policy", "failure_domain"]
    assert isinstance(entry, Value)
    assert (entry.value, entry.confirm) == ("rack", "")


# ---------------------------------------------------------------------------- beside the integration


def _with_endpoints(seen: Seen, **urls: str) -> Seen:
    assert isinstance(seen.apis, Told)
    assert isinstance(seen.apis.endpoints, dict)
    there = {**seen.apis.endpoints, **{f"{kind.replace('_', '-')} in RegionOne": url for kind, url in urls.items()}}
    return replace(seen, apis=replace(seen.apis, endpoints=there))


@pytest.mark.parametrize(
    ("url", "served_by"),
    [
        ("http://rgw:7480/swift/v1/AUTH_%(tenant_id)s", "radosgw"),
        ("http://proxy:8080/v1/AUTH_%(tenant_id)s", None),
    ],
)
def test_radosgw_is_known_by_its_endpoint(url: str, served_by: str | None) -> None:
    seen = _with_endpoints(_seen("default"), object_store=url)
    found = beside(seen, seen.surveys).get(("swift", "served_by"))
    assert (found.value if isinstance(found, Value) else None) == served_by


def test_the_dashboard_is_taken_to_be_where_keystone_is() -> None:
    seen = _with_endpoints(_seen("full"), identity="https://[2001:db8::1]:5000/v3")
    found = beside(seen, seen.surveys)["horizon", "url"]
    assert isinstance(found, Value)
    assert (found.value, bool(found.confirm)) == ("https://[2001:db8::1]/horizon/", True)


@pytest.mark.parametrize(("distro", "prefix"), [("rocky 9.4", "/dashboard/"), ("ubuntu 24.04", "/horizon/")])
def test_a_dashboard_whose_site_is_not_known_is_where_its_package_puts_it(distro: str, prefix: str) -> None:
    seen = _seen("full")
    controller = _host("full", "controller").model_copy(update={"distro": distro, "services": {}})
    found = beside(replace(seen, hosts={**seen.hosts, "controller": controller}), {})["horizon", "url"]
    assert isinstance(found, Value)
    assert found.value == f"http://10.70.4.10{prefix}"


def test_the_dashboard_of_kolla_is_at_the_root() -> None:
    seen = _seen("full")
    seen = replace(seen, surveys={name: _in_containers(survey) for name, survey in seen.surveys.items()})
    found = beside(seen, seen.surveys)["horizon", "url"]
    assert isinstance(found, Value)
    assert found.value == "http://10.70.4.10/"


def test_a_dashboard_of_which_no_address_is_known_is_asked_for() -> None:
    found = beside(replace(_seen("full"), apis=None), {})["horizon", "url"]
    assert isinstance(found, Open)
    assert (found.required, found.candidates) == (True, ("controller: below /horizon/",))


def test_a_gateway_of_iscsi_is_asked_about() -> None:
    gateway = Survey(hostname="gw", root=True, python="3", units={"rbd-target-api.service": RUNS})
    found = beside(_seen("default"), {"gw": gateway})["iscsi", "target"]
    assert isinstance(found, Open)
    assert (found.required, found.candidates) == (False, ("gw: rbd-target-api.service, active",))
    assert not beside(_seen("default"), _seen("default").surveys)


# ---------------------------------------------------------------------------- kolla-ansible


def _in_containers(survey: Survey) -> Survey:
    """The same host as kolla-ansible would have deployed it."""
    names = {
        place.found.partition(".")[0]: role for role, place in places(survey).items() if not role.startswith("ceph")
    }
    kolla = {"nova-control": "nova_api", "neutron-server": "neutron_server"}
    there = [kolla.get(role, role.replace("-", "_")) for role in names.values()]
    there += ["nova_libvirt"] if "nova-compute" in names.values() else []
    units = (
        {name: it for name, it in survey.units.items() if name.startswith("ceph")}
        if isinstance(survey.units, dict)
        else {}
    )
    containers = {it: Container(runtime="docker", image=KOLLA_TAG.format(it.replace("_", "-"))) for it in there}
    return survey.model_copy(update={"units": units, "containers": containers})


def test_services_in_containers(tmp_path: Path) -> None:
    seen = _seen("default")
    seen = replace(seen, surveys={name: _in_containers(survey) for name, survey in seen.surveys.items()})
    cloud = _loaded(_drafted(seen), tmp_path)
    own = load_cloud(recorded.CLOUDS["default"])
    assert {name: set(host.roles) for name, host in cloud.hosts.items()} == {
        name: set(host.roles) for name, host in own.hosts.items()
    }
    assert cloud.services["glance-api"].container == "glance_api"
    assert cloud.services["nova-control"].container == "nova_api"
    assert cloud.services["libvirt"].container == "nova_libvirt"
    assert cloud.services["keystone"].container == "keystone"
    assert cloud.releases.openstack == "2023.1"


def test_a_container_that_is_down_is_known_by_its_unit() -> None:
    unit = Running(load="loaded", active="failed", enabled="enabled")
    survey = Survey(hostname="c", root=True, python="3.9.1", units={"kolla-cinder_volume-container.service": unit})
    assert settings_of(survey)["cinder-volume"].container == "cinder_volume"


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("quay.io/openstack.kolla/glance-api:2023.1-ubuntu-jammy", "2023.1"),
        ("registry:5000/kolla/centos-source-nova-api:zed-rocky-9", "zed"),
        ("registry.redhat.io/rhosp/openstack-cinder-volume:17.1", ""),
        ("glance-api@sha256:aaaa", ""),
        ("glance-api:latest", ""),
    ],
)
def test_the_release_in_an_images_tag(image: str, release: str) -> None:
    assert release_of(image) == release


def test_a_source_install_is_asked_for_its_release() -> None:
    seen = _seen("default")
    facts = seen.hosts["compute1"]
    assert isinstance(facts, HostFacts)
    bare = facts.model_copy(update={"packages": {"librbd1": "17.2.6"}})
    found = choices(replace(seen, hosts={**seen.hosts, "compute1": bare}))["releases", "openstack"]
    assert _open(found).candidates == ("compute1: nova-compute (nova-compute.service, active): no package of it",)


def test_nobody_who_can_ask_ceph_is_a_question() -> None:
    seen = _seen("default")
    bare = {name: it.model_copy(update={"keyrings": ()}) for name, it in seen.surveys.items()}
    question = _open(ceph_access(replace(seen, surveys=bare))["ceph", "access", "host"])
    assert question.required
    assert question.candidates[0].startswith("storage has the commands")


def test_deviations_of_some_hosts_stand_with_them() -> None:
    surveys = dict(_seen("default").surveys)
    surveys["compute1"] = _in_containers(surveys["compute1"])
    assert "nova-compute" not in shared_services(surveys)
    row = _drafted(replace(_seen("default"), surveys=surveys))["hosts", "compute1"]
    assert isinstance(row, Value)
    assert row.value["services"] == {
        "nova-compute": {"container": "nova_compute"},
        "libvirt": {"container": "nova_libvirt"},
    }


# ---------------------------------------------------------------------------- which roles


def _on(**units: str) -> Survey:
    rows = {f"{name.replace('_', '-')}.service": told.split() for name, told in units.items()}
    running = {name: Running(load="loaded", active=row[0], enabled=row[1]) for name, row in rows.items()}
    return Survey(hostname="c", root=True, python="3.11.2", units=running)


def test_what_is_only_installed_is_no_role() -> None:
    assert places(_on(glance_api="inactive disabled")) == {}


def test_what_is_down_and_starts_at_boot_is_one() -> None:
    assert places(_on(glance_api="failed enabled"))["glance-api"].found == "glance-api.service, failed, but enabled"


def test_a_web_server_is_keystone_only_where_it_hosts_keystone() -> None:
    web = _on(apache2="active enabled")
    assert places(web) == {}
    hosting = web.model_copy(update={"sites": ("/etc/apache2/sites-enabled/keystone.conf",)})
    assert set(places(hosting)) == {"keystone"}


def test_a_unit_behind_one_that_is_not_used_is_named() -> None:
    """The observer takes the first unit that is installed."""
    survey = _on(neutron_api="inactive disabled", neutron_server="active enabled")
    assert settings_of(survey)["neutron-server"].units == ("neutron-server",)


@pytest.mark.parametrize(
    "unit",
    ["ceph-mon@a.service", "ceph-0f6d1dd0-7e5c-11ee-8c99-0242ac120002@mon.host1.service", "snap.microceph.mon.service"],
)
def test_monitors_of_all_kinds(unit: str) -> None:
    running = Running(load="loaded", active="active", enabled="enabled")
    assert set(places(Survey(hostname="c", root=True, python="3", units={unit: running}))) == {"ceph-mon"}


def test_what_an_inventory_promises_and_nobody_finds_is_told() -> None:
    text = text_of(_drafted(_seen("default"), promised={"compute1": frozenset({"nova-compute", "cinder-volume"})}))
    assert "the inventory promises cinder-volume, of which nothing was found here" in text


# ---------------------------------------------------------------------------- what is not decided


def _open(entry: object) -> Open:
    assert isinstance(entry, Open)
    return entry


def test_two_back_ends_are_a_question(tmp_path: Path) -> None:
    seen = _set(_seen("default"), "controller", "cinder-volume", "DEFAULT", enabled_backends="rbd,hdd")
    driver = "cinder.volume.drivers.rbd.RBDDriver"
    seen = _set(seen, "controller", "cinder-volume", "hdd", volume_driver=driver, rbd_pool="slow", rbd_user="cinder")
    draft = _drafted(seen)
    question = _open(draft["cinder", "backend"])
    assert question.required
    assert [it.partition(",")[0] for it in question.candidates] == ["rbd: pool volumes", "hdd: pool slow"]
    _open(draft["ceph", "pools", "volumes"])
    with pytest.raises(CloudFileError, match=r"ceph.pools.volumes: is missing(.*\n)*.*cinder: found None"):
        _loaded(draft, tmp_path)
    assert plugin._usable(text_of(draft), tmp_path / "prod.yaml", draft)


def test_hosts_that_disagree_are_a_question() -> None:
    seen = _set(_seen("default"), "compute2", "nova-compute", "libvirt", rbd_user="other")
    question = _open(integration(seen)["ceph", "users", "nova"])
    assert any(it.startswith("other (compute2: /etc/late.conf:1") for it in question.candidates)


def test_no_rbd_back_end_is_a_question() -> None:
    seen = _set(_seen("default"), "controller", "cinder-volume", "DEFAULT", enabled_backends="lvm")
    question = _open(integration(seen)["cinder", "backend"])
    assert "controller: lvm" in question.question


def test_disks_that_are_not_on_rbd_are_left_out() -> None:
    seen = _seen("default")
    for host in ("compute1", "compute2"):
        seen = _set(seen, host, "nova-compute", "libvirt", images_type="qcow2")
    entry = integration(seen)["ceph", "pools", "vms"]
    assert isinstance(entry, Value)
    assert entry.value is None
    assert "[libvirt] images_type = qcow2" in entry.found


def test_several_volume_types_are_a_question_unless_one_is_the_default() -> None:
    seen, told = _seen("default"), {"volume_backend_name": "rbd"}
    assert isinstance(seen.apis, Told)
    types = tuple(VolumeType(name=name, is_default=False, extra_specs=told) for name in ("a", "b"))
    undecided = replace(seen, apis=replace(seen.apis, volume_types=types))
    assert len(_open(volume_type(undecided)["cinder", "volume_type"]).candidates) == 2
    chosen = (types[0], types[1].model_copy(update={"is_default": True}))
    entry = volume_type(replace(seen, apis=replace(seen.apis, volume_types=chosen)))["cinder", "volume_type"]
    assert isinstance(entry, Value)
    assert entry.value == "b"


def test_no_account_names_where_one_may_be() -> None:
    seen = replace(
        _seen("default"), runner=Runner(accounts=(Account("old", "http://10.9.9.9:5000", "/c.yaml", "no answer"),))
    )
    surveys = {
        **seen.surveys,
        "controller": seen.surveys["controller"].model_copy(update={"clouds": ("/root/clouds.yaml",)}),
    }
    question = _open(openstack_access(replace(seen, surveys=surveys))["openstack", "cloud"])
    assert question.required
    assert question.candidates[0].startswith("old (/c.yaml: http://10.9.9.9:5000: no answer")
    assert "controller:/root/clouds.yaml" in question.candidates[1]


def test_two_administrators_are_a_question() -> None:
    seen = _seen("default")
    (one,) = seen.runner.accounts
    two = Runner(accounts=(one, replace(one, name="other")))
    assert len(_open(openstack_access(replace(seen, runner=two))["openstack", "cloud"]).candidates) == 2


# ---------------------------------------------------------------------------- what is refused


def test_two_clusters_are_refused() -> None:
    seen = _seen("default")
    other = seen.surveys["storage"].model_copy(update={"clusters": {"/etc/ceph/ceph.conf": "another"}})
    with pytest.raises(DraftError, match="2 Ceph clusters") as caught:
        Integration(replace(seen, surveys={**seen.surveys, "storage": other})).fsid()
    assert "another: storage: /etc/ceph/ceph.conf" in str(caught.value)


def _asked(**more: Any) -> Any:
    options = {"draft_overwrite": False, "host": [], "ansible_inventory": None, "ssh_config": None}
    options |= {"ssh_identity_file": None, "sudo": False, "clouds_yaml": None, **more}
    return SimpleNamespace(option=argparse.Namespace(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say which hosts"),
        ({"host": ["a"], "ansible_inventory": "inv"}, "one of both"),
        ({"host": ["gopher://a"]}, "write ssh://"),
        ({"ansible_inventory": "/nonexistent/inv"}, "is not there"),
        ({"host": ["ssh://nobody@127.0.0.1:1"]}, "1 of 1 hosts cannot be looked at; nothing was written"),
    ],
)
def test_bad_input_is_answered_and_nothing_is_written(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match=message):
        plugin._draft(tmp_path / "prod.yaml", _asked(**options))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten_untold(tmp_path: Path) -> None:
    path = tmp_path / "prod.yaml"
    path.write_text("mine")
    with pytest.raises(pytest.UsageError, match="is there already"):
        plugin._draft(path, _asked(host=["a"]))
    with pytest.raises(DraftError, match="came to be meanwhile"):
        plugin._write(path, "new", overwrite=False)
    assert path.read_text() == "mine"
    plugin._write(path, "new", overwrite=True)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_host_without_anything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    empty: Callable[..., dict[str, Survey]] = lambda hosts, tell: {  # noqa: E731
        name: Survey(hostname=name, root=True, python="3") for name in hosts
    }
    monkeypatch.setattr(reading, "surveyed", empty)
    with pytest.raises(DraftError, match="none of these hosts runs a part of a cloud"):
        reading.drafted("c", from_specs(["a"], Reach()), None, lambda line: None)


def test_a_host_that_cannot_be_looked_at_is_not_taken_for_an_empty_one() -> None:
    survey = Survey(hostname="c", root=True, python="3", units=Unreadable(unreadable="systemctl: no answer"))
    assert survey.blind == ("units: systemctl: no answer",)


@pytest.mark.parametrize(("file", "name"), [("prod.yaml", "prod"), ("my cloud.v2.yaml", "my-cloud"), ("…", "cloud")])
def test_the_clouds_name_is_its_files(file: str, name: str) -> None:
    assert cloud_name(Path(file)) == name


def test_hostile_names_end_no_comment(tmp_path: Path) -> None:
    seen = _set(_seen("default"), "controller", "glance-api", "rbd", rbd_store_pool="images")
    facts = seen.hosts["controller"]
    assert isinstance(facts, HostFacts)
    service = facts.services["glance-api"]
    assert isinstance(service, Service)
    assert isinstance(service.entries, tuple)
    hostile = tuple(entry.model_copy(update={"file": "/etc/a\nname: evil"}) for entry in service.entries)
    told = {**facts.services, "glance-api": service.model_copy(update={"entries": hostile})}
    seen = replace(seen, hosts={**seen.hosts, "controller": facts.model_copy(update={"services": told})})
    assert _loaded(_drafted(seen), tmp_path).name == "lab"


def test_trying_a_cloud_of_which_nothing_answers(tmp_path: Path) -> None:
    text = (recorded.PROJECT / "clouds/example.yaml").read_text()
    lines = [line for line in text.splitlines() if "clouds_yaml" not in line]
    path = tmp_path / "gone.yaml"
    path.write_text(
        "\n".join(lines)
        .replace("ctl1.example.net", "127.0.0.1:1")
        .replace("    roles: [nova-compute]", "    address: 127.0.0.1:1\n    roles: [nova-compute]")
        .replace("    roles: [ceph-mon", "    address: 127.0.0.1:1\n    roles: [ceph-mon")
        .replace("    roles: [iscsi", "    address: 127.0.0.1:1\n    roles: [iscsi")
        .replace("cloud: prod ", "cloud: prod\n  clouds_yaml: /nonexistent ")
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--check-cloud", str(path), "--reports", str(tmp_path / "runs")],
        cwd=recorded.PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "valid; cloud prod, 7 hosts" in done.stdout
    assert "NOT REACHED (9):" in done.stdout
    assert "host cmp1: ssh:" in done.stdout
    assert not list(tmp_path.rglob("report.json"))
