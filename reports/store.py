"""Where reports lie: a folder a run, and `latest`."""

from __future__ import annotations

import datetime as dt
import os
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
    replace(path, report.model_dump_json(indent=2) + "\n")
    link = folder.parent / f".latest-{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")
    return path


def replace(path: Path, text: str) -> None:
    """Write a file (0600), whole or not at all."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
