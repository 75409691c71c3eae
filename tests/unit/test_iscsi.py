"""iSCSI: what the collector makes of gateways and initiators, and checks on made facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from fixtures.cloud import Cloud, load_cloud
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.ceph import Exported
from fixtures.facts.files import File
from fixtures.facts.host import Listener, Service, Unit
from fixtures.facts.iscsi import (
    Gateway,
    GatewayConfig,
    Initiator,
    IscsiNode,
    Kernel,
    KernelSession,
    Multipath,
    NodeRecord,
    StoragePool,
    Target,
    Volume,
)
from fixtures.facts.run import Facts
from fixtures.observe.collector import iscsi, tgt_conf
from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.redact import Redactor
from fixtures.scratch.luns import LunGuests
from suites.iscsi import test_gateways as gateway_checks
from suites.iscsi import test_initiators as initiator_checks
from tests.unit.test_remediate_plan import the_facts, with_host, with_option

TARGET = "iqn.2003-01.com.redhat.iscsi-gw:iscsi-igw"
CLIENT = "iqn.1994-05.com.redhat:rh7-client"
DIGEST = Redactor(b"salt").digest

SHOWN = f"""Target 1: {TARGET}
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 3
            Initiator: {CLIENT} alias: compute1
            Connection: 0
                IP Address: 10.70.15.12
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00010000
            Online: Yes
            Backing store type: null
            Backing store path: None
            Backing store flags:
        LUN: 1
            Type: disk
            SCSI ID: IET     00010001
            Size: 67 MB, Block size: 512
            Online: Yes
            Readonly: No
            Backing store type: rbd
            Backing store path: iscsi/disk1
            Backing store flags:
    Account information:
        hypervisors
        back (outgoing)
    ACL information:
        10.70.15.12
        {CLIENT}
"""
KEPT = """# comment
default-driver iscsi
<target {target}>
    bs-type rbd
    bsopts "conf=/etc/ceph/ceph.conf;id=igw"
    incominguser hypervisors 0123456789abcdef
    initiator-address 10.70.15.12
    initiator-name {client}
    <backing-store iscsi/disk2>
        lun 7
    </backing-store>
    backing-store iscsi/disk3
    <backing-store /dev/sdb>
        bs-type rdwr
    </backing-store>
