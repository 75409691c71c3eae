"""Folders of this machine in a booted host, at the same places and read only, while they are needed."""

from __future__ import annotations

import ctypes
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lab import process
from lab.machine import Machine

# linux/mount.h, asm-generic/unistd.h: Python has neither call
_OPEN_TREE: Final = 428
_OPEN_TREE_CLONE: Final = 1
_AT_FDCWD: Final = -100
_MOVE: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
MOVE_MOUNT, AT_FDCWD, FROM_THE_DESCRIPTOR = 429, -100, 4
if libc.syscall(MOVE_MOUNT, int(sys.argv[1]), b"", AT_FDCWD, os.fsencode(sys.argv[2]), FROM_THE_DESCRIPTOR):
    sys.exit(os.strerror(ctypes.get_errno()))
"""


@contextmanager
def bound(machine: Machine, folder: Path) -> Iterator[None]:
    """Mount a folder in a host that runs: a container cannot be given one from outside by its path."""
    place = shlex.quote(str(folder))
    machine.run(f"mkdir -p {place}")
    tree = _cloned(folder)
    try:
        move = [*machine.enter(), "python3", "-c", _MOVE, str(tree), str(folder)]
        done = process.run(move, pass_fds=(tree,))
        assert done.rc == 0, done.stderr
    finally:
        os.close(tree)
    machine.run(f"mount -o remount,bind,ro {place}")
    try:
        yield
    finally:
        machine.run(f"umount --lazy {place}; rmdir -p {place} 2>/dev/null || true")


def _cloned(folder: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    tree = int(libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(folder), _OPEN_TREE_CLONE))
    if tree < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    return tree
