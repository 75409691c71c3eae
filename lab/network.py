"""The bridge of a lab: the only network its hosts have."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_interface, ip_network
from typing import Any

from lab import process

_OWNER = "ceph-osc-lab:"


@dataclass(frozen=True)
class Bridge:
    """One bridge, named after the state folder, with the runner at the first address."""

    lab: str
    state: str
    subnet: IPv4Network

    @property
    def name(self) -> str:
        """The interface name, at most 15 characters as the kernel wants it."""
        return bridge_name(self.lab)

    @property
    def owner(self) -> str:
        """What the bridge carries as its alias, to tell whose it is."""
        return _OWNER + self.state

    def exists(self) -> bool:
        """Whether an interface of that name is there."""
        return _exists(self.name)

    def create(self) -> None:
        """Make the bridge, with the runner's address, unless it is there."""
        if self.exists():
            return
        runner = f"{self.subnet[1]}/{self.subnet.prefixlen}"
        process.check(["ip", "link", "add", self.name, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
        process.check(["ip", "link", "set", self.name, "alias", self.owner[:255]])
        process.check(["ip", "address", "add", runner, "dev", self.name])
        process.check(["ip", "link", "set", self.name, "up"])

    def problems(self) -> list[str]:
        """Why this bridge and subnet cannot be used on this machine now."""
        if not self.subnet.is_private:
            return [
                f"subnet {self.subnet} is not a private range: take one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"
            ]
        return self._foreign_bridge() + self._overlaps()

    def _foreign_bridge(self) -> list[str]:
        links = [link for link in _ip("link", "show") if link["ifname"] == self.name]
        owners = [link.get("ifalias", "nobody known") for link in links]
        return [
            f"an interface {self.name} exists already and belongs to {owner}: delete it with "
            f"`ip link delete {self.name}` if nothing uses it"
            for owner in owners
            if owner != self.owner
        ]

    def _overlaps(self) -> list[str]:
        users = _others(self.name)
        clashes = [f"{user} ({net}{_holder(user)})" for user, net in users.items() if net.overlaps(self.subnet)]
        if not clashes:
            return []
        return [
            f"subnet {self.subnet} is in use on this machine by {', '.join(sorted(clashes))}: "
            f"choose another, for instance --subnet {_free(set(users.values()))}"
        ]


def bridge_name(lab: str) -> str:
    """The bridge of a lab, by the lab's id."""
    return f"osc-{lab}"


def free_subnet(lab: str, wished: IPv4Network) -> IPv4Network:
    """The wished subnet, or another where something else than this lab has it on this machine."""
    taken = set(_others(bridge_name(lab)).values())
    return _free(taken) if any(net.overlaps(wished) for net in taken) else wished


def remove_bridge(lab: str) -> None:
    """Delete a lab's bridge if it is there."""
    if _exists(bridge_name(lab)):
        process.check(["ip", "link", "delete", bridge_name(lab)])


def remove_ports(lab: str) -> None:
    """Delete what hosts have plugged into a lab's bridge.

    The kernel takes a killed host's interface away some time later, and until then the host
    cannot start again: the name is taken.
    """
    if not _exists(bridge_name(lab)):
        return
    for link in _ip("link", "show", "master", bridge_name(lab)):
        process.run(["ip", "link", "delete", link["ifname"]])


def _exists(name: str) -> bool:
    return any(link["ifname"] == name for link in _ip("link", "show"))


def _ip(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(process.check(["ip", "-json", *words]) or "[]")
    return found


def _in_use() -> dict[str, IPv4Network]:
    addressed = {
        f"{link['ifname']}": ip_interface(f"{info['local']}/{info['prefixlen']}").network
        for link in _ip("-4", "address", "show")
        for info in link.get("addr_info", [])
    }
    routed = {
        route.get("dev", route["dst"]): ip_network(route["dst"], strict=False)
        for route in _ip("-4", "route", "show", "table", "all")
        if route["dst"] != "default" and route.get("type") not in ("local", "broadcast")
    }
    return {user: net for user, net in (routed | addressed).items() if net.version == 4}


def _others(bridge: str) -> dict[str, IPv4Network]:
    return {user: net for user, net in _in_use().items() if user != bridge}


def _holder(user: str) -> str:
    links = [link for link in _ip("link", "show") if link["ifname"] == user]
    alias = links[0].get("ifalias", "") if links else ""
    return f", lab of {alias.removeprefix(_OWNER)}" if alias.startswith(_OWNER) else ""


def _free(taken: set[IPv4Network]) -> IPv4Network:
    candidates = (IPv4Network(f"10.{second}.0.0/24") for second in range(77, 256))
    return next(net for net in candidates if not any(net.overlaps(t) for t in taken))
