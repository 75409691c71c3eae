"""One host of the lab, and how to do something inside it."""

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab import process
from lab.cgroup import Group
from lab.errors import LabError as LabError
from lab.process import Result as Result

_TAIL = 3000


@dataclass(frozen=True)
class Machine:
    """A host: its name, its address on the lab's bridge, and the roles it carries."""

    name: str
    address: str
    roles: tuple[str, ...]
    group: Group

    def run(
        self,
        script: str,
        *,
        stdin: bytes | str | None = None,
        check: bool = True,
        timeout: float = 600,
    ) -> Result:
        """Run a bash script inside (-euo pipefail, clean environment), without ssh.

        The script and stdin are in no process list. With `check`, a non-zero exit
        is a LabError that carries host, code and the end of stderr.
        """
        given = stdin.encode() if isinstance(stdin, str) else stdin
        with _as_file(script) as fd:
            shell = ["bash", "-euo", "pipefail", f"/dev/fd/{fd}"]
            try:
                result = process.run([*self.enter(), *shell], stdin=given, timeout=timeout, pass_fds=(fd,))
            except process.TimedOutError:
                raise LabError(f"{self.name}: not done within {timeout:g} s:\n{_head(script)}") from None
        if check and result.rc != 0:
            raise LabError(self._failure(script, result))
        return result

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Put a file in place in one step, with its folders, owner and mode."""
        target = shlex.quote(path)
        self.run(
            f'target={target}; mkdir -p "$(dirname "$target")"\n'
            'new=$(mktemp "$target.XXXXXX"); trap \'rm -f "$new"\' EXIT\n'
            f'cat >"$new"; chown {shlex.quote(owner)} "$new"; chmod {mode:o} "$new"\n'
            'mv -fT "$new" "$target"',
            stdin=text,
        )

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.run(f"cat {shlex.quote(path)}").stdout

    def wait(self, what: str, script: str, *, timeout: float = 300, every: float = 0.5) -> None:
        """Poll until the script succeeds; past the deadline, a LabError with its last output."""
        end = time.monotonic() + timeout
        while True:
            left = max(end - time.monotonic(), 1)
            last = self._try(script, left)
            if last.rc == 0:
                return
            if time.monotonic() >= end:
                raise LabError(
                    f"{self.name}: {what}: not so after {timeout:g} s. "
                    f"Last try: {_output(last) or f'exit code {last.rc}, no output'}"
                )
            process.pause(every)

    def enter(self) -> list[str]:
        """The command prefix that joins every namespace of the host."""
        pid = self.group.init()
        if pid is None:
            raise LabError(f"{self.name} is not running: start it with `python -m lab up`")
        return ["nsenter", "--target", str(pid), "--all", "--"]

    def _try(self, script: str, timeout: float) -> Result:
        try:
            return self.run(script, check=False, timeout=timeout)
        except LabError as error:
            return Result(-1, "", str(error))

    def _failure(self, script: str, result: Result) -> str:
        return (
            f"{self.name}: a command ended with {result.rc}: "
            f"{_output(result) or 'no output'}\nThe command was:\n{_head(script)}"
        )


@contextmanager
def _as_file(script: str) -> Iterator[int]:
    fd = os.memfd_create("script")
    try:
        # Closed first of all, so that nothing started by the script inherits its text.
        os.write(fd, f"exec {fd}<&-; {script}\n".encode())
        yield fd
    finally:
        os.close(fd)


def _output(result: Result) -> str:
    return (result.stderr.strip() or result.stdout.strip())[-_TAIL:]


def _head(script: str) -> str:
    lines = script.strip().splitlines()
    more = [f"… and {len(lines) - 8} more lines"] if len(lines) > 8 else []
    return "\n".join([f"  {line[:200]}" for line in lines[:8]] + more)
