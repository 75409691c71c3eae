"""Area ceph.auth: what the cephx users can do, tried as themselves on the hosts where they are used."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fixtures import blocklist
from fixtures.ceph import Ask, CephAccess, CephDenied
from fixtures.ceph.cli import CliAccess
from fixtures.checks import applies, finding
from fixtures.cloud import Cloud
from fixtures.facts.run import Facts
from fixtures.reach import Hosts, Reach
from fixtures.rights import read_pools, written_pools
from fixtures.scratch.judging import expect_within, fail
from fixtures.scratch.plugin import Run
from fixtures.scratch.removal import remove_all
from fixtures.targets import CephxUser, clients
from fixtures.waiting import Pending

pytestmark = [pytest.mark.dynamic]

BLOCKED_SECONDS = 5.0
FORGOTTEN_SECONDS = 60.0
"""In which the monitors drop an entry that has expired."""
RIGHTS = "`ceph auth get {user}` shows what it has; ceph.auth.* and sec.caps.least_privilege say what is wrong with it"


@dataclass(frozen=True)
class Login:
    """A cephx user as its service's host knows it."""

    user: CephxUser
    host: Reach
    conf: str
    access: CephAccess

    def rbd(self, *words: str) -> str:
        """Run rbd as the user; return what it complained of, "" if it did what it should."""
        words = ("-c", self.conf, "--id", self.user.id, *words)
        done = self.host.run("rbd" + " %s" * len(words), *words)
        said = done.stderr.strip() or f"exit code {done.rc}"
        return said.splitlines()[-1] if done.rc else ""  # librbd's own words come before rbd's

    def __str__(self) -> str:
        return f"{self.user} on {self.host.host}"


@pytest.fixture
def login(cephx_user: CephxUser, cloud: Cloud, hosts: Hosts) -> Login:
    """The cephx user, with the keyring of the first host that uses it."""
    host = next(client.host for client in clients(cloud) if client.user == cephx_user.id)
    access = CliAccess(hosts[host], cloud.ceph.conf, cephx_user.id, cloud.ceph.access.connect_timeout)
    return Login(cephx_user, hosts[host], cloud.ceph.conf, access)


@pytest.mark.check("ceph.auth.blocklist_probe", severity="critical", source="MC")
def test_user_blocklists_an_address(login: Login, ceph: CephAccess, facts: Facts) -> None:
    """The user, on its service's host, blocklists an address of no host; the entry is gone again soon after.

    Why: this is what breaks the lock of a dead hypervisor. Where it is refused, its guests start read-only
    elsewhere, and nothing shows that before the day.
    """
    command = blocklist.command(facts)
    address = f"192.0.2.1:0/{secrets.randbelow(1 << 31)}"
    try:
        login.access.ask(Ask(f"{command} add {address} {BLOCKED_SECONDS:g}"))
    except CephDenied:
        fail(
            str(login),
            found="refused by the monitors",
            expected=f"`ceph {command} add` done",
            remedy="give it mon 'profile rbd' (ceph.auth.mon_blocklist)",
        )
    _expect_forgotten(ceph, facts, address)


def _expect_forgotten(ceph: CephAccess, facts: Facts, address: str) -> None:
    def look() -> bool | Pending:
        return address not in blocklist.blocked(ceph, facts) or Pending("still listed")

    expect_within(
        address,
        f"its {BLOCKED_SECONDS:g} s over",
        look,
        FORGOTTEN_SECONDS,
        remedy=f"remove it by hand: `ceph {blocklist.command(facts)} ls` names it; see that the monitors' clocks agree",
    )


@pytest.mark.check("ceph.auth.pool_rw", severity="critical", source="S0 S1")
def test_user_can_work_in_its_pools(
    login: Login, cloud: Cloud, facts: Facts, scratch_run: Run, ceph: CephAccess
) -> None:
    """The user creates, writes, snapshots, clones and removes RBD images in each pool that its services write.

    Why: caps that read well may lack a class, a pool or a namespace; only trying them as the service does, on its
    host and with its keyring, proves them.
    """
    pools = sorted(written_pools(login.user, cloud))
    applies(bool(pools), f"the services of {login.user} write no pool of the cloud file")
    for pool in pools:
        _expect_work_done(login, pool, scratch_run, ceph)


def _expect_work_done(login: Login, pool: str, run: Run, ceph: CephAccess) -> None:
    first, second = (run.ledger.intend("disk", pool) for _ in range(2))
    image, clone = f"{pool}/{first.name}", f"{pool}/{second.name}"
    steps: list[tuple[str, Callable[[], str]]] = [
        ("create", lambda: login.rbd("create", "--size", "8M", image)),
        ("write", lambda: login.rbd(*WRITE, image)),
        ("snapshot", lambda: login.rbd("snap", "create", f"{image}@snap")),
        ("clone", lambda: login.rbd("clone", "--rbd_default_clone_format", "2", f"{image}@snap", clone)),
        ("remove the clone", lambda: login.rbd("rm", "--no-progress", clone)),
        ("remove the snapshot", lambda: login.rbd("snap", "rm", "--no-progress", f"{image}@snap")),
        ("remove", lambda: login.rbd("rm", "--no-progress", image)),
    ]
    try:
        for what, step in steps:
            complaint = step()
            assert not complaint, finding(
                str(login),
                found=f"{what} in pool {pool}: {complaint}",
                expected="done",
                remedy=RIGHTS.format(user=login.user),
            )
        left = {first.name, second.name} & set(ceph.image_names(pool))
        assert not left, finding(
            f"pool {pool}", found=left, expected="nothing of what was removed", remedy=RIGHTS.format(user=login.user)
        )
    finally:
        remove_all(run.site, run.ledger, (second, first), FORGOTTEN_SECONDS)


WRITE = ("bench", "--io-type", "write", "--io-size", "1M", "--io-total", "4M", "--io-threads", "1")


@pytest.mark.check("ceph.auth.negative", severity="major", source="UM")
def test_user_is_refused_what_is_not_its_own(login: Login, cloud: Cloud, facts: Facts) -> None:
    """The user cannot list the images of pools that its services do not use, nor other users' keys.

    Why: a user with rights on everything makes each host that has its keyring the owner of all data.
    """
    allowed = list(_allowed(login, _foreign_pools(login.user, cloud, facts)))
    assert not allowed, finding(
        str(login), found=f"allowed: {', '.join(allowed)}", expected="refused", remedy=RIGHTS.format(user=login.user)
    )


def _foreign_pools(user: CephxUser, cloud: Cloud, facts: Facts) -> list[str]:
    own = written_pools(user, cloud) | read_pools(user, facts, cloud)
    return sorted(pool.name for pool in facts.ceph.pools if pool.name not in own)


def _allowed(login: Login, pools: list[str]) -> Iterator[str]:
    tries: dict[str, Callable[[], object]] = {
        f"rbd ls {pool}": lambda pool=pool: login.access.image_names(pool)  # type: ignore[misc]
        for pool in pools
    }
    tries["ceph auth ls"] = lambda: login.access.auth(secrets.token_bytes(16))
    for what, attempt in tries.items():
        try:
            attempt()
        except CephDenied:
            continue
        yield what
