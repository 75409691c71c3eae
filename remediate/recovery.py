"""Area dr: what is kept for the day when all is lost. The operator says what makes it; closing it to others is ours."""

from __future__ import annotations

from collections.abc import Iterator

from fixtures.cloud import Cloud
from fixtures.cloud.model import CephExport, Dumps, KeyBackup
from fixtures.facts.base import need
from fixtures.facts.run import Facts
from remediate.model import Attributes, Job, NeedsOperator
from remediate.registry import manual, repairs

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


@repairs("dr.ceph.meta", disruption="safe")
def export_anew(cloud: Cloud, facts: Facts) -> Iterator[Job]:
    """Start what makes the export, where that is named; keys that are not encrypted stay a person's."""
    kept = cloud.recovery.ceph
    export = need(facts.host(kept.host).system.export, f"{kept.host}: {kept.path}") if kept else None
    if export and export.plain_keys:
        raise NeedsOperator(
            "with whose key the export is encrypted is yours to decide; what is there shows every key to whoever reads "
            "it: encrypt it (gpg, age, openssl enc), and export anew"
        )
    yield from _made_anew(
        kept,
        "who makes the export, where it goes and with whose key it is encrypted is yours to decide: a daily timer with "
        "ceph mon getmap, osd getmap, osd getcrushmap, auth export, config dump, osd pool ls detail; "
        "its unit named under recovery.ceph.unit is started by --remediate",
    )


def _made_anew(kept: Dumps | KeyBackup | CephExport | None, otherwise: str, *lines: str) -> Iterator[Job]:
    """Start the unit that the cloud file names, as its timer does."""
    if kept is None or kept.unit is None:
        raise NeedsOperator(otherwise, *lines)
    yield Job(host=kept.host, unit=kept.unit, path=kept.path)


@repairs("dr.db.dump_fresh", disruption="safe")
def close_the_dumps(cloud: Cloud, facts: Facts) -> Iterator[Attributes | Job]:
    """Close dumps that others may read; for one that is old, broken off or missing, start what makes them."""
    kept = cloud.recovery.database
    if kept is None:
        raise NeedsOperator(
            "the cloud file does not say where dumps are: make some, and name them", "recovery.database"
        )
    dumps = need(facts.host(kept.host).system.dumps, f"{kept.host}:{kept.path}")
    opened = [dump.stat for dump in dumps if dump.stat.mode & 0o007]
    if kept.encrypted and any(dump.content != "encrypted" for dump in dumps):
        raise NeedsOperator("with whose key dumps are encrypted is yours to decide", "gpg --encrypt, age, openssl enc")
    if not opened:
        line = "mysqldump --single-transaction --routines --triggers --databases …"
        yield from _made_anew(kept, "look at the timer that makes the dumps, and dump anew to another host", line)
    for stat in opened:
        yield Attributes(host=kept.host, path=stat.path, mode=stat.mode & 0o770)


@repairs("dr.keys", disruption="safe")
def close_the_backup_of_keys(cloud: Cloud, facts: Facts) -> Iterator[Attributes | Job]:
    """Close a backup that others may read; for one that is old or lacks something, start what makes it."""
    kept = cloud.recovery.keys
    if kept is None:
        raise NeedsOperator("the cloud file does not say where keys are saved: save them, and say so", "recovery.keys")
    stat = need(facts.host(kept.host).system.archive, f"{kept.host}:{kept.path}").stat
    if not stat.exists or not stat.mode & 0o077:
        yield from _made_anew(kept, "look at what makes the backup of keys, have it add what is missing, and save anew")
        return
    yield Attributes(host=kept.host, path=stat.path, mode=stat.mode & 0o700)
