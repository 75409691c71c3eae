"""Horizon, the dashboard, in a web server of its own."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import backing, identity, units
from lab.roles.role import Role

_SETTINGS = "/etc/openstack-dashboard/local_settings.d/_9000_cloud.py"
_SITE = "/etc/apache2/sites-available/openstack-dashboard.conf"
_TEMPLATE = """OPENSTACK_KEYSTONE_URL = {url!r}
OPENSTACK_KEYSTONE_DEFAULT_ROLE = "member"
ALLOWED_HOSTS = [{address!r}, {name!r}]
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CACHES = {{
    "default": {{"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": {cache!r}}},
}}
"""
# The package's settings have the dashboard below /horizon, its site at the top, in each of the web server's processes;
# sites of TLS want a module.
_ENABLE = f"""
sed -i 's,WSGIScriptAlias / ,WSGIScriptAlias /horizon ,' {_SITE}
sed -i 's/#WSGIProcessGroup .*/WSGIProcessGroup horizon\\n    WSGIApplicationGroup %{{GLOBAL}}/' {_SITE}
a2dissite --quiet '*'
a2enmod --quiet wsgi
a2ensite --quiet openstack-dashboard
"""


def _provision(machine: Machine, plan: Plan) -> None:
    settings = _TEMPLATE.format(
        url=identity.auth_url(plan), address=machine.address, name=machine.name, cache=backing.cache_servers(plan)
    )
    machine.write(_SETTINGS, settings)
    machine.run(_ENABLE)
    units.patient(machine, "apache2")
    units.start(machine, "apache2")


def _ready(machine: Machine, plan: Plan) -> None:
    asked = f"curl -fsSL --cookie '' http://{machine.address}/horizon/ | grep -q csrfmiddlewaretoken"
    machine.wait("the dashboard shows its login page", asked)


ROLES = (
    Role(
        "dashboard",
        ("openstack-dashboard-apache", "python3-pymemcache"),
        ("apache2",),
        _provision,
        after=("keystone", "cache"),
        ready=_ready,
        apart=True,
    ),
)
