"""Area nv: Nova's own services, and what is particular to each host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fixtures.backing import CONTROL, Backing, backing_of, leaning_roles
from fixtures.checks import shown, some
from fixtures.cloud import Cloud, Role
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from fixtures.roles import role_on
from remediate.migration import own_address
from remediate.model import Attributes, CellHosts, NeedsOperator, Option, Restart, Unit
from remediate.options import Configuration
from remediate.registry import manual, repairs
from remediate.services import refuse_disabled, revive, run_unit

SOUGHT = {"DEFAULT": "my_ip", "vnc": "server_proxyclient_address"}

manual(
    "an agent is started on its host, by the name that its package gives it, and one whose host is gone is deleted; "
    "networks are their owners': openstack network agent list; openstack subnet set --dhcp SUBNET",
    "nv.network",
)
manual(
    "what is open there is perhaps in use, and closing it cuts that off at once: "
    "openstack security group rule list --long GROUP; openstack security group rule delete RULE",
    "nv.secgroup",
)
manual(
    "the cause is what the log tells, and a restart would only hide it; what is of no concern is yours to name in "
    "policy.accepted_errors",
    "nv.log.clean",
)
manual(
    "what its way goes through is judged and mended by itself: nv.network, nv.services.expected, nv.host.per_node",
    *("nv.boot_to_login", "nv.keypair", "nv.console"),
)
manual(
    "a port that is open where no rule opens it may be in use: who closes it for all servers at once is a person, by "
    "[securitygroup] of the agents, or port security of the network; one that stays closed has its cause in their log",
    "nv.secgroup.ports",
)
manual(
    "how large servers are, and what they cost, is yours to say: openstack flavor create --ram 512 --disk 10 NAME",
    "nv.flavor",
)


@repairs("nv.services.expected", disruption="safe")
def run_control_services(cloud: Cloud, facts: Facts) -> Iterator[Unit | Restart]:
    """Enable and start them, start those anew that do not report; what somebody disabled is a person's."""
    rows = need(facts.openstack.compute_services, "compute services")
    found = False
    for role in CONTROL:
        own = [row for row in rows if row.binary == role]
        for host in cloud.hosts_with(role):
            for step in revive(cloud, facts, host, role, own) if own else run_unit(cloud, facts, host, role):
                found = True
                yield step
    if not found:
        refuse_disabled(row for row in rows if row.binary in CONTROL)
        raise NeedsOperator(
            "a row of a host that is gone stays down until somebody deletes it",
            "openstack compute service list",
            "openstack compute service delete ID",
        )


@repairs("nv.mq_db", disruption="disruptive")
def give_nova_its_folders_and_cells(cloud: Cloud, facts: Facts, nova_host: str) -> Iterator[Attributes | CellHosts]:
    """Give Nova the folders that are its own, and hypervisors at work their cell; logins and schemas are a person's."""
    tried = {role: backing_of(facts.host(nova_host), role) for role in leaning_roles(cloud, nova_host)}
    folders = {step.path: step for role, told in tried.items() for step in _folders(cloud, nova_host, role, told)}
    if folders:
        # What a person must decide about cells would leave the folders as they are: the next round goes on.
        yield from folders.values()
        return
    lost = [(role, one) for role, told in tried.items() for one in told if one.lost]
    if not lost:
        raise NeedsOperator(
            f"{nova_host}: which login is the right one, and when a schema is brought up to date, is yours to say",
            "nova-manage api_db sync; nova-manage db sync  # with a dump at hand, then restart Nova",
        )
    for role, cell in lost:
        _refuse_silent(facts, nova_host, cell)
        account = role_on(cloud, nova_host, role).account
        yield CellHosts(host=nova_host, account=account, hosts=tuple(cell.hosts))


def _folders(cloud: Cloud, host: str, role: Role, tried: Iterable[Backing]) -> Iterator[Attributes]:
    row = role_on(cloud, host, role)
    for one in tried:
        if one.what == "folder" and one.owner and (one.error or one.is_folder_of_another(row.account)):
            yield Attributes(host=host, path=one.path, owner=row.account, group=row.group, mode=0o755)


def _refuse_silent(facts: Facts, host: str, cell: Backing) -> None:
    """Nova maps all hosts that are in no cell at once, also those that are gone for good: there a person is asked."""
    rows = need(facts.openstack.compute_services, "compute services")
    silent = set(cell.hosts) - {row.host for row in rows if row.binary == "nova-compute" and row.state == "up"}
    unknown = some(silent, 5) or [f"{more} more" for more in [cell.lost - len(cell.hosts)] if more]
    if unknown:
        raise NeedsOperator(
            f"{host}: in no cell, and not at work either as far as is known: {shown(unknown)}",
            "openstack compute service delete ID  # of a host that is gone",
            "nova-manage cell_v2 discover_hosts --by-service --verbose",
        )


@repairs("nv.host.per_node", disruption="safe")
def name_its_own_addresses(cloud: Cloud, facts: Facts, nova_host: str) -> Iterator[Option]:
    """Name the host's own address; a nova-compute that nobody expects is a person's to disable."""
    if "nova-compute" not in cloud.hosts[nova_host].roles:
        raise NeedsOperator(
            f"{nova_host}: whether guests may run there is yours to say",
            f"openstack compute service set --disable --disable-reason 'no hypervisor' {nova_host} nova-compute",
        )
    files = Configuration(cloud, facts, nova_host, "nova-compute")
    address = own_address(facts.host(nova_host), cloud, facts)
    for section, key in SOUGHT.items():
        if section == "vnc" or (section, key) in files.now:
            yield from files.ensure(section, {key: address})


@repairs("nv.host.virt", disruption="disruptive")
def use_the_processor(cloud: Cloud, facts: Facts, hypervisor: str) -> Iterator[Option]:
    """Set kvm where it is there to be used, and in a lab without it emulate; guests keep what they run with."""
    stat = need(facts.host(hypervisor).files.get("/dev/kvm"), f"{hypervisor}:/dev/kvm")
    files = Configuration(cloud, facts, hypervisor, "nova-compute")
    if stat.exists and files.now.get("libvirt", "virt_type", "kvm") != "kvm":
        yield from files.set("libvirt", "virt_type", "kvm")
    elif not stat.exists and cloud.policy.kind == "lab":
        yield from files.set("libvirt", "virt_type", "qemu")
    else:
        raise NeedsOperator(
            f"{hypervisor}: switch virtualization on in the firmware, and see who may open /dev/kvm",
            *("modprobe kvm_intel || modprobe kvm_amd", "chgrp kvm /dev/kvm; chmod 0660 /dev/kvm"),
        )
