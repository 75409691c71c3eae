"""Keystone: the service, its users and its catalog."""

from dataclasses import dataclass

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import access, backing, ini, pki, units
from lab.roles.api import Api
from lab.roles.role import Role, machine_with, option, poll

SERVICE_PROJECT = "service"
AUTHORITY = "ca.pem"
"""Whose certificates the runner trusts."""
_ROLES = ("service", "manager")


@dataclass(frozen=True)
class Service:
    """A service of the catalog, the role that serves it, and its user's rights."""

    role: str
    user: str
    type: str
    port: int
    path: str = ""
    rights: tuple[str, ...] = ("service",)


SERVICES = (
    Service("glance", "glance", "image", 9292),
    Service("placement", "placement", "placement", 8778),
    Service("cinder-api", "cinder", "volumev3", 8776, "/v3/%(project_id)s", ("admin", "service")),
    Service("nova-control", "nova", "compute", 8774, "/v2.1", ("admin", "service")),
    Service("neutron-server", "neutron", "network", 9696, "", ("admin", "service")),
    Service("swift-proxy", "swift", "object-store", 8080, "/v1/AUTH_%(project_id)s", ("admin", "service")),
    Service("radosgw", "radosgw", "object-store", 7480, "/swift/v1/AUTH_%(project_id)s", ("admin", "service")),
)


def auth_url(plan: Plan) -> str:
    """Where Keystone answers."""
    return f"http://{machine_with(plan, 'keystone').address}:5000/v3"


def admin(plan: Plan) -> Api:
    """The cloud's administrator."""
    return Api(auth_url(plan), "admin", plan.secrets.get("admin"), "admin")


def credentials(plan: Plan, user: str) -> ini.Section:
    """How a service logs in as its own user."""
    return {
        "auth_type": "password",
        "auth_url": auth_url(plan),
        "project_name": SERVICE_PROJECT,
        "project_domain_name": "Default",
        "username": user,
        "user_domain_name": "Default",
        "password": plan.secrets.get(user),
        "region_name": option(plan, "region"),
    }


def token_checks(plan: Plan, user: str) -> ini.Config:
    """How a service checks the tokens it is given, and what it adds to its own calls."""
    checks: ini.Section = {
        "www_authenticate_uri": auth_url(plan),
        **credentials(plan, user),
        "memcached_servers": backing.cache_servers(plan),
        "service_token_roles": "service",
        "service_token_roles_required": True,
    }
    sent: ini.Section = {"send_service_user_token": True, **credentials(plan, user)}
    return {"keystone_authtoken": checks, "service_user": sent}


def _config(plan: Plan) -> ini.Config:
    return {
        "DEFAULT": {"log_dir": "/var/log/keystone"},
        "database": {"connection": backing.database_url(plan, "keystone", "keystone")},
        "cache": {
            "enabled": True,
            "backend": "dogpile.cache.pymemcache",
            "memcache_servers": backing.cache_servers(plan),
        },
        "token": {"provider": "fernet"},
        # Every login hashes a password: with the default rounds, a quarter second of a core.
        "identity": {"password_hash_rounds": 4},
        "oslo_policy": {"policy_dirs": "/etc/keystone/policy.d"},
    }


_BOOTSTRAP = """
as_keystone() {{ runuser -u keystone -- keystone-manage "$@"; }}
as_keystone fernet_setup --keystone-user keystone --keystone-group keystone
as_keystone credential_setup --keystone-user keystone --keystone-group keystone
as_keystone db_sync
IFS= read -r OS_BOOTSTRAP_PASSWORD; export OS_BOOTSTRAP_PASSWORD
as_keystone bootstrap --bootstrap-region-id {region} --bootstrap-admin-url {url} \
  --bootstrap-internal-url {url} --bootstrap-public-url {url}
"""


def _provision(machine: Machine, plan: Plan) -> None:
    machine.write("/etc/keystone/keystone.conf", ini.render(_config(plan)), mode=0o640, owner="root:keystone")
    units.single_worker(machine, "/etc/keystone/keystone-uwsgi.ini")
    machine.run(
        _BOOTSTRAP.format(region=option(plan, "region"), url=auth_url(plan)), stdin=plan.secrets.get("admin") + "\n"
    )
    units.patient(machine, "keystone")
    units.start(machine, "keystone")
    _ready(machine, plan)
    _register(plan)
    access.hand_out(plan, AUTHORITY, pki.authority(plan))
    access.hand_out(plan, "clouds.yaml", _clouds(plan))


def _ready(machine: Machine, plan: Plan) -> None:
    def look() -> bool:
        admin(plan).authenticate()
        return True

    poll("Keystone gives tokens", look, timeout=180)


def _register(plan: Plan) -> None:
    api = admin(plan)
    roles = _role_ids(api)
    project = _service_project(api)
    here = {role for machine in plan.machines.values() for role in machine.roles}
    for service in SERVICES:
        if service.role in here:
            _register_user(api, plan, service, project, roles)
            _register_endpoints(api, plan, service)


def _role_ids(api: Api) -> dict[str, str]:
    for name in _ROLES:
        api.post("identity", "/roles", {"role": {"name": name}})
    return {role["name"]: role["id"] for role in api.get("identity", "/roles")["roles"]}


def _service_project(api: Api) -> str:
    wanted = {"name": SERVICE_PROJECT, "domain_id": "default"}
    api.post("identity", "/projects", {"project": wanted})
    return str(api.get("identity", f"/projects?name={SERVICE_PROJECT}")["projects"][0]["id"])


def _register_user(api: Api, plan: Plan, service: Service, project: str, roles: dict[str, str]) -> None:
    user = {
        "name": service.user,
        "domain_id": "default",
        "password": plan.secrets.get(service.user),
        "default_project_id": project,
    }
    api.post("identity", "/users", {"user": user})
    ident = api.get("identity", f"/users?name={service.user}")["users"][0]["id"]
    for right in service.rights:
        api.put("identity", f"/projects/{project}/users/{ident}/roles/{roles[right]}")


def _register_endpoints(api: Api, plan: Plan, service: Service) -> None:
    if api.get("identity", f"/services?type={service.type}")["services"]:
        return
    entry = {"name": service.user, "type": service.type}
    ident = api.post("identity", "/services", {"service": entry})["service"]["id"]
    url = f"http://{machine_with(plan, service.role).address}:{service.port}{service.path}"
    for interface in ("public", "internal", "admin"):
        endpoint = {"interface": interface, "url": url, "service_id": ident, "region_id": option(plan, "region")}
        api.post("identity", "/endpoints", {"endpoint": endpoint})


_CLOUDS = """clouds:
  lab:
    auth:
      auth_url: {url}
      username: admin
      password: {password}
      project_name: admin
      user_domain_name: Default
      project_domain_name: Default
    region_name: {region}
    identity_api_version: 3
    cacert: {authority}
"""


def _clouds(plan: Plan) -> str:
    return _CLOUDS.format(
        url=auth_url(plan),
        region=option(plan, "region"),
        password=plan.secrets.get("admin"),
        authority=plan.access / AUTHORITY,
    )


ROLES = (
    Role(
        "keystone",
        ("keystone", "python3-pymysql", "python3-pymemcache", "python3-memcache"),
        ("keystone",),
        _provision,
        after=("database", "cache", "pki"),
        ready=_ready,
    ),
)
