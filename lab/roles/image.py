"""Glance, with its images in RBD or in files."""

from lab.machine import LabError, Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, units
from lab.roles.ceph_client import CONF
from lab.roles.role import Role, option, poll


def _store(plan: Plan) -> ini.Section:
    return {
        "rbd_store_pool": plan.profile.pools["images"],
        "rbd_store_user": plan.profile.users["glance"],
        "rbd_store_ceph_conf": CONF,
        "rbd_store_chunk_size": 8,
    }


def _multistore(plan: Plan) -> ini.Config:
    return {
        "DEFAULT": {"enabled_backends": "rbd:rbd"},
        "glance_store": {"default_backend": "rbd"},
        "rbd": _store(plan),
    }


def _legacy(plan: Plan) -> ini.Config:
    return {"glance_store": {"stores": "rbd", "default_store": "rbd", **_store(plan)}}


def _files(plan: Plan) -> ini.Config:
    where = {"filesystem_store_datadir": "/var/lib/glance/images/"}
    return {"glance_store": {"stores": "file,http", "default_store": "file", **where}}


_STYLES = {"multistore": _multistore, "legacy": _legacy, "files": _files}


def _stores(plan: Plan) -> ini.Config:
    style = option(plan, "glance_stores")
    if style not in _STYLES:
        raise LabError(f"options.glance_stores is {style!r}; known: {', '.join(_STYLES)}")
    return _STYLES[style](plan)


def _config(machine: Machine, plan: Plan) -> ini.Config:
    base: ini.Config = {
        "DEFAULT": {
            "bind_host": machine.address,
            "workers": 1,
            "show_image_direct_url": True,
            "show_multiple_locations": False,
            "log_dir": "/var/log/glance",
        },
        "database": {"connection": backing.database_url(plan, "glance", "glance")},
        "paste_deploy": {"flavor": "keystone"},
        "image_import_opts": {"image_import_plugins": "['image_conversion']"},
        "image_conversion": {"output_format": "raw"},
        "oslo_concurrency": {"lock_path": "/var/lock/glance"},
    }
    return ini.merge(base, identity.token_checks(plan, "glance"), _stores(plan))


def _provision(machine: Machine, plan: Plan) -> None:
    machine.write("/etc/glance/glance-api.conf", ini.render(_config(machine, plan)), mode=0o640, owner="root:glance")
    machine.run("runuser -u glance -- glance-manage --config-file /etc/glance/glance-api.conf db_sync")
    units.patient(machine, "glance-api")
    units.start(machine, "glance-api")


def _ready(machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    poll("Glance lists images", lambda: "images" in api.get("image", "/v2/images?limit=1"), timeout=180)


ROLES = (
    Role(
        "glance",
        ("glance-api", "python3-rados", "python3-rbd"),
        ("glance-api",),
        _provision,
        after=("database",),
        ready=_ready,
    ),
)
