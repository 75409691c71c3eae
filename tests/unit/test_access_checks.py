"""Checks of Nova's base, networks and access on recorded facts, changed where the lab cannot be in that state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixtures.checks import shown, some
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.files import File
from fixtures.facts.host import ErrorLog, HostFacts, Logged, Report, Unit
from fixtures.facts.networks import DhcpPort, Network, NetworkAgent, OpenRule
from fixtures.facts.openstack import Attachment, ServiceState
from fixtures.facts.run import Facts
from fixtures.heartbeat import Key, Lease, read_console
from fixtures.observe.disclosed import holds_key
from fixtures.scratch.console import socket_url, without_token
from fixtures.units import starting, unit_problem
from suites.access import test_network as network
from suites.access import test_servers as servers
from suites.access import test_services as services
from suites.migration import test_config as migration
from suites.security import test_hosts as security
from tests.unit.test_keystone_checks import _found
from tests.unit.test_remediate_plan import the_cloud, the_facts

CONTROLLER, COMPUTE = "controller", "compute1"


def _apis(facts: Facts, **changed: Any) -> Facts:
    return facts.model_copy(update={"apis": facts.openstack.model_copy(update=changed)})


def _host(facts: Facts, name: str, role: str, **changed: Any) -> HostFacts:
    """A host with a service of it changed."""
    host = facts.host(name)
    service = need(host.services[role]).model_copy(update=changed)
    return host.model_copy(update={"services": {**host.services, role: service}})


def _policy(**changed: Any) -> Cloud:
    cloud = the_cloud()
    return cloud.model_copy(update={"policy": cloud.policy.model_copy(update=changed)})


def _with(facts: Facts, host: HostFacts) -> Facts:
    return facts.model_copy(update={"hosts": {**facts.hosts, host.name: host}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"state": "down"}, "nova-scheduler on controller: enabled, down"),
        ({"status": "disabled"}, "nova-scheduler on controller: disabled, up"),
        ({"binary": "nova-cert"}, "nova-scheduler: on no host"),
    ],
)
def test_a_control_service_that_nova_does_not_see_is_found(changed: dict[str, str], said: str) -> None:
    facts = the_facts()
    rows = need(facts.openstack.compute_services)
    told = tuple(row.model_copy(update=changed) if row.binary == "nova-scheduler" else row for row in rows)
    assert said in _found(services.test_control_services_run, the_cloud(), _apis(facts, compute_services=told))


def test_a_cloud_file_that_is_silent_of_a_service_is_told() -> None:
    cloud = the_cloud()
    host = cloud.hosts[CONTROLLER]
    roles = tuple(role for role in host.roles if role != "nova-novncproxy")
    silent = cloud.model_copy(update={"hosts": {**cloud.hosts, CONTROLLER: host.model_copy(update={"roles": roles})}})
    with pytest.raises(NotMeasured, match="which host runs nova-novncproxy"):
        services.test_control_services_run(silent, the_facts())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            {"what": "bus", "name": "transport_url", "place": "c:5672/", "error": "AccessRefused"},
            "c:5672/: AccessRefused",
        ),
        (
            {"what": "database", "name": "cell1", "schema": "16f1", "newest": "ccb0"},
            "schema 16f1, the code brings ccb0",
        ),
        ({"what": "hosts", "name": "cell1", "lost": 2, "named": "a, b"}, "2 hypervisors that no cell leads to: a, b"),
        ({"what": "folder", "name": "state_path", "path": "/s", "owner": "root"}, "state_path /s: root's, not nova's"),
        ({"what": "cells", "name": "cells", "count": 1}, "1 cells"),
    ],
)
def test_what_nova_leans_on_is_judged(line: dict[str, Any], said: str) -> None:
    report = Report(rc=0, output=(json.dumps({"error": "", **line}),))
    host = _host(the_facts(), COMPUTE, "nova-compute", reports={"backing": report})
    assert said in _found(services.test_what_nova_leans_on_answers, host, the_cloud())


def test_a_trial_that_broke_off_is_no_finding() -> None:
    host = _host(the_facts(), COMPUTE, "nova-compute", reports={"backing": Report(rc=1, error="ImportError: kombu")})
    with pytest.raises(NotMeasured, match="ImportError: kombu"):
        services.test_what_nova_leans_on_answers(host, the_cloud())


@pytest.mark.parametrize(
    ("reason", "status", "well"),
    [("", "enabled", False), ("", "disabled", False), ("no guests here", "disabled", True)],
)
def test_a_controller_has_no_guests_by_chance(reason: str, status: str, well: bool) -> None:
    facts = the_facts()
    row = ServiceState(
        binary="nova-compute", host=CONTROLLER, zone="nova", status=status, state="up", disabled_reason=reason
    )
    told = _apis(facts, compute_services=(*need(facts.openstack.compute_services), row))
    if well:
        services.test_host_names_its_own_addresses(facts.host(CONTROLLER), the_cloud(), told)
    else:
        assert status in _found(services.test_host_names_its_own_addresses, facts.host(CONTROLLER), the_cloud(), told)


@pytest.mark.parametrize(
    ("virt", "kind", "kvm", "said"),
    [
        ("qemu", "production", None, "virt_type = qemu"),
        ("kvm", "lab", None, "no /dev/kvm"),
        ("kvm", "production", 0o600, "/dev/kvm is root:kvm 0600"),
        ("kvm", "production", 0o660, ""),
        ("qemu", "lab", None, ""),
    ],
)
def test_virtualization_is_judged(virt: str, kind: str, kvm: int | None, said: str) -> None:
    facts = the_facts()
    entries = need(need(facts.host(COMPUTE).services["nova-compute"]).entries)
    changed = tuple(
        entry.model_copy(update={"value": virt}) if entry.key == "virt_type" else entry for entry in entries
    )
    stat = File(path="/dev/kvm", kind="absent" if kvm is None else "other", owner="root", group="kvm", mode=kvm or 0)
    host = _host(facts, COMPUTE, "nova-compute", entries=changed)
    host = host.model_copy(update={"files": {**host.files, "/dev/kvm": stat}})
    if said:
        assert said in _found(services.test_guests_run_on_the_processor, host, _policy(kind=kind))
    else:
        services.test_guests_run_on_the_processor(host, _policy(kind=kind))


@pytest.mark.parametrize(
    ("accepted", "said"), [((), "nova-conductor oslo: it broke"), (("oslo: .*broke",), ""), (("^cinder",), "it broke")]
)
def test_errors_in_logs_are_told_unless_accepted(accepted: tuple[str, ...], said: str) -> None:
    clean = ErrorLog(source="x", since=0)
    log = clean.model_copy(update={"loggers": {"oslo": Logged(count=1, last=("2026-11-22 it broke",))}})
    host = the_facts().host(CONTROLLER)
    quiet = {
        role: need(service).model_copy(update={"errors": log if role == "nova-conductor" else clean})
        for role, service in host.services.items()
    }
    host = host.model_copy(update={"services": quiet})
    check, cloud = services.test_services_log_no_error, _policy(accepted_errors=accepted)
    if said:
        assert said.rpartition(": ")[2] in _found(check, host, cloud)
    else:
        check(host, cloud)


AGENT = NetworkAgent(id="a", kind="Linux bridge agent", host=COMPUTE, alive=True, enabled=True)
AGENTS = (
    AGENT,
    AGENT.model_copy(update={"host": "compute2.example"}),
    AGENT.model_copy(update={"kind": "DHCP agent"}),
    AGENT.model_copy(update={"kind": "Metadata agent"}),
)
PORT = DhcpPort(host=COMPUTE, status="ACTIVE", binding="bridge")
NET = Network(id="n", name="lab", status="ACTIVE", subnets=("10.0.0.0/24",), dhcp=("10.0.0.0/24",), dhcp_ports=(PORT,))
FAILED = PORT.model_copy(update={"status": "DOWN", "binding": "binding_failed"})
OVN = (*AGENTS, AGENT.model_copy(update={"kind": "OVN Controller agent"}))


@pytest.mark.parametrize(
    ("agents", "net", "said"),
    [
        (AGENTS, NET, ""),
        (AGENTS[1:], NET, "compute1: no agent that plugs guests in"),
        (AGENTS[:3], NET, "no agent that passes metadata on"),
        ((*AGENTS[:2], AGENTS[3]), NET, "no agent that gives addresses"),
        (
            (*AGENTS, AGENT.model_copy(update={"alive": False, "host": "old"})),
            NET,
            "Linux bridge agent on old: not alive",
        ),
        (AGENTS, NET.model_copy(update={"dhcp": ()}), "network lab: no DHCP in 10.0.0.0/24"),
        (AGENTS, NET.model_copy(update={"name": "other"}), "no network lab"),
        (AGENTS, NET.model_copy(update={"status": "DOWN"}), "network lab: DOWN"),
        (AGENTS, NET.model_copy(update={"dhcp_ports": ()}), "network lab: no DHCP port"),
        (
            AGENTS,
            NET.model_copy(update={"dhcp_ports": (FAILED,)}),
            f"network lab: DHCP port on {COMPUTE}: DOWN, binding_failed",
        ),
        (AGENTS, NET.model_copy(update={"dhcp_ports": (FAILED, PORT)}), ""),
        (OVN, NET.model_copy(update={"dhcp_ports": ()}), ""),
    ],
)
def test_networks_are_judged(agents: tuple[NetworkAgent, ...], net: Network, said: str) -> None:
    facts = _apis(the_facts(), network_agents=agents, networks=(net,))
    if said:
        assert said in _found(network.test_guests_get_on_the_network, the_cloud(), facts)
    else:
        network.test_guests_get_on_the_network(the_cloud(), facts)


def test_what_default_groups_let_in_is_judged_by_the_policy() -> None:
    rule = OpenRule(id="r", group="g", project="p", traffic="tcp/22", remote="0.0.0.0/0")
    facts = _apis(the_facts(), open_rules=(rule,))
    assert "tcp/22 from 0.0.0.0/0" in _found(network.test_default_groups_are_closed, the_cloud(), facts)
    network.test_default_groups_are_closed(_policy(open_to_all=("tcp/22",)), facts)


def test_a_key_in_an_attachment_is_told_without_it() -> None:
    held = Attachment(id="a1", volume="v1", server="", status="reserved", holds_key=True)
    sound = held.model_copy(update={"id": "a2", "holds_key": False})
    facts = _apis(the_facts(), attachments=(sound, held), leaks=("server s1: its fault tells of a key",))
    said = _found(security.test_no_key_is_told_in_logs_or_by_apis, the_cloud(), facts)
    assert "attachment a1 of volume v1: its connection holds a keyring" in said
    assert "server s1" in said
    assert "a2" not in said


@pytest.mark.parametrize(
    ("info", "holds"),
    [
        ({"keyring": "[client.cinder]"}, True),
        ({"auth_username": "cinder", "secret": "AQ" + 37 * "a" + "=="}, True),
        ({"auth_username": "cinder", "secret_uuid": "457eb676-33da-42ec-9a8c-9293d545c337", "keyring": None}, False),
        ({}, False),
    ],
)
def test_a_connection_with_a_key_is_known(info: dict[str, str | None], holds: bool) -> None:
    assert holds_key(info) is holds


def test_the_guest_tells_of_its_network() -> None:
    console = read_console(
        "osc-net lease dev=eth0 address=10.0.0.7 server=10.0.0.2 end\r\nosc-net metadata=there end\r\n"
        "osc-net key=ssh-ed25519 md5=0a1b end\r\nheartbeat login:\r\nosc-net key=ssh-ed2"
    )
    assert console.leases == (Lease("eth0", "10.0.0.7", "10.0.0.2"),)
    assert (console.metadata, console.keys, console.prompts) == (True, (Key("ssh-ed25519", "0a1b"),), 1)
    assert read_console("osc-net metadata=none end").metadata is False


def test_what_a_guest_tried_is_read() -> None:
    console = read_console(
        "osc-port order=try end\r\nosc-port try=1 to=10.0.0.7:7777 answer=none end\r\n"
        "osc-port try=2 to=10.0.0.7:7777 answer=open end\r\nosc-port try=3 to=10.0.0.7:7777 answer=maybe end\r\n"
        "osc-port try=4 to=10.0.0.7:77"
    )
    assert console.orders == ("try",)
    assert [(one.n, one.to, one.answer) for one in console.tries] == [
        (1, "10.0.0.7:7777", "none"),
        (2, "10.0.0.7:7777", "open"),
    ]
    assert read_console("osc-guest boot").metadata is None


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        ("https://c:6080/vnc_auto.html?path=%3Ftoken%3Dab-12", "wss://c:6080/?token=ab-12"),
        ("http://c:6080/vnc_auto.html?token=ab-12", "ws://c:6080/websockify?token=ab-12"),
    ],
)
def test_a_console_is_sought_where_novncs_page_seeks_it(url: str, socket: str) -> None:
    assert socket_url(url) == socket
    assert without_token(url).endswith(":6080/vnc_auto.html")
    assert "ab-12" not in servers._without_secrets(f"refused: {url}", url)


def test_a_made_key_has_the_fingerprint_that_ssh_knows() -> None:
    text, md5 = servers._new_key()
    kind, _, _ = text.split()
    assert (kind, len(md5)) == ("ssh-ed25519", 32)


@pytest.mark.parametrize(
    ("load", "enabled", "problem", "remedy"),
    [
        ("masked", "masked", "inactive (dead), masked", "systemctl unmask a.service; systemctl enable --now a.service"),
        ("loaded", "disabled", "inactive (dead), disabled at boot", "systemctl enable --now a.service"),
        ("not-found", "", "no such unit", "install the package of a.service; systemctl enable --now a.service"),
    ],
)
def test_a_unit_that_does_not_run_is_told_with_the_way_to_have_it_run(
    load: str, enabled: str, problem: str, remedy: str
) -> None:
    unit = Unit(name="a.service", load=load, active="inactive", sub="dead", enabled=enabled)
    assert (unit_problem(unit), starting([unit])) == (problem, remedy)


@pytest.mark.parametrize(
    "check", [services.test_host_names_its_own_addresses, migration.test_hypervisors_migrate_over_one_transport]
)
def test_all_that_share_an_address_are_told_alike(check: Any) -> None:
    facts = the_facts()
    twin = HostFacts.model_validate_json(facts.host("compute1").model_dump_json().replace("compute1", "compute2"))
    facts = _with(facts, twin)
    assert "which compute1, compute2 have" in _found(check, facts.host(COMPUTE), the_cloud(), facts)
    assert "which compute1, compute2 have" in _found(check, twin, the_cloud(), facts)


def test_of_many_names_a_few_are_told() -> None:
    assert shown(some([f"c{number}" for number in range(7)], 5)) == "c0, c1, c2, c3, c4, … and 2 more"
