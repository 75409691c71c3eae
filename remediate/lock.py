"""One remediating run a cloud: it holds every host that it can reach, whoever on whatever machine runs it."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fixtures.records import is_alive
from remediate.journal import journal_path
from remediate.site import Site, StepFailed


class Locked(Exception):
    """Another run holds the cloud; says whose it is, and what can be done."""


@contextmanager
def held(site: Site, run: str, hosts: Sequence[str], folder: Path, breaking: str = "") -> Iterator[frozenset[str]]:
    """Hold the hosts within the block; gives the dead runs from which they were taken over.

    A lock whose run was on this machine and is dead is taken over; any other only if named.

    Args:
        site: The hosts.
        run: This run.
        hosts: Those that can be reached.
        folder: Of this machine's journals.
        breaking: A run whose lock is to be broken.

    Raises:
        Locked: another run holds one of them.
    """
    taken: dict[str, str] = {}
    try:
        for host in sorted(hosts):
            taken[host] = _take(site, host, run, folder, breaking)
        yield frozenset(filter(None, taken.values()))
    finally:
        _let_go(site, taken)


def _take(site: Site, host: str, run: str, folder: Path, breaking: str) -> str:
    """Take a host; returns the dead run that held it, "" where none did."""
    me = _me(run)
    holder = site.lock(host, me)
    if holder == me:
        return ""
    # Of this run itself: it was killed, or its journal would not be ours.
    if not (holder.get("run") in (run, breaking) or _is_dead(holder, folder)):
        raise Locked(_explained(host, holder))
    site.unlock(host, str(holder.get("run")))
    if site.lock(host, me) != me:
        raise Locked(f"{host}: another run was faster")
    return str(holder.get("run"))


def _me(run: str) -> dict[str, Any]:
    return {
        "run": run,
        "machine": socket.gethostname(),
        "user": getpass.getuser(),
        "pid": os.getpid(),
        "at": time.time(),
    }


def _is_dead(holder: dict[str, Any], folder: Path) -> bool:
    """Whether it ran here and its process is gone: it holds its journal for as long as it lives."""
    path = journal_path(folder, str(holder.get("run")))
    here = holder.get("machine") == socket.gethostname()
    return here and not is_alive(path) and not _process_lives(int(holder.get("pid", 0)))


def _process_lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _explained(host: str, holder: dict[str, Any]) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(holder.get("at", 0))))
    return (
        f"{host} is held by run {holder.get('run')} of {holder.get('user')}@{holder.get('machine')} "
        f"(process {holder.get('pid')}, since {began}); if that run is dead, undo it there with --rollback "
        f"{holder.get('run')}, or go on with --break-lock {holder.get('run')}"
    )


def _let_go(site: Site, hosts: Iterable[str]) -> None:
    for host in hosts:
        try:
            site.unlock(host)
        except StepFailed:
            continue  # a host that went away: its lock is on a tmpfs, and tells who held it
