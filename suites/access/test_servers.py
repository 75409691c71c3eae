"""Area nv: what a tenant needs of a server beside its disk: a size, an address, a key, a console."""

from __future__ import annotations

import base64
import hashlib
import secrets
from math import ceil
from typing import Final

import pytest
import websocket

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured
from fixtures.heartbeat import Console
from fixtures.scratch.console import GREETING, console_url, greeting, without_token
from fixtures.scratch.gates import HAS_GUEST, HAS_NETWORK, PROMISES_GROUPS
from fixtures.scratch.guest import Boot, Guest
from fixtures.scratch.judging import asking, expect_within, fail
from fixtures.scratch.ports import Group
from fixtures.scratch.resources import Scratch
from fixtures.scratch.timing import Measure
from fixtures.sizes import GIB
from fixtures.waiting import Pending

pytestmark = [pytest.mark.dynamic, pytest.mark.applies_if(*HAS_GUEST), pytest.mark.xdist_group("guests")]

LEAST_MIB: Final = 128
CONSOLE_SECONDS: Final = 60.0
NETWORK = "nv.network tells of agents and DHCP; else the DHCP agent's and the metadata agent's logs"


@pytest.mark.check("nv.flavor", severity="minor", source="S2")
def test_a_flavor_fits_the_image(scratch: Scratch, cloud: Cloud) -> None:
    """A public flavor has room for the test image, and an administrator can make and remove another.

    Why: a disk smaller than its image is refused at each boot, with a message that names neither.
    """
    nova = scratch.tenant.connection.compute
    image = cloud.journeys.image
    if image is None or not image.is_file():
        raise NotMeasured(f"journeys.image: {image} is not a file on the runner")
    wanted = ceil(image.stat().st_size / GIB)
    own = scratch.larger_flavor()
    with asking("flavors", expected="them listed", remedy=FLAVORS):
        listed = list(nova.flavors())
    assert own in {flavor.id for flavor in listed}, finding(
        f"flavor {own}", found="not listed to the project it was made for", expected="listed", remedy=FLAVORS
    )
    public = [flavor for flavor in listed if flavor.is_public]
    fits = [it for it in public if it.ram >= LEAST_MIB and (it.disk == 0 or it.disk >= wanted)]
    assert fits, finding(
        "public flavors",
        found=[f"{it.name}: {it.ram} MiB, disk {it.disk} GiB" for it in public],
        expected=f"one of {LEAST_MIB} MiB and {wanted} GiB at least",
        remedy="openstack flavor create",
    )
    scratch.clean_up()


FLAVORS = "see `openstack flavor list --all --long`, and Nova's policy for flavors"


@pytest.mark.check("nv.boot_to_login", severity="critical", source="S2")
@pytest.mark.applies_if(*HAS_NETWORK)
def test_server_comes_up_with_address_and_metadata(scratch: Scratch, boot: Boot, measure: Measure) -> None:
    """A guest gets by DHCP the address that Nova gave it, is answered by the metadata service, and asks for a login.

    Why: ACTIVE says that QEMU runs; whether anybody can work with the server is seen in its guest alone.
    """
    guest = boot()
    measure("boot to first beat", guest.await_up(), "s")
    console = guest.await_prompt()
    where = f"guest of {scratch.where(guest.server)}"
    given = _addresses(scratch, guest)
    found = [lease.address for lease in console.leases]
    assert given and set(found) == set(given), finding(
        where, found=f"address {found or 'none'}", expected=given or "an address of Nova", remedy=NETWORK
    )
    assert console.metadata, finding(
        where, found="no answer from 169.254.169.254", expected="the metadata service's", remedy=NETWORK
    )
    scratch.clean_up()


def _addresses(scratch: Scratch, guest: Guest) -> list[str]:
    """The IPv4 addresses that Nova gave the server."""
    networks = scratch.look(guest.server).addresses or {}
    return [str(it["addr"]) for given in networks.values() for it in given if it["version"] == 4]


@pytest.mark.check("nv.keypair", severity="major", source="S2 S0")
@pytest.mark.applies_if(*HAS_NETWORK)
def test_key_reaches_the_guest(scratch: Scratch, boot: Boot) -> None:
    """An imported public key has the fingerprint of the key itself in the API, and its guest is given that key.

    Whether the guest then lets its owner in is the image's own affair. Nobody has the private half of this key.

    Why: a cloud's images know no password; without the key nobody ever gets in.
    """
    text, md5 = _new_key()
    pair = scratch.keypair(text)
    told = str(pair.fingerprint).replace(":", "").lower()
    assert told == md5, finding(
        f"keypair {pair.name}", found=f"fingerprint {told}", expected=md5, remedy="see nova-api's log"
    )
    guest = boot(key=pair)
    guest.await_up()
    console = guest.await_prompt()
    found = _key_of(console)
    assert found == md5, finding(
        f"guest of {scratch.where(guest.server)}",
        found=f"key {found or 'none'}",
        expected=md5,
        remedy=NETWORK,
    )
    scratch.clean_up()


