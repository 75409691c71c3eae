"""What the control services stand on: database, messages, cache, the key of encrypted volumes."""

import base64
import hashlib
import json

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import ini, units
from lab.roles.role import Role, machine_with

DATABASES = {
    "keystone": ("keystone",),
    "glance": ("glance",),
    "placement": ("placement",),
    "cinder": ("cinder",),
    "nova": ("nova", "nova_api", "nova_cell0"),
    "neutron": ("neutron",),
}
DUMPER = "dump"
"""The user of the database who may read all of it, to save it."""
CACHE_PORT = 11211
_MARIADB: ini.Config = {
    "mysqld": {
        "skip-name-resolve": 1,
        "max_connections": 500,
        "innodb_buffer_pool_size": "256M",
        "innodb_log_file_size": "64M",
        "innodb_flush_log_at_trx_commit": 2,
        "performance_schema": 0,
    }
}
# A host dies with its processes, never with the kernel under it: the page cache survives.
UNSYNCED: ini.Config = {"Service": {"Environment": "LD_PRELOAD=libeatmydata.so"}}


def database_url(plan: Plan, user: str, database: str) -> str:
    """The SQLAlchemy URL of a service's database."""
    password = plan.secrets.get(f"{user}-database")
    address = machine_with(plan, "database").address
    return f"mysql+pymysql://{user}:{password}@{address}/{database}"


def transport_url(plan: Plan) -> str:
    """The URL of the message bus."""
    password = plan.secrets.get("rabbitmq")
    return f"rabbit://openstack:{password}@{machine_with(plan, 'messaging').address}:5672/"


def key_manager(plan: Plan, service: str) -> ini.Section:
    """The key manager of a service: it has one key, the same for Cinder and Nova, and keeps it in its configuration."""
    return {
        "backend": f"{service}.keymgr.conf_key_mgr.ConfKeyManager",
        "fixed_key": plan.secrets.get("encrypted-volumes-hex"),
    }


def cache_servers(plan: Plan) -> str:
    """Where memcached answers."""
    return f"{machine_with(plan, 'cache').address}:{CACHE_PORT}"


def _database(machine: Machine, plan: Plan) -> None:
    config = ini.merge(_MARIADB, {"mysqld": {"bind-address": machine.address}})
    machine.write("/etc/mysql/mariadb.conf.d/90-lab.cnf", ini.render(config))
    units.patient(machine, "mariadb", more=UNSYNCED)
    units.start(machine, "mariadb")
    machine.run("mariadb", stdin="".join(_grants(plan)))


def _grants(plan: Plan) -> list[str]:
    lines = [
        f"CREATE USER IF NOT EXISTS '{DUMPER}'@'%' IDENTIFIED BY '{plan.secrets.get(f'{DUMPER}-database')}';\n",
        f"GRANT SELECT, LOCK TABLES, SHOW VIEW, EVENT, TRIGGER ON *.* TO '{DUMPER}'@'%';\n",
    ]
    for user, databases in DATABASES.items():
        password = plan.secrets.get(f"{user}-database")
        lines.append(f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n")
        for name in databases:
            lines.append(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;\n")
            lines.append(f"GRANT ALL ON {name}.* TO '{user}'@'%';\n")
    return lines


def _database_ready(machine: Machine, plan: Plan) -> None:
    machine.wait("MariaDB answers", "mariadb-admin --silent ping")


def _messaging(machine: Machine, plan: Plan) -> None:
    config = f"listeners.tcp.1 = {machine.address}:5672\nload_definitions = /etc/rabbitmq/lab.json\n"
    machine.write("/etc/rabbitmq/rabbitmq.conf", config)
    machine.write("/etc/rabbitmq/lab.json", _definitions(plan), mode=0o640, owner="root:rabbitmq")
    # Schedulers that spin while idle would eat the two cores.
    machine.run(
        "grep -q sbwt /etc/rabbitmq/rabbitmq-env.conf || printf '%s\\n' "
        "'SERVER_ADDITIONAL_ERL_ARGS=\"+sbwt none +sbwtdcpu none +sbwtdio none\"'"
        " >> /etc/rabbitmq/rabbitmq-env.conf"
    )
    # Its own way to stop starts a second Erlang to tell the first; a signal does the same.
    units.patient(machine, "rabbitmq-server", more={"Service": {"ExecStop": ""}})
    units.start(machine, "rabbitmq-server")


def _definitions(plan: Plan) -> str:
    grant = {"user": "openstack", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    user = {
        "name": "openstack",
        "tags": "",
        "limits": {},
        "password_hash": _rabbit_hash(plan.secrets.get("rabbitmq")),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    }
    return json.dumps({"users": [user], "vhosts": [{"name": "/"}], "permissions": [grant]})


def _rabbit_hash(password: str) -> str:
    salt = hashlib.sha256(b"salt" + password.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _messaging_ready(machine: Machine, plan: Plan) -> None:
    machine.wait("RabbitMQ listens", f"nc -z {machine.address} 5672")


def _cache(machine: Machine, plan: Plan) -> None:
    # Since Debian 13 it has two addresses; the same one twice would be refused.
    machine.run(f"sed -i -e '/^-l ::1/d' -e 's/^-l .*/-l {machine.address}/' /etc/memcached.conf")
    units.patient(machine, "memcached")
    units.start(machine, "memcached")


def _cache_ready(machine: Machine, plan: Plan) -> None:
    machine.wait("memcached listens", f"nc -z {machine.address} {CACHE_PORT}", timeout=60)


ROLES = (
    Role("database", ("mariadb-server", "eatmydata"), ("mariadb",), _database, ready=_database_ready),
    Role("messaging", ("rabbitmq-server", "netcat-openbsd"), ("rabbitmq-server",), _messaging, ready=_messaging_ready),
    Role("cache", ("memcached", "netcat-openbsd"), ("memcached",), _cache, ready=_cache_ready),
)
