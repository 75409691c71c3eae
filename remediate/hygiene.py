"""Area hyg: what was left lying. What may be somebody's is told with the commands; what is nobody's for sure goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fixtures import inventory
from fixtures.cloud import Cloud
from fixtures.facts.base import need
from fixtures.facts.host import HostFacts
from fixtures.facts.images import ImageLook, PoolContent
from fixtures.facts.run import Facts
from fixtures.sizes import MIB
from fixtures.trash import USERS
from remediate.model import BreakLock, File, FromTrash, HardReboot, IntoTrash, NeedsOperator, OldSnapshot
from remediate.registry import manual, repairs

manual(
    "the suite sweeps by its own records when a run with journeys begins, so this resisted that: read the services' "
    "logs for these ids, then `pytest --cloud FILE --sweep`; what no record names is deleted by hand",
    "hyg.suite_residue",
)
manual(
    "why it is stuck is in the service's log under its id, and an operation may still be under way: then `openstack "
    "volume set --state error ID` (or its like), and delete it",
    "hyg.api.stuck",
)
manual(
    "somebody has the image open: find the process (rbd status, rbd device list, virsh list, the services' logs) and "
    "end it; `ceph osd blocklist add ADDRESS` last of all, for it kills every disk of that client",
    "hyg.watcher.stale",
)
manual(
    "a migration is finished or given up by whoever began it: `rbd migration execute IMAGE`, then `rbd migration "
    "commit IMAGE`, or `rbd migration abort IMAGE`; an image of format 1 is exported and imported; of two sides that "
    "were both written, a person says which is thrown away: `rbd mirror image resync IMAGE` there",
    "hyg.rbd_features_locked",
)
LARGEST_FILE = 8 * MIB
"""What is larger is not copied for the way back."""


# Orphans: another cloud, cell or back end may own them, unless the cloud file says that there is none.


@repairs("hyg.volume.orphan", disruption="destructive")
def put_orphaned_volumes_into_the_trash(facts: Facts, cloud: Cloud) -> Iterator[IntoTrash]:
    """Move images of no volume into the trash."""
    found = inventory.volumes(cloud, facts)
    lost = [f"volume {uuid}" for uuid in found.lost]
    yield from _put_away(cloud.ceph.pools.volumes, found.orphans, facts, cloud, lost)


@repairs("hyg.vm.orphan_disk", disruption="destructive")
def put_orphaned_disks_into_the_trash(facts: Facts, cloud: Cloud) -> Iterator[IntoTrash]:
    """Move disks of no server into the trash."""
    found = inventory.disks(cloud, facts)
    leftovers = inventory.resize_leftovers(cloud, facts)
    yield from _put_away(str(cloud.ceph.pools.vms), found.orphans, facts, cloud, found.lost, leftovers)


@repairs("hyg.image.orphan", disruption="destructive")
def put_orphaned_images_into_the_trash(facts: Facts, cloud: Cloud) -> Iterator[IntoTrash]:
    """Move images that Glance does not know into the trash."""
    found = inventory.images(cloud, facts)
    lost = [f"image {uuid}" for uuid in found.lost]
    yield from _put_away(cloud.ceph.pools.images, found.orphans, facts, cloud, lost)


def _put_away(
    pool: str,
    orphans: Iterable[str],
    facts: Facts,
    cloud: Cloud,
    lost: Iterable[str],
    snapshots: Iterable[str] = (),
) -> Iterator[IntoTrash]:
    content = inventory.content_of(facts, pool)
    nobodys = [name for name in orphans if cloud.hygiene.alone and _is_nobodys(content, content.looks.get(name))]
    if not nobodys:
        raise _orphans(pool, orphans, lost, snapshots)
    for name in nobodys:
        yield IntoTrash(pool=pool, image=name, image_id=content.names[name])


@repairs("hyg.snapshot.orphan", disruption="destructive")
def remove_snapshots_of_nobody(facts: Facts, cloud: Cloud) -> Iterator[OldSnapshot]:
    """Remove snapshots that no row of Cinder's explains and nothing is cloned from, for good."""
    pool, found = cloud.ceph.pools.volumes, inventory.snapshots(cloud, facts)
    content = inventory.content_of(facts, pool)
    known = {row.id for row in need(facts.openstack.volumes, "volumes")}
    unused = [
        f"{image}@{name}"
        for image, names in inventory.clone_snapshots(content).items()
        for name in names
        if _was_cloned_from(content, f"{image}@{name}") is False and not any(uuid in name for uuid in known)
    ]
    specs = [*found.orphans, *unused]
    free = [spec for spec in specs if cloud.hygiene.alone and _was_cloned_from(content, spec) is False]
    if not free:
        raise _orphans(pool, (), found.lost, specs)
    for spec in free:
        image, _, name = spec.partition("@")
        yield OldSnapshot(pool=pool, image=image, snapshot=name)


