"""Area pkg: libraries and commands that the services need."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import Role
from fixtures.distributions import HYPERVISOR, family_of, packages_for
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.targets import libvirt_of

SHELLS_OUT = {"cinder-volume", "cinder-backup", "nova-compute"}


@pytest.mark.check("pkg.role_matrix", severity="critical", source="S0 S1 S4 RO")
def test_services_have_their_ceph_libraries(client_host: HostFacts, cloud: Cloud) -> None:
    """Each service's own interpreter imports rbd and rados; Cinder and Nova also find `rbd` and `ceph`.

    Why: without them the driver fails at start, or at the first capacity report.
    """
    roles = [role for role in cloud.hosts[client_host.name].roles if role in client_host.modules]
    missing = [
        f"{role}: cannot import {name}"
        for role in roles
        for name, found in need(client_host.modules.get(role), f"{client_host.name}: {role}").items()
        if not found
    ]
    if SHELLS_OUT & set(roles):
        missing += [f"no command {name}" for name in ("ceph", "rbd") if not client_host.commands.get(name)]
    assert not missing, finding(
        client_host.name,
        found=missing,
        expected="rbd, rados and the commands",
        remedy=f"install {', '.join(_needed(roles, client_host.distro))}",
    )


def _needed(roles: Sequence[Role], distro: str) -> list[str]:
    return sorted({package for role in roles for package in packages_for(role, distro)})


@pytest.mark.check("pkg.qemu_rbd", severity="critical", source="S3 RWMJ LSP")
def test_qemu_has_the_rbd_driver(hypervisor: HostFacts) -> None:
    """QEMU on each hypervisor can open RBD images.

    Why: the driver is a package of its own; without it no guest with an RBD disk starts.
    """
    assert need(libvirt_of(hypervisor).rbd_block_driver, f"{hypervisor.name}: QEMU's drivers"), finding(
        hypervisor.name,
        found="QEMU without the rbd driver",
        expected="rbd among its formats",
        remedy=f"install {HYPERVISOR[family_of(hypervisor.distro)].packages[-1]}",
    )
