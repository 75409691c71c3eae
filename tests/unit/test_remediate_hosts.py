"""What repairs of hosts ask for, on a recorded lab with something made wrong in it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fixtures.facts.base import NotMeasured
from fixtures.facts.files import File as Stat
from fixtures.facts.host import ConfigEntry, HostFacts, IniFile, Service
from fixtures.facts.run import Facts
from fixtures.facts.system import (
    ClientFolder,
    Clock,
    ConfigCopy,
    Confinement,
    KeyResidue,
    Mapping,
    QemuClient,
    Sudoers,
)
from fixtures.facts.system import Label as SelinuxLabel
from fixtures.facts.system import SudoRule as Rule
from remediate.model import (
    Attributes,
    File,
    Folder,
    HostName,
    Label,
    NeedsOperator,
    Option,
    Packages,
    Restart,
    Step,
    SudoRule,
    TidyConf,
    Unit,
)
from remediate.places import on_host
from tests.unit.test_remediate_plan import asked, plan_of, the_cloud, the_facts, with_host, with_option

HOST, CONTROLLER, CONF = "compute1", "controller", "/etc/ceph/ceph.conf"
MONITOR = cast(dict[str, tuple[str, ...]], the_facts().host(HOST).system.names)["storage"][0]
MON_HOST = f"[v2:{MONITOR}:3300/0,v1:{MONITOR}:6789/0]"


@pytest.fixture(autouse=True)
def _lab_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSC_LAB_STATE", "/nonexistent")


def host(name: str = HOST) -> HostFacts:
    return the_facts().host(name)


def conf(name: str = HOST) -> IniFile:
    return cast(IniFile, host(name).ceph_conf)


def with_conf(*entries: tuple[str, str, str | None], problems: tuple[str, ...] = (), **more: Any) -> Facts:
    """The conf with options (section, key, value) changed, added, or with None taken out."""
    told = {(entry.section, entry.key): entry for entry in conf().entries}
    for section, key, value in entries:
        told.pop((section, key), None)
        if value is not None:
            told[section, key] = ConfigEntry(file=CONF, line=1, section=section, key=key, value=value)
    changed = conf().model_copy(update={"entries": tuple(told.values()), "problems": problems})
    return with_host(HOST, ceph_conf=changed, **more)


def with_system(name: str = HOST, facts: Facts | None = None, **changes: Any) -> Facts:
    system = (facts or the_facts()).host(name).system
    return with_host(name, facts, system=system.model_copy(update=changes))


def stat(path: str, **changes: Any) -> Stat:
    return Stat(path=path, **{"kind": "file", "owner": "root", "group": "root", "mode": 0o644, **changes})


def shown(steps: list[Step]) -> list[tuple[Any, ...]]:
    """Options as (section, key, value)."""
    assert all(isinstance(step, Option) and step.reader == "ceph" for step in steps)
    return [(step.section, step.key, step.value) for step in steps if isinstance(step, Option)]


# ceph.conf


def test_a_minimal_conf_is_written_where_there_is_none() -> None:
    absent = IniFile(stat=Stat(path=CONF, kind="absent"))
    step, *others = asked("host.ceph_conf.present", HOST, with_host(HOST, ceph_conf=absent))
    assert isinstance(step, File)
    assert not others
    assert step.text == f"[global]\nfsid = {the_facts().ceph.fsid}\nmon_host = {MON_HOST}\n"
    assert (step.owner, step.group, step.mode, step.restarts) == ("root", "root", 0o644, ("nova-compute",))


def test_conf_and_its_folder_are_opened_to_readers() -> None:
    closed = conf().model_copy(update={"stat": conf().stat.model_copy(update={"owner": "nova", "mode": 0o600})})
    folder = cast(Stat, host().ceph_dir).model_copy(update={"mode": 0o770})
    assert asked("host.ceph_conf.present", HOST, with_host(HOST, ceph_conf=closed, ceph_dir=folder)) == [
        Folder(host=HOST, path="/etc/ceph", mode=0o755),
        Attributes(host=HOST, path=CONF, owner="root", group="root", mode=0o644),
    ]
    assert not asked("host.ceph_conf.present", HOST, the_facts())


def test_fsid_and_monitors_are_rewritten_where_one_of_them_is_right() -> None:
    right = {MONITOR: (MONITOR,)}
    lost = {**right, "192.0.2.7": ("192.0.2.7",)}
    steps = asked("host.ceph_conf.fsid_mons", HOST, with_conf(("global", "fsid", "dead"), mon_hosts=right))
    assert shown(steps) == [("global", "fsid", the_facts().ceph.fsid)]
    steps = asked("host.ceph_conf.fsid_mons", HOST, with_conf(("client", "mon_host", "x"), mon_hosts=lost))
    assert shown(steps) == [("client", "mon_host", MON_HOST)]
    facts = with_conf(("global", "fsid", "dead"), mon_hosts={"192.0.2.7": ("192.0.2.7",)})
    with pytest.raises(NeedsOperator, match="client of another cluster"):
        asked("host.ceph_conf.fsid_mons", HOST, facts)


def test_monitors_are_named_as_they_are_where_no_client_is_right() -> None:
    facts = with_conf(("global", "mon_host", None), mon_hosts={})
    for other in ("compute2", CONTROLLER):
        facts = with_host(other, facts, mon_hosts={"192.0.2.7": ("192.0.2.7",)})
    assert shown(asked("host.ceph_conf.fsid_mons", HOST, facts)) == [("global", "mon_host", MONITOR)]


def test_a_conf_is_put_in_order_and_no_more() -> None:
    tab, twice = "line 4: starts with a tab, which some parsers", "line 9: section [client] again, first on line 3"
    assert asked("host.ceph_conf.parse", HOST, with_conf(problems=(tab, twice))) == [TidyConf(host=HOST, path=CONF)]
    with pytest.raises(NeedsOperator, match="yours to say") as refused:
        asked("host.ceph_conf.parse", HOST, with_conf(problems=(tab, "line 5: not an option: no name before =")))
    assert refused.value.lines == ("line 5: not an option: no name before =",)


def test_a_user_finds_its_usual_keyring_again() -> None:
    files = {"/nowhere": Stat(path="/nowhere", kind="absent")}
    facts = with_conf(("client.cinder", "keyring", "/nowhere"), files=files)
    assert shown(asked("host.ceph_conf.parse", HOST, facts)) == [("client.cinder", "keyring", None)]
    with pytest.raises(NeedsOperator, match="neither /nowhere nor"):
        asked("host.ceph_conf.parse", HOST, with_conf(("client.glance", "keyring", "/nowhere"), files=files))


def test_the_files_of_a_container_are_its_tools() -> None:
    with pytest.raises(NeedsOperator, match="container nova_compute"):
        on_host("compute1/nova_compute", the_facts())


# QEMU's client


def test_options_are_set_where_they_have_the_last_word() -> None:
    facts = with_conf(("client.cinder", "rbd_cache", "false"), ("client", "debug_ms", "20/20"))
    assert shown(asked("host.client.rbd_cache", HOST, facts)) == [("client.cinder", "rbd_cache", "true")]
    assert shown(asked("host.client.log_ops", HOST, facts)) == [("client", "debug_ms", None)]
    with pytest.raises(NeedsOperator, match="guests keep"):
        asked("host.client.rbd_cache", HOST, the_facts())


def test_a_socket_for_each_disk_comes_with_its_folder() -> None:
    facts = with_conf(("client", "admin_socket", "/var/run/ceph/guests/guest.asok"))
    path = "/var/run/ceph/guests/$cluster-$type.$id.$pid.$cctid.asok"
    assert shown(asked("host.client.asok", HOST, facts)) == [("client", "admin_socket", path)]
    client = cast(QemuClient, host().system.qemu_client)
    logs_only = client.model_copy(update={"folders": client.folders[1:]})
    option, opened, folder, declared = asked(
        "host.client.asok", HOST, with_system(facts=with_conf(("client", "admin_socket", None)), qemu_client=logs_only)
    )
    assert shown([option]) == [("client", "admin_socket", path)]
    assert opened == Attributes(host=HOST, path="/run/ceph", mode=0o771)
    assert folder == Folder(host=HOST, path="/var/run/ceph/guests", owner="libvirt-qemu", group="kvm", mode=0o770)
    assert isinstance(declared, File)
    assert str(declared.text).splitlines()[1:] == [
        "z /run/ceph 0771 - - -",
        "d /run/ceph/guests 0770 libvirt-qemu kvm -",
    ]


def with_folder(**changes: Any) -> Facts:
    client = cast(QemuClient, host().system.qemu_client)
    sockets = client.folders[0].model_copy(update=changes)
    return with_system(qemu_client=client.model_copy(update={"folders": (sockets, *client.folders[1:])}))


def test_folders_of_sockets_are_qemus_and_made_at_boot() -> None:
    closed = stat("/var/run/ceph/guests", kind="dir", mode=0o700)
    assert [step.kind for step in asked("host.client.dirs", HOST, with_folder(stat=closed, writable=False))] == [
        "attributes",
        "folder",
    ]
    (declared,) = asked("host.client.dirs", HOST, with_folder(declared=False))
    assert isinstance(declared, File)
    assert declared.path == "/etc/tmpfiles.d/ceph-guests.conf"


def test_a_folder_behind_a_closed_one_is_left() -> None:
    logs = ClientFolder(
        option="log_file",
        stat=stat("/srv/logs", kind="dir", owner="libvirt-qemu", group="kvm", mode=0o770),
        writable=False,
        volatile=False,
        declared=False,
    )
    client = cast(QemuClient, host().system.qemu_client).model_copy(update={"folders": (logs,)})
    with pytest.raises(NeedsOperator, match="something above it is closed"):
        asked("host.client.dirs", HOST, with_system(qemu_client=client))


def test_logs_are_apart_and_rotated() -> None:
    client = cast(QemuClient, host().system.qemu_client)
    sockets_only = client.model_copy(update={"folders": client.folders[:1]})
    gone = with_conf(("client", "log_file", None), ("client", "rbd_concurrent_management_ops", "10"))
    steps = asked("host.client.log_ops", HOST, with_system(facts=gone, qemu_client=sockets_only))
    assert [step.kind for step in steps] == ["option", "folder", "option", "file"]
    assert shown([steps[0], steps[2]]) == [
        ("client", "log_file", "/var/log/qemu/qemu-guest-$pid.log"),
        ("client", "rbd_concurrent_management_ops", "20"),
    ]
    assert "su libvirt-qemu kvm" in str(cast(File, steps[3]).text)


def test_labels_become_the_policys() -> None:
    labels = (
        SelinuxLabel(path="/etc/ceph", context="u:object_r:etc_t:s0", wanted="s:object_r:etc_t:s0"),
        SelinuxLabel(path=CONF, context="u:object_r:user_home_t:s0", wanted="s:object_r:etc_t:s0"),
    )
    told = Confinement(selinux="enforcing", labels=labels, apparmor=False)
    assert asked("host.selinux.label", HOST, with_system(confinement=told)) == [
        Label(host=HOST, path=CONF, type="etc_t")
    ]
    with pytest.raises(NeedsOperator, match="labels are right"):
        asked("host.selinux.label", HOST, with_system(confinement=told.model_copy(update={"labels": labels[:1]})))


# Around the services


def test_ceph_args_are_taken_out_of_the_unit() -> None:
    service = cast(Service, host(CONTROLLER).services["cinder-volume"])
    foreign = service.model_copy(update={"environment": {"CEPH_ARGS": "--id somebody"}})
    facts = with_host(CONTROLLER, services={**host(CONTROLLER).services, "cinder-volume": foreign})
    folder, part = asked("host.env.ceph_args", CONTROLLER, facts)
    assert folder == Folder(host=CONTROLLER, path="/etc/systemd/system/cinder-volume.service.d", mode=0o755)
    assert isinstance(part, File)
    assert "UnsetEnvironment=CEPH_ARGS" in str(part.text)
    plan = plan_of([("host.env.ceph_args", CONTROLLER)], facts)
    assert plan.steps[-1].step == Restart(host=CONTROLLER, role="cinder-volume", unit="cinder-volume.service")


def test_a_clock_that_nothing_keeps_gets_chrony_and_one_that_is_off_is_left() -> None:
    alone = with_system(clock=Clock(source="", synchronised=False))
    assert asked("host.time_sync", "cloud", alone) == [
        Packages(host=HOST, names=("chrony",)),
        Unit(host=HOST, unit="chrony.service"),
    ]
    with pytest.raises(NeedsOperator, match="much to catch up"):
        asked("host.time_sync", "cloud", with_system(clock=Clock(source="chronyd", synchronised=True, offset=9.0)))


def test_a_name_gets_the_address_of_the_most() -> None:
    names = cast(dict[str, Any], host().system.names)
    facts = with_system(names={**names, "storage": ("192.0.2.9",)})
    assert asked("host.names", "cloud", facts) == [HostName(host=HOST, name="storage", address=MONITOR)]
    facts = with_system(names={**names, "storage": ()})
    assert asked("host.names", "cloud", facts) == [HostName(host=HOST, name="storage", address=MONITOR, adds=True)]
    facts = with_system("compute2", facts, names={**names, "storage": ("192.0.2.9",)})
    with pytest.raises(NeedsOperator, match="which address is right"):
        asked("host.names", "cloud", facts)


# Packages


def test_libraries_come_from_packages_where_the_service_does() -> None:
    facts = with_host(HOST, modules={"nova-compute": {"rbd": False, "rados": True}})
    (step,) = asked("pkg.role_matrix", HOST, facts)
    names = ("python3-rbd", "python3-rados", "ceph-common")
    assert step == Packages(host=HOST, names=names, restarts=("nova-compute",))
    with pytest.raises(NeedsOperator, match="give its own interpreter the modules"):
        asked("pkg.role_matrix", HOST, with_host(HOST, facts, packages={}))
    assert asked("pkg.qemu_rbd", HOST, the_facts()) == [Packages(host=HOST, names=("qemu-block-extra",))]


def test_services_on_old_libraries_are_restarted_and_guests_are_not() -> None:
    old = [
        it.model_copy(update={"installed": False}) if it.process == "nova-compute" else it
        for it in cast(tuple[Mapping, ...], host().system.mapped)
    ]
    guest = Mapping(process="qemu-system-x86_64 of a", pid=9, path="/usr/lib/librbd.so.1.1", installed=False)
    steps = asked("pkg.librbd_loaded", HOST, with_system(mapped=(*old, guest)))
    assert steps == [Restart(host=HOST, role="nova-compute", unit="nova-compute.service")]
    daemon = guest.model_copy(update={"process": "libvirtd", "pid": 8})
    assert asked("pkg.librbd_loaded", HOST, with_system(mapped=(daemon, guest))) == [
        Restart(host=HOST, role="nova-compute", unit="libvirtd.service")
    ]
    with pytest.raises(NeedsOperator, match="migrate guests away") as refused:
        asked("pkg.librbd_loaded", HOST, with_system(mapped=(guest,)))
    assert refused.value.lines == ("qemu-system-x86_64 of a (pid 9)",)


# Keys, passwords, privileges


def test_keyrings_of_administrators_leave_hypervisors_only_if_that_is_allowed() -> None:
    path = "/etc/ceph/ceph.client.admin.keyring"
    facts = with_system(admin_keyrings=(stat(path, mode=0o600),))
    assert asked("sec.host.admin_and_bootstrap", HOST, facts) == [
        File(host=HOST, path=path, text=None, disruption="destructive")
    ]
    plan = plan_of([("sec.host.admin_and_bootstrap", HOST)], facts)
    assert not plan.steps
    assert [one.disruption for one in plan.withheld] == ["destructive"]


def test_keys_that_lie_about_are_closed_or_taken_away() -> None:
    digest = "hmac:" + 32 * "0"
    keyring = KeyResidue(kind="file", where="/etc/ceph/ceph.client.x.keyring", mode=0o644, keys=(digest,))
    left = KeyResidue(kind="file", where="/root/client.cinder.key", mode=0o644, keys=(digest,))
    history = KeyResidue(kind="file", where="/root/.bash_history", mode=0o600, keys=(digest,))
    facts = with_system(residue=(keyring, left, history))
    assert asked("sec.host.key_residue", HOST, facts) == [
        Attributes(host=HOST, path=keyring.where, mode=0o640),
        File(host=HOST, path=left.where, text=None, disruption="destructive"),
    ]
    with pytest.raises(NeedsOperator, match="by hand") as refused:
        asked("sec.host.key_residue", HOST, with_system(residue=(history,)))
    assert refused.value.lines == (history.where,)


@pytest.mark.parametrize(
    ("owner", "group", "mode", "wanted"),
    [
        ("root", "root", 0o644, ("root", "nova", 0o640)),
        ("root", "nova", 0o664, ("root", "nova", 0o640)),
        ("stack", "stack", 0o600, ("root", "nova", 0o600)),
        ("nova", "nova", 0o604, ("nova", "nova", 0o640)),
    ],
)
def test_configurations_with_secrets_are_closed(
    owner: str, group: str, mode: int, wanted: tuple[str, str, int]
) -> None:
    path = "/etc/nova/nova.conf.bak"
    copy = ConfigCopy(stat=stat(path, owner=owner, group=group, mode=mode), secret=True)
    (step,) = asked("sec.conf.perms", HOST, with_system(config_copies=(copy,)))
    assert isinstance(step, Attributes)
    assert (step.owner, step.group, step.mode) == wanted


def test_guessed_passwords_are_left() -> None:
    with pytest.raises(NeedsOperator, match="choose new ones"):
        asked("sec.conf.perms", HOST, the_facts())


def test_rules_of_sudo_become_remarks_where_that_is_allowed() -> None:
    told = cast(Sudoers, host().system.sudoers)
    rule = Rule(file="/etc/sudoers.d/ceph", line=3, who="ceph", commands="ALL")
    files = (*told.files, stat("/etc/sudoers.d/ceph"))
    facts = with_system(sudoers=told.model_copy(update={"files": files, "rules": (*told.rules, rule)}))
    assert asked("sec.sudoers", HOST, facts) == [
        Attributes(host=HOST, path=rule.file, owner="root", mode=0o440),
        SudoRule(host=HOST, path=rule.file, line=3, who="ceph", disruption="disruptive"),
    ]
    with pytest.raises(NeedsOperator, match="do not parse"):
        asked("sec.sudoers", HOST, with_system(sudoers=told.model_copy(update={"problem": "x: syntax error"})))
    with pytest.raises(NeedsOperator, match="accounts of daemons") as refused:
        asked("sec.sudoers", HOST, with_system(sudoers=told.model_copy(update={"open_accounts": ("ceph",)})))
    assert refused.value.lines == ("passwd -l ceph",)


# What services show


def test_consoles_get_the_secure_address_of_the_others() -> None:
    plain = "http://console.example.net:6080/vnc_auto.html"
    (step,) = asked("sec.console_proxy", "cloud", with_option(HOST, "nova-compute", "novncproxy_base_url", plain))
    assert isinstance(step, Option)
    assert (step.host, step.key) == (HOST, "novncproxy_base_url")
    assert str(step.value).startswith("https://")
    with pytest.raises(NeedsOperator, match="behind TLS"):
        asked("sec.console_proxy", "cloud", the_facts())


def test_images_are_published_by_administrators_again() -> None:
    facts = with_system(CONTROLLER, policies={"glance": {"publicize_image": "role:member"}})
    folder, policy = asked("sec.image_trust", "cloud", facts)
    assert isinstance(policy, File)
    assert folder == Folder(host=CONTROLLER, path="/etc/glance/policy.d", mode=0o755)
    assert (policy.path, policy.group, policy.mode) == ("/etc/glance/policy.d/zz-publicize.yaml", "glance", 0o640)
    assert str(policy.text).endswith('"publicize_image": "role:admin"\n')
    with pytest.raises(NeedsOperator, match="clones go, or the promise"):
        asked("sec.image_trust", "cloud", the_facts())


def test_a_policy_that_refuses_services_is_left_to_who_wrote_it() -> None:
    facts = with_system(CONTROLLER, policies={"glance": {"fetch_image_location": "role:admin"}})
    with pytest.raises(NeedsOperator, match="fetch_image_location refuses services: role:admin"):
        asked("glance.config.location_api", CONTROLLER, facts)


def test_what_was_not_read_is_missed_in_words() -> None:
    with pytest.raises(NotMeasured, match="sudoers"):
        asked("sec.sudoers", HOST, with_system(sudoers=None))
    assert the_cloud().hosts