def _new_key() -> tuple[str, str]:
    """A public key that nobody has the private half of, and its MD5 fingerprint."""
    kind = b"ssh-ed25519"
    body = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, secrets.token_bytes(32)))
    text = f"{kind.decode()} {base64.b64encode(body).decode()} ceph-osc"
    return text, hashlib.md5(body, usedforsecurity=False).hexdigest()


def _key_of(console: Console) -> str:
    return console.keys[-1].md5 if console.keys else ""


@pytest.mark.check("nv.secgroup.ports", severity="critical", source="S2")
@pytest.mark.applies_if(*HAS_NETWORK)
@pytest.mark.applies_if(*PROMISES_GROUPS)
def test_a_rule_opens_a_port_and_nothing_else_does(scratch: Scratch, boot: Boot) -> None:
    """A port of a guest is closed to another guest, opened by a rule of its security group, and closed again without.

    Why: who relies on groups that nobody enforces is open to every tenant; whose rules do not arrive is cut off.
    """
    network = scratch.network()
    assert network.is_port_security_enabled is not False, finding(
        f"network {network.name}",
        found="port security is off: no group can be given to a server on it",
        expected="on, since policy.security_groups says that groups hold",
        remedy=f"openstack network set --enable-port-security {network.name}; ports that are there keep what they have",
    )
    group = Group.made(scratch)
    listener = boot(group=group.id, orders=f"listen {PORT}")
    address = _address_of(listener)
    other = boot(group=group.id, orders=f"try {address} {PORT}")
    source = _address_of(other)
    to = f"{address}:{PORT}"
    _await_answer(other, to, "none", "no rule opens it")
    with group.opened(PORT, source):
        _await_answer(other, to, "open", f"a rule lets {source} in")
    _await_answer(other, to, "none", "the rule is gone")
    scratch.clean_up()


def _address_of(guest: Guest) -> str:
    """The address that a guest was given, once it has its orders."""
    guest.await_up()
    console = guest.await_prompt()
    if not console.leases:
        raise NotMeasured("a guest has no address: see nv.boot_to_login")
    if not console.orders:
        raise NotMeasured("a guest was not told its user data, which comes by the metadata service: see nv.network")
    return console.leases[-1].address


def _await_answer(guest: Guest, to: str, wanted: str, why: str) -> None:
    """Wait until a guest's latest tries are all answered as wanted: those of a while, for one alone may be lost."""
    begun = max((one.n for one in guest.console().tries), default=0)

    def look() -> bool | Pending:
        latest = [one.answer for one in guest.console().tries if one.n > begun][-TRIES:]
        settled = len(latest) == TRIES and set(latest) == {wanted}
        return settled or Pending(", ".join(latest) or "no try")

    where = f"{to}, tried from the guest of {guest.scratch.where(guest.server)}"
    expect_within(where, f"{wanted}, for {why}", look, GROUP_SECONDS, remedy=GROUPS)


PORT: Final = 7777
TRIES: Final = 3
GROUP_SECONDS: Final = 90.0
GROUPS = (
    "[securitygroup] firewall_driver and enable_security_group of the agents; port security of the network; the log of "
    "the agent on the hypervisors of both"
)


@pytest.mark.check("nv.console", severity="major", source="S2 NRC")
def test_console_answers_through_the_proxy(scratch: Scratch, boot: Boot) -> None:
    """The address that Nova gives for a console leads through noVNC's proxy to the server's own VNC server.

    Asked as a browser asks: a web socket with the token of the address, its certificate verified, up to the greeting.

    Why: when a server does not boot, its console is all that its owner has.
    """
    guest = boot()
    scratch.until(guest.server, "ACTIVE")
    connection = scratch.tenant.connection
    with asking(scratch.where(guest.server), expected="an address of its console", remedy=PROXY):
        url = console_url(connection, str(guest.server.id))
    where = f"console of {scratch.where(guest.server)} at {without_token(url)}"

    def look() -> bytes | Pending:
        try:
            return greeting(connection, url)
        except (websocket.WebSocketException, OSError) as error:
            return Pending(_without_secrets(str(error), url))

    said = expect_within(where, "a greeting of VNC", look, CONSOLE_SECONDS, remedy=PROXY)
    if not said.startswith(GREETING):
        fail(where, found=repr(said[:20]), expected="RFB and its version", remedy=PROXY)
    scratch.clean_up()


PROXY = (
    "nova-novncproxy's log; [vnc] novncproxy_base_url must lead browsers to it, server_listen and "
    "server_proxyclient_address the proxy to the hypervisor (nv.host.per_node, lm.vnc_listen)"
)


def _without_secrets(text: str, url: str) -> str:
    """What went wrong, without the token that lets anybody in."""
    token = url.rpartition("token%3D")[2] if "token%3D" in url else url.rpartition("token=")[2]
    return text.replace(token, "TOKEN") if token else text
