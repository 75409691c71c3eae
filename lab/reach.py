"""The access folder: what a person or the suite needs to reach the hosts by ssh."""

from lab import process
from lab.host import Host
from lab.lab import Lab
from lab.plan import write_private
from lab.schedule import in_parallel


def hand_out(lab: Lab) -> None:
    """Give every host its identity, and write key, known hosts and ssh_config."""
    access = lab.state.access
    key = access / "id_ed25519"
    if not key.exists():
        process.check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ceph-osc-lab", "-f", str(key)])
    public = key.with_suffix(".pub").read_text()
    write_private(access / "known_hosts", _known_hosts(lab, public))
    write_private(access / "ssh_config", _ssh_config(lab))


def _known_hosts(lab: Lab, public: str) -> str:
    names = {machine.name: machine.address for machine in lab.plan.machines.values()}
    lines: dict[str, str] = {}

    def identify(host: Host) -> None:
        host_key = host.identity(lab.plan.subnet, names, public, lab.plan.release)
        lines[host.name] = f"{host.name},{host.machine.address} {host_key}"

    in_parallel(
        {
            host.name: lambda host=host: identify(host)  # type: ignore[misc]
            for host in lab.hosts
        }
    )
    return "".join(lines[name] for name in names)


def _ssh_config(lab: Lab) -> str:
    access = lab.state.access
    aliases = [f"Host {machine.name}\n    HostName {machine.address}\n" for machine in lab.plan.machines.values()]
    common = (
        f'Host *\n    User root\n    IdentityFile "{access / "id_ed25519"}"\n'
        f'    IdentitiesOnly yes\n    UserKnownHostsFile "{access / "known_hosts"}"\n'
        "    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n"
        "    BatchMode yes\n    ConnectTimeout 10\n"
    )
    return "\n".join([*aliases, common])
