"""How long the journeys took, and why not less: the chain of them on the worker that was done last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.model import Effort, Entry


@dataclass(frozen=True)
class Step:
    """A journey of the chain, and what its seconds went into."""

    entry: Entry
    effort: Effort

    @property
    def seconds(self) -> float:
        """From its beginning until it had cleaned up."""
        return self.effort.ended - self.effort.began

    @property
    def cloud(self) -> float:
        """Seconds that neither the suite's own work nor its polling took."""
        return max(0.0, self.seconds - self.effort.own - self.effort.polling)


@dataclass(frozen=True)
class CriticalPath:
    """The journeys, in order, of the worker that was done last: no run is shorter than these one after another."""

    worker: str
    steps: tuple[Step, ...]
    span: float
    """Seconds from the beginning of the first journey, of any worker, to the end of the last."""

    @property
    def seconds(self) -> float:
        """What its journeys took."""
        return sum(step.seconds for step in self.steps)

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of its seconds: the cloud's, the suite's own work, and polling at most."""
        whole = self.seconds or 1.0
        own = sum(step.effort.own for step in self.steps) / whole
        polling = sum(step.effort.polling for step in self.steps) / whole
        return sum(step.cloud for step in self.steps) / whole, own, polling

    def __str__(self) -> str:
        cloud, own, polling = self.shares
        longest = sorted(self.steps, key=lambda step: -step.seconds)[:3]
        named = ", ".join(f"{step.entry.check} {step.seconds:.0f} s" for step in longest)
        return (
            f"journeys took {self.span:.0f} s; {len(self.steps)} on {self.worker} took {self.seconds:.0f} s of it, "
            f"the longest {named}; waiting for the cloud {cloud:.0%}, own work {own:.0%}, polling at most {polling:.0%}"
        )


def critical_path(entries: Iterable[Entry]) -> CriticalPath | None:
    """Return the chain of journeys that decides how long all took; None where there was none."""
    steps = [Step(it, it.effort) for it in entries if it.effort and it.outcome != "not applicable"]
    if not steps:
        return None
    last = max(steps, key=lambda step: step.effort.ended)
    first = min(step.effort.began for step in steps)
    chain = (step for step in steps if step.effort.worker == last.effort.worker)
    return CriticalPath(
        worker=last.effort.worker,
        steps=tuple(sorted(chain, key=lambda step: step.effort.began)),
        span=last.effort.ended - first,
    )
