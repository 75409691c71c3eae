"""Writes the pages that are generated: checks, releases, options, fields of the cloud file, profiles, report's schema.

`python -m docs.generate --check` changes nothing and fails where a page is out of date.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.reference import cloud_file_page, options_page, profiles_page
from fixtures.profiles import cost_of
from fixtures.releases import GATES
from remediate.registry import Manual, known
from reports.model import Report

DOCS = Path(__file__).parent
PROJECT = DOCS.parent
HEAD = """\
# Checks

Written by `tox -e docs` from the checks themselves. `pytest --cloud FILE -k ID` runs one.
"""

RELEASES_HEAD = """\
# Releases

Which OpenStack and Ceph releases change what checks expect. Written by `tox -e docs` from `fixtures/releases.py`.

Releases are read from the packages on each host and from the daemons themselves; `releases:` in the cloud file tells
them where no package does. Outside of its gate a check is *not applicable*, with the reason.

| what | from | otherwise from then on | source | followed in |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """A check as its page shows it."""

    id: str
    severity: str
    kind: str
    source: str
    where: str
    text: str


class Collector:
    """A plugin that keeps each check once."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Read marker and docstring of every collected check."""
        for item in session.items:
            mark = item.get_closest_marker("check")
            if mark and isinstance(item, pytest.Function):
                self.rows[mark.args[0]] = _row(item, mark)


def _row(item: pytest.Function, mark: pytest.Mark) -> Row:
    kind = cost_of(item)
    where = f"{item.path.relative_to(PROJECT)}::{item.function.__name__}"
    return Row(
        mark.args[0], mark.kwargs["severity"], kind, mark.kwargs["source"], where, inspect.getdoc(item.function) or ""
    )


def checks() -> dict[str, Row]:
    """Return all checks by id, as pytest collects them."""
    collector = Collector()
    arguments = [
        "--collect-only",
        "-qq",
        "--no-header",
        "--no-summary",
        f"--cloud={PROJECT / 'clouds/lab.yaml'}",
        str(PROJECT / "suites"),
    ]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = pytest.main(
            ["--rootdir", str(PROJECT), "-c", str(PROJECT / "pyproject.toml"), *arguments], plugins=[collector]
        )
    if code:
        raise SystemExit(told.getvalue())
    return dict(sorted(collector.rows.items()))


def pages() -> dict[Path, str]:
    """Return the text of each generated page."""
    schema = json.dumps(Report.model_json_schema(), indent=2) + "\n"
    return {
        DOCS / "checks.md": _checks(checks()),
        DOCS / "releases.md": RELEASES_HEAD + "".join(_gates()),
        DOCS / "options.md": options_page(),
        DOCS / "cloud-file.md": cloud_file_page(),
        DOCS / "profiles.md": profiles_page(),
        DOCS / "report.schema.json": schema,
    }


def _gates() -> Iterator[str]:
    texts = {path: path.read_text() for path in sorted((PROJECT / "suites").rglob("*.py"))}
    for name, gate in sorted(GATES.items(), key=lambda item: (item[1].component, item[1].position, item[0])):
        followed = [f"`{path.relative_to(PROJECT)}`" for path, text in texts.items() if re.search(rf"\b{name}\b", text)]
        yield f"| {gate.component} | {gate.since} | {gate.change} | {gate.source} | {', '.join(followed)} |\n"


def _checks(rows: dict[str, Row]) -> str:
    parts = [HEAD]
    area = ""
    for row in rows.values():
        if row.id.split(".")[0] != area:
            area = row.id.split(".")[0]
            parts.append(f"## {area}\n")
        head = f"### {row.id}\n\n{row.severity}; {row.kind}. {row.text}\n"
        parts.append(f"{head}\n{_repair(row.id)}\n\nSource: {row.source}. Check: `{row.where}`\n")
    return "\n".join(parts)


def _repair(check: str) -> str:
    """What --remediate does about a check, or why a person does it."""
    repair = known().get(check)
    if repair is None:
        return "No repair."
    if isinstance(repair, Manual):
        return f"Left to a person: {repair.reason}."
    return f"Repair ({repair.disruption}): {inspect.getdoc(repair.steps)}"


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is out of date")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if not check:
            path.write_text(text)
        print(f"{'out of date' if check else 'written'}: {path.relative_to(PROJECT)}", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
