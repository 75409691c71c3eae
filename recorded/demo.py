"""The main job: starts a lab and judges it; where none can be started, judges the recorded one, and says so.

Arguments are those of `python -m lab up`. The exit code is pytest's, or that of `up` where it failed.
"""

from __future__ import annotations

import subprocess
import sys

from lab.cli import CANNOT_HOST
from recorded import CLOUDS, PROJECT, folder


def main() -> int:
    """Judge a lab, live if this machine can host it."""
    up = [sys.executable, "-m", "lab", "up", *sys.argv[1:]]
    started = subprocess.run(up, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    if started.returncode == CANNOT_HOST:
        return _judge_recorded(started.stderr.removeprefix("lab: ").strip())
    print(started.stderr, end="", file=sys.stderr)
    return started.returncode or _judge()


def _judge(*options: str) -> int:
    command = [sys.executable, "-m", "pytest", "--cloud", str(CLOUDS["default"]), *options]
    return subprocess.run(command, cwd=PROJECT).returncode


def _judge_recorded(reason: str) -> int:
    print(f"NO LAB HERE: {reason}\nA recorded lab is judged instead; nothing is started and nothing is reached.\n")
    sys.stdout.flush()
    code = _judge("--facts", str(folder("default")))
    print(f"\nNO LAB WAS STARTED, only a recorded one was judged: {' '.join(reason.split())}")
    return code


if __name__ == "__main__":
    sys.exit(main())
