"""Child processes that can be stopped all at once, whichever thread waits for them."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from lab.errors import LabError

CLEAN_ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

_live: set[subprocess.Popen[bytes]] = set()
_guard = threading.Lock()
_stopped = threading.Event()


@dataclass(frozen=True)
class Result:
    """What a finished command left behind."""

    rc: int
    stdout: str
    stderr: str


class StoppedError(Exception):
    """The lab was asked to stop meanwhile; no `except LabError` may swallow it."""


class TimedOutError(LabError):
    """The command was killed because it outlived its time limit."""


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout: float | None = 60,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] = CLEAN_ENVIRONMENT,
) -> Result:
    """Run one command to its end; its output never holds us up after its exit."""
    # Files, not pipes: a daemon left behind by the command would keep a pipe open for ever.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin or b"")
        given.seek(0)
        child = _start(argv, given, out, err, pass_fds, env)
        try:
            rc = _wait(child, argv[0], timeout)
        finally:
            _forget(child)
        return Result(rc, _text(out), _text(err))


def check(argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 60) -> str:
    """Run a command of this machine that has to succeed; its standard output."""
    result = run(argv, stdin=stdin, timeout=timeout)
    if result.rc != 0:
        raise LabError(f"`{' '.join(argv)}` ended with {result.rc}: {result.stderr.strip()[-2000:]}")
    return result.stdout


def stop() -> None:
    """Kill every running command and refuse new ones, until resume()."""
    _stopped.set()
    with _guard:
        for child in _live:
            _kill(child)


def resume() -> None:
    """Allow commands again, for cleaning up after stop()."""
    _stopped.clear()


def pause(seconds: float) -> None:
    """Sleep, unless asked to stop meanwhile."""
    if _stopped.wait(seconds):
        raise StoppedError("stopped")


def _start(
    argv: Sequence[str],
    given: IO[bytes],
    out: IO[bytes],
    err: IO[bytes],
    pass_fds: Sequence[int],
    env: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    with _guard:
        if _stopped.is_set():
            raise StoppedError("stopped")
        child = subprocess.Popen(
            argv,
            stdin=given,
            stdout=out,
            stderr=err,
            pass_fds=pass_fds,
            env=dict(env),
            start_new_session=True,
        )
        _live.add(child)
        return child


def _wait(child: subprocess.Popen[bytes], what: str, timeout: float | None) -> int:
    try:
        rc = child.wait(timeout)
    except subprocess.TimeoutExpired:
        raise TimedOutError(f"`{what}` did not end within {timeout:g} s") from None
    if _stopped.is_set():
        raise StoppedError("stopped")
    return rc


def _forget(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        _kill(child)
        child.wait()
    with _guard:
        _live.discard(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
