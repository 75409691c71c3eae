"""Area dr: what is kept for the day when all is lost. Making it is the operator's; closing it to others is not."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from remediate.model import Attributes, NeedsOperator
from remediate.registry import manual, repairs

manual(
    "who makes the export, where it goes and with whose key it is encrypted is yours to decide: a daily timer with "
    "ceph mon getmap, osd getmap, osd getcrushmap, auth export, config dump, osd pool ls detail",
    "dr.ceph.meta",
)
manual(
    "a copy elsewhere is a second cluster, a backup target, or a risk that somebody accepts in writing "
    "(recovery.risk_accepted): none of them is this tool's to choose",
    "dr.data.independent_copy",
)
manual(
    "ceph.conf, keyring and secret of the other cluster come from its own administrators: copy them to every "
    "hypervisor, `virsh secret-define`, and look at `rbd mirror pool status --verbose`",
    "dr.mirror.failover_ready",
)
manual(
    "only whoever makes the dumps can make one that is whole: look at what mysqldump says, and restore one by hand",
    "dr.db.restore_test",
)


@repairs("dr.db.dump_fresh", disruption="safe")
def close_the_dumps(cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Close dumps that others may read; what is old, broken off or missing is for whatever makes them."""
    kept = cloud.recovery.database
    if kept is None:
        raise NeedsOperator(
            "the cloud file does not say where dumps are: make some, and name them", "recovery.database"
        )
    dumps = need(facts.host(kept.host).system.dumps, f"{kept.host}:{kept.path}")
    opened = [dump.stat for dump in dumps if dump.stat.mode & 0o007]
    if not opened:
        line = "mysqldump --single-transaction --routines --triggers --databases …"
        raise NeedsOperator("look at the timer that makes the dumps, and dump anew to another host", line)
    for stat in opened:
        yield Attributes(host=kept.host, path=stat.path, mode=stat.mode & 0o770)


@repairs("dr.keys", disruption="safe")
def close_the_backup_of_keys(cloud: Cloud, facts: Facts) -> Iterator[Attributes]:
    """Close a backup that others may read; what is old or missing is for whatever makes it."""
    kept = cloud.recovery.keys
    if kept is None:
        raise NeedsOperator("the cloud file does not say where keys are saved: save them, and say so", "recovery.keys")
    stat = need(facts.host(kept.host).system.archive, f"{kept.host}:{kept.path}").stat
    if not stat.exists or not stat.mode & 0o077:
        raise NeedsOperator("look at what makes the backup of keys, have it add what is missing, and save anew")
    yield Attributes(host=kept.host, path=stat.path, mode=stat.mode & 0o700)
