"""Services' own status commands, as the collector runs them."""

from __future__ import annotations

import pwd
import subprocess
import sys
from os import getuid
from pathlib import Path

import pytest

from fixtures.observe.collector.base import StepFailed
from fixtures.observe.collector.reports import CINDER_SCHEMA, LINES, started
from fixtures.observe.collector.tools import Tools

ACCOUNT = pwd.getpwuid(getuid()).pw_name


def _program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _told(folder: Path, *argv: str, account: str = ACCOUNT) -> dict[str, object]:
    tools = Tools(f"{folder}:/usr/bin:/bin", 5)
    roles = {"glance-api": {"account": account, "reports": {"db check": argv}}}
    return started(roles, tools)["glance-api"]["db check"].fact()


def test_exit_code_and_lines_are_told(tmp_path: Path) -> None:
    _program(tmp_path, "glance-manage", 'echo "$@ in $HOME"; echo; echo behind; echo INFO >&2; echo wrong >&2; exit 4')
    told = _told(tmp_path, "glance-manage", "db", "check")
    assert told == {"rc": 4, "output": [f"db check in {pwd.getpwnam(ACCOUNT).pw_dir}", "behind"], "error": "wrong"}


def test_what_talks_without_end_is_cut(tmp_path: Path) -> None:
    _program(tmp_path, "glance-manage", "yes $(seq 200) | head -n 500")
    lines = _told(tmp_path, "glance-manage")["output"]
    assert isinstance(lines, list)
    assert (len(lines), len(lines[0])) == (LINES, 300)


@pytest.mark.parametrize(
    ("account", "name", "says"),
    [(ACCOUNT, "glance-manage", "glance-manage: is not installed"), ("nobody-of-that-name", "true", "no account")],
)
def test_what_cannot_be_run_says_why(account: str, name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=says):
        _told(tmp_path, name, account=account)


def _cinder(folder: Path, files: dict[str, str]) -> list[str]:
    """Run the collector's program with a Cinder made of some files; return the lines that it prints."""
    whole = {
        "cinder/__init__.py": "",
        "cinder/db/__init__.py": "",
        "cinder/db/migration.py": "def db_version():\n    return 'c92a'\n",
        "oslo_config/__init__.py": "",
        "oslo_config/cfg.py": "def CONF(argv, project):\n    assert (argv, project) == ([], 'cinder')\n",
    }
    for name, text in (whole | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", CINDER_SCHEMA],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_newest_schema_is_the_one_that_none_follows(tmp_path: Path) -> None:
    versions = {
        "cinder/db/migrations/versions/921e_initial.py": "revision = '921e'\ndown_revision = None\n",
        "cinder/db/migrations/versions/c92a_more.py": 'revision = "c92a"\ndown_revision = "921e"\n',
    }
    assert _cinder(tmp_path, versions) == ["c92a", "c92a"]


def test_schemas_were_numbered_once(tmp_path: Path) -> None:
    folder = "cinder/db/sqlalchemy/migrate_repo/versions"
    assert _cinder(tmp_path, {f"{folder}/{name}": "" for name in ("085_a.py", "123_b.py", "__init__.py")}) == [
        "c92a",
        "123",
    ]
