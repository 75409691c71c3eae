"""Area ceph.auth: the cephx users, judged by what their caps allow."""

from __future__ import annotations

import re

import pytest

from fixtures.caps import BLOCKLIST_COMMANDS, Caps, CapsSyntaxError
from fixtures.checks import applies, finding
from fixtures.clients import client_option, pool_override, users_of_pool
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.ceph import AuthEntity
from fixtures.facts.run import Facts
from fixtures.integration import volumes_user
from fixtures.releases import GLANCE_EXTERNAL_REFERENCE, GLANCE_NO_EXTERNAL_REFERENCE
from fixtures.rights import access, caps_of, how_to_write, written_pools
from fixtures.roles import role_on
from fixtures.targets import CephxUser, Client, auth_of, clients

has_vms = pytest.mark.applies_if(lambda cloud: cloud.ceph.pools.vms is not None, "the cloud file names no vms pool")
has_backups = pytest.mark.applies_if(
    lambda cloud: cloud.ceph.pools.backups is not None, "the cloud file names no backups pool"
)
has_fast_snapshots = pytest.mark.applies_if(
    lambda cloud: cloud.policy.fast_snapshot and cloud.ceph.pools.vms is not None,
    "the cloud file does not want fast snapshots (policy.fast_snapshot), or names no vms pool",
)
BREAKS_LOCKS = {"rbd_blocklist_on_break_lock": "true", "rbd_blocklist_expire_seconds": "0"}
EVERY_LOGIN = {"status": True, "mon dump": True, "df": True}


@pytest.mark.check("ceph.auth.user_exists", severity="critical", source="S0 S1 S4 LV")
def test_user_exists(cephx_user: CephxUser, facts: Facts) -> None:
    """Each cephx user that OpenStack logs in as exists.

    Why: a service whose user is gone keeps its sessions until its next restart.
    """
    entities = [found.entity for found in need(facts.ceph.auth, "ceph auth ls")]
    assert cephx_user.entity in entities, finding(
        cephx_user.entity,
        found=[entity for entity in entities if entity.startswith("client.") and "bootstrap" not in entity],
        expected="the user",
        remedy=f"ceph auth get-or-create {cephx_user.entity} mon 'profile rbd' osd … mgr …",
    )


@pytest.mark.check("ceph.auth.mon_blocklist", severity="critical", source="XL MC RH3391211 CEPH17755")
def test_user_can_blocklist_a_dead_lock_owner(auth: AuthEntity, facts: Facts) -> None:
    """The user may blocklist a dead client's address, as breaking its exclusive lock needs.

    Why: with mon 'allow r' all looks well until a hypervisor dies; its guests then boot read-only elsewhere.
    """
    majors = {int(found.group(1)) for text in facts.ceph.versions if (found := re.search(r"version (\d+)\.", text))}
    if not majors:
        raise NotMeasured(f"no release in the daemons' versions: {list(facts.ceph.versions)}")
    mon = caps_of(auth).mon
    assert all(mon.can_blocklist(major) for major in majors), finding(
        auth.entity,
        found=f"mon caps '{auth.caps.get('mon', '')}'",
        expected="the right to `osd blocklist add`: mon 'profile rbd'",
        remedy=how_to_write(auth),
    )


@pytest.mark.check("ceph.auth.blocklist_cmd_names", severity="major", source="CEPH36527 RH3391211")
def test_user_may_blocklist_under_either_name(auth: AuthEntity) -> None:
    """A user that may send `osd blocklist` or `osd blacklist` may send both.

    Why: clients before Ceph 16 know the old name only, later ones the new; an upgrade breaks whoever has a single one.
    """
    granted = caps_of(auth).mon.blocklist_commands()
    assert len(granted) != 1, finding(
        auth.entity,
        found=f"the right to {', '.join(granted)} only",
        expected=" and ".join(BLOCKLIST_COMMANDS),
        remedy=f"mon 'profile rbd' has both: {how_to_write(auth)}",
    )


