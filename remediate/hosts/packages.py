"""Area pkg: libraries, commands, and what runs on them."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud, Role
from fixtures.distributions import HYPERVISOR, family_of, packages_for
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.facts.system import Mapping
from fixtures.roles import libvirt_units
from fixtures.targets import service_of
from remediate.model import NeedsOperator, Packages, Restart
from remediate.options import refuse_container
from remediate.places import clients_on, on_host
from remediate.registry import manual, repairs

REBUILD = "build or pull an image that has the packages, and deploy it"


@repairs("pkg.role_matrix", disruption="safe")
def install_the_libraries(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[Packages]:
    """Install what is missing for services that come from the distribution's packages."""
    host = on_host(client_host, facts, REBUILD)
    installed = need(host.packages, f"{host.name}: packages")
    for role in clients_on(host, cloud):
        own, *needed = packages_for(role, host.distro)
        missing = [name for name, found in need(host.modules.get(role), f"{host.name}: {role}").items() if not found]
        missing += [name for name, found in host.commands.items() if not found]
        if not missing:
            continue
        if not any(name.startswith(own) for name in installed):
            raise NeedsOperator(
                f"{host.name}: {role} is not of the package {own}: give its own interpreter the modules",
                *(f"{name} is missing" for name in missing),
            )
        yield Packages(host=host.name, names=tuple(needed), restarts=(role,))


@repairs("pkg.qemu_rbd", disruption="safe")
def install_qemus_driver(hypervisor: str, facts: Facts) -> Iterator[Packages]:
    """Install the driver's package; guests that start from then on have it."""
    for role in ("nova-compute", "libvirt"):
        refuse_container(facts, hypervisor, role, REBUILD)
    package = HYPERVISOR[family_of(facts.host(hypervisor).distro)].packages[-1]
    yield Packages(host=hypervisor, names=(package,))


@repairs("pkg.librbd_loaded", disruption="safe")
def restart_what_runs_on_old_libraries(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[Restart]:
    """Restart the services; guests are the operator's."""
    host = on_host(client_host, facts, "restart the container")
    old = [it for it in need(host.system.mapped, f"{host.name}: libraries in use") if not it.installed]
    restarts = [
        Restart(host=host.name, role=role, unit=service_of(host, role).unit.name)
        for role in clients_on(host, cloud)
        if any(_is_of(it, host, role) for it in old)
    ]
    # libvirt's daemon lists volumes by librbd too, and guests go on without it.
    daemons = {it.process for it in old} & {*libvirt_units(cloud, host.name)}
    restarts += [Restart(host=host.name, role="nova-compute", unit=f"{name}.service") for name in sorted(daemons)]
    if not restarts:
        raise NeedsOperator(
            f"{host.name}: guests run on old libraries, or what is no service of this suite's: migrate guests away and "
            "back, or reboot them hard, at a time that suits their owners",
            *sorted({f"{it.process} (pid {it.pid})" for it in old}),
        )
    yield from restarts


def _is_of(mapping: Mapping, host: HostFacts, role: Role) -> bool:
    """Whether a process is of a service: it has the name of its first process."""
    unit = service_of(host, role).unit
    mapped = need(host.system.mapped, f"{host.name}: libraries in use")
    return mapping.pid == unit.main_pid or mapping.process in {it.process for it in mapped if it.pid == unit.main_pid}


manual(
    "Ceph's clients are upgraded host by host, with their services restarted and their guests migrated: add the "
    "release's package source everywhere, upgrade librbd1, python3-rbd and ceph-common together, one host first",
    "pkg.ceph_alignment",
)
manual(
    "libvirt and QEMU are upgraded on an emptied hypervisor: migrate its guests away, upgrade, reboot, and go on with "
    "the next; guests cannot go back to an older QEMU",
    "pkg.libvirt_qemu_min",
)
manual(
    "the fixed packages come with an upgrade of the service, which may bring more than the fix: read the advisory's "
    "versions above, `apt list --upgradable` or `dnf updateinfo`, and upgrade the control plane before the hypervisors",
    "pkg.cve_floor",
)
manual(
    "no setting avoids the fault: upgrade cinder-backup to a version with the fix, and until then trust no full "
    "restore of a sparse or encrypted volume that you have not compared with its source",
    "pkg.backup_fix",
)
manual(
    "whether a package source is still wanted, and whose key vouches for it, is not to be guessed: remove it if "
    "nothing installed is from it (`apt-cache policy PACKAGE`), else write it anew with its vendor's key in signed-by "
    "or gpgkey",
    "pkg.repo_trust",
)
