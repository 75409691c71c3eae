"""Neutron: the server, a hypervisor's agent, and those that give guests addresses and metadata.

Guests are on Linux bridges, joined by VXLAN; or, where Neutron has no driver for those any more, on Open vSwitch in
user space, by VLANs on tunnels of the kernel's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lab.machine import Machine
from lab.plan import Plan
from lab.releases import Plugging
from lab.roles import backing, identity, ini, overlay, services, units
from lab.roles.role import Role, machine_with, poll

_MAIN = "/etc/neutron/neutron.conf"
_ML2 = "/etc/neutron/plugins/ml2/ml2_conf.ini"
_DHCP = "/etc/neutron/dhcp_agent.ini"
_METADATA = "/etc/neutron/metadata_agent.ini"
_SERVER = ("neutron-api", "neutron-rpc-server")
_FOR_GUESTS = ("neutron-dhcp-agent", "neutron-metadata-agent")


@dataclass(frozen=True)
class _Driver:
    """One way to plug guests in."""

    name: str
    """As agents have it for an interface of their own; also in the names of the agent and its file."""
    ml2: ini.Config
    agent: Callable[[Machine], ini.Config]
    api_groups: ini.Config
    """Security groups as the API has them, and as the agents keep them."""
    groups: ini.Config
    experimental: ini.Config
    defaults: ini.Section
    prepare: Callable[[Machine, Plan], None]
    early: bool
    """Its agents report once before guests' ports are made: one that is older than the first report is never bound."""

    @property
    def unit(self) -> str:
        return f"neutron-{self.name}-agent"

    @property
    def file(self) -> str:
        return f"/etc/neutron/plugins/ml2/{self.name}_agent.ini"


def _ml2(mechanisms: str, kind: str) -> ini.Section:
    return {
        "type_drivers": f"flat,{kind}",
        "tenant_network_types": kind,
        "mechanism_drivers": mechanisms,
        "extension_drivers": "port_security",
    }


def _groups(driver: str, *, enabled: bool) -> ini.Config:
    return {"securitygroup": {"firewall_driver": driver, "enable_security_group": enabled}}


def _vxlan(machine: Machine) -> ini.Config:
    return {"vxlan": {"enable_vxlan": True, "local_ip": machine.address, "l2_population": True}}


def _in_user_space(_machine: Machine) -> ini.Config:
    return {"ovs": {"datapath_type": "netdev", "bridge_mappings": f"{overlay.NAME}:{overlay.BRIDGE}"}}


_DRIVERS: dict[Plugging, _Driver] = {
    "linuxbridge": _Driver(
        name="linuxbridge",
        ml2={"ml2": _ml2("linuxbridge,l2population", "vxlan"), "ml2_type_vxlan": {"vni_ranges": "1:1000"}},
        agent=_vxlan,
        # The kernel has no br_netfilter: agents could write rules, and none would ever match. The API has groups all
        # the same.
        api_groups=_groups("noop", enabled=True),
        groups=_groups("noop", enabled=False),
        experimental={"experimental": {"linuxbridge": True}},
        defaults={},
        prepare=lambda machine, plan: None,
        early=False,
    ),
    "openvswitch": _Driver(
        name="openvswitch",
        ml2={
            "ml2": _ml2("openvswitch", "vlan"),
            "ml2_type_vlan": {"network_vlan_ranges": f"{overlay.NAME}:1:1000"},
        },
        agent=_in_user_space,
        # The switch tracks connections itself.
        api_groups=_groups("openvswitch", enabled=True),
        groups=_groups("openvswitch", enabled=True),
        experimental={},
        defaults={"global_physnet_mtu": overlay.MTU},
        prepare=lambda machine, plan: overlay.set_up(machine, plan, "neutron-agent"),
        early=True,
    ),
}


def _driver(plan: Plan) -> _Driver:
    return _DRIVERS[plan.release.plugging]


def holds_groups(plan: Plan) -> bool:
    """Whether the agents let in what security groups open, and nothing else."""
    return bool(_driver(plan).groups["securitygroup"]["enable_security_group"])


def _common(plan: Plan) -> ini.Config:
    return {
        "DEFAULT": {
            "auth_strategy": "keystone",
            "core_plugin": "ml2",
            "service_plugins": "",
            "transport_url": backing.transport_url(plan),
            "state_path": "/var/lib/neutron",
            "log_dir": "/var/log/neutron",
            "rpc_workers": 1,
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,
            # Of the server that starts beside it, an agent asks again after so long.
            "rpc_response_timeout": 20,
            **_driver(plan).defaults,
        },
        # A first report that meets no server yet is repeated only after the interval.
        "agent": {"root_helper": "sudo neutron-rootwrap /etc/neutron/rootwrap.conf", "report_interval": 5},
        **_driver(plan).experimental,
        "oslo_concurrency": {"lock_path": "/var/lock/neutron"},
        "oslo_policy": {"policy_dirs": "/etc/neutron/policy.d"},
    }