def _was_cloned_from(content: PoolContent, spec: str) -> bool | None:
    """Whether a snapshot of a pool has clones; None where it was not looked at, or is of another pool."""
    image, _, name = spec.partition("@")
    look = content.looks.get(image)
    return bool(look.clones[name]) if look and name in look.clones else None


def _orphans(pool: str, images: Iterable[str], lost: Iterable[str], snapshots: Iterable[str] = ()) -> NeedsOperator:
    lines = [
        *(f"rbd status {pool}/{name}; rbd children --all {pool}/{name}; rbd trash mv {pool}/{name}" for name in images),
        *(f"rbd children {pool}/{spec}; rbd snap rm {pool}/{spec}" for spec in snapshots),
        *(f"rbd trash ls --all {pool}  # is {what} in there? rbd trash restore" for what in lost),
    ]
    why = "whether another cloud, cell or back end owns these, no list of this cloud's tells; lost data is a person's"
    return NeedsOperator(why, *lines)


# What is nobody's


@repairs("hyg.volume.deleted_suffix", disruption="destructive")
def put_deleted_volumes_into_the_trash(facts: Facts, cloud: Cloud) -> Iterator[IntoTrash]:
    """Move what Cinder deleted and kept for clones that are gone, and that nobody has open, into the trash."""
    pool = cloud.ceph.pools.volumes
    content = inventory.content_of(facts, pool)
    known = {row.id for row in need(facts.openstack.volumes, "volumes")}
    deleted = [name for name in content.names if inventory.is_deleted_volume(cloud, facts, name)]
    forgotten = [name for name in sorted(deleted) if not any(uuid in name for uuid in known)]
    nobodys = [name for name in forgotten if _is_nobodys(content, content.looks.get(name))]
    if not nobodys:
        raise NeedsOperator(
            "the images have snapshots, a client, or a volume of that id: look at each",
            *(
                f"rbd children --all {pool}/{name}; rbd snap purge {pool}/{name}; rbd trash mv {pool}/{name}"
                for name in deleted
            ),
        )
    for name in nobodys:
        yield IntoTrash(pool=pool, image=name, image_id=content.names[name])


def _is_nobodys(content: PoolContent, look: ImageLook | None) -> bool:
    """Snapshots are gone for good once they are removed, so an image that has any is left alone."""
    return look is not None and not (look.clones or look.watchers or look.locks)