@pytest.mark.check("ceph.auth.blocklist_expire", severity="major", source="TR54613")
def test_clients_blocklist_for_as_long_as_ceph_does(facts: Facts, cloud: Cloud) -> None:
    """No client has rbd_blocklist_on_break_lock off, nor an expiry of its own in rbd_blocklist_expire_seconds.

    Why: librbd sends that expiry as text, which monitors refuse (EINVAL): the dead client's lock is never broken.
    """
    bad = {
        f"{it.host}: client.{it.user} {option}": value
        for it in clients(cloud)
        for option, wanted in BREAKS_LOCKS.items()
        if (value := client_option(facts, it, option)) != wanted
    }
    bad |= {
        f"pool {pool.name} {option}": override
        for pool in facts.ceph.pools
        if users_of_pool(cloud, pool.name)
        for option, wanted in BREAKS_LOCKS.items()
        if (override := pool_override(facts.ceph, pool.name, option) or wanted) != wanted
    }
    assert not bad, finding(
        "clients",
        found=bad,
        expected=BREAKS_LOCKS,
        remedy="take the option out of ceph.conf, of `ceph config` and of the pool; guests follow at their next start",
    )


@pytest.mark.check("ceph.auth.glance.osd", severity="critical", source="S0 S1 S4 RO GC")
def test_glance_can_write_images(facts: Facts, cloud: Cloud) -> None:
    """Glance's user can read and write RBD images in the images pool.

    Why: uploads fail without, and so do all boots that need a new image.
    """
    _expect_access(facts, cloud.ceph.users.glance, writes=cloud.ceph.pools.images)


@pytest.mark.check("ceph.auth.glance.children_read", severity="major", source="LP1954883 LP1992153")
def test_glance_can_see_an_images_clones(facts: Facts, cloud: Cloud) -> None:
    """Glance's user can read images in the pools where clones of its images are (glance_store 3.0 to 4.6).

    Why: before it deletes an image, Glance lists its clones; without the right to, it answers with an error.
    """
    hosts = cloud.hosts_with("glance-api")
    asks = [
        GLANCE_EXTERNAL_REFERENCE.reached(cloud, facts, host)
        and not GLANCE_NO_EXTERNAL_REFERENCE.reached(cloud, facts, host)
        for host in hosts
    ]
    applies(any(asks), "glance_store is older than 3.0.0 or newer than 4.6: it does not look for clones")
    entity = auth_of(facts, f"client.{cloud.ceph.users.glance}")
    pools = [pool for pool in (cloud.ceph.pools.volumes, cloud.ceph.pools.vms) if pool]
    missing = [pool for pool in pools if not access(facts, entity, pool).rbd_read_only]
    assert not missing, finding(
        entity.entity,
        found=f"osd caps '{entity.caps.get('osd', '')}'",
        expected=", ".join(f"profile rbd-read-only pool={pool}" for pool in missing),
        remedy=how_to_write(entity),
    )


@pytest.mark.check("ceph.auth.cinder.osd", severity="critical", source="S0 S1 S4 CD RO")
def test_cinder_can_write_volumes_and_clone_images(facts: Facts, cloud: Cloud) -> None:
    """Cinder's user can read and write in the volumes pool and clone from the images pool.

    Why: without the second right each volume from an image is a full copy, or an error.
    """
    _expect_access(facts, cloud.ceph.users.cinder, writes=cloud.ceph.pools.volumes, clones=cloud.ceph.pools.images)


@has_vms
@pytest.mark.check("ceph.auth.nova.osd", severity="critical", source="S1 S0")
def test_nova_can_write_disks_and_clone_images(facts: Facts, cloud: Cloud) -> None:
    """Nova's user can read and write in the vms pool and clone from the images pool.

    Why: guests with disks on RBD do not start without.
    """
    _expect_access(facts, str(cloud.ceph.users.nova), writes=str(cloud.ceph.pools.vms), clones=cloud.ceph.pools.images)


@has_fast_snapshots
@pytest.mark.check("ceph.auth.nova.images_write", severity="major", source="RO NI NREL-snap LP1992153")
def test_nova_can_write_images(facts: Facts, cloud: Cloud) -> None:
    """Where snapshots of servers are to be made inside Ceph, Nova's user can write in the images pool.

    Why: without, Nova says so in a log line only, and copies the whole disk through the hypervisor.
    """
    _expect_access(facts, str(cloud.ceph.users.nova), writes=cloud.ceph.pools.images)


