"""Cinder: API, scheduler, volumes in RBD, backups in RBD."""

from collections.abc import Sequence

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, services, units
from lab.roles.ceph_client import CONF
from lab.roles.role import Role, machine_with, option, poll, table

_MAIN = "/etc/cinder/cinder.conf"


def _volumes(plan: Plan) -> ini.Config:
    backend = option(plan, "cinder_backend")
    chosen: ini.Section = {"enabled_backends": backend, "default_volume_type": option(plan, "volume_type")}
    return {"DEFAULT": chosen, backend: _backend(plan)}


def _backend(plan: Plan) -> ini.Section:
    return {
        "volume_driver": "cinder.volume.drivers.rbd.RBDDriver",
        "volume_backend_name": option(plan, "volume_backend_name"),
        "rbd_pool": plan.profile.pools["volumes"],
        "rbd_user": plan.profile.users["cinder"],
        "rbd_secret_uuid": plan.secrets.get(option(plan, "volume_secret")),
        "rbd_ceph_conf": CONF,
        "rbd_flatten_volume_from_snapshot": False,
        "rbd_max_clone_depth": 5,
        "rbd_store_chunk_size": 4,
        "rados_connect_timeout": -1,
        "report_discard_supported": True,
        "max_over_subscription_ratio": 20,
        "reserved_percentage": 5,
    }


def _backups(plan: Plan) -> ini.Config:
    options: ini.Section = {
        "backup_driver": "cinder.backup.drivers.ceph.CephBackupDriver",
        "backup_ceph_conf": CONF,
        "backup_ceph_user": plan.profile.users["backup"],
        "backup_ceph_pool": plan.profile.pools["backups"],
        "backup_ceph_chunk_size": 128 << 20,
        "backup_ceph_stripe_unit": 0,
        "backup_ceph_stripe_count": 0,
        "restore_discard_excess_bytes": True,
    }
    return {"DEFAULT": options}


_PARTS = {"cinder-volume": _volumes, "cinder-backup": _backups}


_QUOTAS: ini.Section = {
    "quota_volumes": 500,
    "quota_snapshots": 500,
    "quota_gigabytes": 20000,
    "quota_backups": 500,
    "quota_backup_gigabytes": 20000,
}


def _config(machine: Machine, plan: Plan) -> ini.Config:
    base: ini.Config = {
        "DEFAULT": {
            "my_ip": machine.address,
            "osapi_volume_listen": machine.address,
            "transport_url": backing.transport_url(plan),
            "auth_strategy": "keystone",
            "glance_api_servers": f"http://{machine_with(plan, 'glance').address}:9292",
            "state_path": "/var/lib/cinder",
            "service_down_time": 180,
            "log_dir": "/var/log/cinder",
            # Ceph may come up after Cinder at a cold boot.
            "reinit_driver_count": 6,
            **_QUOTAS,
        },
        "database": {"connection": backing.database_url(plan, "cinder", "cinder")},
        "nova": {**identity.credentials(plan, "cinder"), "interface": "internal"},
        "key_manager": backing.key_manager(plan, "cinder"),
        "oslo_concurrency": {"lock_path": "/var/lock/cinder"},
        "oslo_policy": {"policy_dirs": "/etc/cinder/policy.d"},
    }
    parts = [part(plan) for role, part in _PARTS.items() if plan.with_role(role)]
    return ini.merge(base, *parts, identity.token_checks(plan, "cinder"))


def _layout(plan: Plan) -> dict[str, Sequence[str]]:
    return {
        path: [str(p) for p in patterns] if isinstance(patterns, list) else []
        for path, patterns in table(plan, "layout", "cinder").items()
    }


def _write(machine: Machine, plan: Plan) -> None:
    layout = _layout(plan)
    for path, part in ini.place(_config(machine, plan), _MAIN, layout).items():
        machine.write(path, ini.render(part), mode=0o640, owner="root:cinder")
    folders = sorted({path.rsplit("/", 1)[0] for path in layout})
    machine.run("\n".join(f"chmod 755 {folder}" for folder in folders) or "true")
    _read_folders(machine, folders)


def _read_folders(machine: Machine, folders: Sequence[str]) -> None:
    arguments = " ".join(f"--config-dir={folder}" for folder in folders)
    for daemon in ("cinder-scheduler", "cinder-volume", "cinder-backup") if folders else ():
        machine.write(f"/etc/default/{daemon}", f'DAEMON_ARGS="$DAEMON_ARGS {arguments}"\n')


def _api(machine: Machine, plan: Plan) -> None:
    _write(machine, plan)
    units.single_worker(machine, "/etc/cinder/cinder-api-uwsgi.ini")
    machine.run("runuser -u cinder -- cinder-manage db sync")
    units.patient(machine, "cinder-api")
    units.start(machine, "cinder-api")


def _daemon(unit: str) -> Role:
    def provision(machine: Machine, plan: Plan) -> None:
        units.patient(machine, unit)
        units.enable(machine, unit)

    def ready(machine: Machine, plan: Plan) -> None:
        services.reported(plan, machine, unit, "volumev3")
        if unit == "cinder-volume":
            _backend_up(plan)

    packages = (unit, "ceph-common", "python3-rados", "python3-rbd")
    return Role(unit, packages, (unit,), provision, after=("cinder-api",), ready=ready)


def _backend_up(plan: Plan) -> None:
    api = identity.admin(plan)

    def look() -> bool:
        pools = api.get("volumev3", "/scheduler-stats/get_pools?detail=true")["pools"]
        return bool(pools) and all(pool["capabilities"].get("backend_state") == "up" for pool in pools)

    poll("the volume scheduler knows the RBD backend", look, timeout=180)


def _api_ready(machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    poll("Cinder lists volumes", lambda: "volumes" in api.get("volumev3", "/volumes?limit=1"), timeout=180)


ROLES = (
    Role("cinder-api", ("cinder-api",), ("cinder-api",), _api, after=("database", "messaging"), ready=_api_ready),
    *(_daemon(unit) for unit in ("cinder-scheduler", "cinder-volume", "cinder-backup")),
)
