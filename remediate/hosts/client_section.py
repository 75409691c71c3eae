"""Area host.client: what [client] of ceph.conf gives to QEMU."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.clients import DEBUGGING, QEMU_CACHE, is_loud, is_true, qemu_options
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.system import ClientFolder, QemuClient
from remediate.model import Attributes, File, Folder, HostStep, Label, NeedsOperator, Option
from remediate.options import refuse_container
from remediate.places import on_host
from remediate.registry import manual, repairs

SOCKETS, LOGS = "/var/run/ceph/guests", "/var/log/qemu"
SOCKET_NAME = "$cluster-$type.$id.$pid.$cctid.asok"
LOG_NAME = "qemu-guest-$pid.log"
OPERATIONS = 20
FOLDER_MODE = 0o770
CEPHS = "/run/ceph"
"""Ceph's own folder: its package closes it, so that QEMU does not get at what is below."""
OPENED = 0o771
TMPFILES, ROTATION = "/etc/tmpfiles.d/ceph-guests.conf", "/etc/logrotate.d/ceph-guests"
ROTATED = """\
{folder}/*.log {{
    weekly
    rotate 4
    missingok
    compress
    copytruncate
    su {user} {group}
}}
"""


def _host(hypervisor: str, facts: Facts) -> HostFacts:
    for role in ("nova-compute", "libvirt"):
        refuse_container(facts, hypervisor, role)
    return facts.host(hypervisor)


def _client(host: HostFacts) -> QemuClient:
    return need(host.system.qemu_client, f"{host.name}: QEMU's client of Ceph")


def _option(host: HostFacts, cloud: Cloud, key: str, value: str | None) -> Option:
    """Set it where it has the last word, else in [client]; guests see it when they are started."""
    entry = qemu_options(host, cloud).get(key)
    section = entry.section if entry else "client"
    return Option(host=host.name, path=cloud.ceph.conf, section=section, key=key, value=value, reader="ceph")


