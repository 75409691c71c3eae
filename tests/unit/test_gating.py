"""Examples of nightly jobs and the table of exit codes, against the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from fixtures.profiles import profiles

PROJECT = Path(__file__).parents[2]
GATING = PROJECT / "docs/gating"
RECORDED = ("--cloud", "clouds/lab-full.yaml", "--facts", "recorded/full", "-k", "ceph.pool.min_size")
ROWS = re.findall(r"^\| (\d) \| (.+?) \|", (GATING / "index.md").read_text(), re.MULTILINE)
CODES = {int(code): text for code, text in ROWS}
EXAMPLES = sorted(path for path in GATING.iterdir() if path.suffix in (".yml", ".yaml"))


def test_the_table_has_every_exit_code_once() -> None:
    assert sorted(CODES) == sorted(map(int, pytest.ExitCode))


@pytest.mark.parametrize(
    ("code", "means", "arguments"),
    [
        (0, "every selected check passed", RECORDED),
        (1, "a check failed", (*RECORDED, "STRICT")),
        (4, "the command line or the cloud file is wrong", (*RECORDED, "--profile", "nightmare")),
        (4, "the command line or the cloud file is wrong", ("--cloud", "README.md")),
        (5, "no check was selected", (*RECORDED, "--profile", "smoke")),
    ],
)
def test_the_table_says_what_the_code_does(code: int, means: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text((PROJECT / "clouds/lab-full.yaml").read_text().replace("policy:\n", "policy:\n  min_size: 9\n"))
    given = [str(strict) if one.endswith("lab-full.yaml") and "STRICT" in arguments else one for one in arguments]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--reports", str(tmp_path)]
    done = subprocess.run(
        [*command, *(one for one in given if one != "STRICT")], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert means in CODES[code]


@pytest.mark.parametrize("path", [*EXAMPLES, GATING / "conformance.service"], ids=lambda path: path.name)
def test_an_example_names_profiles_and_options_that_there_are(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"(?:--profile |profile: |PROFILE: )\"?([a-z]+)\b", text))
    assert named <= set(profiles())
    known = set(re.findall(r"`(--[a-z-]+)`", (PROJECT / "docs/options.md").read_text())) | {"--junitxml"}
    calls = [line for line in text.splitlines() if re.search(r"pytest --|^\s+- --", line)]
    assert {option for line in calls for option in re.findall(r"(?<![\w-])(--[a-z-]+)", line)} <= known


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_an_example_is_yaml(path: Path) -> None:
    assert YAML(typ="rt").load(path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_units_verify(tmp_path: Path) -> None:
    for name in ("conformance.service", "conformance.timer"):
        # What a machine of the tests has not installed is stood in for.
        text = re.sub(r"/opt/ceph-openstack-conformance/\S+/pytest", "/usr/bin/true", (GATING / name).read_text())
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("conformance.service", "conformance.timer")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
