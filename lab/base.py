"""The root file system that every host starts from, built once and cached by content."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lab import apt, process
from lab.errors import LabError
from lab.plan import write_private
from lab.progress import Progress
from lab.state import State

# Raise it when anything below changes what the base contains.
RECIPE = 1

COMMON_PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "netcat-openbsd",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)

_PRESET = "\n".join(
    [
        "enable ssh.service",
        "enable systemd-networkd.service",
        "enable systemd-networkd-wait-online.service",
        "disable *",
    ]
)

_SETUP = f"""
set -eu
root=$1
mkdir -p "$root/etc/systemd/system-preset" "$root/usr/sbin" "$root/var/cache/apt/archives"
cat >"$root/etc/systemd/system-preset/00-lab.preset" <<'END'
{_PRESET}
END
printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount --bind "$LAB_DEBS" "$root/var/cache/apt/archives"
"""

_CUSTOMIZE = """
set -eu
root=$1
umount "$root/var/cache/apt/archives"
rm -f "$root/usr/sbin/policy-rc.d"
chroot "$root" systemctl preset-all >/dev/null 2>&1
for script in "$root"/etc/init.d/*; do
    chroot "$root" update-rc.d "${script##*/}" disable >/dev/null 2>&1 || true
done
chroot "$root" systemctl enable ssh systemd-networkd systemd-networkd-wait-online >/dev/null 2>&1
chroot "$root" systemctl set-default multi-user.target >/dev/null 2>&1
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf" "$root/etc/hostname"
echo '# no resolver: the lab has no network but its own' >"$root/etc/resolv.conf"
: >"$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/apt
mkdir -p "$root/etc/systemd/system.conf.d" "$root/etc/systemd/journald.conf.d"
printf '[Manager]\\nDefaultTimeoutStopSec=20s\\n' >"$root/etc/systemd/system.conf.d/lab.conf"
printf '[Journal]\\nStorage=persistent\\nSystemMaxUse=200M\\nForwardToConsole=no\\n' \
    >"$root/etc/systemd/journald.conf.d/lab.conf"
