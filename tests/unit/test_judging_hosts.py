"""Checks of hosts on made facts: what the lab cannot hold (SELinux, AppArmor, other releases, other policies)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import recorded
from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.ceph import CephFacts
from fixtures.facts.files import File
from fixtures.facts.host import ConfigEntry, HostFacts, IniFile, Libvirt, Secret, Service, Unit
from fixtures.facts.openstack import Image, ImageApi, OpenStackFacts
from fixtures.facts.run import Facts
from fixtures.facts.store import load_facts
from fixtures.facts.system import Archive, Clock, Confinement, Dump, Label, PackageSource, SudoRule, System
from fixtures.floors import package_older, verdicts
from fixtures.privileges import may_do_too_much
from suites.hosts import test_client_section, test_surroundings, test_versions
from suites.recovery import test_database, test_keys
from suites.security import test_services as security_services

AVC = 'type=AVC msg=audit(1700000000.1:7): avc:  denied  { read } comm="glance-api" name="ceph.client.glance.keyring"'
DENIED = 'audit: type=1400 apparmor="DENIED" operation="mknod" profile="libvirt-1" name="/run/ceph/guests/x.asok"'
THERE = File(path="/etc/ceph/ceph.conf", kind="file")


def _cloud(**more: Any) -> Cloud:
    return Cloud.model_validate(
        {
            "name": "made",
            "hosts": {"cmp1": {"roles": ["nova-compute"]}, "cmp2": {"roles": ["nova-compute"]}},
            "ceph": {"pools": {"images": "i", "volumes": "v"}, "users": {"glance": "g", "cinder": "c", "nova": "c"}},
            "cinder": {"backend": "rbd", "volume_type": "ceph"},
            "openstack": {"cloud": "made"},
            **more,
        }
    )


def _host(name: str = "cmp1", **more: Any) -> HostFacts:
    return HostFacts(
        name=name,
        hostname=name,
        collected_at=0,
        python="3.11.2",
        distro=more.pop("distro", "debian 12"),
        ceph_dir=THERE,
        ceph_conf=IniFile(stat=THERE),
        **more,
    )


def _facts(*hosts: HostFacts, apis: OpenStackFacts | None = None) -> Facts:
    blind = Unreadable(unreadable="not asked")
    ceph: CephFacts | Unreadable = blind
    return Facts(observed_at=0, hosts={host.name: host for host in hosts}, ceph_cluster=ceph, apis=apis or blind)


def _fails(check: Callable[[], None]) -> str:
    with pytest.raises(AssertionError) as failed:
        check()
    return str(failed.value)


def _confined(**more: Any) -> HostFacts:
    made = {"selinux": "off", "apparmor": False, **more}
    return _host(system=System(confinement=Confinement.model_validate(made)))


def test_a_keyring_with_a_foreign_label_is_found() -> None:
    path = "/etc/ceph/ceph.client.g.keyring"
    wrong = Label(path=path, context="unconfined_u:object_r:admin_home_t:s0", wanted="system_u:object_r:etc_t:s0")
    host = _confined(selinux="enforcing", labels=[wrong])
    said = _fails(lambda: test_client_section.test_selinux_lets_services_at_their_keyrings(host))
    assert "admin_home_t instead of etc_t" in said


def test_other_users_and_levels_of_a_label_are_no_matter() -> None:
    alike = Label(path="/etc/ceph", context="unconfined_u:object_r:etc_t:s0", wanted="system_u:object_r:etc_t:s0:c1")
    test_client_section.test_selinux_lets_services_at_their_keyrings(_confined(selinux="enforcing", labels=[alike]))


def test_what_selinux_refused_is_found() -> None:
    host = _confined(selinux="enforcing", denials=[AVC])
    assert "denied" in _fails(lambda: test_client_section.test_selinux_lets_services_at_their_keyrings(host))


@pytest.mark.parametrize("mode", ["permissive", "off"])
def test_selinux_that_does_not_enforce_does_not_apply(mode: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=mode):
        test_client_section.test_selinux_lets_services_at_their_keyrings(_confined(selinux=mode, denials=[AVC]))


def test_what_apparmor_refused_is_found() -> None:
    host = _confined(apparmor=True, denials=[DENIED])
    assert "x.asok" in _fails(lambda: test_client_section.test_apparmor_refuses_nothing_of_ceph(host))


def test_apparmor_that_is_quiet_or_off() -> None:
    test_client_section.test_apparmor_refuses_nothing_of_ceph(_confined(apparmor=True))
    with pytest.raises(pytest.skip.Exception, match="off"):
        test_client_section.test_apparmor_refuses_nothing_of_ceph(_confined(denials=[DENIED]))


def test_denials_that_could_not_be_read_are_not_measured() -> None:
    host = _confined(apparmor=True, denials={"unreadable": "journalctl: no rights"})
    with pytest.raises(NotMeasured, match="no rights"):
        test_client_section.test_apparmor_refuses_nothing_of_ceph(host)


def _hypervisor(name: str, libvirt: str, qemu: str, nova: str) -> HostFacts:
    virtual = Libvirt(uri="qemu:///system", hostname=name, libvirt_version=libvirt, qemu_version=qemu)
    return _host(name, libvirt=virtual, packages={"python3-nova": nova})


@pytest.mark.parametrize(
    ("nova", "libvirt", "qemu", "said"),
    [
        ("3:26.2.0-1", "6.0.0", "4.2.0", ""),
        ("3:26.2.0-1", "5.9.0", "4.2.0", "libvirt 5.9.0 (at least 6.0.0)"),
        ("3:29.0.1-1", "7.0.0", "5.1.0", "QEMU 5.1.0 (at least 5.2.0)"),
        ("3:33.0.0-1", "8.0.0", "6.2.0", ""),
        ("3:33.0.0-1", "7.10.0", "6.2.0", "libvirt 7.10.0 (at least 8.0.0)"),
        ("2:17.0.1-1", "4.0.0", "2.11.0", "libvirt 4.0.0 (at least 4.4.0)"),
    ],
)
def test_least_libvirt_and_qemu_follow_the_release(nova: str, libvirt: str, qemu: str, said: str) -> None:
    hosts = [_hypervisor(name, libvirt, qemu, nova) for name in ("cmp1", "cmp2")]
    cloud = _cloud()
    if not said:
        test_versions.test_hypervisors_are_new_enough_and_alike(cloud, _facts(*hosts))
        return
    assert said in _fails(lambda: test_versions.test_hypervisors_are_new_enough_and_alike(cloud, _facts(*hosts)))


def test_one_hypervisor_of_another_version_is_named_alone() -> None:
    names = {"cmp1": "9.0.0", "cmp2": "9.0.0", "cmp3": "10.0.0"}
    hosts = [_hypervisor(name, libvirt, "7.2.0", "2:26.2.0-1") for name, libvirt in names.items()]
    cloud = _cloud(hosts={name: {"roles": ["nova-compute"]} for name in names})
    said = _fails(lambda: test_versions.test_hypervisors_are_new_enough_and_alike(cloud, _facts(*hosts)))
    assert "found cmp3: libvirt 10.0.0, QEMU 7.2.0; expected libvirt 9.0.0, QEMU 7.2.0 as on the other hosts" in said


def _apis(direct_url: str) -> OpenStackFacts:
    blind = Unreadable(unreadable="not asked")
    image = Image(
        id="1",
        name="cirros",
        status="active",
        disk_format="raw",
        container_format="bare",
        size=1,
        direct_url=direct_url,
    )
    return OpenStackFacts(
        region="r",
        image_api=ImageApi(endpoint="https://image", versions=("v2",), stores={}),
        images=(image,),
        volume_services=blind,
        compute_services=blind,
        volume_types=blind,
        backend_pools=blind,
    )


def test_locations_on_the_public_endpoint_are_found() -> None:
    facts = _facts(apis=_apis("rbd://fsid/images/1/snap"))
    assert "cirros" in _fails(lambda: security_services.test_public_images_do_not_tell_where_they_are(facts))
    security_services.test_public_images_do_not_tell_where_they_are(_facts(apis=_apis("")))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2:26.2.2-1~deb12u1", "2:26.2.2-1~deb12u2"),
        ("2:26.2.2-1~deb12u2", "2:26.2.2-1"),
        ("2:26.2.2-1", "2:26.2.2-1+deb12u1"),
        ("26.9.9-1", "2:1.0-1"),
        ("1:9.2-1", "1:10.0-1"),
        ("1.0~rc1-1", "1.0-1"),
        ("4.1.0-3", "4.1.0-4"),
        ("1:26.1.0-1.el9", "1:26.1.0-2.el9"),
    ],
)
def test_packages_are_in_the_order_of_dpkg(older: str, newer: str) -> None:
    assert package_older(older, newer)
    assert not package_older(newer, older)
    assert not package_older(newer, newer)


@pytest.mark.parametrize(
    ("distro", "installed", "fixes", "open_"),
    [
        ("debian 12", "2:26.2.2-1~deb12u5", {}, set()),
        ("debian 12", "2:26.2.2-1~deb12u2", {}, {"OSSA-2024-002", "OSSN-0101"}),
        ("debian 13", "2:31.0.0-6+deb13u2", {}, {"OSSN-0101"}),
        ("debian 13", "2:31.0.0-6+deb13u3", {}, set()),  # nothing tells whether the next one has it
        ("ubuntu 22.04", "3:26.2.2-0ubuntu1", {"python3-nova": ("CVE-2024-32498",)}, {"OSSA-2024-002", "OSSN-0101"}),
        ("gentoo", "26.2.2", {}, {"OSSA-2024-001", "OSSA-2024-002", "OSSN-0101"}),
    ],
)
def test_holes_are_told_by_floor_changelog_or_number(
    distro: str, installed: str, fixes: dict[str, tuple[str, ...]], open_: set[str]
) -> None:
    host = _host(distro=distro, system=System(fixes=fixes))
    found = {verdict.advisory.id for verdict in verdicts(host, {"python3-nova": installed}) if verdict.open}
    assert found == open_


@pytest.mark.parametrize(("glance", "open_"), [("2:30.0.0-3", True), ("2:30.0.0-3+deb13u1", False)])
def test_a_floor_is_of_its_distribution(glance: str, open_: bool) -> None:
    found = list(verdicts(_host(distro="debian 13"), {"python3-glance": glance}))
    assert [(verdict.advisory.id, verdict.open) for verdict in found] == [("OSSA-2026-004", open_)]


def test_a_distribution_that_tells_nothing_is_not_measured() -> None:
    host = _host(distro="ubuntu 22.04", packages={"python3-nova": "3:26.2.2-0ubuntu1"}, system=System(fixes={}))
    with pytest.raises(NotMeasured, match="OSSA-2024-001"):
        test_versions.test_known_holes_are_mended(host)


@pytest.mark.parametrize(
    ("cinder", "bad"), [("2:21.3.1-1", False), ("2:22.0.0-1", True), ("2:28.0.0-1", True), ("2:28.0.1-1", False)]
)
def test_the_fault_of_restores_is_known_by_version(cinder: str, bad: bool) -> None:
    assert bool(list(verdicts(_host(), {"python3-cinder": cinder}, "backup"))) is bad


@pytest.mark.parametrize(
    ("horizon", "bad"), [("3:23.0.0-5+deb12u2", False), ("3:25.6.0-1", True), ("25.7.2", True), ("25.7.3", False)]
)
def test_the_flood_of_sessions_is_known_by_version(horizon: str, bad: bool) -> None:
    assert bool(list(verdicts(_host(), {"python3-django-horizon": horizon}, "dashboard"))) is bad


@pytest.mark.parametrize(
    ("args", "user"),
    [("--id volumes", "volumes"), ("-n client.x --y", "x"), ("--name=client.z", "z"), ("--keyring /k", ""), ("", "")],
)
def test_the_user_of_ceph_args(args: str, user: str) -> None:
    assert test_surroundings._user(args) == user


def test_a_clock_that_is_far_off_is_found_and_an_unread_one_is_not_measured() -> None:
    kept = _host("cmp1", system=System(clock=Clock(source="chronyd", synchronised=True, offset=-0.2)))
    off = _host("cmp2", system=System(clock=Clock(source="ntpd", synchronised=True, offset=1.5)))
    said = _fails(lambda: test_surroundings.test_clocks_are_kept(_cloud(), _facts(kept, off)))
    assert "found cmp2: ntpd: +1.500 s;" in said
    with pytest.raises(NotMeasured, match="cmp2"):
        test_surroundings.test_clocks_are_kept(_cloud(), _facts(kept, _host("cmp2")))


def _names(name: str, **told: tuple[str, ...] | Unreadable) -> HostFacts:
    return _host(name, system=System(names=dict(told)))


def test_a_host_may_know_itself_by_loopback_and_nobody_else() -> None:
    one = _names("cmp1", cmp1=("127.0.1.1",), cmp2=("10.0.0.2",))
    two = _names("cmp2", cmp1=("10.0.0.1",), cmp2=("10.0.0.2",))
    test_surroundings.test_names_lead_to_the_same_host_everywhere(_cloud(), _facts(one, two))
    three = _names("cmp3", cmp1=("10.0.0.1",), cmp2=("127.0.0.1",))
    cloud = _cloud(hosts={name: {"roles": ["nova-compute"]} for name in ("cmp1", "cmp2", "cmp3")})
    facts = _facts(one, two, three)
    said = _fails(lambda: test_surroundings.test_names_lead_to_the_same_host_everywhere(cloud, facts))
    assert "cmp2 on cmp3: 127.0.0.1 instead of 10.0.0.2;" in said


def test_names_of_the_cloud_file_alone_are_not_measured() -> None:
    nowhere = Unreadable(unreadable="does not resolve on this host")
    hosts = [_names(name, cmp1=nowhere, cmp2=nowhere) for name in ("cmp1", "cmp2")]
    with pytest.raises(NotMeasured, match="resolves anywhere"):
        test_surroundings.test_names_lead_to_the_same_host_everywhere(_cloud(), _facts(*hosts))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"uri": "http://deb.debian.org/debian", "signed_by": "/usr/share/keyrings/x.gpg"}, ""),
        ({"uri": "https://download.ceph.com/debian"}, ""),
        ({"uri": "http://ceph.com/debian"}, "plain http, and no key of its own"),
        ({"uri": "https://x", "checked": False}, "signatures are not checked"),
    ],
)
def test_sources_prove_themselves_by_a_key_or_by_https(source: dict[str, Any], why: str) -> None:
    assert test_versions._untrusted(PackageSource(file="f", line=1, **source)) == why


@pytest.mark.parametrize(
    ("rule", "everything"),
    [
        ("ceph ALL = (root) NOPASSWD:ALL", True),
        ("%wheel ALL=(ALL) NOPASSWD: ALL", True),
        ("x ALL=(ALL) NOPASSWD: SETENV: ALL", True),
        ("x ALL=(ALL) NOPASSWD: /bin/ls, ALL", True),
        ("nova ALL = (root) NOPASSWD: /usr/bin/nova-rootwrap", False),
        ("ceph ALL=NOPASSWD: /usr/sbin/smartctl -x --json=o /dev/*", False),
    ],
)
def test_a_rule_that_allows_everything(rule: str, everything: bool) -> None:
    told = SudoRule(file="x", line=1, who=rule.split()[0], commands=rule.partition("NOPASSWD:")[2].strip())
    assert may_do_too_much(told, _cloud()) is everything


def test_a_production_cloud_that_names_no_backups_is_told_so() -> None:
    assert "recovery.database is not set" in _fails(
        lambda: test_database.test_database_dumps_are_fresh_and_whole(_cloud(), _facts())
    )
    assert "recovery.keys is not set" in _fails(
        lambda: test_keys.test_keys_are_saved_with_the_database(_cloud(), _facts())
    )


def test_what_nova_asks_the_key_manager_for_need_not_be_saved() -> None:
    archive = Archive(stat=File(path="/b/keys.tar", kind="file", mode=0o600, mtime=0), members=("etc/ceph/ceph.conf",))
    secrets = tuple(
        Secret(
            uuid=use,
            usage_type=use,
            usage_name=use,
            ephemeral=False,
            private=False,
            value=None,
            definition=THERE,
            value_file=THERE,
        )
        for use in ("ceph", "iscsi", "volume", "vtpm")
    )
    virtual = Libvirt(uri="x", hostname="cmp1", libvirt_version="9", qemu_version="7", secrets=secrets)
    facts = _facts(_host(libvirt=virtual, system=System(archive=archive)))
    cloud = _cloud(recovery={"keys": {"host": "cmp1", "path": "/b/keys.tar"}})
    said = _fails(lambda: test_keys.test_keys_are_saved_with_the_database(cloud, facts))
    missing = said.partition("without ")[2].partition(";")[0].split(", ")
    secrets_missing = [it for it in missing if "secrets" in it]
    assert secrets_missing == ["etc/libvirt/secrets/ceph.xml", "etc/libvirt/secrets/iscsi.xml"]


def _dump(**more: Any) -> Dump:
    stat = File(
        path=more.pop("path", "/b/all-2026-11-21.sql.gz"),
        kind="file",
        mode=0o600,
        size=5000,
        mtime=more.pop("mtime", 9e4),
    )
    return Dump.model_validate({"stat": stat, "content": "compressed", "complete": True, "schemas": ("nova",), **more})


@pytest.mark.parametrize(
    ("dump", "encrypted", "said"),
    [
        ({}, False, ""),
        ({"complete": False}, False, "does not end with"),
        ({}, True, "not encrypted"),
        ({"content": "encrypted", "complete": None, "schemas": (), "path": "/b/nova.sql.gpg"}, True, ""),
        ({"mtime": 0}, False, "hours old"),
        ({"schemas": ("glance",)}, False, "no dump of nova"),
    ],
)
def test_dumps_are_judged(dump: dict[str, Any], encrypted: bool, said: str) -> None:
    kept = {"host": "cmp2", "path": "/b/*", "encrypted": encrypted}
    hosts = {"cmp1": {"roles": ["nova-control"]}, "cmp2": {"roles": ["nova-compute"]}}
    cloud = _cloud(hosts=hosts, recovery={"database": kept})
    entry = ConfigEntry(file="f", line=1, section="database", key="connection", value="mysql+pymysql://n:x@db/nova?a=b")
    unit = Unit(name="u", load="loaded", active="active", sub="running", enabled="enabled")
    control = _host("cmp1", services={"nova-control": Service(role="nova-control", unit=unit, entries=(entry,))})
    backup = _host("cmp2", system=System(dumps=(_dump(**dump),))).model_copy(update={"collected_at": 1e5})
    facts = _facts(control, backup)
    if not said:
        test_database.test_database_dumps_are_fresh_and_whole(cloud, facts)
        return
    assert said in _fails(lambda: test_database.test_database_dumps_are_fresh_and_whole(cloud, facts))


@pytest.mark.parametrize(("mode", "said"), [("secure", ""), ("crc secure", "client.glance: ms_client_mode crc secure")])
def test_clients_of_ceph_speak_in_secret_or_prefer_not_to(
    mode: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")
    lab = load_cloud(recorded.CLOUDS["default"])
    cloud = lab.model_copy(update={"policy": lab.policy.model_copy(update={"encrypted": ("ceph",)})})
    facts = load_facts(recorded.folder("default"))
    ceph = facts.ceph.model_copy(
        update={"options": {entity: {"ms_client_mode": mode} for entity in facts.ceph.options}}
    )
    told = facts.model_copy(update={"ceph_cluster": ceph})
    if said:
        assert said in _fails(lambda: security_services.test_nothing_travels_in_the_clear(cloud, told))
    else:
        security_services.test_nothing_travels_in_the_clear(cloud, told)
