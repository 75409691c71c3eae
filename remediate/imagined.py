"""The facts as they would be with some steps taken: what others wait for, and no more.

A service is told of Ceph only when pool, user, ceph.conf and keyring are there. With those imagined that a
plan makes, the same plan goes on to keyrings, secrets, options and restarts; it need not wait for a look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fixtures.facts.base import Digest, Unreadable
from fixtures.facts.ceph import AuthEntity, CephFacts, Pool
from fixtures.facts.files import File as Stat
from fixtures.facts.host import HostFacts, IniFile, Keyring
from fixtures.facts.run import Facts
from remediate.model import Attributes, Caps, File, NewPool, Step


def imagined(facts: Facts, steps: Sequence[Step]) -> Facts:
    """Return the facts with pools, users, keyrings and ceph.conf that the steps make, or open to their services."""
    if isinstance(facts.ceph_cluster, Unreadable):
        return facts
    ceph = facts.ceph_cluster.model_copy(
        update={"pools": _pools(facts.ceph_cluster, steps), "auth": _auth(facts.ceph_cluster, steps)}
    )
    hosts = {
        name: _host(host, ceph, [it for it in steps if isinstance(it, File | Attributes) and it.host == name])
        for name, host in facts.hosts.items()
    }
    return facts.model_copy(update={"ceph_cluster": ceph, "hosts": hosts})


def _pools(ceph: CephFacts, steps: Sequence[Step]) -> tuple[Pool, ...]:
    made = {step.pool: _pool(step) for step in steps if isinstance(step, NewPool)}
    return (*(pool for pool in ceph.pools if pool.name not in made), *made.values())


def _pool(step: NewPool) -> Pool:
    return Pool(
        name=step.pool,
        id=-1,
        type="replicated",
        size=step.size,
        min_size=step.min_size,
        pg_num=1,
        applications=frozenset({"rbd"}),
        autoscale_mode="on",
        flags=frozenset(),
        rbd_initialised=True,
    )


def _auth(ceph: CephFacts, steps: Sequence[Step]) -> tuple[AuthEntity, ...] | Unreadable:
    if isinstance(ceph.auth, Unreadable):
        return ceph.auth
    keys = {one.entity: one.key for one in ceph.auth}
    given = {
        step.entity: AuthEntity(
            entity=step.entity, key=keys.get(step.entity, _key_to_be(step.entity)), caps=dict(step.caps)
        )
        for step in steps
        if isinstance(step, Caps)
    }
    return (*(one for one in ceph.auth if one.entity not in given), *given.values())


def _key_to_be(entity: str) -> Digest:
    """What stands for a key that Ceph has not made yet: it equals itself and no other."""
    return f"hmac:{hashlib.sha256(entity.encode()).hexdigest()[:32]}"


def _host(host: HostFacts | Unreadable, ceph: CephFacts, steps: Sequence[File | Attributes]) -> HostFacts | Unreadable:
    if isinstance(host, Unreadable) or not steps:
        return host
    files = [it for it in steps if isinstance(it, File)]
    keys = {} if isinstance(ceph.auth, Unreadable) else {one.entity: one.key for one in ceph.auth}
    opened = {
        it.path: keyring.model_copy(update={"readable_by": {**keyring.readable_by, it.owner: True}})
        for it in steps
        if isinstance(it, Attributes) and isinstance(keyring := host.keyrings.get(it.path), Keyring)
    }
    written = {
        it.path: Keyring(stat=_stat(it), keys={it.key_of: keys[it.key_of]}, readable_by={it.owner: True})
        for it in files
        if it.key_of in keys
    }
    conf = host.ceph_conf
    confs = [it for it in files if not isinstance(conf, Unreadable) and it.path == conf.stat.path]
    changed = {"ceph_conf": IniFile(stat=_stat(confs[0]))} if confs else {}
    return host.model_copy(update={"keyrings": {**host.keyrings, **opened, **written}, **changed})


def _stat(file: File) -> Stat:
    return Stat(path=file.path, kind="file", owner=file.owner, group=file.group, mode=file.mode or 0)