def _server_config(plan: Plan) -> ini.Config:
    server: ini.Config = {
        "database": {"connection": backing.database_url(plan, "neutron", "neutron")},
        "nova": identity.credentials(plan, "neutron"),
        "quotas": {
            "quota_network": 500,
            "quota_subnet": 500,
            "quota_port": 2000,
            "quota_security_group": 500,
            "quota_security_group_rule": 2000,
        },
    }
    return ini.merge(_common(plan), identity.token_checks(plan, "neutron"), server)


def _write(machine: Machine, plan: Plan, config: ini.Config, groups: ini.Config) -> None:
    machine.write(_MAIN, ini.render(config), mode=0o640, owner="root:neutron")
    machine.write(_ML2, ini.render(ini.merge(_driver(plan).ml2, groups)), mode=0o640, owner="root:neutron")


def _server(machine: Machine, plan: Plan) -> None:
    _write(machine, plan, _server_config(plan), _driver(plan).api_groups)
    units.single_worker(machine, "/etc/neutron/neutron-api-uwsgi.ini")
    machine.run(
        f"runuser -u neutron -- neutron-db-manage --config-file {_MAIN} --config-file {_ML2} upgrade heads 2>/dev/null"
    )
    units.patient(machine, *_SERVER)
    units.enable(machine, "neutron-rpc-server")
    units.start(machine, "neutron-api")


def _server_ready(machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    poll("Neutron lists networks", lambda: "networks" in api.get("network", "/v2.0/networks"), timeout=180)


def _agent(machine: Machine, plan: Plan) -> None:
    driver = _driver(plan)
    _write(machine, plan, _common(plan), driver.groups)
    own = ini.render(ini.merge(driver.agent(machine), driver.groups))
    machine.write(driver.file, own, mode=0o640, owner="root:neutron")
    driver.prepare(machine, plan)
    units.patient(machine, driver.unit)
    units.enable(machine, driver.unit)


def have_agents_report(plan: Plan) -> None:
    """Run the agents that have to report before there is a port on their hosts, now that there is a server."""
    if not _driver(plan).early:
        return
    units.start(machine_with(plan, "neutron-server"), "neutron-rpc-server")
    for machine in plan.with_role("neutron-agent"):
        units.start(machine, _driver(plan).unit)
    for machine in plan.with_role("neutron-agent"):
        _agent_ready(machine, plan)


def _agent_ready(machine: Machine, plan: Plan) -> None:
    services.agent_reported(plan, machine, _driver(plan).unit)


def metadata_proxy(plan: Plan) -> ini.Section:
    """What Nova's metadata API and the agent before it know each other by."""
    return {"metadata_proxy_shared_secret": plan.secrets.get("metadata-proxy")}


def _guests(machine: Machine, plan: Plan) -> None:
    """Addresses, and the way to the metadata, from one name space for each network."""
    dhcp: ini.Config = {
        "DEFAULT": {"interface_driver": _driver(plan).name, "enable_isolated_metadata": True, "force_metadata": True}
    }
    metadata: ini.Config = {
        "DEFAULT": {
            "nova_metadata_host": machine_with(plan, "nova-control").address,
            "metadata_workers": 0,
            **metadata_proxy(plan),
        }
    }
    for path, config in {_DHCP: dhcp, _METADATA: metadata}.items():
        machine.write(path, ini.render(config), mode=0o640, owner="root:neutron")
    units.patient(machine, *_FOR_GUESTS)
    units.enable(machine, *_FOR_GUESTS)


def _guests_ready(machine: Machine, plan: Plan) -> None:
    for unit in _FOR_GUESTS:
        services.agent_reported(plan, machine, unit)
    _addresses_given(machine, plan)


def _addresses_given(machine: Machine, plan: Plan) -> None:
    """Wait until the agent serves all networks: it reports long before, and a guest asks for its address for 20 s."""
    api = identity.admin(plan)

    def look() -> bool:
        # What ports say is of an earlier start, perhaps. The brackets keep the shell itself from being found.
        for subnet in api.get("network", "/v2.0/subnets?enable_dhcp=True")["subnets"]:
            machine.run(f"pgrep -f '[d]nsmasq.*/dhcp/{subnet['network_id']}/'")
        return True

    poll(f"{machine.name}: networks have their DHCP", look, timeout=240)


ROLES = (
    Role(
        "neutron-server",
        ("neutron-server", "neutron-plugin-ml2"),
        _SERVER,
        _server,
        after=("database", "messaging"),
        ready=_server_ready,
    ),
    Role("neutron-agent", (), (), _agent, ready=_agent_ready),
    Role("neutron-dhcp", _FOR_GUESTS, _FOR_GUESTS, _guests, after=("neutron-agent",), ready=_guests_ready),
)