</target>
"""
# As ceph-iscsi's own tests have its object.
OBJECT: dict[str, Any] = {
    "disks": {"rbd.disk_1": {"image": "disk_1", "pool": "rbd", "pool_id": 7}},
    "gateways": {"node1": {"active_luns": 1}, "node2": {"active_luns": 0}},
    "targets": {
        TARGET: {
            "clients": {
                CLIENT: {
                    "auth": {"chap": "myiscsiusername/myiscsipassword", "chap_mutual": ""},
                    "group_name": "",
                    "luns": {"rbd.disk_1": {"lun_id": 3}},
                }
            },
            "disks": ["rbd.disk_1"],
            "ip_list": ["192.168.100.201", "192.168.100.202"],
            "portals": {
                "node1": {"portal_ip_address": "192.168.100.201", "tpgs": 2},
                "node2": {"portal_ip_address": "192.168.100.202", "tpgs": 2},
            },
        }
    },
    "version": 4,
}


def _targets(told: Any) -> tuple[Target, ...]:
    return TypeAdapter(tuple[Target, ...]).validate_python(list(told))


def test_what_tgt_shows_is_told_apart() -> None:
    (target,) = _targets(iscsi.shown_targets(SHOWN))
    assert [(lun.number, lun.image, lun.store) for lun in target.luns] == [(1, "iscsi/disk1", "rbd")]
    assert (target.users, target.acl) == ({"hypervisors": None}, ("10.70.15.12", CLIENT))
    assert [(it.initiator, it.address) for it in target.sessions] == [(CLIENT, "10.70.15.12")]


def _conf(folder: Path, text: str) -> str:
    (folder / "ceph.conf").write_text(text)
    (folder / "targets.conf").write_text(f"include {folder}/*eph.conf\n")
    return str(folder / "targets.conf")


def test_what_tgt_keeps_is_read_through_includes_and_without_passwords(tmp_path: Path) -> None:
    path = _conf(tmp_path, KEPT.format(target=TARGET, client=CLIENT))
    (target,) = _targets(iscsi.KeptTargets(path, Redactor(b"salt")).read())
    assert target.users == {"hypervisors": DIGEST("0123456789abcdef")}
    assert [(lun.number, lun.image, lun.store, lun.user) for lun in target.luns] == [
        (7, "iscsi/disk2", "rbd", "igw"),
        (2, "iscsi/disk3", "rbd", "igw"),
        (3, "/dev/sdb", "rdwr", "igw"),
    ]
    assert target.acl == ("10.70.15.12", CLIENT)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("\tbs-type\trbd", ("bs-type", "rbd")),
        ("bs-type = rbd  # of Ceph", ("bs-type", "rbd")),
        ("incominguser u 01234567=9\\#>", ("incominguser", "u 01234567=9#>")),
        ('bsopts "id=igw"', ("bsopts", "id=igw")),
        ("</target>", ("</target", "")),
        ("<target iqn.x:y >", ("<target", "iqn.x:y")),
        ("  # driver iscsi", ("", "")),
    ],
)
def test_lines_of_tgt_are_read_as_tgt_admin_does(line: str, told: tuple[str, str]) -> None:
    assert tgt_conf.directive(line) == told


def test_without_an_address_everybody_will_be_let_in(tmp_path: Path) -> None:
    path = _conf(tmp_path, f"<target {TARGET}>\n initiator-name {CLIENT}\n</target>\n")
    (target,) = _targets(iscsi.KeptTargets(path, Redactor(b"salt")).read())
    assert target.acl == (CLIENT, "ALL")


def test_a_store_that_is_told_for_a_lun_alone_comes_too_late(tmp_path: Path) -> None:
    lun = "<backing-store iscsi/disk1>\n bs-type rbd\n</backing-store>\n"
    path = _conf(tmp_path, f"<target {TARGET}>\n{lun}</target>\n")
    (target,) = _targets(iscsi.KeptTargets(path, Redactor(b"salt")).read())
    assert [(one.store, one.online) for one in target.luns] == [("rbd", False)]


def test_a_target_that_is_not_closed_is_refused(tmp_path: Path) -> None:
    path = _conf(tmp_path, f"<target {TARGET}>\n")
    with pytest.raises(StepFailed, match="is not closed"):
        list(iscsi.KeptTargets(path, Redactor(b"salt")).read())


def test_the_object_of_ceph_iscsi_is_read() -> None:
    (target,) = _targets(iscsi.object_targets(OBJECT, Redactor(b"salt")))
    assert target.users == {"myiscsiusername": DIGEST("myiscsipassword")}
    assert target.mapped == {CLIENT: ("rbd/disk_1",)}
    assert [(lun.number, lun.image) for lun in target.luns] == [(3, "rbd/disk_1")]
    assert target.portals == {"node1": ("192.168.100.201",), "node2": ("192.168.100.202",)}


def test_a_login_of_later_versions_is_read() -> None:
    later = {"username": "user", "password": "0123456789ab", "password_encryption_enabled": False}
    assert iscsi.login_of(later, Redactor(b"salt")) == {"user": DIGEST("0123456789ab")}
    assert iscsi.login_of({**later, "password_encryption_enabled": True}, Redactor(b"salt")) == {"user": None}
    assert iscsi.login_of({"username": "", "password": ""}, Redactor(b"salt")) == {}


POOL = f"""<pool type='iscsi-direct'>
  <name>images_iscsi</name>
  <source>
    <host name='gateway' port='3260'/>
    <device path='{TARGET}'/>
    <initiator><iqn name='{CLIENT}'/></initiator>
    <auth type='chap' username='hypervisors'><secret usage='libvirtiscsi'/></auth>
  </source>
</pool>"""
VOLUME = """<volume type='network'>
  <name>unit:0:0:1</name>
  <key>ip-10.70.15.11:3260-iscsi-iqn-lun-1</key>
  <capacity unit='bytes'>67108864</capacity>
  <target><path>ip-10.70.15.11:3260-iscsi-iqn-lun-1</path></target>
