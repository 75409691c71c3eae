"""What changed since an earlier run, and how the last runs of a cloud went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from reports.findings import BAD
from reports.model import Comparison, Entry, Outcome, Past, Place, Report

LATEST = "latest"
_WELL: tuple[Outcome, ...] = ("passed", "healed")
_KEPT = tuple(Past.model_fields.keys() - {"folder"})
_HEAD = 1 << 20
"""Bytes of a report.json that surely have its run, which stands first; entries may be many times that."""


class Baseline:
    """The outcomes of an earlier run."""

    def __init__(self, report: Report, path: Path) -> None:
        self._report = report
        self._path = path
        self._was = {(entry.check, entry.target): entry.outcome for entry in report.entries}

    def is_known(self, check: str, target: str, outcome: str) -> bool:
        """Whether what is bad now was so before: it failed as it does, or could not be measured either."""
        was = self._was.get((check, target))
        return was == "not measured" if outcome == "not measured" else was in BAD

    def compared(self, entries: Iterable[Entry]) -> Comparison:
        """Return what changed."""
        now = {(entry.check, entry.target): entry.outcome for entry in entries}
        bad = [place for place, outcome in now.items() if outcome in BAD]
        was_bad = [place for place, outcome in self._was.items() if outcome in BAD]
        blind = [place for place, outcome in now.items() if outcome == "not measured"]
        return Comparison(
            baseline=str(self._path),
            started=self._report.run.started,
            new=_places(place for place in bad if self._was.get(place) not in BAD),
            fixed=_places(place for place in was_bad if now.get(place) in _WELL),
            still=_places(place for place in bad if self._was.get(place) in BAD),
            newly_not_measured=_places(place for place in blind if self._was.get(place) != "not measured"),
            not_judged=_places(place for place in was_bad if now.get(place) in (None, "waived", "not applicable")),
        )


def _places(found: Iterable[tuple[str, str]]) -> tuple[Place, ...]:
    return tuple(Place(check=check, target=target) for check, target in sorted(found))


def runs_of(base: Path, cloud: str) -> Iterator[tuple[Path, Past]]:
    """Yield a cloud's runs in a folder of reports, newest first; what is no report is passed over."""
    for folder in sorted(base.glob("*-*/"), reverse=True):
        path = folder / "report.json"
        run = {} if folder.is_symlink() else _run_of(path)
        if run.get("cloud") == cloud:
            with suppress(ValidationError):
                yield path, Past.model_validate({name: run.get(name) for name in _KEPT} | {"folder": folder.name})


def _run_of(path: Path) -> dict[str, object]:
    """Return the run of a report.json without reading its entries; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            told = from_json(file.read(_HEAD), allow_partial=True)
    except (OSError, ValueError):
        return {}
    run = told.get("run") if isinstance(told, dict) else None
    return run if isinstance(run, dict) else {}
