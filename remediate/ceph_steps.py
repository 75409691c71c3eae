"""Steps on the cluster: each state is read, and brought about, by monitor commands; undoing is bringing back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fixtures.ceph import Ask, CephAccess, CephError
from remediate import rbd_steps
from remediate.model import (
    Balancer,
    Caps,
    CephStep,
    ClusterOption,
    DaemonOption,
    MinClient,
    OsdFlag,
    PoolApplication,
    PoolOption,
    PoolQuota,
    State,
    caps_line,
)


def look(ceph: CephAccess, step: CephStep) -> State:
    """Return the present state of what the step is about."""
    return _LOOKS[type(step)](ceph, step)


def wanted(step: CephStep) -> State:
    """Return the state that the step brings about."""
    match step:
        case PoolOption() | PoolQuota() | ClusterOption() | DaemonOption():
            return {"value": step.value}
        case PoolApplication():
            return {"enabled": True}
        case Caps():
            return {"caps": dict(step.caps)}
        case OsdFlag():
            return {"on": step.on}
        case MinClient():
            return {"release": step.release}
        case Balancer():
            return {"active": True, "mode": step.mode}
        case _:
            return rbd_steps.wanted(step)


def bring(ceph: CephAccess, step: CephStep, state: State) -> None:
    """Bring about a state: the one that the step wants, or the one that it found."""
    _BRINGS[type(step)](ceph, step, state)


def difference(step: CephStep, before: State, after: State) -> tuple[str, ...]:
    """Return the change as a person reads it."""
    if before == after:
        return ()
    if isinstance(step, Caps):
        old = "no such user" if before["caps"] is None else caps_line(before["caps"])
        return (f"{step.entity}:", f"  - {old}", f"  + {caps_line(after['caps'])}")
    was = ", ".join(_told(before[name]) for name in after if before[name] != after[name])
    return (f"{step}  (was: {was})", *(f"  cannot be undone: {why}" for why in [step.irreversible] if why))


def _told(value: object) -> str:
    return {None: "unset", True: "set", False: "not set"}.get(value, str(value))  # type: ignore[call-overload,no-any-return]


def _pool_of(ceph: CephAccess, name: str) -> dict[str, Any]:
    for pool in ceph.mon("osd pool ls", detail="detail"):
        if pool["pool_name"] == name:
            return dict(pool)
    raise CephError(ceph.source, f"osd pool ls detail: {name}", 2, "no such pool")


def _pool_option(ceph: CephAccess, step: PoolOption) -> State:
    if step.option == "pg_num":  # it is reached by and by; since Nautilus a pool tells what it is on the way to
        pool = _pool_of(ceph, step.pool)
        return {"value": str(pool.get("pg_num_target", pool["pg_num"]))}
    try:
        told = ceph.mon("osd pool get", pool=step.pool, var=step.option)
    except CephError as error:
        if not error.missing:
            raise
        _pool_of(ceph, step.pool)
        return {"value": None}
    return {"value": str(told[step.option])}


def _set_pool_option(ceph: CephAccess, step: PoolOption, state: State) -> None:
    """0 takes an option out: those that can be unset are numbers."""
    ceph.mon("osd pool set", pool=step.pool, var=step.option, val="0" if state["value"] is None else state["value"])


def _quota(ceph: CephAccess, step: PoolQuota) -> State:
    return {"value": int(ceph.mon("osd pool get-quota", pool=step.pool)[f"quota_{step.quota}"])}


def _set_quota(ceph: CephAccess, step: PoolQuota, state: State) -> None:
    ceph.mon("osd pool set-quota", pool=step.pool, field=step.quota, val=str(state["value"]))


def _application(ceph: CephAccess, step: PoolApplication) -> State:
    return {"enabled": step.application in _pool_of(ceph, step.pool)["application_metadata"]}


def _tag(ceph: CephAccess, step: PoolApplication, state: State) -> None:
    if state["enabled"]:
        ceph.mon("osd pool application enable", pool=step.pool, app=step.application)
    else:
        ceph.mon("osd pool application disable", pool=step.pool, app=step.application, yes_i_really_mean_it=True)


def _caps(ceph: CephAccess, step: Caps) -> State:
    try:
        told = ceph.mon("auth get", entity=step.entity)
    except CephError as error:
        if error.missing:
            return {"caps": None}
        raise
    return {"caps": dict(told[0]["caps"])}


def _set_caps(ceph: CephAccess, step: Caps, state: State) -> None:
    """Never without caps in between: one command replaces them all."""
    if state["caps"] is None:
        ceph.mon("auth rm", entity=step.entity)
        return
    words = [word for pair in sorted(state["caps"].items()) for word in pair]
    exists = _caps(ceph, step)["caps"] is not None
    ceph.mon("auth caps" if exists else "auth add", entity=step.entity, caps=words)


def _cluster_option(ceph: CephAccess, step: ClusterOption) -> State:
    for row in ceph.mon("config dump"):
        if (row["section"], row["name"], row.get("mask", "")) == (step.who, step.option, ""):
            return {"value": str(row["value"])}
    return {"value": None}


def _set_cluster_option(ceph: CephAccess, step: ClusterOption, state: State) -> None:
    if state["value"] is None:
        ceph.mon("config rm", who=step.who, name=step.option)
    else:
        ceph.mon("config set", who=step.who, name=step.option, value=state["value"])


def _flag(ceph: CephAccess, step: OsdFlag) -> State:
    return {"on": step.flag in ceph.mon("osd dump")["flags_set"]}


def _set_flag(ceph: CephAccess, step: OsdFlag, state: State) -> None:
    ceph.mon("osd set" if state["on"] else "osd unset", key=step.flag)


def _min_client(ceph: CephAccess, step: MinClient) -> State:
    return {"release": ceph.mon("osd dump")["require_min_compat_client"]}


def _set_min_client(ceph: CephAccess, step: MinClient, state: State) -> None:
    ceph.mon("osd set-require-min-compat-client", version=state["release"])


def _balancer(ceph: CephAccess, step: Balancer) -> State:
    told = ceph.mgr("balancer status")
    return {"active": told["active"], "mode": told["mode"]}


def _set_balancer(ceph: CephAccess, step: Balancer, state: State) -> None:
    # A mode that is the default's would be set for good, and stay set when the step is undone.
    if _balancer(ceph, step)["mode"] != state["mode"]:
        ceph.mgr("balancer mode", mode=state["mode"])
    ceph.mgr("balancer on" if state["active"] else "balancer off")


def _daemon_option(ceph: CephAccess, step: DaemonOption) -> State:
    told = ceph.ask(Ask("config diff get", {"var": step.option}, step.daemon))["diff"]
    value = told.get(step.option, {}).get("override")
    return {"value": None if value is None else str(value)}


def _set_daemon_option(ceph: CephAccess, step: DaemonOption, state: State) -> None:
    if state["value"] is None:
        ceph.ask(Ask("config unset", {"var": step.option}, step.daemon))
    else:
        ceph.ask(Ask("config set", {"var": step.option, "val": [state["value"]]}, step.daemon))


_LOOKS: Mapping[type, Callable[[CephAccess, Any], State]] = MappingProxyType(
    {
        PoolOption: _pool_option,
        PoolApplication: _application,
        Caps: _caps,
        ClusterOption: _cluster_option,
        OsdFlag: _flag,
        PoolQuota: _quota,
        MinClient: _min_client,
        Balancer: _balancer,
        DaemonOption: _daemon_option,
        **rbd_steps.LOOKS,
    }
)
_BRINGS: Mapping[type, Callable[[CephAccess, Any, State], None]] = MappingProxyType(
    {
        PoolOption: _set_pool_option,
        PoolApplication: _tag,
        Caps: _set_caps,
        ClusterOption: _set_cluster_option,
        OsdFlag: _set_flag,
        PoolQuota: _set_quota,
        MinClient: _set_min_client,
        Balancer: _set_balancer,
        DaemonOption: _set_daemon_option,
        **rbd_steps.BRINGS,
    }
)
