"""Repairing hosts in batches: the first is a canary, and a batch must be well before the next begins."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from ClusterShell.NodeSet import NodeSet

from remediate.plan import Failure, Plan
from remediate.site import host_of

BAD: Final = ("failed", "not measured")


@dataclass(frozen=True)
class Serial:
    """How many hosts are a batch: a number, or a part of those that are to be repaired."""

    number: int
    percent: bool

    @classmethod
    def parse(cls, text: str) -> Serial:
        """Read "10" or "10%".

        Raises:
            argparse.ArgumentTypeError: it is neither.
        """
        digits, percent = text.removesuffix("%"), text.endswith("%")
        if not digits.isdigit() or int(digits) == 0 or (percent and int(digits) > 100):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of hosts, nor a percentage of them")
        return cls(int(digits), percent)

    def of(self, hosts: int) -> int:
        """Return how many of so many hosts are a batch; one at least."""
        return max(1, hosts * self.number // 100) if self.percent else self.number


@dataclass
class Rolling:
    """Which hosts are next, and whether to go on."""

    serial: Serial
    max_fail: int
    failed: dict[str, str] = field(default_factory=dict)
    """Hosts that were not well after their batch, and why."""
    begun: list[str] = field(default_factory=list)
    _size: int = 0

    def next(self, plan: Plan) -> tuple[str, ...]:
        """Return the next batch of a plan's hosts; none where all have had their turn."""
        due = [host for host in plan.hosts if host not in self.begun]
        self._size = self._size or self.serial.of(len(due))
        batch = due[: self._size]
        self.begun += batch
        return tuple(batch)

    def stops(self, batch: Collection[str]) -> bool:
        """Whether too many hosts are not well: any of the canary, or more than were allowed."""
        canary = len(self.begun) == len(batch)
        return len(self.failed) > (0 if canary else self.max_fail)

    def told(self) -> str:
        """Say which hosts are not well and why."""
        return "; ".join(f"{host}: {why.removeprefix(host + ': ')}" for host, why in self.failed.items())


def asked_on(plans: Sequence[Plan]) -> dict[Failure, frozenset[str]]:
    """Return what plans were to heal, with the hosts that they changed for it."""
    found: dict[Failure, frozenset[str]] = {}
    for one in (step for plan in plans for step in plan.steps):
        for failure in one.failures:
            found[failure] = found.get(failure, frozenset()) | {host_of(one.step)}
    return found


def unwell(
    batch: Sequence[str],
    asked: Mapping[Failure, Set[str]],
    ahead: Set[Failure],
    was: Mapping[Failure, str],
    now: Mapping[Failure, str],
    comparing: Set[str],
) -> dict[str, str]:
    """Return the hosts of a batch that are not well, with the checks that say so.

    Args:
        batch: The hosts that were repaired.
        asked: What that was to heal, with the hosts that were changed for it.
        ahead: What hosts that come later are to be repaired for, or what was not allowed.
        was: Outcomes before the batch.
        now: Outcomes after it.
        comparing: Ids of checks that want hosts alike, which they are not on the way.
    """
    bad = {it for it, outcome in now.items() if outcome in BAD and it not in ahead}
    spoilt = {it for it in bad if was.get(it, "") not in BAD and it.check not in comparing}
    found: dict[str, list[str]] = {}
    for failure in sorted(spoilt | (bad & asked.keys()), key=str):
        named = {failure.target.partition("/")[0]} & set(batch)
        # What no host can be blamed for is blamed on all that were changed meanwhile.
        for host in sorted(named or (asked.get(failure, frozenset()) & set(batch)) or batch):
            found.setdefault(host, []).append(str(failure))
    return {host: ", ".join(failures) for host, failures in found.items()}


def folded(hosts: Collection[str]) -> str:
    """Return hosts in few words."""
    return str(NodeSet.fromlist(sorted(hosts)))
