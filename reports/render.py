"""Renders a report into every other format, from what report.json holds and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from reports import markdown, page, prometheus, sarif
from reports.model import Report
from reports.store import replace

FORMATS: dict[str, Callable[[Report], str]] = {
    "report.html": page.render,
    "summary.md": markdown.render,
    "report.sarif": sarif.render,
    "report.prom": prometheus.render,
}
"""File of a run's folder to what writes it."""


class ReportError(Exception):
    """A report cannot be read; names the file and why."""


def load(path: Path) -> Report:
    """Read a report.json.

    Raises:
        ReportError: it is not there, or no report of this version.
    """
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ReportError(f"{path}: is not a report.json of this suite: {place}: {first['msg']}{more}") from error


def write_formats(report: Report, folder: Path) -> list[Path]:
    """Write all formats into a folder; returns their paths."""
    for name, render in FORMATS.items():
        replace(folder / name, render(report))
    return [folder / name for name in FORMATS]
