"""Steps on OpenStack's APIs: each state is read, and brought about, as the cloud file's administrator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fixtures.facts.base import NotMeasured
from remediate.model import ApiStep, State

if TYPE_CHECKING:
    from openstack.connection import Connection

OpenApi = Callable[[], "Connection"]
"""Opens a connection as the administrator."""


def look(open_api: OpenApi, step: ApiStep) -> State:
    """Return the present state of what the step is about.

    Raises:
        NotMeasured: the API did not answer, or refused.
    """
    state: State = _asked(lambda: _look(open_api(), step))
    return state


def wanted(step: ApiStep) -> State:
    """Return the state that the step brings about."""
    return {"exists": True, "specs": dict(step.specs)}


def bring(open_api: OpenApi, step: ApiStep, state: State) -> None:
    """Bring about a state: the one that the step wants, or the one that it found; raises NotMeasured as above."""
    _asked(lambda: _bring(open_api(), step, state))


def difference(step: ApiStep, before: State, after: State) -> tuple[str, ...]:
    """Return the change as a person reads it."""
    if before == after:
        return ()
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
    except (SDKException, ClientException) as error:
        raise NotMeasured(f"OpenStack: {error}") from None


def _kind(api: Connection, name: str) -> dict[str, Any] | None:
    """The volume type of a name, private ones included."""
    from openstack.exceptions import raise_from_response

    answer = api.block_storage.get("/types", params={"is_public": "None"})
    raise_from_response(answer)
    return next((kind for kind in answer.json()["volume_types"] if kind["name"] == name), None)


def _look(api: Connection, step: ApiStep) -> State:
    kind = _kind(api, step.name)
    specs = (kind or {}).get("extra_specs", {})
    return {"exists": kind is not None, "specs": {key: specs.get(key) for key in step.specs}}


def _bring(api: Connection, step: ApiStep, state: State) -> None:
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
