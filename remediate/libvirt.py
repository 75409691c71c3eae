"""Options of libvirt and QEMU on a hypervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.targets import libvirt_of
from remediate.model import Option, Restart
from remediate.options import refuse_container

FOLDER = "/etc/libvirt"


def libvirt_options(facts: Facts, hypervisor: str, values: Mapping[tuple[str, str], str]) -> Iterator[Option | Restart]:
    """Set options, per file's name and key, and start libvirt's daemon anew; guests run on meanwhile.

    Raises:
        NeedsOperator: libvirt runs in a container.
    """
    daemon = need(libvirt_of(facts.host(hypervisor)).daemon, f"{hypervisor}: libvirt's daemon")
    for (name, key), value in values.items():
        refuse_container(facts, hypervisor, "libvirt", f"# {name}", f"{key} = {value}")
        yield Option(host=hypervisor, path=f"{FOLDER}/{name}", section="", key=key, value=value)
    if values:
        yield Restart(host=hypervisor, role="nova-compute", unit=f"{daemon.name}.service")
