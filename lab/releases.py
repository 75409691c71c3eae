"""What a release of Debian has otherwise than the others, as far as the lab is concerned: one table.

What is not here is alike on all of them. Roles ask the plan's release; what follows from an answer is theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from lab.errors import LabError

Plugging = Literal["linuxbridge", "openvswitch"]
Options = Mapping[str, Mapping[str, str | int | float | bool]]


@dataclass(frozen=True)
class Release:
    """One release of Debian, by the name that its archive has for it."""

    suite: str
    plugging: Plugging
    """What joins guests to their networks: the first is gone from Neutron 26, the second runs in user space."""
    unified_groups: bool = False
    """Its systemd wants cgroup2 alone at /sys/fs/cgroup, also where this machine has the older ones beside it."""
    sshd: str = ""
    """What its sshd is told besides."""
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a role needs here besides what it needs everywhere."""
    units: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What a role runs here besides."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """Roles whose unit is started by services of others, too: not on hosts that have its package without the role."""
    ceph: Options = field(default_factory=dict)
    """What the cluster keeps in its configuration database besides."""
    without_modules: tuple[str, ...] = ()
    """Modules of Ceph's manager that are enabled by default and cannot be loaded; the lab needs none of them."""
    trash: tuple[str, ...] = ("volumes",)
    """The pools whose services move images to the trash."""
    caps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What a cephx user is allowed here, instead of what the profile has for it."""
    bcrypt_in_rust: bool = False
    """Ceph's manager has an interpreter for each of its modules, and bcrypt loads in none but the first of them."""


_BOOKWORM: Final = Release(
    suite="bookworm",
    plugging="linuxbridge",
    packages={"neutron-agent": ("neutron-linuxbridge-agent",)},
    units={"neutron-agent": ("neutron-linuxbridge-agent",)},
)
_TRIXIE: Final = Release(
    suite="trixie",
    plugging="openvswitch",
    unified_groups=True,
    # Since OpenSSH 9.8 an address from which logins fail is refused for a while; all of the runner's come from one.
    sshd="PerSourcePenalties no\n",
    packages={
        "neutron-agent": ("neutron-openvswitch-agent", "openvswitch-switch"),
        # virtlockd is no longer in the package of libvirtd.
        "libvirt": ("libvirt-daemon-lock",),
    },
    units={"neutron-agent": ("openvswitch-switch", "neutron-openvswitch-agent")},
    wanted={"keystone": "keystone", "messaging": "rabbitmq-server", "database": "mariadb"},
    # By default one operation of more than 5 s is a warning for a day; the machine's disk is shared.
    ceph={"osd": {"bluestore_slow_ops_warn_threshold": 1000}},
    without_modules=("restful",),
    trash=("volumes", "images"),
    # Since glance_store 4.7 an image's children in other pools are not looked for.
    caps={"glance": {"osd": "profile rbd pool={images}"}},
    bcrypt_in_rust=True,
)

RELEASES: Final[Mapping[str, Release]] = {release.suite: release for release in (_BOOKWORM, _TRIXIE)}


def release_of(suite: str) -> Release:
    """Return the release of a name; a LabError where the lab does not know it."""
    if suite not in RELEASES:
        raise LabError(f"no release {suite!r} that the lab knows; there are: {', '.join(RELEASES)}")
    return RELEASES[suite]