@pytest.mark.check("ceph.auth.nova.volumes", severity="critical", source="S1 NN LP1809454")
def test_guests_can_write_volumes(facts: Facts, cloud: Cloud) -> None:
    """The user as whom libvirt opens Cinder's volumes can read and write in the volumes pool.

    Why: cinder.conf names that user, or nova.conf where cinder.conf names none; a volume attaches or does not.
    """
    _expect_access(facts, volumes_user(cloud, facts), writes=cloud.ceph.pools.volumes)


@has_backups
@pytest.mark.check("ceph.auth.backup.osd", severity="major", source="S0 CK CP")
def test_backup_can_write_backups(facts: Facts, cloud: Cloud) -> None:
    """The backup user can read and write in the backups pool.

    Why: a backup that cannot be written is found missing on the day of the restore.
    """
    _expect_access(facts, str(cloud.ceph.users.backup), writes=str(cloud.ceph.pools.backups))


def _expect_access(facts: Facts, user: str, writes: str, clones: str = "") -> None:
    entity = auth_of(facts, f"client.{user}")
    osd = caps_of(entity).osd
    missing = [] if access(facts, entity, writes).rbd_read_write else [f"read and write images in {writes}"]
    if clones and not access(facts, entity, clones).can_clone_from:
        missing.append(f"clone from images in {clones}")
    expected = f"profile rbd pool={writes}" + (f", profile rbd-read-only pool={clones}" if clones else "")
    assert not missing, finding(
        entity.entity,
        found=f"osd caps '{osd}' that do not let it {' nor '.join(missing)}",
        expected=expected,
        remedy=how_to_write(entity),
    )


@pytest.mark.check("ceph.auth.mgr_profile", severity="minor", source="CD GC MG")
def test_user_can_use_the_managers_rbd_commands(auth: AuthEntity, cephx_user: CephxUser, cloud: Cloud) -> None:
    """The user has mgr rights for RBD in each pool that it writes.

    Why: background tasks (flattening, trash removal) run in the manager, and fall back to the client without.
    """
    written = written_pools(cephx_user, cloud)
    allowed = caps_of(auth).mgr.rbd_pools(written)
    assert allowed == written, finding(
        auth.entity,
        found=f"mgr caps '{auth.caps.get('mgr', '')}'",
        expected=", ".join(f"profile rbd pool={pool}" for pool in sorted(written)),
        remedy=how_to_write(auth),
    )


@pytest.mark.check("ceph.auth.caps_valid", severity="major", source="practice")
def test_caps_name_what_exists(auth: AuthEntity, facts: Facts) -> None:
    """The caps parse, every pool that they name exists, and every profile is one that Ceph knows.

    Why: Ceph stores a misspelt pool or profile without a word, and it grants nothing.
    """
    try:
        caps = Caps.of(auth.caps)
    except CapsSyntaxError as error:
        problems = [str(error)]
    else:
        problems = [f"pool {pool} does not exist" for pool in sorted(caps.pools_named) if not facts.ceph.pool(pool)]
        problems += [f"unknown profile: {name}" for name in caps.unknown_profiles]
    assert not problems, finding(
        auth.entity, found=problems, expected="existing pools, known profiles", remedy=how_to_write(auth)
    )


@pytest.mark.check("ceph.auth.login", severity="critical", source="S1 NR CR")
def test_service_can_log_in(client: Client, facts: Facts, cloud: Cloud) -> None:
    """On its own host, as its own account, the service's user gets `status`, `mon dump` and `df` from the cluster.

    Why: this is what the services do themselves; key, caps, keyring and conf can each be right and this still fail.
    """
    account = role_on(cloud, client.host, client.role).account
    logins = need(facts.host(client.host).logins, f"{client.host}: logins")
    tried = next((login for login in logins if (login.user, login.account) == (client.user, account)), None)
    if tried is None:
        raise NotMeasured(f"{client.host}: no login as client.{client.user} by {account} was tried")
    answers = {"status": tried.status, "mon dump": tried.mon_dump, "df": tried.df}
    assert answers == EVERY_LOGIN, finding(
        f"{client.host}: client.{client.user} as {account}",
        found=f"no answer to {', '.join(name for name, answered in answers.items() if not answered)} ({tried.error})",
        expected="an answer to each",
        remedy=f"runuser -u {account} -- ceph --id {client.user} -s; then look at keyring, key and caps",
    )
