"""Records labs that are up: `python -m recorded default=STATE full=STATE`.

STATE is the lab's state folder (default: as `python -m lab` has it). A recording is replaced only
by one of a run in which every static check passed or did not apply.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from recorded import CLOUDS, PROJECT, folder, outcomes_file
from reports.model import Report


def record(profile: str, state: str) -> int:
    """Judge a lab live, keep its facts and outcomes if it is sound, and return pytest's exit code."""
    # Sets are written in the order of their hashes: the same lab gives the same file.
    environment = os.environ | {"PYTHONHASHSEED": "0"} | ({"OSC_LAB_STATE": state} if state else {})
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pytest", "--cloud", str(CLOUDS[profile]), "-m", "static"]
        command += ["--save-facts", f"{scratch}/facts", "--reports", f"{scratch}/runs"]
        code = subprocess.run(command, cwd=PROJECT, env=environment).returncode
        if code == 0:
            _keep(profile, Path(scratch))
    return code


def _keep(profile: str, found: Path) -> None:
    folder(profile).mkdir(exist_ok=True)
    folder(profile).joinpath("facts.json").write_bytes((found / "facts/facts.json").read_bytes())
    report = Report.model_validate_json((found / "runs/latest/report.json").read_text())
    outcomes_file(profile).write_text(outcomes(report))
    print(f"recorded: {folder(profile)}")


def outcomes(report: Report) -> str:
    """Return one line an entry: check, target and outcome, with tabs between."""
    return "".join(f"{entry.check}\t{entry.target}\t{entry.outcome}\n" for entry in report.entries)


def main() -> int:
    """Record each lab that is named."""
    parser = argparse.ArgumentParser(prog="python -m recorded", description=__doc__)
    parser.add_argument("labs", nargs="+", metavar="PROFILE[=STATE]", help=f"of {', '.join(CLOUDS)}")
    labs = [text.partition("=") for text in parser.parse_args().labs]
    unknown = [profile for profile, _, _ in labs if profile not in CLOUDS]
    if unknown:
        parser.error(f"no profile {', '.join(unknown)} (there are: {', '.join(CLOUDS)})")
    return max(record(profile, state) for profile, _, state in labs)


if __name__ == "__main__":
    sys.exit(main())