</volume>"""


def test_a_pool_and_its_volumes_are_read() -> None:
    pool = StoragePool.model_validate({**iscsi.pool_fact(POOL), "active": True, "autostart": True})
    assert (pool.type, pool.host, pool.port, pool.target) == ("iscsi-direct", "gateway", 3260, TARGET)
    assert (pool.initiator, pool.auth, pool.user, pool.secret) == (CLIENT, "chap", "hypervisors", "libvirtiscsi")
    volume = Volume.model_validate(iscsi.volume_fact(VOLUME))
    assert (volume.number, volume.kind, volume.capacity) == (1, "network", 67108864)


def test_a_password_in_base64_is_a_password() -> None:
    assert iscsi.decoded("MDEyMw==\n") == "0123"
    with pytest.raises(StepFailed, match="is no text"):
        iscsi.decoded("/w==")


SESSIONS = f"""tcp: [1] 192.168.100.201:3260,1 {TARGET} (non-flash)
tcp: [2] 192.168.100.202:3260,2 {TARGET} (non-flash)
"""
NODES = f"""# BEGIN RECORD 2.1.8
node.name = {TARGET}
node.tpgt = 1
node.startup = automatic
node.session.auth.password = 0123456789abcdef
node.conn[0].address = 192.168.100.201
node.conn[0].port = 3260
# END RECORD
"""
# As Ceph's documentation has them.
MULTIPATH_CONF = """devices {
        device {
                vendor                 "LIO-ORG"
                product                "TCMU device"
                hardware_handler       "1 alua"
                path_grouping_policy   "failover"
                path_selector          "queue-length 0"
                failback               60
                path_checker           tur
                prio                   alua
                prio_args              exclusive_pref_bit
                fast_io_fail_tmo       25
                no_path_retry          queue
        }
}
"""
MULTIPATH_LL = """mpathbt (360014059ca317516a69465c883a29603) dm-1 LIO-ORG ,TCMU device
size=1.0G features='0' hwhandler='1 alua' wp=rw
|-+- policy='queue-length 0' prio=50 status=active
| `- 28:0:0:1 sde  8:64  active ready running
`-+- policy='queue-length 0' prio=10 status=enabled
  `- 29:0:0:1 sdc  8:32  active ready running
"""


def test_what_open_iscsi_tells_is_read_without_passwords() -> None:
    assert [it["portal"] for it in iscsi.sessions(SESSIONS)] == ["192.168.100.201:3260", "192.168.100.202:3260"]
    told = iscsi.nodes(NODES)
    assert told == [{"target": TARGET, "startup": "automatic", "portal": "192.168.100.201"}]


def test_what_multipath_tells_is_read() -> None:
    assert initiator_checks.LIO.items() <= iscsi.multipath_settings(MULTIPATH_CONF).items()
    assert iscsi.multipath_settings("defaults {\n user_friendly_names yes\n}\n") == {}
    assert iscsi.multipath_paths(MULTIPATH_LL) == [{"name": "mpathbt", "paths": 2, "ready": 2, "active": 1}]


# -- made facts: gateways of ceph-iscsi, and the kernel's initiator, for which no kernel is here


def _unit(name: str, **other: str) -> Unit:
    return Unit(**{"name": name, "load": "loaded", "active": "active", "sub": "running", "enabled": "enabled", **other})


def _file(path: str, mode: int = 0o600) -> File:
    return File(path=path, kind="file", owner="root", group="root", mode=mode)


def _cloud(tmp_path: Path, **other: Any) -> Cloud:
    text = (Path("clouds/lab.yaml").read_text()).replace("[nova-compute]", "[nova-compute, iscsi-initiator]", 1)
    text = text.replace("roles: [ceph-mon, ceph-mgr, ceph-osd]", "roles: [ceph-mon, ceph-mgr, ceph-osd, iscsi-gateway]")
    told = f"iscsi: {{target: '{TARGET}', initiators: {{compute1: {{iqn: '{CLIENT}', images: [rbd/disk_1]}}}}}}\n"
    path = tmp_path / "cloud.yaml"
    path.write_text(text + told)
    cloud = load_cloud(path)
    assert cloud.iscsi is not None
    return cloud.model_copy(update={"iscsi": cloud.iscsi.model_copy(update=other)})


def _gateway(**other: Any) -> Gateway:
    (target,) = _targets(iscsi.object_targets(OBJECT, Redactor(b"salt")))
    options = {"cluster_client_name": "client.igw", "api_secure": "true", "trusted_ip_list": "192.168.100.201"}
    config = GatewayConfig(
        stat=_file("/etc/ceph/iscsi-gateway.cfg"),
        text=DIGEST("text"),
        options={**options, "pool": "volumes"},
        example_login=False,
        certificate=(_file("/etc/ceph/iscsi-gateway.crt"), _file("/etc/ceph/iscsi-gateway.key")),
    )
    units = tuple(_unit(f"{name}.service") for name in ("rbd-target-api", "tcmu-runner", "rbd-target-gw"))
    return Gateway(**{"units": units, "live": (target,), "kept": (target,), "config": config, **other})


def _kernel(**other: Any) -> Kernel:
    told: dict[str, Any] = {
        "units": (_unit("iscsid.service"), _unit("multipathd.service")),
        "name": CLIENT,
        "conf": _file("/etc/iscsi/iscsid.conf"),
        "sessions": tuple(KernelSession(**it) for it in iscsi.sessions(SESSIONS)),
        "nodes": (NodeRecord(target=TARGET, startup="manual", portal="192.168.100.201"),),
        "multipath": iscsi.multipath_settings(MULTIPATH_CONF),
        "paths": tuple(Multipath(**it) for it in iscsi.multipath_paths(MULTIPATH_LL)),
    }
    return Kernel(**{**told, **other})


def _initiator(kernel: Kernel | None = None, **other: Any) -> Initiator:
    pool = {**iscsi.pool_fact(POOL), "type": "iscsi", "path": "/dev/disk/by-path", "user": "myiscsiusername"}
    path = f"/dev/disk/by-path/ip-192.168.100.201:3260-iscsi-{TARGET}-lun-3"
    told: dict[str, Any] = {
        "version": "9.0.0",
        "drivers": ("dir", "iscsi", "iscsi-direct", "rbd"),
        "qemu_driver": True,
        "pools": (StoragePool(**pool, active=True, autostart=True, addresses=("192.168.100.201",)),),
        "volumes": (Volume(name="unit:0:0:3", number=3, kind="block", capacity=64 << 20, path=path),),
        "secrets": (),
        "sources": (),
        "block_devices": (),
        "kernel": kernel or _kernel(),
    }
    return Initiator(**{**told, **other})


def _facts(gateway: Gateway | None = None, initiator: Initiator | None = None) -> Facts:
    exported = Exported(size=64 << 20, watchers=("192.168.100.201:0",))
    facts = the_facts()
    facts = facts.model_copy(
        update={"ceph_cluster": facts.ceph.model_copy(update={"exported": {"rbd/disk_1": exported}})}
    )
    ours = {"iscsi": IscsiNode(gateway=gateway or _gateway()), "addresses": ("192.168.100.201",), "hostname": "node1"}
    facts = with_host("storage", facts, **ours)
    return with_host("compute1", facts, iscsi=IscsiNode(initiator=initiator or _initiator()))


Check = Callable[[Facts, Cloud], None]


def _on_gateway(check: Callable[..., None]) -> Check:
    return lambda facts, cloud: check(iscsi_gateway=facts.host("storage"), cloud=cloud, facts=facts)


def _on_initiator(check: Callable[..., None]) -> Check:
    return lambda facts, cloud: check(facts.host("compute1"), cloud=cloud, facts=facts)


CONFIG: Check = lambda facts, cloud: gateway_checks.test_gateways_configuration_is_closed_and_alike(cloud, facts)  # noqa: E731
PATHS: Check = lambda facts, cloud: initiator_checks.test_paths_are_joined_as_the_gateways_want_it(  # noqa: E731
    facts.host("compute1"), cloud
)
EXPORTS = _on_gateway(gateway_checks.test_target_exports_what_initiators_are_to_have)
SETUP = _on_initiator(initiator_checks.test_initiator_is_known_to_the_gateways)
CONFLICT = _on_initiator(initiator_checks.test_nobody_else_holds_the_initiators_sessions)
INVENTORY = _on_initiator(initiator_checks.test_volumes_are_the_images_of_this_initiator)


@pytest.mark.parametrize("check", [CONFIG, EXPORTS, SETUP, CONFLICT, INVENTORY])
def test_what_is_in_order_passes(check: Check, tmp_path: Path) -> None:
    check(_facts(), _cloud(tmp_path))


def _cfg(**options: str) -> Gateway:
    config = _gateway().config
    assert isinstance(config, GatewayConfig)
    return _gateway(config=config.model_copy(update={"options": {**config.options, **options}}))


def _target(**other: Any) -> Gateway:
    live = _gateway().live
    assert not isinstance(live, Unreadable)
    changed = (live[0].model_copy(update=other),)
    return _gateway(live=changed, kept=changed)


@pytest.mark.parametrize(
    ("check", "gateway", "said"),
    [
        (CONFIG, _cfg(cluster_client_name="client.admin"), "opened as client.admin"),
        (CONFIG, _cfg(api_secure="false"), "not secured by TLS"),
        (CONFIG, _cfg(trusted_ip_list=""), "lacks storage"),
        (CONFIG, _cfg(pool="nowhere"), "no pool nowhere"),
        (EXPORTS, _target(luns=()), "rbd/disk_1 is not exported"),
        (EXPORTS, _target(acl=("ALL",)), "lets in everybody"),
        (EXPORTS, _target(users={}), "asks for no password"),
        (EXPORTS, _target(portals={"node1": ("192.168.100.201",)}), "has 1 portals"),
        (EXPORTS, _target(mapped={CLIENT: ()}), "compute1 is not given rbd/disk_1"),
        (EXPORTS, _target(iqn="iqn.2003-01.com.redhat:other"), "not there"),
        (SETUP, _target(acl=("iqn.1994-05.com.redhat:other",)), "not let in by storage"),
    ],
)
def test_what_is_wrong_with_a_gateway_is_told(check: Check, gateway: Gateway, said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=said):
        check(_facts(gateway), _cloud(tmp_path))


@pytest.mark.parametrize(
    ("check", "initiator", "said"),
    [
        (
            SETUP,
            _initiator(_kernel(units=(_unit("iscsid.service", enabled="disabled"), _unit("multipathd.service")))),
            "disabled",
        ),
        (SETUP, _initiator(_kernel(name="iqn.1994-05.com.redhat:other")), "not let in by storage"),
        (SETUP, _initiator(_kernel(conf=_file("/etc/iscsi/iscsid.conf", 0o644))), "root 644"),
        (PATHS, _initiator(_kernel(multipath={})), "hardware_handler: unset"),
        (PATHS, _initiator(_kernel(paths=(Multipath(name="mpatha", paths=1, ready=1, active=1),))), "mpatha: 1 paths"),
        (PATHS, _initiator(), "volume_use_multipath is off"),
        (CONFLICT, _initiator(_kernel(sessions=())), "0 sessions to 2 portals"),
        (CONFLICT, _initiator(_kernel(nodes=(NodeRecord(target=TARGET, startup="automatic", portal="p"),))), "at boot"),
        (INVENTORY, _initiator(volumes=()), "0 volumes for 1 images"),
        (
            INVENTORY,
            _initiator(volumes=(Volume(name="unit:0:0:3", number=3, kind="block", capacity=1, path="/dev/sdb"),)),
            "unit:0:0:3 is at /dev/sdb",
        ),
    ],
)
def test_what_is_wrong_with_an_initiator_is_told(check: Check, initiator: Initiator, said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=said):
        check(_facts(initiator=initiator), _cloud(tmp_path))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"host": "", "addresses": None}, "leads to no host"),
        ({"addresses": Unreadable(unreadable="does not resolve on this host")}, "leads to gateway, which does not"),
        ({"addresses": ("192.0.2.1",)}, "leads to gateway, which is no gateway"),
        ({"type": "dir", "host": "", "addresses": None}, "is of type dir"),
    ],
)
def test_a_pool_that_leads_nowhere_is_told(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    pools = _initiator().pools
    assert not isinstance(pools, Unreadable)
    initiator = _initiator(pools=(pools[0].model_copy(update=changed),))
    with pytest.raises(AssertionError, match=said):
        _on_initiator(initiator_checks.test_pool_leads_to_the_target)(_facts(initiator=initiator), _cloud(tmp_path))


def test_a_guest_of_a_killed_run_is_waited_for_and_blamed_on_nobody() -> None:
    asked: list[str] = []

    def run(command: str, *args: str, **more: Any) -> Any:
        asked.append(command.split()[0])
        return SimpleNamespace(rc=1, stderr="Unit ceph-osc-lun-guest.timer was already loaded")

    guests = LunGuests(cast(Any, {"h": SimpleNamespace(run=run)}), cast(Any, None), "rbd/scratch")
    with pytest.raises(NotMeasured, match="already loaded"), guests.booted("h", "pool", "unit:0:0:1"):
        pytest.fail("no guest was started")
    assert asked == ["systemd-run"], "what another run armed is left to it"


def test_ceph_iscsi_is_told_to_be_in_maintenance(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="found ceph-iscsi"):
        gateway_checks.test_gateways_are_not_of_ceph_iscsi(_cloud(tmp_path))
    gateway_checks.test_gateways_are_not_of_ceph_iscsi(_cloud(tmp_path, served_by="tgt"))


def test_one_gateway_of_ceph_iscsi_is_too_few(tmp_path: Path) -> None:
    facts = with_host("storage", _facts(), listening=(Listener(address="0.0.0.0", port=3260),))
    with pytest.raises(AssertionError, match="found 1; expected 2 to 4"):
        gateway_checks.test_gateway_runs_and_listens(facts.host("storage"), _cloud(tmp_path))


def _with_cinders_driver(**options: str) -> Facts:
    """The volume service's back end with the driver for iSCSI, and options in place of those of RBD's."""
    names = dict(zip(("rbd_pool", "rbd_user", "rbd_secret_uuid", "rbd_ceph_conf"), options, strict=False))
    facts = with_option("controller", "cinder-volume", "volume_driver", initiator_checks.ISCSI_DRIVER, _facts())
    service = facts.host("controller").services["cinder-volume"]
    assert isinstance(service, Service) and not isinstance(service.entries, Unreadable)
    entries = tuple(
        it.model_copy(update={"key": names[it.key], "value": options[names[it.key]]}) if it.key in names else it
        for it in service.entries
    )
    services = {**facts.host("controller").services, "cinder-volume": service.model_copy(update={"entries": entries})}
    return with_host("controller", facts, services=services, packages={"python3-rbd-iscsi-client": "0.1.8-4"})


@pytest.mark.parametrize(
    ("target", "said"), [("", "unset: rbd_iscsi_target_iqn"), ("iqn.2003-01.com.redhat:other", "found iqn.2003-01")]
)
def test_what_cinders_driver_lacks_is_told(target: str, said: str, tmp_path: Path) -> None:
    login = dict.fromkeys(initiator_checks.API_OPTIONS[:3], "told")
    check, cloud = initiator_checks.test_cinders_iscsi_driver_knows_the_gateways, _cloud(tmp_path)
    right = _with_cinders_driver(**login, rbd_iscsi_target_iqn=TARGET)
    check(right.host("controller"), cloud)
    wrong = _with_cinders_driver(**login, rbd_iscsi_target_iqn=target)
    with pytest.raises(AssertionError, match=said):
        check(wrong.host("controller"), cloud)
    old = with_host("controller", right, packages={})
    with pytest.raises(AssertionError, match="rbd-iscsi-client is not installed"):
        check(old.host("controller"), cloud)
