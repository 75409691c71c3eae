"""Programs of a host, run to their end."""

import os
import subprocess
from typing import Dict, List, Optional, Tuple

from remediate.hand.files import Refused

TIMEOUT = 90
VIRSH = ("virsh", "-q", "-c", "qemu:///system")
Result = Tuple[int, str, str]


def run(words: List[str], timeout: int = TIMEOUT, env: Optional[Dict[str, str]] = None) -> str:
    """Return what a program prints.

    Raises:
        Refused: it is not there, did not end, or ended badly.
    """
    rc, out, err = result(words, timeout, env)
    if rc:
        raise Refused("`%s` ended with %d: %s" % (" ".join(words), rc, (err or out).strip()[-500:]))
    return out


def result(words: List[str], timeout: int = TIMEOUT, env: Optional[Dict[str, str]] = None) -> Result:
    """Return exit code, output and complaints of a program; raises Refused where it is not there or did not end."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=dict(os.environ, **dict({"LC_ALL": "C"}, **(env or {}))),  # what they print is read
            check=False,
        )
    except FileNotFoundError:
        raise Refused("%s is not installed" % words[0])
    except subprocess.TimeoutExpired:
        raise Refused("`%s` did not end within %d s" % (" ".join(words), timeout))
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
