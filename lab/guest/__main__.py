"""`python -m lab.guest`: build the guest image if need be and print its path."""

import argparse
import os
import sys
from pathlib import Path

from lab.guest.build import IMAGE_MIB, GuestBuildError, build


def default_cache() -> Path:
    """The folder that outlives a checkout."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "osc-lab" / "guest"


def main() -> int:
    """Build, print, and say in one line why not."""
    parser = argparse.ArgumentParser(prog="python -m lab.guest", description=__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="images and packages (%(default)s)")
    parser.add_argument("--size-mib", type=int, default=IMAGE_MIB, help="size of the image (%(default)s)")
    parser.add_argument("--fill", choices=("zero", "random"), default="zero", help="what fills the space beyond 64 MiB")
    given = parser.parse_args()
    try:
        print(build(given.cache, given.size_mib, given.fill))
    except GuestBuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
