"""What must be true of this machine before anything is started on it."""

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from lab import process
from lab.cgroup import hierarchies
from lab.errors import CannotHost, LabError

PACKAGES = Path(__file__).parent.parent / "packages.txt"
GIB = 2**30
BASE_DISK = 12 * GIB
STATE_DISK = 8 * GIB
MEMORY = 8 * GIB

_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "arch-test": "arch-test",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "tar": "tar",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "syslinux": "syslinux",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "cpio": "cpio",
    "busybox": "busybox-static",
}


def require_root() -> None:
    """The shortest check, for the words that look into a lab."""
    problems = _platform()
    if problems:
        raise CannotHost(_as_text(problems))


def check(
    state: Path,
    cache: Path,
    *,
    build_base: bool,
    provision: bool,
    boot: bool,
    network: Callable[[], list[str]],
    memory: float = MEMORY,
) -> None:
    """Raise one CannotHost that lists all that stands in the way."""
    problems = _platform() or [
        *_programs(),
        *_kernel(),
        *_disk(state, cache, build_base=build_base, provision=provision),
        *(_memory(memory) if boot else []),
        *(network() if shutil.which("ip") else []),
    ]
    if problems:
        raise CannotHost(_as_text(problems))


def _as_text(problems: list[str]) -> str:
    return "\n".join(["this machine cannot run the lab as it is:", *(f"  - {p}" for p in problems)])


def _platform() -> list[str]:
    if platform.system() != "Linux":
        return [f"this is {platform.system()}: the lab's hosts are Linux containers"]
    if os.geteuid() != 0:
        return ["not root: containers, mounts and bridges need it. Run it as root, or with sudo"]
    return []


def _programs() -> list[str]:
    path = process.CLEAN_ENVIRONMENT["PATH"]
    missing = {name: package for name, package in _PROGRAMS.items() if not shutil.which(name, path=path)}
    if not missing:
        return []
    packages = " ".join(sorted(set(missing.values())))
    return [
        f"programs are missing: {', '.join(sorted(missing))}. Install them with "
        f"`apt-get install --no-install-recommends -y {packages}` (all that the lab wants "
        f"is listed in {PACKAGES})"
    ]


def _kernel() -> list[str]:
    problems = []
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        problems.append("the kernel has no overlay file system: `modprobe overlay`")
    if not Path("/dev/net/tun").exists():
        problems.append("/dev/net/tun is not there: `modprobe tun`")
    if shutil.which("unshare") and process.run(["unshare", "--mount", "true"]).rc != 0:
        problems.append(
            "mount namespaces are refused: this is a container with too few rights; "
            "run on a machine or a privileged container"
        )
    return problems + _groups()


def _groups() -> list[str]:
    try:
        closed = [str(path) for path in hierarchies() if not _writable(path)]
    except LabError as error:
        return [str(error)]
    return [f"control groups at {path} cannot be written: mount them read-write" for path in closed]


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_RDONLY


def _disk(state: Path, cache: Path, *, build_base: bool, provision: bool) -> list[str]:
    needs = {cache: BASE_DISK if build_base else 0, state: STATE_DISK if provision else GIB}
    by_device: dict[int, list[Path]] = {}
    for folder in needs:
        by_device.setdefault(_existing(folder).stat().st_dev, []).append(folder)
    return [
        problem
        for folders in by_device.values()
        for problem in _room(folders, sum(needs[folder] for folder in folders))
    ]


def _room(folders: list[Path], need: int) -> list[str]:
    free = shutil.disk_usage(_existing(folders[0])).free
    if free >= need:
        return []
    names = " and ".join(str(folder) for folder in folders)
    return [
        f"too little disk: {names} need {need / GIB:.0f} GiB, {free / GIB:.1f} GiB are free; "
        "make room, or name other folders by OSC_LAB_CACHE and --state"
    ]


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _memory(wanted: float) -> list[str]:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    if available >= wanted:
        return []
    return [
        f"too little memory: {wanted / GIB:.0f} GiB must be available, "
        f"{available / GIB:.1f} GiB are; end something, or another lab"
    ]
