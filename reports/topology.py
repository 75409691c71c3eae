"""The integration as a map: services, cephx users, pools and the cluster, each with the checks that judge it.

Made from what the report says of the cloud (its joints) and of each check (the kinds of its targets);
no name of a check, a host or a pool is known here. What stands beside the integration has a box for each area.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from reports.model import OUTCOMES, Entry, Joint, Outcome, Report

Place = tuple[str, ...]
"""("service", role, host or ""), ("user", id), ("pool", name), ("cluster",), ("rest",), ("rest", area)."""
Key = tuple[Place, ...]
"""One place: a node; two: the edge between them."""

CLUSTER: Place = ("cluster",)
REST: Place = ("rest",)
HYPERVISORS = 12
"""Most hypervisors that are drawn one by one; the rest is drawn as one."""
_USES = {"glance-api": "glance", "cinder-volume": "cinder", "cinder-backup": "backup", "nova-compute": "nova"}
"""Role to its part in a check's id, as in area.glance.…"""
_ROLES_OF_KIND = {
    "glance_host": ("glance-api",),
    "volume_host": ("cinder-volume",),
    "backup_host": ("cinder-backup",),
    "hypervisor": ("nova-compute",),
    "nova_host": ("nova-compute",),
}
_PER_HOST = "nova-compute"
_CLUSTER_AREAS = ("ceph", "cap")
_BESIDE = {"ks": "Keystone", "swift": "Object store", "horizon": "Dashboard", "iscsi": "iSCSI"}
"""Areas beside the integration that are drawn where something of them is judged."""
_NAMES = {
    "glance-api": "Glance",
    "cinder-volume": "Cinder",
    "cinder-backup": "Cinder backup",
    "nova-compute": "Nova",
}


@dataclass
class Element:
    """A node or an edge, and what judges it."""

    key: Key
    title: str
    note: str = ""
    entries: list[Entry] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What the page calls it."""
        return "map." + "..".join(".".join(filter(None, place)) for place in self.key)

    @property
    def kind(self) -> str:
        """What it is: the first word of its place, or "edge"."""
        return self.key[0][0] if len(self.key) == 1 else "edge"

    @cached_property
    def counts(self) -> Counter[Outcome]:
        """Its entries by outcome."""
        return Counter(entry.outcome for entry in self.entries)

    @property
    def outcome(self) -> Outcome | None:
        """The worst of what judges it; None where nothing was judged."""
        told = self.counts.keys() - {"not applicable"}
        return min(told, key=OUTCOMES.index, default=None)

    @property
    def state(self) -> str:
        """The same in words."""
        bad = [f"{self.counts[outcome]} {outcome}" for outcome in OUTCOMES[:3] if self.counts[outcome]]
        held = sum(self.counts[outcome] for outcome in ("passed", "healed"))
        told = [*bad, *([f"{self.counts['waived']} waived"] if self.counts["waived"] else [])]
        if held == 1 and not told:
            return "1 holds"
        return ", ".join(told) or (f"all {held} hold" if held else "not judged")

    @cached_property
    def rows(self) -> list[tuple[str, Counter[Outcome], Entry]]:
        """Its checks, worst first: id, counts, the worst entry."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.check].append(entry)
        worst = {check: min(them, key=lambda it: OUTCOMES.index(it.outcome)) for check, them in found.items()}
        order = sorted(found, key=lambda check: (OUTCOMES.index(worst[check].outcome), check))
        return [(check, Counter(it.outcome for it in found[check]), worst[check]) for check in order]


@dataclass(frozen=True)
class Node:
    """A drawn element: the middle of its box."""

    element: Element
    x: float
    y: float


@dataclass(frozen=True)
class Edge:
    """A drawn joint, from node to node."""

    element: Element
    path: str
    x: float
    y: float


