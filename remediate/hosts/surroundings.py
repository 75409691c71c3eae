"""Area host: environment, clock and names."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.around import each_host, odd_ones, resolved, usual
from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.distributions import family_of
from fixtures.facts.run import Facts
from fixtures.facts.system import Clock
from fixtures.targets import service_of
from remediate.model import File, Folder, HostName, NeedsOperator, Packages, Unit
from remediate.places import on_host
from remediate.registry import repairs

UNSET = "# The service logs in to Ceph as its own configuration says.\n[Service]\nUnsetEnvironment=CEPH_ARGS\n"
DROP_IN = "/etc/systemd/system/{unit}.d"
CHRONY = {"rhel": "chronyd.service"}


@repairs("host.env.ceph_args", disruption="safe")
def take_ceph_args_away(client_host: str, cloud: Cloud, facts: Facts) -> Iterator[Folder | File]:
    """Take the variable out of the service's environment, wherever it comes from, by a part of the unit's own."""
    host = on_host(client_host, facts)
    for role in CLIENT_ROLES:
        if role in cloud.hosts[host.name].roles:
            service = service_of(host, role)
            if not service.environment.get("CEPH_ARGS"):
                continue
            folder = DROP_IN.format(unit=service.unit.name)
            yield Folder(host=host.name, path=folder, mode=0o755)
            yield File(
                host=host.name,
                path=f"{folder}/zz-without-ceph-args.conf",
                text=UNSET,
                owner="root",
                group="root",
                mode=0o644,
                restarts=(role,),
            )


@repairs("host.time_sync", disruption="safe")
def keep_the_clocks(cloud: Cloud, facts: Facts) -> Iterator[Packages | Unit]:
    """Run chrony where nothing keeps the clock; a clock that is off is not set, since a jump harms what runs."""
    clocks = {name: host.system.clock for name, host in each_host(cloud, facts).items()}
    read = {name: clock for name, clock in clocks.items() if isinstance(clock, Clock)}
    alone = [name for name, clock in read.items() if not clock.source]
    if not alone:
        raise NeedsOperator(
            "what keeps the clocks runs, and has no server that answers or much to catch up: look at its sources; "
            "a step of the clock harms tickets and databases, so choose the moment",
            "chronyc sources; chronyc makestep",
        )
    for name in alone:
        yield Packages(host=name, names=("chrony",))
        yield Unit(host=name, unit=CHRONY.get(family_of(facts.host(name).distro), "chrony.service"))


@repairs("host.names", disruption="safe")
def lead_names_to_their_hosts(cloud: Cloud, facts: Facts) -> Iterator[HostName]:
    """In /etc/hosts give a name the address that it has on most hosts; add it only where names are kept there."""
    for wanted, told in resolved(cloud, facts).items():
        address = usual(told)
        for name, answer in odd_ones(told).items():
            if not address or ", " in address or 2 * sum(one == address for one in told.values()) <= len(told):
                raise NeedsOperator(
                    f"{wanted} is {answer or 'unknown'} on {name}, and which address is right is yours to say"
                )
            adds = cloud.policy.names_in_hosts and not answer
            yield HostName(host=name, name=wanted, address=address, adds=adds)
