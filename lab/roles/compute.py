"""Nova: the control services, and the compute service of a hypervisor."""

from lab.machine import Machine
from lab.plan import Plan
from lab.roles import backing, identity, ini, network, pki, services, units
from lab.roles.ceph_client import CONF
from lab.roles.role import Role, machine_with, option, poll, table

_MAIN = "/etc/nova/nova.conf"
_KEY = "/root/nova_ed25519"
"""Nova's, for ssh between hypervisors; made on the host of its control services."""
_CONSOLE_PKI = "/etc/nova/console"
_CONTROL = ("nova-api", "nova-api-metadata", "nova-conductor", "nova-scheduler", "nova-novncproxy")


def _common(machine: Machine, plan: Plan) -> ini.Config:
    base: ini.Config = {
        "DEFAULT": {
            "my_ip": machine.address,
            "host": machine.name,
            "transport_url": backing.transport_url(plan),
            "state_path": "/var/lib/nova",
            # A busy machine reports late; the lab's services are not down for that.
            "service_down_time": 180,
            "log_dir": "/var/log/nova",
        },
        "glance": {"region_name": option(plan, "region")},
        "cinder": {"os_region_name": option(plan, "region"), "catalog_info": "volumev3::publicURL", **_login(plan)},
        "placement": identity.credentials(plan, "nova"),
        "neutron": identity.credentials(plan, "nova"),
        "spice": {"enabled": False},
        "vnc": _vnc(machine, plan),
        "key_manager": backing.key_manager(plan, "nova"),
        "oslo_concurrency": {"lock_path": "/var/lock/nova"},
        "oslo_policy": {"policy_dirs": "/etc/nova/policy.d"},
    }
    return ini.merge(base, identity.token_checks(plan, "nova"))


def _login(plan: Plan) -> ini.Section:
    login = identity.credentials(plan, "nova")
    return {key: value for key, value in login.items() if key != "region_name"}


def _vnc(machine: Machine, plan: Plan) -> ini.Section:
    proxy = machine_with(plan, "nova-control").address
    return {
        "enabled": True,
        "server_listen": "0.0.0.0",
        "server_proxyclient_address": machine.address,
        "novncproxy_base_url": f"https://{proxy}:6080/vnc_auto.html",
    }


def _control_config(machine: Machine, plan: Plan) -> ini.Config:
    databases: ini.Config = {
        "DEFAULT": {
            "ssl_only": True,
            "cert": f"{_CONSOLE_PKI}/cert.pem",
            "key": f"{_CONSOLE_PKI}/key.pem",
        },
        "database": {"connection": backing.database_url(plan, "nova", "nova")},
        "api_database": {"connection": backing.database_url(plan, "nova", "nova_api")},
        "neutron": {"service_metadata_proxy": True, **network.metadata_proxy(plan)},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        "quota": {"instances": 500, "cores": 2000, "ram": 4000000, "key_pairs": 500},
    }
    return ini.merge(_common(machine, plan), databases)


_SYNC = """
as_nova() { runuser -u nova -- nova-manage "$@"; }
as_nova api_db sync
as_nova cell_v2 map_cell0
as_nova cell_v2 create_cell --name=cell1 >/dev/null
as_nova db sync 2>/dev/null
"""


def _control(machine: Machine, plan: Plan) -> None:
    machine.write(f"{_CONSOLE_PKI}/cert.pem", pki.issue(machine, plan, _CONSOLE_PKI))
    machine.run(f"chgrp -R nova {_CONSOLE_PKI}; chmod 750 {_CONSOLE_PKI}; chmod 640 {_CONSOLE_PKI}/key.pem")
    machine.write(_MAIN, ini.render(_control_config(machine, plan)), mode=0o640, owner="root:nova")
    for api in ("nova-api", "nova-api-metadata"):
        units.single_worker(machine, f"/etc/nova/{api}-uwsgi.ini")
    machine.write("/etc/default/nova-consoleproxy", "NOVA_CONSOLE_PROXY_TYPE=novnc\n")
    machine.run(_SYNC)
    machine.run(f"[ -s {_KEY} ] || ssh-keygen -q -t ed25519 -N '' -C nova -f {_KEY}")
    units.patient(machine, *_CONTROL)
    units.start(machine, *_CONTROL)


