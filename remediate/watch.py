"""Whether a restarted service is up again, as the APIs see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from fixtures.cloud import Role
from fixtures.facts.run import Facts
from fixtures.waiting import Pending, wait_until

if TYPE_CHECKING:
    from openstack.connection import Connection

TIMEOUT = 150.0
"""Seconds; services report every 10 s, and are taken for dead after 60."""
_PAUSE = 3.0

Rows = Mapping[tuple[str, str], tuple[str, str]]
"""Binary and host to state and when it last reported."""

_LISTS: Mapping[Role, Callable[[Connection], Iterable[Any]]] = MappingProxyType(
    {
        "cinder-volume": lambda api: api.block_storage.services(),
        "cinder-backup": lambda api: api.block_storage.services(),
        "cinder-scheduler": lambda api: api.block_storage.services(),
        "nova-compute": lambda api: api.compute.services(),
    }
)
_PLAIN: Mapping[str, bool] = MappingProxyType({"authenticated": False, "raise_exc": False})
_QUESTIONS: Mapping[Role, Callable[[Connection], Any]] = MappingProxyType(
    {
        "glance-api": lambda api: api.image.get("/images?limit=1", raise_exc=False),
        "cinder-api": lambda api: api.block_storage.get("/types?limit=1", raise_exc=False),
        # Its account may be away with the servers that are repaired next.
        "swift-proxy": lambda api: api.session.get(_beside(api.object_store.get_endpoint(), "/healthcheck"), **_PLAIN),
    }
)


def _beside(endpoint: str | None, path: str) -> str:
    return urljoin(str(endpoint), path)


class Watch:
    """Looks at service lists and endpoints through an administrator's connection."""

    def __init__(self, open_api: Callable[[], Connection], facts: Facts) -> None:
        """Keep how to connect: it is done only when a service is to be looked for."""
        self._open, self._facts = open_api, facts

    @cached_property
    def _api(self) -> Connection:
        return self._open()

    def before(self, role: Role) -> Rows:
        """Return what is told before a restart, to know what is told after it."""
        if role in _QUESTIONS:
            self._answers(_QUESTIONS[role])  # the endpoint is found while it answers
        return self._rows(role)

    def until_up(self, host: str, role: Role, before: Rows) -> None:
        """Wait until the service has reported anew, or its API answers.

        Raises:
            DeadlineError: it did not; carries the last state seen.
        """
        wait_until(f"{role} on {host} is up", lambda: self._look(host, role, before), TIMEOUT, longest_pause=_PAUSE)

    def _look(self, host: str, role: Role, before: Rows) -> bool | Pending:
        if role in _LISTS:
            return self._reported(host, role, before)
        return self._answers(_QUESTIONS[role]) if role in _QUESTIONS else True

    def _answers(self, ask: Callable[[Connection], Any]) -> bool | Pending:
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        try:
            answer = ask(self._api)
        except (ClientException, SDKException) as error:
            return Pending(str(error))
        return True if answer.status_code == 200 else Pending(f"HTTP {answer.status_code}")

    def _reported(self, host: str, role: Role, before: Rows) -> bool | Pending:
        """Whether what was up on the host has reported anew.

        A row that was down before is nothing to wait for; where a new one appears, as of another back end, those
        that fall silent are left to it.
        """
        rows = self._rows(role)
        ours = {key: told for key, told in rows.items() if self._is_on(key[1], host)} or rows
        fresh = {key for key, (state, at) in ours.items() if state == "up" and before.get(key) != (state, at)}
        awaited = {key for key in ours if before.get(key, ("", ""))[0] == "up"}
        if fresh and (awaited <= fresh or fresh - before.keys()):
            return True
        late = awaited - fresh or ours.keys()
        return Pending(", ".join(sorted(f"{key[1]}: {ours[key][0]}" for key in late)) or "not listed")

    def _is_on(self, row: str, host: str) -> bool:
        name = self._facts.host(host).hostname
        return row.split("@")[0].split(".")[0] == name.split(".")[0]

    def _rows(self, role: Role) -> Rows:
        if role not in _LISTS:
            return {}
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        try:
            rows = list(_LISTS[role](self._api))
        except (ClientException, SDKException):
            return {}
        return {(row.binary, row.host): (str(row.state), str(row.updated_at)) for row in rows if row.binary == role}
