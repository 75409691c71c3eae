"""Area host.client: what [client] of ceph.conf gives to QEMU."""

from __future__ import annotations

import pytest

from fixtures.checks import applies, finding
from fixtures.clients import DEBUGGING, QEMU_CACHE, is_loud, is_true, qemu_options
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.system import ClientFolder, QemuClient
from fixtures.targets import libvirt_of

RESTART = "then restart or migrate the guests"


def _options(host: HostFacts, cloud: Cloud) -> dict[str, str]:
    return {name: entry.value for name, entry in qemu_options(host, cloud).items()}


def _client(host: HostFacts) -> QemuClient:
    return need(host.system.qemu_client, f"{host.name}: QEMU's client of Ceph")


@pytest.mark.check("host.client.rbd_cache", severity="major", source="S0 RC")
def test_qemu_caches_and_honours_flushes(hypervisor: HostFacts, cloud: Cloud) -> None:
    """QEMU's client caches (rbd_cache), and writes through until the guest flushes for the first time.

    Why: without the first guests are slow; without the second an old guest loses what it wrote when its host dies.
    """
    options = _options(hypervisor, cloud)
    off = {name: options[name] for name in QEMU_CACHE if not is_true(options.get(name, "true"))}
    for socket in _client(hypervisor).sockets:
        off |= {
            f"{socket.path}: {name}": socket.options[name] for name in QEMU_CACHE if socket.options.get(name) == "false"
        }
    assert not off, finding(
        f"{hypervisor.name}: QEMU's client",
        found=off,
        expected=f"{' and '.join(QEMU_CACHE)} true",
        remedy=f"set both in [client] of ceph.conf, {RESTART}",
    )


@pytest.mark.check("host.client.asok", severity="minor", source="S0 RO")
def test_each_guest_disk_gets_a_socket_of_its_own(hypervisor: HostFacts, cloud: Cloud) -> None:
    """`admin socket` in [client] is set, with $pid and $cctid in it.

    Why: a guest opens several images in one process; without both names they fight for one socket, and a disk that
    hangs cannot be asked why.
    """
    path = _options(hypervisor, cloud).get("admin_socket", "")
    lacking = [name for name in ("$pid", "$cctid") if name not in path]
    assert not lacking, finding(
        f"{hypervisor.name}: [client] admin_socket",
        found=path or "unset",
        expected="a path with $pid and $cctid",
        remedy=f"admin_socket = /var/run/ceph/guests/$cluster-$type.$id.$pid.$cctid.asok, {RESTART}",
    )


@pytest.mark.check("host.client.dirs", severity="minor", source="RO")
def test_qemu_can_use_the_folders_of_sockets_and_logs(hypervisor: HostFacts) -> None:
    """The folders of [client]'s sockets and logs exist, QEMU's account can make files in them, also after a boot.

    Why: librbd goes on without them, silently; /run is empty after each boot, and /run/ceph is closed to others.
    """
    client = _client(hypervisor)
    applies(bool(client.folders), f"{hypervisor.name}: [client] of ceph.conf names no folder for sockets or logs")
    bad = {folder.stat.path: told for folder in client.folders if (told := _folder_problem(folder, client))}
    assert not bad, finding(
        f"{hypervisor.name}: folders of [client]",
        found=bad,
        expected=f"folders of {client.user}:{client.group}, by tmpfiles.d where they are on a tmpfs",
        remedy=f"a line `d PATH 0770 {client.user} {client.group}` in tmpfiles.d, systemd-tmpfiles --create",
    )


def _folder_problem(folder: ClientFolder, client: QemuClient) -> str:
    if folder.stat.kind != "dir":
        return folder.stat.kind
    if folder.writable is False:
        owner = f"{folder.stat.owner}:{folder.stat.group} {folder.stat.mode:04o}"
        return f"{client.user} cannot make files in it ({owner}, or a folder above is closed)"
    return "on a tmpfs, and made by no tmpfiles.d" if folder.volatile and not folder.declared else ""


