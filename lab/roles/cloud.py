"""What tenants find in the cloud: a flavor, a network, and every host mapped; and a volume type that leads to Ceph."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import identity, network
from lab.roles.api import Api
from lab.roles.role import Role, machine_with, option, poll

FLAVOR = {"name": "small", "id": "small", "vcpus": 1, "ram": 128, "disk": 1}
NETWORK = "lab"
_CIDR = "192.168.77.0/24"


def _provision(machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    _answers(api, "compute", "/flavors")
    _answers(api, "network", "/v2.0/networks")
    _answers(api, "image", "/v2/images")
    _answers(api, "volumev3", "/types")
    api.post("compute", "/flavors", {"flavor": FLAVOR})
    _network(api, secured=network.holds_groups(plan))
    network.have_agents_report(plan)
    machine_with(plan, "nova-control").run("runuser -u nova -- nova-manage cell_v2 discover_hosts --by-service")


def _answers(api: Api, service: str, path: str) -> None:
    poll(f"{service} answers", lambda: bool(api.get(service, path)), timeout=180)


def _network(api: Api, *, secured: bool) -> None:
    if api.get("network", f"/v2.0/networks?name={NETWORK}")["networks"]:
        return
    wanted = {"name": NETWORK, "shared": True, "port_security_enabled": secured}
    made = api.post("network", "/v2.0/networks", {"network": wanted})["network"]
    subnet = {
        "name": NETWORK,
        "network_id": made["id"],
        "ip_version": 4,
        "cidr": _CIDR,
        "enable_dhcp": True,
        "gateway_ip": None,
    }
    api.post("network", "/v2.0/subnets", {"subnet": subnet})


def _volume_type(_machine: Machine, plan: Plan) -> None:
    specs = {"volume_backend_name": option(plan, "volume_backend_name")}
    wanted = {"name": option(plan, "volume_type"), "os-volume-type-access:is_public": True, "extra_specs": specs}
    identity.admin(plan).post("volumev3", "/types", {"volume_type": wanted})


ROLES = (
    Role(
        "cloud",
        (),
        (),
        _provision,
        after=("keystone", "glance", "cinder-api", "nova-control", "nova-compute", "neutron-server"),
    ),
    Role("volume-type", (), (), _volume_type, after=("cloud",)),
)