@repairs("host.client.rbd_cache", disruption="safe")
def cache_and_honour_flushes(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Set both options; guests that run keep what they were started with."""
    host = _host(hypervisor, facts)
    off = [it.key for it in qemu_options(host, cloud).values() if it.key in QEMU_CACHE and not is_true(it.value)]
    if not off:
        raise NeedsOperator("ceph.conf is right; guests keep what they were started with: migrate or reboot them hard")
    for name in off:
        yield _option(host, cloud, name, "true")


@repairs("host.client.asok", disruption="safe")
def give_each_disk_a_socket(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[HostStep]:
    """Name the process and the image in the path, in the folder that it has; with the folder where it is new."""
    host = _host(hypervisor, facts)
    folder = _folder_of(host, "admin_socket", SOCKETS)
    yield _option(host, cloud, "admin_socket", f"{folder}/{SOCKET_NAME}")
    yield from _usable(host, {"admin_socket": folder})


@repairs("host.client.log_ops", disruption="safe")
def log_apart_and_quietly(hypervisor: str, cloud: Cloud, facts: Facts) -> Iterator[HostStep]:
    """A log a process, rotated; enough operations at once; debugging off."""
    host = _host(hypervisor, facts)
    options = {name: entry.value for name, entry in qemu_options(host, cloud).items()}
    folder, client = _folder_of(host, "log_file", LOGS), _client(host)
    if "$pid" not in options.get("log_file", ""):
        yield _option(host, cloud, "log_file", f"{folder}/{LOG_NAME}")
        yield from _usable(host, {"log_file": folder})
    operations = options.get("rbd_concurrent_management_ops", "")
    if not operations.isdigit() or int(operations) < OPERATIONS:
        yield _option(host, cloud, "rbd_concurrent_management_ops", str(OPERATIONS))
    for name in DEBUGGING:
        if is_loud(options.get(name, "")):
            yield _option(host, cloud, name, None)
    known = _known(client, "log_file")
    if known is None or not known.rotated:
        text = ROTATED.format(folder=folder, user=client.user, group=client.group)
        yield File(host=host.name, path=ROTATION, text=text, owner="root", group="root", mode=0o644)


@repairs("host.client.dirs", disruption="safe")
def give_qemu_its_folders(hypervisor: str, facts: Facts) -> Iterator[Folder | File | Attributes]:
    """Make them, give them to QEMU, and let tmpfiles.d make them at each boot."""
    host = _host(hypervisor, facts)
    yield from _usable(host, {folder.option: folder.stat.path for folder in _client(host).folders})


def _known(client: QemuClient, option: str) -> ClientFolder | None:
    return next((folder for folder in client.folders if folder.option == option), None)


def _folder_of(host: HostFacts, option: str, usual: str) -> str:
    found = _known(_client(host), option)
    return found.stat.path if found else usual


def _usable(host: HostFacts, folders: dict[str, str]) -> Iterator[Folder | File | Attributes]:
    """What QEMU lacks to make files in the folders, per option that names one."""
    client, volatile = _client(host), {}
    for option, path in folders.items():
        known = _known(client, option)
        if known is None or known.writable is False or known.stat.kind != "dir":
            yield from _opened(host, client, path, known)
        if known.volatile and not known.declared if known else _below(path, "/run"):
            volatile[path] = True
    if volatile:
        text = _declared(client, folders)
        yield File(host=host.name, path=TMPFILES, text=text, owner="root", group="root", mode=0o644)


def _opened(
    host: HostFacts, client: QemuClient, path: str, known: ClientFolder | None
) -> Iterator[Folder | Attributes]:
    owned = known and (known.stat.owner, known.stat.group) == (client.user, client.group)
    if known and owned and known.stat.mode & 0o300 == 0o300 and not _below(path, CEPHS):
        raise NeedsOperator(f"{host.name}: {path} is QEMU's, and something above it is closed", f"namei -l {path}")
    if _below(path, CEPHS):
        yield Attributes(host=host.name, path=CEPHS, mode=OPENED)
    yield Folder(host=host.name, path=path, owner=client.user, group=client.group, mode=FOLDER_MODE)


def _declared(client: QemuClient, folders: dict[str, str]) -> str:
    every = {folder.stat.path for folder in client.folders if folder.volatile} | set(folders.values())
    paths = sorted(path.removeprefix("/var") for path in every if _below(path, "/run"))
    opened = [f"z {CEPHS} {OPENED:04o} - - -"] if any(_below(path, CEPHS) for path in paths) else []
    made = [f"d {path} {FOLDER_MODE:04o} {client.user} {client.group} -" for path in paths]
    return "\n".join(["# Where QEMU, as a client of Ceph, makes its sockets.", *opened, *made, ""])


def _below(path: str, folder: str) -> bool:
    return path.removeprefix("/var").startswith(folder + "/")


@repairs("host.selinux.label", disruption="safe")
def label_as_the_policy_says(client_host: str, facts: Facts) -> Iterator[Label]:
    """Set the types that the policy wants, as restorecon does; what was refused is not allowed by it."""
    host = on_host(client_host, facts)
    labels = need(host.system.confinement, f"{host.name}: confinement").labels
    wrong = {it.path: _type(it.wanted) for it in labels if it.wanted and _type(it.context) != _type(it.wanted)}
    if not wrong:
        raise NeedsOperator(
            f"{host.name}: labels are right, and services were refused something since the boot: allowing it is yours",
            "ausearch -m avc -ts boot | audit2why",
        )
    for path, kind in wrong.items():
        yield Label(host=host.name, path=path, type=kind)


def _type(context: str) -> str:
    return [*context.split(":"), "", "", ""][2]


manual(
    "a guest opens its socket when it starts: where options and folders are right (host.client.asok and .dirs), "
    "migrate the guest away and back, or reboot it hard; nothing else gives a running one its socket",
    "host.client.asok_alive",
)
manual(
    "what AppArmor refused may be a rule that is missing, or somebody at work: read the denied lines, allow only paths "
    "of Ceph in /etc/apparmor.d/local/abstractions/libvirt-qemu, load the profile anew and restart the guests",
    "host.apparmor.denied",
)