@pytest.mark.check("host.client.asok_alive", severity="minor", source="S0")
def test_a_running_guest_answers_on_its_socket(hypervisor: HostFacts, cloud: Cloud) -> None:
    """Where a guest with an RBD disk runs, a socket of QEMU's client answers.

    Why: only this shows that path, folder and access control are right together.
    """
    disks = need(libvirt_of(hypervisor).disks, f"{hypervisor.name}: disks of the running guests")
    guests = sorted({disk.domain for disk in disks if disk.protocol == "rbd"})
    applies(bool(guests), f"{hypervisor.name}: no guest with an RBD disk is running")
    applies("admin_socket" in _options(hypervisor, cloud), f"{hypervisor.name}: no admin socket (see host.client.asok)")
    sockets = _client(hypervisor).sockets
    assert any(socket.version for socket in sockets), finding(
        f"{hypervisor.name}: sockets of {len(guests)} guests",
        found=[f"{socket.path}: {socket.error}" for socket in sockets] or "no socket",
        expected="at least one that answers",
        remedy=f"mend admin_socket, its folder or AppArmor's rules, {RESTART}",
    )


@pytest.mark.check("host.client.log_ops", severity="info", source="RO")
def test_clients_log_apart_and_quietly(hypervisor: HostFacts, cloud: Cloud) -> None:
    """In [client] the log file has $pid and is rotated, 20 management operations run at once, no debugging is left on.

    Why: guests that share a log garble it, and debug levels of 20 fill the disk of a hypervisor in hours.
    """
    options = _options(hypervisor, cloud)
    log, ops = options.get("log_file", ""), options.get("rbd_concurrent_management_ops", "")
    problems = [] if "$pid" in log else [f"log_file {log or 'unset'}"]
    problems += [] if ops.isdigit() and int(ops) >= 20 else [f"rbd_concurrent_management_ops {ops or 'unset'}"]
    problems += [f"{name} {options[name]}" for name in DEBUGGING if is_loud(options.get(name, ""))]
    problems += [
        f"{folder.stat.path} in no logrotate.d"
        for folder in _client(hypervisor).folders
        if folder.option == "log_file" and folder.rotated is False
    ]
    assert not problems, finding(
        f"{hypervisor.name}: [client]",
        found=problems,
        expected="a rotated log per $pid, 20 management operations, no debugging",
        remedy="mend [client] of ceph.conf, add the folder to logrotate.d",
    )


@pytest.mark.check("host.selinux.label", severity="major", source="S1")
def test_selinux_lets_services_at_their_keyrings(client_host: HostFacts) -> None:
    """Where SELinux enforces, Ceph's files have the labels of the policy, and no service was refused one.

    Why: a keyring that was moved into place keeps the label of where it came from; modes look right, and reading fails.
    """
    confinement = need(client_host.system.confinement, f"{client_host.name}: confinement")
    applies(confinement.selinux == "enforcing", f"{client_host.name}: SELinux is {confinement.selinux}")
    wrong = [
        f"{label.path}: {_type(label.context)} instead of {_type(label.wanted)}"
        for label in confinement.labels
        if label.wanted and _type(label.context) != _type(label.wanted)
    ]
    assert not wrong, finding(
        f"{client_host.name}: labels",
        found=wrong,
        expected="those of the policy",
        remedy="restorecon -Rv /etc/ceph; semanage fcontext for what shall differ for good",
    )
    refused = [line for line in _denials(client_host) if "avc:" in line]
    assert not refused, finding(
        f"{client_host.name}: SELinux",
        found=refused,
        expected="nothing refused since the boot",
        remedy="ausearch -m avc -ts boot; mend the label or the policy",
    )


def _type(context: str) -> str:
    """The type, as users and levels may differ."""
    return [*context.split(":"), "", "", ""][2]


def _denials(host: HostFacts) -> tuple[str, ...]:
    confinement = need(host.system.confinement, f"{host.name}: confinement")
    return need(confinement.denials, f"{host.name}: what the kernel refused")


@pytest.mark.check("host.apparmor.denied", severity="major", source="LAA")
def test_apparmor_refuses_nothing_of_ceph(hypervisor: HostFacts) -> None:
    """Where AppArmor is on, it has refused neither libvirt nor a guest anything of Ceph since the boot.

    Why: guests then start without their sockets or logs, or not at all, and only the kernel's log says why.
    """
    confinement = need(hypervisor.system.confinement, f"{hypervisor.name}: confinement")
    applies(confinement.apparmor, f"{hypervisor.name}: AppArmor is off")
    refused = [line for line in _denials(hypervisor) if "apparmor=" in line]
    assert not refused, finding(
        f"{hypervisor.name}: AppArmor",
        found=refused,
        expected="nothing refused since the boot",
        remedy="allow the paths in /etc/apparmor.d/local/abstractions/libvirt-qemu, reload, restart the guests",
    )
