"""Area horizon: what users do in the dashboard, with a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from fixtures.browser import program
from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.dashboards import HAS_DASHBOARD, searched_first
from fixtures.facts.base import NotMeasured
from fixtures.facts.run import Facts
from fixtures.scratch.apis import cinder
from fixtures.scratch.console import console_url
from fixtures.scratch.dashboard import LOG, PAGE_SECONDS, Visitor, log_in, visitors
from fixtures.scratch.gates import HAS_BROWSER, HAS_GUEST
from fixtures.scratch.guest import Boot, Guest
from fixtures.scratch.judging import asking, expect_within
from fixtures.scratch.project import login_of
from fixtures.scratch.resources import REMEDIES, Scratch
from fixtures.scratch.timing import Measure, timed
from fixtures.scratch.truth import Disks
from fixtures.waiting import Pending

if TYPE_CHECKING:
    from openstack.block_storage.v3.volume import Volume
    from openstack.compute.v2.server import Server
    from openstack.connection import Connection
    from openstack.image.v2.image import Image

pytestmark = [
    pytest.mark.dynamic,
    pytest.mark.applies_if(*HAS_DASHBOARD),
    pytest.mark.applies_if(*HAS_BROWSER),
    pytest.mark.applies_if(*HAS_GUEST),
    pytest.mark.xdist_group("guests"),
]

LISTED_SECONDS = 60.0
VOLUMES, INSTANCES, IMAGES = "volumes/", "instances/", "images/"


@pytest.mark.check("horizon.login", severity="major", source="S0 HZ")
def test_users_find_and_launch_what_is_theirs(
    scratch: Scratch,
    operator: Connection,
    disks: Disks,
    guest_image: Image,
    cloud: Cloud,
    facts: Facts,
    measure: Measure,
) -> None:
    """A member logs in, sees volumes, images and instances as the APIs list them, and launches one from a volume.

    Launched by the dashboard's own steps, where test servers have a network and may run on any hypervisor. An
    administrator sees the same three in the panels of all projects, but for those that want a search first.

    Why: the dashboard asks each service in its own way, by settings and policies of its own; for its users the cloud is
    what it shows.
    """
    volume = scratch.volume(scratch.flavor_gib, image=guest_image)
    with _entrance(cloud, scratch) as enter:
        with timed(measure, "log in"):
            member = enter(scratch.tenant.connection)
        with timed(measure, "launched in the dashboard, to the first beat"):
            server = _server(scratch, cloud, member, volume)
            Guest(scratch, server, disks.volume(volume), float(cloud.journeys.timeout)).await_up()
        nova = scratch.tenant.connection.compute
        _expect_same(member, f"project/{INSTANCES}", {str(it.id): str(it.name) for it in nova.servers()})
        own = cinder(scratch.tenant.connection).volumes()
        _expect_same(member, f"project/{VOLUMES}", {str(it.id): str(it.name) for it in own})
        attached = member.shows(f"project/{VOLUMES}", {str(volume.id)})[str(volume.id)]
        assert str(server.name) in attached, finding(
            f"{member.home}project/{VOLUMES}", found=attached, expected=f"attached to {server.name}", remedy=LOG
        )
        member.shows(f"project/{IMAGES}", {str(guest_image.id)})
        administrator = enter(operator)
        for panel, resource in ((INSTANCES, server), (VOLUMES, volume), (IMAGES, guest_image)):
            if f"admin.{panel.rstrip('/')}" not in searched_first(cloud, facts):
                administrator.shows(f"admin/{panel}", {str(resource.id)})
    scratch.clean_up()


@pytest.mark.check("horizon.console", severity="minor", source="S2")
def test_console_is_drawn_in_the_dashboard(scratch: Scratch, boot: Boot, cloud: Cloud) -> None:
    """An instance's console tab holds noVNC's page, which draws the guest's screen.

    Why: it is the only way to a guest without network that users know; the proxy may answer (nv.console) while their
    browser refuses to show its page inside the dashboard's.
    """
    guest = boot()
    scratch.until(guest.server, "ACTIVE")
    connection = scratch.tenant.connection
    with asking(scratch.where(guest.server), expected="an address of its console", remedy=REMEDIES["server"]):
        proxy = console_url(connection, str(guest.server.id))
    with _entrance(cloud, scratch, proxy) as enter:
        enter(connection).console(str(guest.server.id))
    scratch.clean_up()


@contextmanager
def _entrance(cloud: Cloud, scratch: Scratch, *beside: str) -> Iterator[Callable[[Connection], Visitor]]:
    """Open the dashboard in a browser, and its frames from addresses beside it; what is yielded logs a user in."""
    chromium, timeout = program(), min(float(cloud.journeys.timeout), PAGE_SECONDS)
    if chromium is None or cloud.horizon is None:
        raise NotMeasured("there is no browser, or no dashboard")
    url, admin = cloud.horizon.url, scratch.tenant.admin
    with visitors(chromium, admin.session.verify or False, url, *beside) as page:
        yield lambda user: log_in(page(), url, login_of(admin, user), timeout)


def _server(scratch: Scratch, cloud: Cloud, member: Visitor, volume: Volume) -> Server:
    """Launch a server in the dashboard; where it could not be told enough there, by the API."""
    nova = scratch.tenant.connection.compute
    if cloud.journeys.network is None or cloud.journeys.hypervisors:
        return scratch.server(volume=volume)
    flavor = str(nova.get_flavor(scratch.tenant.flavor.id).name)
    network = scratch.network()
    groups = network.is_port_security_enabled is not False

    def launch(name: str) -> str:
        member.launch(name, volume=str(volume.name), flavor=flavor, network=str(network.name), groups=groups)
        return expect_within(f"server {name}", "listed by Nova", lambda: find(name), LISTED_SECONDS, remedy=LOG)

    def find(name: str) -> str | Pending:
        return next((str(it.id) for it in nova.servers() if it.name == name), Pending("not listed"))

    return cast("Server", scratch.by_hand("server", launch, needs=[volume]))


def _expect_same(member: Visitor, panel: str, listed: dict[str, str]) -> None:
    shown = member.shows(panel, set(listed))
    other = {ident: row for ident, row in shown.items() if listed.get(ident, "nothing of it") not in row}
    assert not other, finding(
        f"{member.home}{panel} as {member.name}",
        found=other,
        expected=[f"{ident}: {name}" for ident, name in listed.items()],
        remedy=LOG,
    )