"""

_LEAVE_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


@dataclass(frozen=True)
class Base:
    """One base: a suite and a set of packages."""

    suite: str
    packages: tuple[str, ...]
    cache: Path

    @classmethod
    def of(cls, suite: str, packages: Iterable[str]) -> "Base":
        """The base for these packages and the common ones, in the cache of this machine."""
        wanted = tuple(sorted({*COMMON_PACKAGES, *packages}))
        return cls(suite, wanted, cache_folder())

    @property
    def key(self) -> str:
        """A digest of all that decides what the base contains."""
        parts = [self.suite, platform.machine(), str(RECIPE), _SETUP, _CUSTOMIZE, *self.packages]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def path(self) -> Path:
        """Where the finished base is, or will be."""
        return self.cache / f"base-{self.suite}-{self.key}"

    def exists(self) -> bool:
        """Whether it is built and whole."""
        return self.path.is_dir()

    @contextmanager
    def taken(self, user: State, progress: Progress) -> Iterator[None]:
        """Build it unless it is there; within the block, a lab's state comes to refer to it.

        Afterwards, bases that no lab refers to any more are removed. On a machine one command at a time builds, and
        one at a time takes or removes, so that none removes what another is about to take; who finds his base built
        does not wait for another's.
        """
        if self.exists() and _is_of(user, self.path):
            yield
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        while True:
            with FileLock(self.cache / "bases.lock", timeout=3600):
                if self.exists():
                    self._note_user(user)
                    yield
                    self._remove_unused(progress)
                    return
            with _one_builder(self.cache, progress):
                if not self.exists():
                    self._build(progress)

    def _build(self, progress: Progress) -> None:
        progress.say(f"base: building {self.path} from {len(self.packages)} named packages, log {self.cache}/build.log")
        for stale in self.cache.glob("base-*.part"):
            shutil.rmtree(stale)
        part = _part(self.path)
        begun = progress.elapsed
        self._mmdebstrap(part)
        if not _users_file(self.path).exists():
            write_private(_users_file(self.path), "[]\n")
        part.rename(self.path)
        progress.say(f"base: built in {progress.elapsed - begun:.0f} s")

    def _note_user(self, user: State) -> None:
        # A base without this file is of a time when its users were not noted: it is never removed.
        if (users := _users_file(self.path)).exists():
            folders = {*json.loads(users.read_text()), str(user.folder)}
            write_private(users, json.dumps(sorted(folders)) + "\n")

    def _remove_unused(self, progress: Progress) -> None:
        for stale in self.cache.glob("base-*.gone"):
            shutil.rmtree(stale)
        for users in sorted(self.cache.glob(f"base-{self.suite}-*.users")):
            path = users.with_suffix("")
            folders = [Path(folder) for folder in json.loads(users.read_text())]
            if path == self.path or any(_refers(folder, path) for folder in folders):
                continue
            progress.say(f"base: removing {path}, which no lab uses any more")
            if path.exists():
                path.rename(_gone(path))  # a removal cut short leaves nothing that looks whole
                shutil.rmtree(_gone(path))
            users.unlink()

    def _mmdebstrap(self, target: Path) -> None:
        log = self.cache / "build.log"
        debs = self.cache / f"debs-{self.suite}"
        debs.mkdir(exist_ok=True)
        (debs / "partial").mkdir(exist_ok=True)
        # In namespaces of its own, so that its mounts and children end with it, even by SIGKILL.
        shell = 'log=$1; shift; exec "$@" >"$log" 2>&1'
        result = process.run(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                shell,
                "sh",
                str(log),
                *self._command(target),
            ],
            stdin=None,
            timeout=3600,
            env={
                **process.CLEAN_ENVIRONMENT,
                **_proxies(),
                # What packages run when they are installed shall do the same in each build: the compiler of the
                # dashboard's style sheets failed in one of five.
                "PYTHONHASHSEED": "0",
                "LAB_DEBS": str(debs),
                "LAB_SETUP": _SETUP,
                "LAB_CUSTOMIZE": _CUSTOMIZE,
            },
        )
        if result.rc != 0:
            tail = log.read_text(errors="replace")[-3000:]
            raise LabError(f"the base could not be built (log: {log}), its last lines:\n{tail}")

    def _command(self, target: Path) -> list[str]:
        return [
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--format=directory",
            "--skip=cleanup/apt/cache",
            "--skip=download/empty",
            "--skip=essential/unlink",
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Languages "none"',
            '--aptopt=Acquire::Retries "3"',
            *[f"--dpkgopt=path-exclude={pattern}" for pattern in _LEAVE_OUT],
            "--dpkgopt=force-unsafe-io",
            '--setup-hook=sh -c "$LAB_SETUP" sh "$1"',
            '--customize-hook=sh -c "$LAB_CUSTOMIZE" sh "$1"',
            f"--include={','.join(self.packages)}",
            self.suite,
            str(target),
            *apt.sources(self.suite),
        ]


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _gone(path: Path) -> Path:
    return path.with_name(f"{path.name}.gone")


def _users_file(path: Path) -> Path:
    """Names the state folders of all labs that ever were made from a base."""
    return path.with_name(f"{path.name}.users")


def _is_of(user: State, base: Path) -> bool:
    record = user.load()
    return record is not None and record.base == str(base)


def _refers(folder: Path, base: Path) -> bool:
    try:
        record = State(folder).load()
    except (LabError, OSError, ValueError, TypeError):
        return True  # what cannot be understood may need it
    return record is not None and record.base == str(base)


def cache_folder() -> Path:
    """Where bases are kept: OSC_LAB_CACHE, else /var/cache/ceph-osc-lab."""
    return Path(os.environ.get("OSC_LAB_CACHE", "/var/cache/ceph-osc-lab")).resolve()


def _proxies() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    return {name: os.environ[name] for name in names if name in os.environ}


@contextmanager
def _one_builder(cache: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(cache / "build.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say("base: waiting, another command is building one")
        lock.acquire(timeout=3600)
    try:
        yield
    finally:
        lock.release()
