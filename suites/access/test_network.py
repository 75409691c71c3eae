"""Area nv: the networks that guests are put on, and what their default security groups let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from fixtures.around import each_host
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.networks import DhcpPort, Network, NetworkAgent
from fixtures.facts.run import Facts
from fixtures.integration import config_of

pytestmark = pytest.mark.applies_if(
    lambda cloud: bool(cloud.hosts_with("neutron-server")), "no host of the cloud file runs neutron-server"
)
OVN: Final = ("OVN Controller agent", "OVN Controller Gateway agent")
PLUGGING: Final = (*OVN, "Linux bridge agent", "Open vSwitch agent", "Macvtap agent", "NIC Switch agent")
DHCP: Final = "DHCP agent"
ADDRESSES: Final = (*OVN, DHCP)
METADATA: Final = ("Metadata agent", "OVN Metadata agent", "OVN Neutron agent")


@pytest.mark.check("nv.network", severity="critical", source="S2")
def test_guests_get_on_the_network(cloud: Cloud, facts: Facts) -> None:
    """All agents are alive, each hypervisor has one that plugs guests in, and a network gives addresses and metadata.

    That is journeys.network where the cloud file names it, else any that is not external. Where DHCP agents give the
    addresses, one of them has a port on it that is bound and active: an agent that is alive may not have taken the
    network on, or not be plugged in. Where all hypervisors give a config drive (force_config_drive), nobody has to
    pass metadata on.

    Why: a guest without an address is up for Nova and for nobody else.
    """
    agents = need(facts.openstack.network_agents, "network agents")
    if not agents:
        raise NotMeasured("the network service lists no agent: how guests are plugged in is not known")
    bad = [
        *_agent_problems(agents),
        *_unplugged(cloud, facts, agents),
        *_services_lacking(cloud, facts, agents),
        *_network_problems(cloud, need(facts.openstack.networks, "networks"), served=_served_by_ports(agents)),
    ]
    assert not bad, finding(
        "networks of guests",
        found=bad,
        expected="agents alive, and a network with DHCP",
        remedy="openstack network agent list; start the agent on its host, or delete it if its host is gone; "
        "openstack subnet set --dhcp; a port that is not bound: openstack port list --device-owner network:dhcp, then "
        "openstack port set --host",
    )


def _works(agent: NetworkAgent) -> bool:
    return agent.alive and agent.enabled


def _agent_problems(agents: tuple[NetworkAgent, ...]) -> Iterator[str]:
    for agent in sorted(agents, key=lambda agent: (agent.kind, agent.host)):
        if not _works(agent):
            yield f"{agent.kind} on {agent.host}: {'disabled' if agent.alive else 'not alive'}"


def _unplugged(cloud: Cloud, facts: Facts, agents: tuple[NetworkAgent, ...]) -> Iterator[str]:
    """Hypervisors on which there is no agent, dead or alive."""
    there = {agent.host for agent in agents if agent.kind in PLUGGING}
    for name, host in each_host(cloud, facts, cloud.hosts_with("nova-compute")).items():
        if not any(host.is_called(one) for one in there):
            yield f"{name}: no agent that plugs guests in"


def _services_lacking(cloud: Cloud, facts: Facts, agents: tuple[NetworkAgent, ...]) -> Iterator[str]:
    working = {agent.kind for agent in agents if _works(agent)}
    if not working & set(ADDRESSES):
        yield "no agent that gives addresses is at work"
    if not working & set(METADATA) and not _all_give_config_drives(cloud, facts):
        yield "no agent that passes metadata on is at work"


def _all_give_config_drives(cloud: Cloud, facts: Facts) -> bool:
    hosts = each_host(cloud, facts, cloud.hosts_with("nova-compute")).values()
    return all(config_of(host, "nova-compute").boolean("DEFAULT", "force_config_drive", False) for host in hosts)


def _served_by_ports(agents: tuple[NetworkAgent, ...]) -> bool:
    """Whether addresses come by ports of DHCP agents: OVN answers by itself."""
    kinds = {agent.kind for agent in agents}
    return DHCP in kinds and not kinds & set(OVN)


def _network_problems(cloud: Cloud, networks: tuple[Network, ...], *, served: bool) -> Iterator[str]:
    named = cloud.journeys.network
    meant = [it for it in networks if (it.name == named or it.id == named if named else not it.external)]
    if not meant:
        yield f"no network {named}" if named else "no network for guests"
    problems = [problem for network in meant if (problem := _problem(network, served=served))]
    if len(problems) == len(meant):
        yield from problems


def _problem(network: Network, *, served: bool) -> str:
    if not network.enabled or network.status != "ACTIVE":
        return f"network {network.name}: {network.status if network.enabled else 'disabled'}"
    if not network.dhcp:
        ranges = ", ".join(network.subnets)
        return f"network {network.name}: no DHCP in {ranges}" if ranges else f"network {network.name}: no subnet"
    if served and not any(map(_serves, network.dhcp_ports)):
        ports = ", ".join(f"on {it.host or 'no host'}: {it.status}, {it.binding}" for it in network.dhcp_ports)
        return f"network {network.name}: DHCP port {ports}" if ports else f"network {network.name}: no DHCP port"
    return ""


def _serves(port: DhcpPort) -> bool:
    return port.status == "ACTIVE" and port.binding not in ("unbound", "binding_failed")


@pytest.mark.check("nv.secgroup", severity="major", source="S2")
def test_default_groups_are_closed(cloud: Cloud, facts: Facts) -> None:
    """No project's default security group lets in from everywhere what policy.open_to_all does not name.

    Why: who names no group gets the default one; what is opened there is open on servers whose owners never know.
    """
    rules = need(facts.openstack.open_rules, "rules of default security groups")
    bad = {
        f"group {rule.group} of project {rule.project}, rule {rule.id}": f"{rule.traffic} from {rule.remote}"
        for rule in rules
        if rule.traffic not in cloud.policy.open_to_all
    }
    assert not bad, finding(
        "default security groups",
        found=bad,
        expected=f"from everywhere {', '.join(cloud.policy.open_to_all) or 'nothing'}",
        remedy="openstack security group rule delete; open it from the networks that need it, in a group of its own",
    )
