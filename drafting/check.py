"""`--check-cloud`: every connection of a cloud file tried, and what a run would ask; nothing is judged."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from _pytest.main import wrap_session
from openstack.exceptions import ConfigException

from drafting.placing import places
from drafting.reading import REFUSED, first_line, surveyed
from drafting.seen import Survey
from fixtures.ceph import Ask, CephError, open_ceph
from fixtures.checks import closed_gate
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, Unreadable
from fixtures.observe.openstack import open_openstack, read_some
from fixtures.plugin import SUITES
from fixtures.reach import Hosts
from fixtures.roles import container_of, libvirt_container
from fixtures.stash import CHECK, CLOUD

_WANTED: Final = ("image_api", "volume_services", "compute_services", "role_assignments")
"""What of the APIs is tried: each service, and one list that only an administrator gets."""
SHOWN_IDS: Final = 4


def check(path: Path, config: pytest.Config) -> int:
    """Try a cloud file and return the exit code: 0 where all of it is reached."""
    config.option.cloud = path
    # Checks are collected, so that they can be counted; nothing is observed for them, and no report is written.
    config.option.collectonly = True
    config.option.verbose = -2
    return int(wrap_session(config, _check))


def _check(config: pytest.Config, session: pytest.Session) -> pytest.ExitCode:
    cloud = config.stash[CLOUD]
    print(f"{config.option.cloud}: valid; cloud {cloud.name}, {len(cloud.hosts)} hosts", flush=True)
    unreached = list(tried(cloud, _tell))
    # What it would say of a collection that runs nothing misleads.
    config.pluginmanager.unregister(name="terminalreporter")
    session.perform_collect()
    if session.testsfailed:
        unreached.append(f"{session.testsfailed} files of checks cannot be loaded: pytest --collect-only says why")
    for line in plan(session.items, cloud):
        print(line)
    print(f"\nNOT REACHED ({len(unreached)}):" if unreached else "\nall of it is reached")
    for line in unreached:
        print(f"  {line}")
    return pytest.ExitCode.TESTS_FAILED if unreached else pytest.ExitCode.OK


def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


# ---------------------------------------------------------------------------- connections


def tried(cloud: Cloud, tell: Callable[[str], None]) -> Iterator[str]:
    """Try every connection, tell each, and yield what could not be reached."""
    with Hosts(cloud) as hosts, ThreadPoolExecutor(2, "check") as at_once:
        ceph, apis = at_once.submit(_ceph, cloud, hosts), at_once.submit(_apis, cloud)
        for name, told in surveyed(hosts, lambda line: None).items():
            yield from _told(f"host {name}", *_host(cloud, name, told), tell)
        yield from _told("Ceph", *ceph.result(), tell)
        yield from _told("OpenStack", *apis.result(), tell)


def _told(what: str, good: str, problems: Sequence[str], tell: Callable[[str], None]) -> Iterator[str]:
    tell(f"{what}: {'; '.join(filter(None, (good, *problems)))}")
    yield from (f"{what}: {problem}" for problem in problems)


def _host(cloud: Cloud, name: str, told: Survey | Unreadable) -> tuple[str, list[str]]:
    if isinstance(told, Unreadable):
        return "", [told.unreadable]
    there = {} if isinstance(told.containers, Unreadable) else told.containers
    roles = cloud.hosts[name].roles
    named = {container_of(cloud, name, role) for role in roles}
    named |= {libvirt_container(cloud, name)} if "nova-compute" in roles else set()
    problems = [f"container {one} does not run" for one in sorted(named - {""} - there.keys())]
    unseen = [role for role in roles if role not in places(told)]
    note = f"; nothing was seen of {', '.join(unseen)}" if unseen else ""
    inside = f", containers {', '.join(sorted(named - {''}))}" if named - {""} else ""
    return f"root, python {told.python}{inside}{note}", problems


def _ceph(cloud: Cloud, hosts: Hosts) -> tuple[str, list[str]]:
    try:
        with open_ceph(cloud, hosts) as ceph:
            (status,) = ceph.many([Ask("status")])
            if isinstance(status, (CephError, NotMeasured)):
                raise status
            return f"{ceph.source}, fsid {status['fsid']}{_caps(ceph.auth)}", []
    except (CephError, NotMeasured) as error:
        return "", [str(error)]


def _caps(auth: Callable[[bytes], object]) -> str:
    try:
        auth(secrets.token_bytes(32))
    except (CephError, NotMeasured):
        return "; cephx users' caps cannot be read (mon 'allow *' can): checks of them will be not measured"
    return ""


def _apis(cloud: Cloud) -> tuple[str, list[str]]:
    try:
        with open_openstack(cloud) as connection:
            connection.authorize()
            told = read_some(connection, *_WANTED)
    except (ConfigException, *REFUSED) as error:
        return "", [f"cloud {cloud.openstack.cloud}: {first_line(error)}"]
    blind = [part.unreadable for part in told.values() if isinstance(part, Unreadable)]
    return f"cloud {cloud.openstack.cloud} logs in" + ("" if blind else ", sees what an administrator sees"), blind


# ---------------------------------------------------------------------------- what a run would ask


def plan(items: Sequence[pytest.Item], cloud: Cloud) -> Iterator[str]:
    """Say how many checks apply to how many targets, by area, and which do not and why."""
    applied: dict[str, list[pytest.Item]] = defaultdict(list)
    closed: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if CHECK not in item.stash:
            continue
        reason = closed_gate(item, cloud)
        if reason:
            closed[reason].add(item.stash[CHECK].id)
        else:
            applied[_area(item)].append(item)
    yield ""
    yield f"{'area':<12} {'checks':>6} {'on targets':>10}   journeys among them"
    for area, there in sorted(applied.items()):
        yield _row(area, there)
    yield _row("all", [item for there in applied.values() for item in there])
    yield "\nwhat does not apply (more may not, by the releases that are found):" if closed else ""
    for reason, ids in sorted(closed.items()):
        yield f"  {reason}: {_some(sorted(ids))}"


def _area(item: pytest.Item) -> str:
    return item.path.relative_to(SUITES).parts[0]


def _row(area: str, items: Sequence[pytest.Item]) -> str:
    journeys = sum(item.stash[CHECK].dynamic for item in items)
    return f"{area:<12} {len({item.stash[CHECK].id for item in items}):>6} {len(items):>10}   {journeys or ''}".rstrip()


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return f"{', '.join(ids[:SHOWN_IDS])}{more}"
