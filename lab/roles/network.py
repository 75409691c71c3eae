"""Neutron with Linux bridges: the server, a hypervisor's agent, and those that give guests addresses and metadata."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, services, units
from lab.roles.role import Role, machine_with, poll

_MAIN = "/etc/neutron/neutron.conf"
_ML2 = "/etc/neutron/plugins/ml2/ml2_conf.ini"
_AGENT = "/etc/neutron/plugins/ml2/linuxbridge_agent.ini"
_DHCP = "/etc/neutron/dhcp_agent.ini"
_METADATA = "/etc/neutron/metadata_agent.ini"
_SERVER = ("neutron-api", "neutron-rpc-server")
_FOR_GUESTS = ("neutron-dhcp-agent", "neutron-metadata-agent")


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
        },
        # A first report that meets no server yet is repeated only after the interval.
        "agent": {"root_helper": "sudo neutron-rootwrap /etc/neutron/rootwrap.conf", "report_interval": 5},
        "experimental": {"linuxbridge": True},
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


_ML2_CONFIG: ini.Config = {
    "ml2": {
        "type_drivers": "flat,vxlan",
        "tenant_network_types": "vxlan",
        "mechanism_drivers": "linuxbridge,l2population",
        "extension_drivers": "port_security",
    },
    "ml2_type_vxlan": {"vni_ranges": "1:1000"},
}
# The kernel has no br_netfilter: agents could write rules, and none would ever match. The API has groups all the same.
_API_GROUPS: ini.Config = {"securitygroup": {"firewall_driver": "noop", "enable_security_group": True}}
_NO_GROUPS: ini.Config = {"securitygroup": {"firewall_driver": "noop", "enable_security_group": False}}


def _write(machine: Machine, config: ini.Config, groups: ini.Config) -> None:
    machine.write(_MAIN, ini.render(config), mode=0o640, owner="root:neutron")
    machine.write(_ML2, ini.render(ini.merge(_ML2_CONFIG, groups)), mode=0o640, owner="root:neutron")


def _server(machine: Machine, plan: Plan) -> None:
    _write(machine, _server_config(plan), _API_GROUPS)
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
    _write(machine, _common(plan), _NO_GROUPS)
    vxlan: ini.Config = {"vxlan": {"enable_vxlan": True, "local_ip": machine.address, "l2_population": True}}
    machine.write(_AGENT, ini.render(ini.merge(vxlan, _NO_GROUPS)), mode=0o640, owner="root:neutron")
    units.patient(machine, "neutron-linuxbridge-agent")
    units.enable(machine, "neutron-linuxbridge-agent")


def _agent_ready(machine: Machine, plan: Plan) -> None:
    services.agent_reported(plan, machine, "neutron-linuxbridge-agent")


def metadata_proxy(plan: Plan) -> ini.Section:
    """What Nova's metadata API and the agent before it know each other by."""
    return {"metadata_proxy_shared_secret": plan.secrets.get("metadata-proxy")}


def _guests(machine: Machine, plan: Plan) -> None:
    """Addresses, and the way to the metadata, from one name space for each network."""
    dhcp: ini.Config = {
        "DEFAULT": {"interface_driver": "linuxbridge", "enable_isolated_metadata": True, "force_metadata": True}
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


ROLES = (
    Role(
        "neutron-server",
        ("neutron-server", "neutron-plugin-ml2"),
        _SERVER,
        _server,
        after=("database", "messaging"),
        ready=_server_ready,
    ),
    Role("neutron-agent", ("neutron-linuxbridge-agent",), ("neutron-linuxbridge-agent",), _agent, ready=_agent_ready),
    Role("neutron-dhcp", _FOR_GUESTS, _FOR_GUESTS, _guests, after=("neutron-agent",), ready=_guests_ready),
)
