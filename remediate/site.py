"""Where steps are taken: the cloud's hosts and its cluster. Keys pass through memory only."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fixtures.ceph import CephAccess, CephError, open_ceph
from fixtures.cloud import Cloud
from fixtures.facts.base import NotMeasured, Unreadable, need
from fixtures.observe import collector
from fixtures.observe.openstack import open_openstack
from fixtures.observe.parcel import FIND_PYTHON, program
from fixtures.reach import Hosts, Reach
from remediate import api_steps, ceph_steps, hand
from remediate.model import ApiStep, CephStep, File, HostStep, Secret, State, Step

TIMEOUT = 180.0
LONG_TIMEOUT = 900.0
"""Seconds for slow steps; packages come over the network, and jobs have much to do."""
_AT_ONCE = 16


class StepFailed(Exception):
    """A host or the cluster could not do, or refused, what a step is about; says who and why."""


@dataclass(frozen=True)
class Preview:
    """What a step would do: the states before and after, and the change as a person reads it."""

    before: State = field(default_factory=dict)
    after: State = field(default_factory=dict)
    diff: tuple[str, ...] = ()
    managed: str = ""
    """The line by which a tool claims the file."""
    refused: str = ""
    """Why it cannot be done, or not be looked at."""
    changed: float = 0.0
    """When what is at a path was last changed, as an epoch second; 0 where it is not about a path."""

    @property
    def changes(self) -> bool:
        """Whether anything would be another."""
        return bool(self.diff)


@contextmanager
def opened(cloud: Cloud, run: str) -> Iterator[Site]:
    """Open the ways to a cloud for one run; a Ceph that does not answer leaves the hosts."""
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts(cloud))

        def ceph() -> CephAccess | Unreadable:
            try:
                return stack.enter_context(open_ceph(cloud, hosts))
            except (CephError, NotMeasured) as error:
                return Unreadable(unreadable=str(error))

        yield Site(hosts, ceph(), run, openstack=partial(open_openstack, cloud), open_ceph=ceph)


class Site:
    """A cloud's hosts and cluster, for one run.

    Args:
        hosts: The ways to the hosts.
        ceph: The cluster, asked as an administrator; or why it is not to be asked.
        run: The run's id; what the way back needs is kept under it on each host.
        places: Where hosts keep that and the lock, for tests.
        openstack: Opens a connection as OpenStack's administrator.
        open_ceph: Tries again to reach a cluster that did not answer: a step may have started its monitors.
    """

    def __init__(
        self,
        hosts: Mapping[str, Reach],
        ceph: CephAccess | Unreadable,
        run: str,
        places: Mapping[str, str] | None = None,
        openstack: api_steps.OpenApi | None = None,
        open_ceph: Callable[[], CephAccess | Unreadable] | None = None,
    ) -> None:
        self._hosts, self._ceph, self._run, self._places = hosts, ceph, run, dict(places or {})
        self._openstack, self._open_ceph = openstack, open_ceph
        self._held: dict[str, dict[str, Any]] = {}

    # Looking

    def previews(self, steps: Sequence[Step]) -> list[Preview]:
        """Say what each of the steps would do when those before it were taken; one round trip a host."""
        found: dict[int, Preview] = {}
        by_host: dict[str, list[int]] = {}
        for number, step in enumerate(steps):
            if isinstance(step, CephStep | ApiStep):
                found[number] = self._preview_asked(step)
            else:
                by_host.setdefault(step.host, []).append(number)
        with ThreadPoolExecutor(_AT_ONCE, "preview") as pool:
            jobs = {host: pool.submit(self._preview_host, host, [steps[n] for n in ns]) for host, ns in by_host.items()}
        for host, numbers in by_host.items():
            found |= zip(numbers, jobs[host].result(), strict=True)
        return [found[number] for number in range(len(steps))]

    def _preview_asked(self, step: CephStep | ApiStep) -> Preview:
        try:
            kind, way = self._asked_of(step)
            before, after = kind.look(way, step), kind.wanted(step)
        except (CephError, NotMeasured) as error:
            return Preview(refused=str(error))
        return Preview(before, after, kind.difference(step, before, after))

    def _asked_of(self, step: CephStep | ApiStep) -> tuple[Any, Any]:
        """The module that takes a step, and its way to what the step is about."""
        if isinstance(step, ApiStep):
            return api_steps, self._openstack
        return ceph_steps, self._cluster()

    def _cluster(self) -> CephAccess:
        if isinstance(self._ceph, Unreadable) and self._open_ceph:
            self._ceph = self._open_ceph()
        return need(self._ceph, "Ceph")

    def _preview_host(self, host: str, steps: Sequence[Step]) -> list[Preview]:
        try:
            told = self._ask(host, "preview", steps)
        except StepFailed as error:
            return [Preview(refused=str(error))] * len(steps)
        return [Preview(**{**one, "diff": tuple(one.get("diff", ()))}) for one in told]

    def look(self, step: Step) -> State:
        """Return the present state of what a step is about.

        Raises:
            StepFailed: it could not be looked at.
        """
        if isinstance(step, CephStep | ApiStep):
            kind, way = self._asked_of(step)
            try:
                return dict(kind.look(way, step))
            except (CephError, NotMeasured) as error:
                raise StepFailed(str(error)) from None
        told = self._ask(step.host, "look", [step], keys=False)[0]
        if "refused" in told:
            raise StepFailed(f"{step.host}: {told['refused']}")
        return dict(told["state"])

    # Doing

    def do(self, number: int, step: Step) -> State:
        """Take a step; return the state that it left.

        Raises:
            StepFailed: it could not be taken.
        """
        if isinstance(step, CephStep | ApiStep):
            return self._bring(step, self._asked_of(step)[0].wanted(step))
        missing = [entity for entity, key in self._keys([step]).items() if not key]
        if missing:
            raise StepFailed(f"there is no {missing[0]}, whose key it needs")
        return dict(self._change(step, "do", number=number))

    def undo(self, number: int, step: Step, before: State) -> State:
        """Take a step back; return the state that this left.

        Raises:
            StepFailed: it could not be taken back.
        """
        if isinstance(step, CephStep | ApiStep):
            return self._bring(step, before)
        return dict(self._change(step, "undo", keys=False, number=number, before=before))

    def _change(self, step: HostStep, task: str, **more: Any) -> Any:
        if step.host in self._held:
            more["holder"] = self._held[step.host]
        return self._ask(step.host, task, [step], **more)

    def _bring(self, step: CephStep | ApiStep, state: State) -> State:
        kind, way = self._asked_of(step)
        try:
            kind.bring(way, step, state)
            return dict(kind.look(way, step))
        except (CephError, NotMeasured) as error:
            raise StepFailed(str(error)) from None

    # Locks

    def lock(self, host: str, holder: Mapping[str, Any]) -> dict[str, Any]:
        """Take a host for this run; returns its holder, which is another where one has it."""
        found = dict(self._ask(host, "lock", [], holder=dict(holder)))
        if found == holder:
            self._held[host] = found
        return found

    def unlock(self, host: str, run: str = "") -> dict[str, Any]:
        """Let a host go, if it is held by this run (or by the one named); returns who held it.

        What that run has under way on the host is waited for, and what it had sent is not begun any more.
        """
        return dict(self._ask(host, "unlock", [], run=run or self._run))

    # Asking a host

    def _ask(self, host: str, task: str, steps: Sequence[Step], *, keys: bool = True, **more: Any) -> Any:
        nonce = secrets.token_hex(8)
        request = {
            "nonce": nonce,
            "task": task,
            "run": self._run,
            "steps": [step.model_dump(mode="json") for step in steps],
            "keys": self._keys(steps) if keys else {},
            **self._places,
            **more,
        }
        sent = program(f"{hand.__name__}.main", request, collector, hand)
        try:
            timeout = LONG_TIMEOUT if any(step.slow for step in steps) else TIMEOUT
            result = self._hosts[host].run("sh -c %s", FIND_PYTHON, stdin=sent, timeout=timeout)
        except NotMeasured as blind:
            raise StepFailed(str(blind)) from None
        found = re.search(rf"<<<{nonce} (.*)>>>", result.stdout)
        if found is None:
            raise StepFailed(f"{host}: no answer (exit code {result.rc}): {result.stderr.strip()[-300:]}")
        answer = json.loads(found.group(1))
        if "refused" in answer:
            raise StepFailed(f"{host}: {answer['refused']}")
        return answer["answer"]

    def _keys(self, steps: Iterable[Step]) -> dict[str, str]:
        wanted = {step.key_of for step in steps if isinstance(step, File | Secret) and step.key_of}
        return {entity: self._key(entity) for entity in sorted(wanted)}

    def _key(self, entity: str) -> str:
        try:
            return str(self._cluster().mon("auth get-key", entity=entity)["key"])
        except CephError as error:
            if error.missing:
                return ""  # made by an earlier step of the same plan: its key is not known yet
            raise StepFailed(str(error)) from None
        except NotMeasured as error:
            raise StepFailed(str(error)) from None


def host_of(step: Step) -> str:
    """Return the host that a step is taken on, "" for the cluster."""
    return step.host if isinstance(step, HostStep) else ""