def _control_ready(machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    poll("Nova lists servers", lambda: "servers" in api.get("compute", "/servers?limit=1"), timeout=180)
    for unit in ("nova-conductor", "nova-scheduler"):
        services.reported(plan, machine, unit, "compute")
    machine.wait("the console proxy listens", f"nc -z {machine.address} 6080", timeout=60)


def _libvirt(machine: Machine) -> ini.Section:
    return {
        "virt_type": "qemu",
        "cpu_mode": "none",
        "inject_password": False,
        "inject_key": False,
        "inject_partition": -2,
        "live_migration_scheme": "tls",
        "live_migration_with_native_tls": True,
        "live_migration_inbound_addr": machine.address,
        # QEMU's emulated CPU may lose a write to memory that is copied meanwhile: on busy cores a guest's kernel
        # died in one move of seven. So a guest rests as soon as what is left takes 2 s.
        "live_migration_downtime": 6000,
        "live_migration_downtime_steps": 3,
    }


def _disks_on_rbd(plan: Plan) -> ini.Config:
    libvirt: ini.Section = {
        "images_type": "rbd",
        "images_rbd_pool": plan.profile.pools["vms"],
        "images_rbd_ceph_conf": CONF,
        "rbd_user": plan.profile.users["nova"],
        "rbd_secret_uuid": plan.secrets.get(option(plan, "ephemeral_secret")),
        "disk_cachemodes": "network=writeback",
        "hw_disk_discard": "unmap",
    }
    workarounds: ini.Section = {
        "never_download_image_if_on_rbd": True,
        "ensure_libvirt_rbd_instance_dir_cleanup": True,
    }
    # Each reports all of Ceph, its copies included, as its own disk.
    return {"DEFAULT": {"disk_allocation_ratio": 0.1}, "libvirt": libvirt, "workarounds": workarounds}


def _compute_config(machine: Machine, plan: Plan) -> ini.Config:
    hypervisor: ini.Config = {
        "DEFAULT": {
            "compute_driver": "libvirt.LibvirtDriver",
            "force_raw_images": True,
            "reserved_host_memory_mb": 0,
        },
        "libvirt": _libvirt(machine),
    }
    disks = _disks_on_rbd(plan) if "ceph-client" in machine.roles else {}
    return ini.merge(_common(machine, plan), hypervisor, disks)


def _compute(machine: Machine, plan: Plan) -> None:
    layout = {
        path: [str(p) for p in patterns] if isinstance(patterns, list) else []
        for path, patterns in table(plan, "layout", "nova-compute").items()
    }
    for path, part in ini.place(_compute_config(machine, plan), _MAIN, layout).items():
        machine.write(path, ini.render(part), mode=0o640, owner="root:nova")
    _let_each_other_in(machine, plan)
    units.patient(machine, "nova-compute")
    units.start(machine, "nova-compute")
    api = identity.admin(plan)
    path = f"/resource_providers?name={machine.name}"
    poll(
        f"{machine.name}: its resources are known to Placement",
        lambda: bool(api.get("placement", path)["resource_providers"]),
        timeout=240,
    )


def _let_each_other_in(machine: Machine, plan: Plan) -> None:
    """Give Nova its one key for all hypervisors: a resize begins with a folder that is made on the other one."""
    keeper = machine_with(plan, "nova-control")
    files = {
        "id_ed25519": keeper.read(_KEY),
        "authorized_keys": keeper.read(f"{_KEY}.pub"),
        "config": "StrictHostKeyChecking accept-new\n",
    }
    machine.run("install -d -m 700 -o nova -g nova /var/lib/nova/.ssh")
    for name, text in files.items():
        machine.write(f"/var/lib/nova/.ssh/{name}", text, mode=0o600, owner="nova:nova")


def _compute_ready(machine: Machine, plan: Plan) -> None:
    services.reported(plan, machine, "nova-compute", "compute")
    api = identity.admin(plan)

    def look() -> bool:
        found = api.get("compute", "/os-hypervisors/detail")["hypervisors"]
        return any(h["hypervisor_hostname"].split(".")[0] == machine.name and h["state"] == "up" for h in found)

    poll(f"{machine.name}: its hypervisor is up", look, timeout=300)


ROLES = (
    Role(
        "nova-control",
        ("nova-api", "nova-conductor", "nova-scheduler", "nova-consoleproxy", "novnc", "netcat-openbsd"),
        _CONTROL,
        _control,
        after=("pki", "database", "messaging"),
        ready=_control_ready,
    ),
    # Not nova-compute-qemu: it brings the emulators of all architectures, which libvirt probes.
    Role(
        "nova-compute",
        (
            "nova-compute",
            "nova-compute-kvm",
            "qemu-system-x86",
            "qemu-utils",
            "qemu-block-extra",
            "ceph-common",
            "python3-rados",
            "python3-rbd",
        ),
        ("nova-compute",),
        _compute,
        after=("ceph-client", "libvirt", "libvirt-secrets", "keystone", "placement", "nova-control"),
        ready=_compute_ready,
    ),
)
