"""Where reports lie: a folder a run, and `latest`."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from reports.model import Report


def new_run_folder(base: Path, started: dt.datetime, cloud: str) -> Path:
    """Make and return `<base>/<time>-<cloud>`, with a number added where two runs share a second."""
    stem = f"{started:%Y%m%dT%H%M%SZ}-{cloud}"
    base.mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        folder = base / (f"{stem}-{number}" if number else stem)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{base}/{stem}: a thousand runs in one second")


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json (0600, whole or not at all), point `latest` at its folder, return its path."""
    path = folder / "report.json"
    _write(path, _pieces(report))
    link = folder.parent / f".latest-{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")
    return path


def _pieces(report: Report) -> Iterator[str]:
    """The report's JSON, an entry at a time: of a fleet all at once would be hundreds of MiB."""
    around = report.model_copy(update={"entries": ()}).model_dump_json(indent=2)
    before, after = around.split('\n  "entries": []', 1)
    yield before + '\n  "entries": ['
    for number, entry in enumerate(report.entries):
        yield (",\n" if number else "\n") + f"    {entry.model_dump_json(indent=2)}".replace("\n", "\n    ")
    yield ("\n  ]" if report.entries else "]") + after + "\n"


def replace(path: Path, text: str) -> None:
    """Write a file (0600), whole or not at all."""
    _write(path, (text,))


def _write(path: Path, pieces: Iterable[str]) -> None:
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
