"""Steps on OpenStack's APIs: each state is read, and brought about, as the cloud file's administrator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fixtures.facts.base import NotMeasured
from fixtures.waiting import DeadlineError, Pending, wait_until
from remediate.model import ApiStep, CatalogEndpoint, HardReboot, ImageStore, State, VolumeType

if TYPE_CHECKING:
    from openstack.connection import Connection

OpenApi = Callable[[], "Connection"]
"""Opens a connection as the administrator."""
COPY_TIMEOUT = 3600.0
"""Seconds for one image."""
REBOOT_TIMEOUT = 300.0
_COPYING, _FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"


def look(open_api: OpenApi, step: ApiStep) -> State:
    """Return the present state of what the step is about.

    Raises:
        NotMeasured: the API did not answer, or refused.
    """
    state: State = _asked(lambda: _LOOKS[type(step)](open_api(), step))
    return state


def wanted(step: ApiStep) -> State:
    """Return the state that the step brings about."""
    match step:
        case ImageStore():
            return {"stores": [step.store]}
        case CatalogEndpoint():
            return {"url": step.url}
        case HardReboot():
            return {"reboots": "one more"}
        case VolumeType():
            return {"exists": True, "specs": dict(step.specs)}


def bring(open_api: OpenApi, step: ApiStep, state: State) -> None:
    """Bring about a state: the one that the step wants, or the one that it found; raises NotMeasured as above."""
    _asked(lambda: _BRINGS[type(step)](open_api(), step, state))


def difference(step: ApiStep, before: State, after: State) -> tuple[str, ...]:
    """Return the change as a person reads it."""
    if before == after:
        return ()
    if isinstance(step, ImageStore):
        was, becomes = (", ".join(state["stores"]) or "no store" for state in (before, after))
        return (f"image {step.image} ({step.name}): {was} -> {becomes}",)
    if isinstance(step, HardReboot):
        return (f"server {step.server}: off and on again", f"  cannot be undone: {step.irreversible}")
    if isinstance(step, CatalogEndpoint):
        return (f"endpoint {step.name}: {before['url']} -> {after['url']}",)
    made = () if before["exists"] else (f"volume type {step.name}: is made",)
    changed = [key for key in after["specs"] if before["specs"][key] != after["specs"][key]]
    return made + tuple(
        f"volume type {step.name}: {key} {before['specs'][key] or 'unset'} -> {after['specs'][key]}" for key in changed
    )


def _asked(ask: Callable[[], Any]) -> Any:
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import SDKException

    try:
        return ask()
    except (SDKException, ClientException, DeadlineError) as error:
        raise NotMeasured(f"OpenStack: {error}") from None


# Volume types


def _kind(api: Connection, name: str) -> dict[str, Any] | None:
    """The volume type of a name, private ones included."""
    from openstack.exceptions import raise_from_response

    answer = api.block_storage.get("/types", params={"is_public": "None"})
    raise_from_response(answer)
    return next((kind for kind in answer.json()["volume_types"] if kind["name"] == name), None)


def _look_at_type(api: Connection, step: VolumeType) -> State:
    kind = _kind(api, step.name)
    specs = (kind or {}).get("extra_specs", {})
    return {"exists": kind is not None, "specs": {key: specs.get(key) for key in step.specs}}


def _bring_type(api: Connection, step: VolumeType, state: State) -> None:
    kind = _kind(api, step.name)
    storage = api.block_storage
    given = {key: value for key, value in state["specs"].items() if value is not None}
    if not state["exists"]:
        if kind is not None:
            storage.delete_type(kind["id"])
    elif kind is None:
        storage.create_type(name=step.name, extra_specs=given)
    else:
        if given:
            storage.update_type_extra_specs(kind["id"], **given)
        storage.delete_type_extra_specs(kind["id"], [key for key in state["specs"] if key not in given])


# Images


def _image(api: Connection, step: ImageStore) -> dict[str, Any]:
    from openstack.exceptions import raise_from_response

    answer = api.image.get(f"/images/{step.image}")
    raise_from_response(answer)
    image: dict[str, Any] = answer.json()
    return image


def _stores(image: dict[str, Any]) -> list[str]:
    """The stores that have the data; none is told where Glance has but one."""
    return sorted(filter(None, image.get("stores", "").split(",")))


def _look_at_image(api: Connection, step: ImageStore) -> State:
    return {"stores": _stores(_image(api, step))}


def _move(api: Connection, step: ImageStore, state: State) -> None:
    """Copy first, and take away what is too much only when the copy is there: Glance compares sizes and checksums."""
    from openstack.exceptions import raise_from_response

    stores = state["stores"]
    lacking = sorted(set(stores) - set(_stores(_image(api, step))))
    if lacking:
        body = {"method": {"name": "copy-image"}, "stores": lacking, "all_stores_must_succeed": True}
        raise_from_response(api.image.post(f"/images/{step.image}/import", json=body))
        wait_until(f"{step}", lambda: _copied(_image(api, step), stores), COPY_TIMEOUT)
    for store in sorted(set(_stores(_image(api, step))) - set(stores)):
        raise_from_response(api.image.delete(f"/stores/{store}/{step.image}"))


def _copied(image: dict[str, Any], stores: list[str]) -> bool | Pending:
    from openstack.exceptions import SDKException

    failed = sorted({*filter(None, image.get(_FAILED, "").split(","))} & {*stores})
    if failed:
        raise SDKException(f"Glance could not copy image {image['id']} to {', '.join(failed)}: its log says why")
    there = not image.get(_COPYING) and set(stores) <= set(_stores(image))
    return there or Pending(f"in {', '.join(_stores(image))}")


# Servers


def _look_at_reboots(api: Connection, step: HardReboot) -> State:
    """How often it was rebooted, by whomever: Nova keeps a list for each server."""
    from openstack.exceptions import raise_from_response

    answer = api.compute.get(f"/servers/{step.server}/os-instance-actions")
    raise_from_response(answer)
    return {"reboots": sum(one["action"] == "reboot" for one in answer.json()["instanceActions"])}


def _reboot(api: Connection, step: HardReboot, state: State) -> None:
    from openstack.exceptions import raise_from_response

    raise_from_response(api.compute.post(f"/servers/{step.server}/action", json={"reboot": {"type": "HARD"}}))
    wait_until(f"{step}", lambda: _is_up(api, step), REBOOT_TIMEOUT)


def _is_up(api: Connection, step: HardReboot) -> bool | Pending:
    from openstack.exceptions import SDKException, raise_from_response

    answer = api.compute.get(f"/servers/{step.server}")
    raise_from_response(answer)
    server = answer.json()["server"]
    if server["OS-EXT-STS:task_state"]:
        return Pending(server["OS-EXT-STS:task_state"])
    if server["status"] != "ACTIVE":
        raise SDKException(f"server {step.server} is {server['status']} after its reboot: openstack server event list")
    return True


# The catalog


def _look_at_endpoint(api: Connection, step: CatalogEndpoint) -> State:
    from openstack.exceptions import raise_from_response

    answer = api.identity.get(f"/endpoints/{step.endpoint}")
    raise_from_response(answer)
    return {"url": answer.json()["endpoint"]["url"]}


def _bring_endpoint(api: Connection, step: CatalogEndpoint, state: State) -> None:
    from openstack.exceptions import raise_from_response

    raise_from_response(api.identity.patch(f"/endpoints/{step.endpoint}", json={"endpoint": {"url": state["url"]}}))


_LOOKS: Mapping[type, Callable[[Any, Any], State]] = MappingProxyType(
    {
        VolumeType: _look_at_type,
        ImageStore: _look_at_image,
        HardReboot: _look_at_reboots,
        CatalogEndpoint: _look_at_endpoint,
    }
)
_BRINGS: Mapping[type, Callable[[Any, Any, State], None]] = MappingProxyType(
    {VolumeType: _bring_type, ImageStore: _move, HardReboot: _reboot, CatalogEndpoint: _bring_endpoint}
)
