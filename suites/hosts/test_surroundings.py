"""Area host: environment, clock and names."""

from __future__ import annotations

import re
import shlex

import pytest

from fixtures.around import each_host, odd_ones, resolved, unless_blind, usual
from fixtures.checks import finding
from fixtures.cloud import Cloud, Role
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.facts.host import HostFacts
from fixtures.facts.run import Facts
from fixtures.releases import openstack_release
from fixtures.targets import service_of
from fixtures.versions import openstack

FARTHEST = 1.0
"""Seconds that a clock may be off."""


@pytest.mark.check("host.env.ceph_args", severity="minor", source="S4 CR")
def test_no_environment_names_another_user(client_host: HostFacts, cloud: Cloud, facts: Facts) -> None:
    """No service has CEPH_ARGS in its environment, or it names the service's own user; before Havana Cinder needs it.

    Why: `rbd` and `ceph` that a service runs obey it before its configuration, and log in as somebody else.
    """
    bad = {
        f"{role}: {told}"
        for role in cloud.hosts[client_host.name].roles
        if role in CLIENT_ROLES and (told := _args_problem(client_host, role, cloud, facts))
    }
    assert not bad, finding(
        f"{client_host.name}: environment",
        found=bad,
        expected="no CEPH_ARGS, or --id with the service's own user",
        remedy="mend the unit (systemctl cat UNIT tells its parts), then restart it",
    )


def _args_problem(host: HostFacts, role: Role, cloud: Cloud, facts: Facts) -> str:
    args = service_of(host, role).environment.get("CEPH_ARGS", "")
    if not args:
        return "no CEPH_ARGS, which this release needs" if _is_needed(host, role, cloud, facts) else ""
    return "" if _user(args) in cloud.users_of(role) else f"CEPH_ARGS={args}"


def _user(args: str) -> str:
    """The cephx id that CEPH_ARGS names; "" where it names none."""
    found = re.search(r"(?:--id|--user)[= ](\S+)|(?:-n|--name)[= ]client\.(\S+)", " ".join(shlex.split(args)))
    return (found[1] or found[2]) if found else ""


def _is_needed(host: HostFacts, role: Role, cloud: Cloud, facts: Facts) -> bool:
    if role != "cinder-volume":
        return False
    try:
        return openstack_release(cloud, facts, host.name, "cinder") < openstack("havana")
    except NotMeasured:
        return False


@pytest.mark.check("host.time_sync", severity="major", source="SD HC")
def test_clocks_are_kept(cloud: Cloud, facts: Facts) -> None:
    """Each host's clock is kept by chrony, ntpd or systemd, and is less than a second off.

    Why: cephx tickets and tokens are refused by who thinks that they are old or not yet valid.
    """
    bad, blind = {}, []
    for name, host in each_host(cloud, facts).items():
        clock = host.system.clock
        if clock is None or isinstance(clock, Unreadable):
            blind.append(name)
        elif not clock.synchronised:
            bad[name] = f"{clock.source}: not synchronised" if clock.source else "nothing keeps the clock"
        elif abs(clock.offset or 0) >= FARTHEST:
            bad[name] = f"{clock.source}: {clock.offset:+.3f} s"
    assert not bad, finding(
        "clocks",
        found=bad,
        expected=f"synchronised, less than {FARTHEST:.0f} s off",
        remedy="install chrony, name the same servers on all hosts, start it; chronyc tracking",
    )
    unless_blind(blind, "the clock")


@pytest.mark.check("host.names", severity="major", source="NM")
@pytest.mark.compares_hosts
def test_names_lead_to_the_same_host_everywhere(cloud: Cloud, facts: Facts) -> None:
    """The name of each host of the cloud has the same addresses on all hosts; only itself it may know by loopback.

    Why: a live migration goes to the address that the source finds, which is not the one that the target listens on.
    """
    told = resolved(cloud, facts)
    bad = {
        f"{wanted} on {name}": f"{answer or 'does not resolve'} instead of {usual(answers) or 'no answer'}"
        for wanted, answers in told.items()
        for name, answer in odd_ones(answers).items()
    }
    assert not bad, finding(
        "names",
        found=bad,
        expected="the same addresses on every host",
        remedy="mend /etc/hosts or DNS on the hosts that differ",
    )
    if not any(answer for answers in told.values() for answer in answers.values()):
        raise NotMeasured("no host's name in the cloud file resolves anywhere: they are names of the file only")
    blind = [name for name, host in each_host(cloud, facts).items() if isinstance(host.system.names, Unreadable)]
    unless_blind(blind, "names")