@dataclass(frozen=True)
class Map:
    """What is drawn."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    height: float

    @property
    def elements(self) -> list[Element]:
        """All that can be asked for."""
        return [node.element for node in self.nodes] + [edge.element for edge in self.edges]


WIDTH, BOX, TALL = 1000, 190, 44
_COLUMNS = {"service": 105, "user": 385, "pool": 645, "cluster": 895, "rest": 895}
_ROW = 62


def make_map(report: Report) -> Map | None:
    """Return the map, None where the report does not tell how the cloud is joined."""
    joints = report.run.joints
    if not joints:
        return None
    elements = _elements(joints)
    _judge(report, elements, joints)
    _leave_out_areas(elements)
    return _drawn(_folded(elements))


# -- what there is


def _services(joint: Joint) -> list[Place]:
    hosts = joint.hosts if joint.role == _PER_HOST else ("",)
    return [("service", joint.role, host) for host in hosts]


def _elements(joints: Sequence[Joint]) -> dict[Key, Element]:
    made = [*_nodes(joints), Element((CLUSTER,), "Ceph", "the cluster"), Element((REST,), "The cloud", "as a whole")]
    made += [Element((_beside(area),), name, "beside the integration") for area, name in _BESIDE.items()]
    found: dict[Key, Element] = {}
    for element in made:
        found.setdefault(element.key, element)
    for joint in joints:
        for service in _services(joint):
            for key in pairwise((service, ("user", joint.user), ("pool", joint.pool), CLUSTER)):
                title = " → ".join(_called(found[place,]) for place in key)
                secret = joint.secret and key[0] == service
                found.setdefault(key, Element(key, title, "libvirt secret" if secret else ""))
    return found


def _nodes(joints: Sequence[Joint]) -> Iterator[Element]:
    for joint in joints:
        for service in _services(joint):
            yield Element((service,), _NAMES.get(joint.role, joint.role), service[2] or ", ".join(joint.hosts))
    for joint in joints:
        yield Element((("user", joint.user),), f"client.{joint.user}", "cephx user")
        yield Element((("pool", joint.pool),), joint.pool, "pool")


def _beside(area: str) -> Place:
    return (*REST, area)


def _called(element: Element) -> str:
    return f"{element.title} on {element.note}" if element.kind == "service" else element.title


# -- what judges it


def _judge(report: Report, elements: dict[Key, Element], joints: Sequence[Joint]) -> None:
    places = _Places(joints)
    for entry in report.entries:
        about = report.checks.get(entry.check)
        kinds = about.asked_of if about else ()
        keys = [key for key in places.of(entry, kinds) if key in elements]
        for key in dict.fromkeys(keys) or ((REST,),):
            elements[key].entries.append(entry)


def _leave_out_areas(elements: dict[Key, Element]) -> None:
    """Areas of which nothing applies here are not drawn: their entries are the cloud's."""
    for key in [(_beside(area),) for area in _BESIDE]:
        if elements[key].outcome is None:
            elements[REST,].entries += elements.pop(key).entries


