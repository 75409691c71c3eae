"""The record on disk of what a run changes: each step is written before it is taken, and after.

A step that is recorded as intended and not as done was killed on its way: it was taken or it was
not, which the present state tells when compared with the two that the record names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fixtures.records import RecordError, make_private, new_file, open_owned, state_folder, write_line
from remediate.model import AnyStep, State, Step

VERSION: Final = 1
_SUFFIX: Final = ".jsonl"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Header(_Line):
    """Whose journal this is: the first line."""

    op: Literal["run"] = "run"
    version: Literal[1] = VERSION
    run: str
    fsid: str
    """The cluster's, so that a journal is never applied to another cloud of that name; "" where Ceph was silent."""
    pid: int


class Intent(_Line):
    """A step that is about to be taken, the state that it was found in, and the one that it is to leave."""

    op: Literal["intent"] = "intent"
    number: int
    step: AnyStep
    before: State
    after: State
    at: float


class Done(_Line):
    """A step that was taken, and the state that it left."""

    op: Literal["done"] = "done"
    number: int
    after: State


class Undone(_Line):
    """A step that was taken back, or was found never to have been taken."""

    op: Literal["undone"] = "undone"
    number: int


_LINE: TypeAdapter[Header | Intent | Done | Undone] = TypeAdapter(
    Annotated[Header | Intent | Done | Undone, Field(discriminator="op")]
)


@dataclass(frozen=True)
class Taken:
    """A step of a run that is not undone. `done` is false where the run was killed on the way."""

    number: int
    step: Step
    before: State
    after: State
    done: bool
    at: float
    """Epoch second of the runner, just before."""


class Journal:
    """A run's journal; only its owner writes to it."""

    def __init__(self, path: Path, fd: int, lines: list[_Line]) -> None:
        self.path, self._fd, self._lines = path, fd, lines

    @classmethod
    def create(cls, folder: Path, run: str, fsid: str) -> Journal:
        """Start a run's journal.

        Raises:
            RecordError: the folder cannot be written, or this run has one already.
        """
        make_private(folder)
        path = folder / f"{run}{_SUFFIX}"
        header = Header(run=run, fsid=fsid, pid=os.getpid())
        try:
            return cls(path, new_file(path, header), [header])
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror}") from error

    @classmethod
    def claim(cls, path: Path) -> Journal | None:
        """Take over the journal of a run that ended or was killed; None while that run lives.

        Raises:
            RecordError: there is none, or it cannot be understood.
        """
        lines = _read(path)
        fd = open_owned(path)
        return None if fd is None else cls(path, fd, lines)

    @property
    def header(self) -> Header:
        """Whose it is."""
        return _headed(self._lines)

    def next_number(self) -> int:
        """Return the number that the next step has."""
        return 1 + max((line.number for line in self._lines if isinstance(line, Intent)), default=0)

    def intend(self, step: Step, before: State, after: State) -> int:
        """Record that a step is about to be taken; when this returns, it is on disk. Returns its number."""
        number = self.next_number()
        self._append(Intent(number=number, step=step, before=before, after=after, at=time.time()))
        return number

    def done(self, number: int, after: State) -> None:
        """Record that it was taken, and what it left."""
        self._append(Done(number=number, after=after))

    def undone(self, number: int) -> None:
        """Record that nothing of it is left."""
        self._append(Undone(number=number))

    def taken(self) -> list[Taken]:
        """Return the steps that may have left something, in the order in which they were taken."""
        return _taken(self._lines)

    def close(self) -> None:
        """Let go of it; a journal without steps goes too."""
        if not any(isinstance(line, Intent) for line in self._lines):
            self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def _append(self, line: _Line) -> None:
        write_line(self._fd, line)
        self._lines.append(line)


def journals(cloud: str) -> Path:
    """Return the folder of a cloud's journals on this runner."""
    return state_folder(cloud) / "remediate"


def journal_path(folder: Path, run: str) -> Path:
    """Return where a run's journal is."""
    return folder / f"{run}{_SUFFIX}"


def left_by_runs(folder: Path, fsid: str) -> dict[str, list[Taken]]:
    """Return what the runs on a cluster took and did not take back, oldest first; what is no journal is left out.

    A run that began while Ceph was silent may be of this cluster, and what it owes is owed.
    """
    found = {}
    for run in runs(folder):
        try:
            lines = _read(journal_path(folder, run))
        except RecordError:
            continue
        if _headed(lines).fsid in (fsid, ""):
            found[run] = _taken(lines)
    return found


def runs(folder: Path) -> list[str]:
    """Return the runs that have a journal, oldest first."""
    return sorted(path.stem for path in folder.glob(f"*{_SUFFIX}"))


def _read(path: Path) -> list[_Line]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    lines = list(_parsed(data.split(b"\n")))
    if not lines or not isinstance(lines[0], Header):
        raise RecordError(f"{path}: is no journal of version {VERSION}")
    return lines


def _parsed(lines: list[bytes]) -> Iterator[_Line]:
    """A line that a kill cut short was never acted on, or tells of what the state tells as well."""
    for line in lines:
        try:
            yield _LINE.validate_json(line)
        except ValidationError:
            continue


def _headed(lines: list[_Line]) -> Header:
    assert isinstance(lines[0], Header)
    return lines[0]


def _taken(lines: list[_Line]) -> list[Taken]:
    done = {line.number: line.after for line in lines if isinstance(line, Done)}
    undone = {line.number for line in lines if isinstance(line, Undone)}
    return [
        Taken(it.number, it.step, it.before, done.get(it.number, it.after), it.number in done, it.at)
        for it in lines
        if isinstance(it, Intent) and it.number not in undone
    ]
