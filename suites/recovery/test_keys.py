"""Area dr.keys: keys and configuration, saved with the database."""

from __future__ import annotations

import pytest

from fixtures.checks import finding
from fixtures.cloud import Cloud
from fixtures.cloud.model import CLIENT_ROLES
from fixtures.facts.base import NotMeasured, need
from fixtures.facts.run import Facts
from fixtures.targets import libvirt_of

OF_THE_KEY_MANAGER = ("volume", "vtpm")
"""Uses of secrets that Nova makes when a guest starts, and that go with it."""
KEYSTONE = ("etc/keystone/fernet-keys/", "etc/keystone/credential-keys/")


@pytest.mark.check("dr.keys", severity="critical", source="practice SW")
@pytest.mark.applies_if(
    lambda cloud: cloud.recovery.keys is not None or cloud.policy.kind == "production",
    "a lab whose cloud file names no backup of keys (recovery.keys)",
)
def test_keys_are_saved_with_the_database(cloud: Cloud, facts: Facts) -> None:
    """The backup of keys is fresh, root's alone, and has Keystone's keys, ceph.conf, keyrings and the secrets' uuids.

    Why: without Keystone's credential keys a restored database does not decrypt, and without the secrets' uuids no
    restored guest starts.
    """
    wanted = cloud.recovery.keys
    assert wanted is not None, finding(
        "cloud file",
        found="recovery.keys is not set",
        expected="where keys and configuration are saved",
        remedy="save them with each dump, and name host and path under recovery.keys",
    )
    host, where = facts.host(wanted.host), f"{wanted.host}:{wanted.path}"
    archive = need(host.system.archive, where)
    assert archive.stat.exists, finding(where, found="nothing", expected="a backup", remedy="look at what makes it")
    hours = (host.collected_at - archive.stat.mtime) / 3600
    assert hours < wanted.max_age, finding(
        archive.stat.path, found=f"{hours:.0f} hours old", expected=f"under {wanted.max_age:g}", remedy="save anew"
    )
    assert not archive.stat.mode & 0o077, finding(
        archive.stat.path, found=f"mode {archive.stat.mode:04o}", expected="root's alone", remedy="chmod go="
    )
    if archive.encrypted or archive.truncated:
        raise NotMeasured(f"{archive.stat.path}: what is in it cannot be seen; name a list of its files instead")
    missing = [path for path in _needed(cloud, facts) if not any(path in member for member in archive.members)]
    assert not missing, finding(
        archive.stat.path, found=f"without {', '.join(missing)}", expected="all of them", remedy="add them"
    )


def _needed(cloud: Cloud, facts: Facts) -> list[str]:
    """Parts of paths that must be in it; of a backup of several hosts each path may stand below the host's name."""
    needed = set(cloud.recovery.keys.also) if cloud.recovery.keys else set()
    if cloud.hosts_with("keystone"):
        needed |= set(KEYSTONE)
    if cloud.hosts_with(*CLIENT_ROLES):
        needed |= {cloud.ceph.conf}
        needed |= {cloud.ceph.keyring(user) for role in CLIENT_ROLES for user in cloud.users_of(role)}
    for name in cloud.hosts_with("nova-compute")[:1]:
        secrets = libvirt_of(facts.host(name)).secrets
        needed |= {f"etc/libvirt/secrets/{it.uuid}.xml" for it in secrets if it.usage_type not in OF_THE_KEY_MANAGER}
    return sorted(path.lstrip("/") for path in needed)