class _Places:
    """Finds the elements that an entry judges."""

    def __init__(self, joints: Sequence[Joint]) -> None:
        self._joints = joints
        self._by_user = defaultdict(list)
        self._services: dict[str, dict[Place, None]] = defaultdict(dict)
        for joint in joints:
            self._by_user[joint.user].append(joint)
            for host in joint.hosts:
                self._services[host][_service(joint.role, host)] = None

    def of(self, entry: Entry, kinds: tuple[str, ...]) -> Iterable[Key]:
        """Return the keys of what an entry judges; none for the cloud as a whole."""
        parts, area = entry.target.split("/"), entry.check.partition(".")[0]
        if area in _BESIDE:
            return [(_beside(area),)]
        match kinds:
            case ("pool_name",):
                pool = ("pool", entry.target)
                return [(pool,), (pool, CLUSTER)]
            case ("cephx_user",):
                return self._of_user(entry.target.removeprefix("client."))
            case ("client",) if len(parts) == 3:
                return [(_service(parts[1], parts[0]), ("user", parts[2].removeprefix("client.")))]
            case ("secret_use",) if len(parts) == 2:
                return self._of_secret(*parts)
            case ():
                return self._of_cloud(entry.check.split("."))
        roles = _ROLES_OF_KIND.get(kinds[0])
        return [(place,) for place in self._services.get(parts[0], ()) if roles is None or place[1] in roles]

    def _of_user(self, user: str) -> Iterator[Key]:
        yield (("user", user),)
        for joint in self._by_user.get(user, ()):
            yield ("user", user), ("pool", joint.pool)

    def _of_secret(self, host: str, use: str) -> Iterator[Key]:
        for joint in self._joints:
            if joint.secret == use and host in joint.hosts:
                yield _service(joint.role, host), ("user", joint.user)

    def _of_cloud(self, words: list[str]) -> Iterator[Key]:
        for joint in self._joints:
            if len(words) > 2 and words[2] == _USES.get(joint.role):
                yield (("user", joint.user),)
                yield ("user", joint.user), ("pool", joint.pool)
            elif words[0] == _USES.get(joint.role) and joint.role != _PER_HOST:
                yield (_service(joint.role, ""),)
        if words[0] in _CLUSTER_AREAS:
            yield (CLUSTER,)


def _service(role: str, host: str) -> Place:
    return "service", role, host if role == _PER_HOST else ""


# -- how it is drawn


OTHERS: Place = ("service", _PER_HOST, "others")


def _folded(elements: dict[Key, Element]) -> dict[Key, Element]:
    """Fold the hypervisors that are best off into one where there are many."""
    each = [key[0] for key in elements if len(key) == 1 and key[0][:2] == OTHERS[:2]]
    if len(each) <= HYPERVISORS:
        return elements
    worst = _worst(elements)
    away = frozenset(sorted(each, key=lambda place: (worst.get(place, len(OUTCOMES)), place))[HYPERVISORS - 1 :])
    folded: dict[Key, Element] = {}
    for key, element in elements.items():
        kept = tuple(OTHERS if place in away else place for place in key)
        if kept not in folded:
            folded[kept] = element if kept == key else _renamed(element, kept, len(away))
        folded[kept].entries += element.entries if folded[kept] is not element else []
    return folded


def _renamed(element: Element, key: Key, number: int) -> Element:
    if len(key) == 1:
        return Element(key, element.title, f"{number} more")
    return Element(key, f"{_NAMES[_PER_HOST]} on {number} more → client.{key[1][1]}", element.note)


def _worst(elements: dict[Key, Element]) -> dict[Place, int]:
    """The rank of the worst outcome at a service or on an edge from it."""
    found: dict[Place, int] = {}
    for key, element in elements.items():
        if element.outcome:
            found[key[0]] = min(found.get(key[0], len(OUTCOMES)), OUTCOMES.index(element.outcome))
    return found


def _drawn(elements: dict[Key, Element]) -> Map:
    columns: dict[int, list[Element]] = defaultdict(list)
    for element in elements.values():
        if element.kind != "edge":
            columns[_COLUMNS[element.kind]].append(element)
    height = max(len(them) for them in columns.values()) * _ROW + 20
    nodes = {
        element.key[0]: Node(element, x, (number + 0.5) * height / len(them))
        for x, them in columns.items()
        for number, element in enumerate(them)
    }
    edges = [_drawn_edge(it, nodes) for it in elements.values() if it.kind == "edge"]
    worst_last = sorted(edges, key=lambda it: -OUTCOMES.index(it.element.outcome or "not applicable"))
    return Map(tuple(nodes.values()), tuple(worst_last), height)


def _drawn_edge(element: Element, nodes: dict[Place, Node]) -> Edge:
    one, other = (nodes[place] for place in element.key)
    start, end = one.x + BOX / 2, other.x - BOX / 2
    middle = (start + end) / 2
    path = f"M{start} {one.y:.1f}C{middle} {one.y:.1f} {middle} {other.y:.1f} {end} {other.y:.1f}"
    return Edge(element, path, middle, (one.y + other.y) / 2)
