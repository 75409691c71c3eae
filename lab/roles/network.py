"""Neutron with Linux bridges: the server, and the agent of a hypervisor."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, services, units
from lab.roles.role import Role, poll

_MAIN = "/etc/neutron/neutron.conf"
_ML2 = "/etc/neutron/plugins/ml2/ml2_conf.ini"
_AGENT = "/etc/neutron/plugins/ml2/linuxbridge_agent.ini"
_SERVER = ("neutron-api", "neutron-rpc-server")


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
    # The kernel has no br_netfilter: rules could be written and would never match.
    "securitygroup": {"firewall_driver": "noop", "enable_security_group": False},
}


def _write(machine: Machine, config: ini.Config) -> None:
    machine.write(_MAIN, ini.render(config), mode=0o640, owner="root:neutron")
    machine.write(_ML2, ini.render(_ML2_CONFIG), mode=0o640, owner="root:neutron")


def _server(machine: Machine, plan: Plan) -> None:
    _write(machine, _server_config(plan))
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
    _write(machine, _common(plan))
    vxlan: ini.Config = {
        "vxlan": {"enable_vxlan": True, "local_ip": machine.address, "l2_population": True},
        "securitygroup": _ML2_CONFIG["securitygroup"],
    }
    machine.write(_AGENT, ini.render(vxlan), mode=0o640, owner="root:neutron")
    units.patient(machine, "neutron-linuxbridge-agent")
    units.enable(machine, "neutron-linuxbridge-agent")


def _agent_ready(machine: Machine, plan: Plan) -> None:
    services.agent_reported(plan, machine, "neutron-linuxbridge-agent")


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
)
