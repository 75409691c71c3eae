"""Steps on pools and images: each state is read, and brought about, as `ceph_steps` does it for the cluster."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fixtures.ceph import CephAccess, CephDenied, CephError, Change, Does
from fixtures.facts.base import NotMeasured
from remediate.model import (
    BreakLock,
    FromTrash,
    IntoTrash,
    NewPool,
    NewSnapshot,
    ObjectMap,
    OldSnapshot,
    PoolInit,
    PoolMirror,
    PoolOverride,
    RbdStep,
    State,
    TrashSchedule,
)

_INFO = "rbd_info"


def wanted(step: RbdStep) -> State:
    """Return the state that the step brings about."""
    match step:
        case PoolOverride():
            return {"value": step.value}
        case PoolMirror():
            return {"mode": step.mode}
        case _:
            return dict(_WANTED[type(step)])


_WANTED: Mapping[type, State] = MappingProxyType(
    {
        NewPool: {"exists": True},
        PoolInit: {"initialised": True},
        TrashSchedule: {"scheduled": True},
        IntoTrash: {"place": "trash"},
        FromTrash: {"place": "nowhere"},
        BreakLock: {"locked": False},
        ObjectMap: {"valid": True},
        NewSnapshot: {"there": True, "protected": True},
        OldSnapshot: {"there": False, "protected": False},
    }
)


def _refuse(ceph: CephAccess, step: RbdStep, code: int, why: str) -> CephError:
    return CephError(ceph.source, str(step), code, why)


# Pools


def _exists(ceph: CephAccess, step: NewPool) -> State:
    return {"exists": step.pool in ceph.mon("osd pool ls")}


def _make_or_remove(ceph: CephAccess, step: NewPool, state: State) -> None:
    if state["exists"]:
        _make(ceph, step)
    elif _exists(ceph, step)["exists"]:
        _remove(ceph, step)


def _make(ceph: CephAccess, step: NewPool) -> None:
    """Each command may be sent again, so that a pool which a killed run has half made is finished."""
    if not _exists(ceph, step)["exists"]:
        ceph.mon("osd pool create", pool=step.pool, pool_type="replicated", rule=step.rule, size=step.size)
    ceph.mon("osd pool set", pool=step.pool, var="min_size", val=str(step.min_size))
    ceph.mon("osd pool set", pool=step.pool, var="pg_autoscale_mode", val="on")
    ceph.mon("osd pool application enable", pool=step.pool, app="rbd")
    ceph.change(Change("init-pool", step.pool))


def _remove(ceph: CephAccess, step: NewPool) -> None:
    if ceph.image_ids(step.pool) or ceph.trash(step.pool):
        raise _refuse(ceph, step, errno.ENOTEMPTY, "the pool holds images by now, and is not removed")
    try:
        ceph.mon("osd pool delete", pool=step.pool, pool2=step.pool, yes_i_really_really_mean_it=True)
    except CephDenied:
        why = (
            "the pool is empty, and the monitors remove none: ceph config set mon mon_allow_pool_delete true; "
            f"ceph osd pool rm {step.pool} {step.pool} --yes-i-really-really-mean-it; "
            "ceph config rm mon mon_allow_pool_delete"
        )
        raise _refuse(ceph, step, errno.EPERM, why) from None


def _initialised(ceph: CephAccess, step: PoolInit) -> State:
    return {"initialised": ceph.object_exists(step.pool, _INFO)}


def _initialise(ceph: CephAccess, step: PoolInit, state: State) -> None:
    if state["initialised"]:
        ceph.change(Change("init-pool", step.pool))
    elif ceph.overrides(step.pool):
        raise _refuse(ceph, step, errno.ENOTEMPTY, f"options of the pool are kept in {_INFO} by now")
    else:
        ceph.change(Change("uninit-pool", step.pool))


def _override(ceph: CephAccess, step: PoolOverride) -> State:
    return {"value": ceph.overrides(step.pool).get(step.option)}


def _set_override(ceph: CephAccess, step: PoolOverride, state: State) -> None:
    if state["value"] is None:
        ceph.change(Change("remove-option", step.pool, (step.option,)))
    else:
        ceph.change(Change("set-option", step.pool, (step.option, state["value"])))


def _mirror(ceph: CephAccess, step: PoolMirror) -> State:
    return {"mode": ceph.mirror(step.pool).mode}


def _set_mirror(ceph: CephAccess, step: PoolMirror, state: State) -> None:
    ceph.change(Change("mirror", step.pool, (state["mode"],)))


def _schedule(ceph: CephAccess, step: TrashSchedule) -> State:
    every = ceph.mgr("rbd trash purge schedule list").values()
    found = [one["interval"] for level in every if level["name"] == f"{step.pool}/" for one in level["schedule"]]
    return {"scheduled": step.interval in found}


def _set_schedule(ceph: CephAccess, step: TrashSchedule, state: State) -> None:
    does = "add" if state["scheduled"] else "remove"
    ceph.mgr(f"rbd trash purge schedule {does}", level_spec=f"{step.pool}/", interval=step.interval)


# Images


def _place(ceph: CephAccess, step: IntoTrash | FromTrash) -> State:
    if ceph.image_ids(step.pool).get(step.image) == step.image_id:
        return {"place": "pool"}
    trashed = any(entry.id == step.image_id for entry in ceph.trash(step.pool))
    return {"place": "trash" if trashed else "nowhere"}


def _move(ceph: CephAccess, step: IntoTrash, state: State) -> None:
    if state["place"] == "pool":
        ceph.change(Change("restore-from-trash", step.pool, (step.image_id, step.image)))
    else:
        ceph.change(Change("move-to-trash", step.pool, (step.image,)))


def _purge(ceph: CephAccess, step: FromTrash, state: State) -> None:
    _forwards_only(ceph, step, state)
    ceph.change(Change("remove-from-trash", step.pool, (step.image_id,)))


def _lock(ceph: CephAccess, step: BreakLock) -> State:
    held = ((lock.id, lock.owner) for lock in ceph.locks(step.pool, step.image))
    return {"locked": (step.lock, step.owner) in held}


def _break(ceph: CephAccess, step: BreakLock, state: State) -> None:
    _forwards_only(ceph, step, state)
    watching = {f"client.{one.client}" for one in ceph.watchers(step.pool, step.image)}
    if step.owner in watching:
        raise _refuse(ceph, step, errno.EBUSY, f"{step.owner} has the image open by now")
    ceph.change(Change("break-lock", step.pool, (step.image, step.lock, step.owner)))


def _map(ceph: CephAccess, step: ObjectMap) -> State:
    (header,) = ceph.headers(step.pool, [step.image_id])
    if header is None:
        raise _refuse(ceph, step, errno.ENOENT, "no such image")
    if header.invalid is None:
        raise NotMeasured(f"{step.pool}/{step.image}: its flags were not told")
    return {"valid": not header.invalid}


def _rebuild(ceph: CephAccess, step: ObjectMap, state: State) -> None:
    _forwards_only(ceph, step, state)
    ceph.change(Change("rebuild-map", step.pool, (step.image,)))


def _snapshot(ceph: CephAccess, step: NewSnapshot | OldSnapshot) -> State:
    image = ceph.image(step.pool, step.image)
    if image is None:
        raise _refuse(ceph, step, errno.ENOENT, "no such image")
    found = next((one for one in image.snapshots if one.name == step.snapshot), None)
    return {"there": found is not None, "protected": found is not None and found.protected}


def _make_snapshot(ceph: CephAccess, step: NewSnapshot, state: State) -> None:
    if not state["there"]:
        _end_snapshot(ceph, step)
        return
    now = _snapshot(ceph, step)
    if not now["there"]:
        _change_snapshot(ceph, step, "make-snapshot")
    if now["protected"] != state["protected"]:
        _change_snapshot(ceph, step, "protect-snapshot" if state["protected"] else "unprotect-snapshot")


def _remove_snapshot(ceph: CephAccess, step: OldSnapshot, state: State) -> None:
    _forwards_only(ceph, step, state)
    _end_snapshot(ceph, step)


def _end_snapshot(ceph: CephAccess, step: NewSnapshot | OldSnapshot) -> None:
    now = _snapshot(ceph, step)
    look = ceph.looks(step.pool, [step.image])[step.image]
    clones = look.clones.get(step.snapshot)
    if clones:
        raise _refuse(ceph, step, errno.EBUSY, f"{', '.join(clones)} was cloned from it by now")
    if now["protected"]:
        _change_snapshot(ceph, step, "unprotect-snapshot")
    if now["there"]:
        _change_snapshot(ceph, step, "remove-snapshot")


def _change_snapshot(ceph: CephAccess, step: NewSnapshot | OldSnapshot, does: Does) -> None:
    ceph.change(Change(does, step.pool, (step.image, step.snapshot)))


def _forwards_only(ceph: CephAccess, step: RbdStep, state: State) -> None:
    if state != wanted(step):
        raise _refuse(ceph, step, errno.ENOTSUP, step.irreversible)


LOOKS: Mapping[type, Callable[[CephAccess, Any], State]] = MappingProxyType(
    {
        NewPool: _exists,
        PoolInit: _initialised,
        PoolOverride: _override,
        PoolMirror: _mirror,
        TrashSchedule: _schedule,
        IntoTrash: _place,
        FromTrash: _place,
        BreakLock: _lock,
        ObjectMap: _map,
        NewSnapshot: _snapshot,
        OldSnapshot: _snapshot,
    }
)
BRINGS: Mapping[type, Callable[[CephAccess, Any, State], None]] = MappingProxyType(
    {
        NewPool: _make_or_remove,
        PoolInit: _initialise,
        PoolOverride: _set_override,
        PoolMirror: _set_mirror,
        TrashSchedule: _set_schedule,
        IntoTrash: _move,
        FromTrash: _purge,
        BreakLock: _break,
        ObjectMap: _rebuild,
        NewSnapshot: _make_snapshot,
        OldSnapshot: _remove_snapshot,
    }
)
