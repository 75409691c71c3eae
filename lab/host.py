"""Booting and stopping one host: overlay layers, container, identity."""

import io
import shlex
import shutil
import tarfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from lab import process
from lab.cgroup import Group
from lab.errors import LabError
from lab.machine import Machine
from lab.releases import Release

# Raise it when what identity() writes changes: it is part of the provisioning key.
IDENTITY = 1


@dataclass(frozen=True)
class Host:
    """One host on this machine's disk and in its process table."""

    machine: Machine
    folder: Path
    console: Path
    base: Path
    bridge: str

    @property
    def name(self) -> str:
        """The host's name."""
        return self.machine.name

    @property
    def group(self) -> Group:
        """The host's control group."""
        return self.machine.group

    @property
    def run_layer(self) -> Path:
        """What the host wrote since it was provisioned, or while it is being provisioned."""
        return self.folder / "run"

    @property
    def provisioned(self) -> Path:
        """What provisioning wrote; read-only from then on."""
        return self.folder / "provisioned"

    def alive(self) -> bool:
        """Whether any process of the host is there."""
        return self.group.alive()

    def boot(self, release: Release) -> None:
        """Start the container; returns at once, see wait_booted()."""
        self._prepare()
        self.group.create()
        join = "".join(f"echo $$ >{shlex.quote(str(path))}/cgroup.procs; " for path in self.group.paths())
        inner = f"{self._mount()} && exec {shlex.join(self._container(release))}"
        # The mount lives in the container's own namespace: it cannot outlive the container.
        detached = [
            "setsid",
            "--fork",
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "sh",
            "-c",
            f"exec </dev/null >>{shlex.quote(str(self.console))} 2>&1; {inner}",
        ]
        process.check(["sh", "-c", f"{join}exec {shlex.join(detached)}"])

    def wait_booted(self, timeout: float = 90) -> None:
        """Wait until commands can be run inside and its network is up."""
        end = time.monotonic() + timeout
        while self.group.init() is None:
            if not self.alive() or time.monotonic() > end:
                raise LabError(f"{self.name} did not boot; its console ({self.console}) ends:\n{self._console_tail()}")
            process.pause(0.05)
        self.machine.wait(
            "booting to a working sshd and network",
            "systemctl is-active --quiet ssh.service && "
            f"[[ $(ip -4 -oneline address show dev host0) == *' {self.machine.address}/'* ]]",
            timeout=max(end - time.monotonic(), 5),
            every=0.2,
        )

    def identity(self, subnet: IPv4Network, names: Mapping[str, str], key: str, release: Release) -> str:
        """Write who the host is into its layer, before its first boot; its ssh host key."""
        self._prepare()
        private, public = self._host_key()
        files = _identity_files(self.machine, subnet, names, release) | {
            "etc/ssh/ssh_host_ed25519_key": (0o600, private),
            "etc/ssh/ssh_host_ed25519_key.pub": (0o644, public),
            "root/.ssh/authorized_keys": (0o600, key),
        }
        unpack = [
            "tar",
            "--extract",
            "--no-overwrite-dir",
            "--same-permissions",
            "--same-owner",
            "--directory",
            str(self.folder / "root"),
        ]
        process.check(
            [
                "unshare",
                "--mount",
                "--propagation",
                "slave",
                "sh",
                "-c",
                f"{self._mount()} && exec {shlex.join(unpack)}",
            ],
            stdin=_archive(files),
        )
        return public

    def freeze(self) -> None:
        """Make what was written so far the provisioned layer, under an empty run layer."""
        self.run_layer.rename(self.provisioned)

    def empty(self) -> Path:
        """Put the run layer aside; the folder to delete when there is time."""
        trash = self.folder / f"trash-{time.monotonic_ns()}"
        if self.run_layer.exists():
            self.run_layer.rename(trash)
        return trash

    def sweep(self) -> None:
        """Delete what empty() put aside, also after an interrupted reset."""
        for trash in self.folder.glob("trash-*"):
            shutil.rmtree(trash)

    def _prepare(self) -> None:
        for folder in (self.folder, self.run_layer, self.folder / "root"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        # A new one every time: the kernel marks the work folder of a volatile overlay as used.
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        (self.folder / "work").mkdir()

    def _mount(self) -> str:
        lower = [self.provisioned] if self.provisioned.exists() else []
        layers = ":".join(str(path) for path in [*lower, self.base])
        # volatile: fsync is for power cuts of this machine; those of a host are survived without.
        options = f"lowerdir={layers},upperdir={self.run_layer},workdir={self.folder / 'work'},volatile"
        return shlex.join(["mount", "-t", "overlay", f"lab-{self.name}", "-o", options, str(self.folder / "root")])

    def _container(self, release: Release) -> list[str]:
        unified = ["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"] if release.unified_groups else []
        environment = [f"{name}={value}" for name, value in process.CLEAN_ENVIRONMENT.items()]
        return [
            "env",
            "--ignore-environment",
            *environment,
            *unified,
            "SYSTEMD_NSPAWN_LOCK=0",
            "systemd-nspawn",
            "--quiet",
            "--settings=no",
            "--register=no",
            "--keep-unit",
            f"--directory={self.folder / 'root'}",
            f"--machine={self.group.container}",
            f"--hostname={self.name}",
            f"--network-bridge={self.bridge}",
            "--capability=all",
            "--bind=/dev/net/tun",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=read-only",
            "--boot",
        ]

    def _host_key(self) -> tuple[str, str]:
        path = self.folder / "host_key"
        for old in self.folder.glob("host_key*"):
            old.unlink()
        process.check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(path)])
        public = path.with_suffix(".pub")
        pair = path.read_text(), public.read_text()
        path.unlink()
        public.unlink()
        return pair

    def _console_tail(self) -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return text[-2000:].strip() or "(it is empty)"


def _identity_files(
    machine: Machine, subnet: IPv4Network, names: Mapping[str, str], release: Release
) -> dict[str, tuple[int, str]]:
    table = "".join(f"{address}\t{name}\n" for name, address in names.items())
    network = (
        f"[Match]\nName=host0\n\n[Network]\nAddress={machine.address}/{subnet.prefixlen}\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\nLLDP=no\nEmitLLDP=no\n"
    )
    daemon = "PermitRootLogin prohibit-password\nUseDNS no\nMaxStartups 200\nMaxSessions 200\n"
    masked = {unit for role, unit in release.wanted.items() if role not in machine.roles}
    return {
        "etc/machine-id": (0o444, f"{uuid.uuid4().hex}\n"),
        "etc/hostname": (0o644, f"{machine.name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1\tlocalhost\n{table}"),
        "etc/systemd/network/10-host0.network": (0o644, network),
        "etc/ssh/sshd_config.d/lab.conf": (0o644, daemon + release.sshd),
        **{f"etc/systemd/system/{unit}.service": (0o644, "") for unit in sorted(masked)},
    }


def _archive(files: Mapping[str, tuple[int, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("root/.ssh")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(folder)
        for path, (mode, text) in files.items():
            entry = tarfile.TarInfo(path)
            entry.mode, entry.size = mode, len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