@repairs("hyg.trash", disruption="destructive")
def purge_what_may_go(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[FromTrash]:
    """Remove what users deleted and nothing holds: what is overdue; where none is, what fills the pool and may go."""
    trash = need(inventory.content_of(facts, pool_name).trash, f"trash of {pool_name}")
    ages = [
        (entry, facts.age(entry.deferred_until)) for entry in trash if entry.source in USERS and entry.deferred_until
    ]
    if not ages:
        raise NeedsOperator(
            "what fills the trash is there for a migration or a mirror, and goes with these: commit or abort the one "
            "(see hyg.rbd_features_locked), let the other catch up, or give the pool room"
        )
    overdue = [entry for entry, age in ages if age > cloud.hygiene.trash_after]
    going = overdue or [entry for entry, age in ages if age > 0]
    if not going:
        raise NeedsOperator(
            "what is in the trash is kept for who deleted it: give the pool room, or throw it away before its time",
            *(f"rbd trash rm --force --pool {pool_name} {entry.id}  # {entry.name}" for entry, _ in ages),
        )
    free = [entry for entry in going if entry.snapshots == 0]
    if not free:
        raise NeedsOperator(
            "snapshots hold these images, and clones may hang on those: flatten or delete the clones first",
            *(f"rbd children --all --pool {pool_name} --image-id {entry.id}  # {entry.name}" for entry in going),
        )
    for entry in free:
        yield FromTrash(pool=pool_name, image=entry.name, image_id=entry.id)


@repairs("hyg.lock.stale", disruption="destructive")
def take_locks_from_the_dead(pool_name: str, facts: Facts, cloud: Cloud) -> Iterator[BreakLock]:
    """Take the locks of clients that are on the blocklist and have gone: they cannot come back and write."""
    kept_out = need(facts.ceph.blocklist, "blocklist")
    steps, left = [], []
    for name, lock in inventory.stale_locks(inventory.content_of(facts, pool_name)):
        step = BreakLock(pool=pool_name, image=name, lock=lock.id, owner=lock.owner)
        if lock.address in kept_out and not _runs(pool_name, name, facts, cloud):
            steps.append(step)
        else:
            left += [f"ceph osd blocklist add {lock.address}", str(step)]
    if not steps:
        raise NeedsOperator(
            "nothing proves that the owner is dead, or its guest runs on without a disk (see hyg.blocklist): look at "
            "the host of that address; if the client is gone there, or once its guest is stopped:",
            *left,
        )
    yield from steps


def _runs(pool: str, image: str, facts: Facts, cloud: Cloud) -> bool:
    """Whether a running server uses the image; taking the lock would hide that it runs without its disk."""
    running = {server.id for server in need(facts.openstack.servers, "servers") if server.status == "ACTIVE"}
    return bool(inventory.users(cloud, facts).get(pool, {}).get(image, frozenset()) & running)


@repairs(
    "hyg.blocklist",
    disruption="disruptive",
    otherwise="a new client has the disk open by now: the lock of the dead one goes with the guest's first write",
)
def start_guests_anew_that_are_kept_out(facts: Facts, cloud: Cloud) -> Iterator[HardReboot]:
    """Reboot hard whose disk answers with errors: it opens it as a new client, and its first write takes the lock."""
    rows = need(facts.openstack.compute_services, "compute services")
    deaf = {row.host for row in rows if row.binary == "nova-compute" and row.state != "up"}
    busy = {it.id for it in need(facts.openstack.servers, "servers") if it.task or it.host in deaf}
    found = {servers: image for servers, image, _ in inventory.kept_out(cloud, facts) if not _is_open(image, facts)}
    for servers, image in found.items():
        if len(servers) > 1 or servers & busy:
            raise NeedsOperator(
                f"{image} is of several servers, or something is being done with its server, or nova-compute is not up "
                "where it runs: look at each",
                *(f"openstack server reboot --hard {server}" for server in sorted(servers)),
            )
    for server in sorted({one for servers in found for one in servers}):
        yield HardReboot(server=server, hypervisor=_hypervisor_of(server, facts, cloud))


def _hypervisor_of(server: str, facts: Facts, cloud: Cloud) -> str:
    at = next(row.host for row in need(facts.openstack.servers, "servers") if row.id == server)
    hosts = ((name, facts.hosts.get(name)) for name in cloud.hosts_with("nova-compute"))
    return next((name for name, host in hosts if isinstance(host, HostFacts) and host.is_called(at)), "")


def _is_open(image: str, facts: Facts) -> bool:
    pool, _, name = image.partition("/")
    return bool(inventory.content_of(facts, pool).looks[name].watchers)


@repairs("hyg.tmp_files", disruption="safe")
def remove_forgotten_files(client_host: str, facts: Facts, cloud: Cloud) -> Iterator[File]:
    """Remove what is old and closed; small files are kept for the way back, large ones are left."""
    name, _, container = client_host.partition("/")
    host = facts.host(name)
    seen = host.within(container) if container else host
    files = need(seen.system.leftovers, f"{client_host}: temporary files")
    old = [it for it in files if not it.open and host.collected_at - it.mtime > cloud.hygiene.files_after]
    small = [it for it in old if it.size <= LARGEST_FILE]
    if container or (old and not small):
        why = f"they are in the container {container}" if container else "they are too large to be kept for a way back"
        raise NeedsOperator(f"{name}: {why}", *(f"rm {it.path}" for it in old))
    for it in small:
        yield File(host=name, path=it.path, text=None)
