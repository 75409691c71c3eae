"""What a repair consists of: typed steps, each of which can be looked at, taken and taken back."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from fixtures.cloud import Role

Disruption = Literal["safe", "disruptive", "destructive"]
DISRUPTIONS: Final[tuple[Disruption, ...]] = get_args(Disruption)
"""safe: no running guest or tenant's I/O is touched, beyond the restart of a control-plane service."""

Daemon = Literal["mon", "mgr", "osd"]

State = dict[str, Any]
"""What identifies the present state of what a step is about; holds no secret. Equal states are equal things."""


class NeedsOperator(Exception):
    """A repair exists in no safe form here; says why, and with what lines a person would do it."""

    def __init__(self, reason: str, *lines: str) -> None:
        """Keep the reason and the lines apart."""
        self.reason, self.lines = reason, lines
        super().__init__(reason)


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    irreversible: ClassVar[str] = ""
    """Why it cannot be taken back; "" where it can."""
    wish: ClassVar[frozenset[str]] = frozenset()
    """Its fields that say how the thing is to be; the others say which thing it is."""
    slow: ClassVar[bool] = False
    """Whether it may take many minutes."""
    disruption: Disruption | None = None
    """Where it disturbs more than its repair does otherwise."""

    @property
    def thing(self) -> str:
        """What it is about, the same for all steps about it."""
        return self.model_dump_json(exclude={*self.wish, "disruption", "restarts"})

    def joined(self, other: Self) -> Self:
        """Return the step that does what this one and another about the same thing want.

        Raises:
            NeedsOperator: they want it to be different.
        """
        return self.model_copy(update={name: self._either(other, name) for name in self.wish})

    def _either(self, other: Self, name: str) -> Any:
        unset = type(self).model_fields[name].default
        told = [value for step in (self, other) if (value := getattr(step, name)) != unset]
        if any(value != told[0] for value in told):
            raise NeedsOperator(f"wants to be otherwise what is first made so: {self}", str(other))
        return told[0] if told else unset


class _HostStep(_Step):
    """A step on a host. `restarts` names the roles there whose service must be started anew after it."""

    host: str
    restarts: tuple[Role, ...] = ()

    def joined(self, other: Self) -> Self:
        """With the restarts of both."""
        restarts = tuple(dict.fromkeys((*self.restarts, *other.restarts)))
        return super().joined(other).model_copy(update={"restarts": restarts})


class _OwnedStep(_HostStep):
    """A step about what is at a path. Owner, group and mode stay where they are not given."""

    wish: ClassVar[frozenset[str]] = frozenset({"owner", "group", "mode"})
    path: str
    owner: str = ""
    group: str = ""
    mode: int | None = None


class Option(_HostStep):
    """An option of an INI file; with None it is taken out. Nothing else in the file changes."""

    kind: Literal["option"] = "option"
    wish: ClassVar[frozenset[str]] = frozenset({"value"})
    path: str
    section: str
    key: str
    value: str | None
    reader: Literal["oslo", "ceph"] = "oslo"
    """Whose rules the file goes by."""

    def __str__(self) -> str:
        shown = "unset" if self.value is None else f"= {self.value}"
        return f"{self.host}: {self.path} [{self.section}] {self.key} {shown}"


class File(_OwnedStep):
    """A file's whole text; with None it is removed. "{key}" in it stands for the key of the entity `key_of`."""

    kind: Literal["file"] = "file"
    wish: ClassVar[frozenset[str]] = frozenset({"text", "key_of", "owner", "group", "mode"})
    text: str | None
    key_of: str = ""

    def __str__(self) -> str:
        return f"{self.host}: {'remove' if self.text is None else 'write'} {self.path}"


class PolicyInYaml(_HostStep):
    """A file of policies in YAML, with the rules, owner and mode of one in JSON, which stays."""

    kind: Literal["policy-in-yaml"] = "policy-in-yaml"
    path: str
    source: str

    def __str__(self) -> str:
        return f"{self.host}: {self.path} with the rules of {self.source}"


class Attributes(_OwnedStep):
    """Owner, group and mode of what is at a path."""

    kind: Literal["attributes"] = "attributes"

    def __str__(self) -> str:
        return f"{self.host}: owner and mode of {self.path}"


class Folder(_OwnedStep):
    """A folder that must be there."""

    kind: Literal["folder"] = "folder"

    def __str__(self) -> str:
        return f"{self.host}: folder {self.path}"


class Secret(_HostStep):
    """A libvirt secret that holds the key of a cephx user."""

    kind: Literal["secret"] = "secret"
    wish: ClassVar[frozenset[str]] = frozenset({"usage", "private", "key_of"})
    uuid: str
    usage: str
    private: bool
    key_of: str

    def __str__(self) -> str:
        return f"{self.host}: libvirt secret {self.uuid} with the key of {self.key_of}"


class StoragePool(_HostStep):
    """A libvirt pool on a target of iSCSI that must run, now and whenever libvirt starts.

    With a source it is defined anew where it leads elsewhere; one that runs goes on as it is until its next start.
    """

    kind: Literal["storage-pool"] = "storage-pool"
    wish: ClassVar[frozenset[str]] = frozenset({"type", "source"})
    name: str
    type: str = ""
    source: dict[str, str] = {}
    """host, port, target, initiator, user, secret (its usage), as far as it has them."""

    def __str__(self) -> str:
        leads = f" leads to {self.source['target']} and" if self.source else ""
        return f"{self.host}: pool {self.name}{leads} runs, and starts with libvirt"


class TgtAccess(_HostStep):
    """Who may log in to a target of tgt, now and after its next start; who is logged in stays so."""

    kind: Literal["tgt-access"] = "tgt-access"
    wish: ClassVar[frozenset[str]] = frozenset({"addresses", "names"})
    target: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.host}: {self.target} lets in {', '.join((*self.addresses, *self.names))} only"


class TidyConf(_HostStep):
    """A ceph.conf as every parser takes it: no tabs in front, each section once; it says the same as before."""

    kind: Literal["tidy-conf"] = "tidy-conf"
    path: str

    def __str__(self) -> str:
        return f"{self.host}: put {self.path} in order"


class SudoRule(_HostStep):
    """A rule of sudo that is made a remark; the file is sound to visudo afterwards, or is not touched."""

    kind: Literal["sudo-rule"] = "sudo-rule"
    path: str
    line: int
    who: str

    def __str__(self) -> str:
        return f"{self.host}: {self.path} line {self.line}: no rule for {self.who} any more"


class HostName(_HostStep):
    """The address of a name in /etc/hosts, where it stands there already, or with `adds` also where it does not."""

    kind: Literal["host-name"] = "host-name"
    wish: ClassVar[frozenset[str]] = frozenset({"address"})
    path: str = "/etc/hosts"
    name: str
    address: str
    adds: bool = False

    def __str__(self) -> str:
        return f"{self.host}: {self.name} is {self.address} in {self.path}"


class Label(_HostStep):
    """The SELinux type of what is at a path, as `restorecon` sets it."""

    kind: Literal["label"] = "label"
    wish: ClassVar[frozenset[str]] = frozenset({"type"})
    path: str
    type: str

    def __str__(self) -> str:
        return f"{self.host}: {self.path} is of type {self.type}"


class Packages(_HostStep):
    """Packages of the distribution that must be there whole. Nothing is removed or upgraded, no service started."""

    kind: Literal["packages"] = "packages"
    slow: ClassVar[bool] = True
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.host}: install {', '.join(self.names)}"


class Unit(_HostStep):
    """A systemd unit that must run, and with `enable` also after the next boot.

    With a role, it is waited for that service to be up in the API's eyes.
    A socket is opened only while the daemon `behind` it, which listens otherwise, is stopped for a moment.
    """

    kind: Literal["unit"] = "unit"
    wish: ClassVar[frozenset[str]] = frozenset({"role"})
    role: Role | None = None
    unit: str
    enable: bool = True
    behind: str = ""

    def __str__(self) -> str:
        return f"{self.host}: {self.unit} enabled and running"


class Daemons(_HostStep):
    """Ceph's daemons of a kind, as far as they start with the host: all of them must run."""

    kind: Literal["daemons"] = "daemons"
    daemon: Daemon

    def __str__(self) -> str:
        return f"{self.host}: every ceph-{self.daemon} runs"


class Job(_HostStep):
    """A systemd unit that does its work once and ends, as a timer starts it; `path` is a pattern of what it makes."""

    kind: Literal["job"] = "job"
    slow: ClassVar[bool] = True
    irreversible: ClassVar[str] = "what it made anew stays, in the place where it always makes it"
    unit: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}: start {self.unit}, and wait for its end"


class CinderRow(_HostStep):
    """A row of Cinder's service list that is removed: nobody reports to it, and no configuration names its back end."""

    kind: Literal["cinder-row"] = "cinder-row"
    irreversible: ClassVar[str] = "a row comes back by itself when its service reports again, and not before"
    disruption: Disruption | None = "destructive"
    account: str
    binary: str
    row: str

    def __str__(self) -> str:
        return f"{self.host}: cinder-manage service remove {self.binary} {self.row}"


class GlanceSchema(_HostStep):
    """The schema of Glance's database, as the installed code wants it; the service is stopped meanwhile."""

    kind: Literal["glance-schema"] = "glance-schema"
    slow: ClassVar[bool] = True
    irreversible: ClassVar[str] = "a schema does not go back; what was before is in the dump"
    disruption: Disruption | None = "destructive"
    account: str
    unit: str

    def __str__(self) -> str:
        return f"{self.host}: glance-manage db sync, with {self.unit} stopped"


class CinderSchema(_HostStep):
    """The schema of Cinder's database, in the version of the installed code; the API is stopped meanwhile."""

    kind: Literal["cinder-schema"] = "cinder-schema"
    slow: ClassVar[bool] = True
    irreversible: ClassVar[str] = GlanceSchema.irreversible
    disruption: Disruption | None = "destructive"
    account: str
    unit: str
    version: str

    def __str__(self) -> str:
        return f"{self.host}: cinder-manage db sync, with {self.unit} stopped"


class TokenKeys(_HostStep):
    """The folder of the keys that tokens are made with, rotated once: the staged one signs from then on."""

    kind: Literal["token-keys"] = "token-keys"
    account: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}: keystone-manage fernet_rotate, in {self.path}"


class CellHosts(_HostStep):
    """Hypervisors that report to Nova, each in the cell that it reports by."""

    kind: Literal["cell-hosts"] = "cell-hosts"
    account: str
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.host}: nova-manage cell_v2 discover_hosts --by-service, for {', '.join(self.hosts)}"


class EmptyCache(_HostStep):
    """The folder of Glance's image cache, which nothing reads, without the copies of images in it."""

    kind: Literal["empty-cache"] = "empty-cache"
    irreversible: ClassVar[str] = "copies of images are removed; the images themselves stay in their store"
    disruption: Disruption | None = "destructive"
    path: str

    def __str__(self) -> str:
        return f"{self.host}: no copies of images in {self.path}"


class BaseImages(_HostStep):
    """The folder of instances, without these base images, on which no local disk can be based."""

    kind: Literal["base-images"] = "base-images"
    irreversible: ClassVar[str] = "copies of images are removed; the images themselves stay in their store"
    disruption: Disruption | None = "destructive"
    wish: ClassVar[frozenset[str]] = frozenset({"names"})
    path: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.host}: remove {', '.join(self.names)} from {self.path}/_base"


class Restart(_HostStep):
    """A service's restart; the plan makes these, once for each unit and host.

    Of the units `beside` it, which read the same files, those that run are started anew too.
    """

    kind: Literal["restart"] = "restart"
    wish: ClassVar[frozenset[str]] = frozenset({"again"})
    role: Role | None
    """The service that is waited for until it is up in the API's eyes; none where it is stopped and stays so."""
    unit: str
    beside: tuple[str, ...] = ()
    again: bool = True
    """Whether the way back starts it anew as well: it ran with what is there then."""

    def __str__(self) -> str:
        return f"{self.host}: restart {self.unit}"


class PoolOption(_Step):
    """A pool's option, as `ceph osd pool set` knows it."""

    kind: Literal["pool-option"] = "pool-option"
    wish: ClassVar[frozenset[str]] = frozenset({"value"})
    pool: str
    option: str
    value: str

    def __str__(self) -> str:
        return f"ceph osd pool set {self.pool} {self.option} {self.value}"


class PoolApplication(_Step):
    """A pool's application tag."""

    kind: Literal["pool-application"] = "pool-application"
    pool: str
    application: str

    def __str__(self) -> str:
        return f"ceph osd pool application enable {self.pool} {self.application}"


class Caps(_Step):
    """A cephx user's caps: always all of them, since they are replaced at once. Without the user it is made."""

    kind: Literal["caps"] = "caps"
    wish: ClassVar[frozenset[str]] = frozenset({"caps"})
    entity: str
    caps: dict[str, str]

    def __str__(self) -> str:
        return f"ceph auth caps {self.entity} " + caps_line(self.caps)


class ClusterOption(_Step):
    """An option that the monitors keep (`ceph config`); with None it is taken out."""

    kind: Literal["cluster-option"] = "cluster-option"
    wish: ClassVar[frozenset[str]] = frozenset({"value"})
    who: str
    option: str
    value: str | None

    def __str__(self) -> str:
        if self.value is None:
            return f"ceph config rm {self.who} {self.option}"
        return f"ceph config set {self.who} {self.option} {self.value}"


class OsdFlag(_Step):
    """A flag of the OSD map."""

    kind: Literal["osd-flag"] = "osd-flag"
    wish: ClassVar[frozenset[str]] = frozenset({"on"})
    flag: str
    on: bool

    def __str__(self) -> str:
        return f"ceph osd {'set' if self.on else 'unset'} {self.flag}"


class VolumeType(_Step):
    """A volume type with these extra specs; others that it has stay."""

    kind: Literal["volume-type"] = "volume-type"
    wish: ClassVar[frozenset[str]] = frozenset({"specs"})
    name: str
    specs: dict[str, str]

    def __str__(self) -> str:
        return f"openstack volume type {self.name}: " + ", ".join(f"{key}={value}" for key, value in self.specs.items())


class ImageStore(_Step):
    """The store in which an image's data is: Glance copies it there and compares, then takes it out of others."""

    kind: Literal["image-store"] = "image-store"
    wish: ClassVar[frozenset[str]] = frozenset({"store"})
    image: str
    name: str
    store: str

    def __str__(self) -> str:
        return f"image {self.image} ({self.name}): its data is moved to the store {self.store}"


class HardReboot(_Step):
    """A server that is switched off and on, as its owner could: it opens its disks as a new client."""

    kind: Literal["hard-reboot"] = "hard-reboot"
    irreversible: ClassVar[str] = "a guest that was started anew does not go on where it was"
    disruption: Disruption | None = "disruptive"
    server: str
    hypervisor: str = ""
    """Where it runs, as the cloud file calls that; "" where it does not."""

    def __str__(self) -> str:
        return f"openstack server reboot --hard {self.server}"


class CatalogEndpoint(_Step):
    """The address of an endpoint of the catalog."""

    kind: Literal["catalog-endpoint"] = "catalog-endpoint"
    wish: ClassVar[frozenset[str]] = frozenset({"url"})
    endpoint: str
    name: str
    url: str

    def __str__(self) -> str:
        return f"openstack endpoint set --url {self.url} {self.endpoint}  # {self.name}"


class NewPool(_Step):
    """A replicated pool for RBD: made, tagged, initialised. It is taken back only while it is empty."""

    kind: Literal["new-pool"] = "new-pool"
    wish: ClassVar[frozenset[str]] = frozenset({"size", "min_size", "rule"})
    pool: str
    size: int
    min_size: int
    rule: str

    def __str__(self) -> str:
        kind = f"replicated, size {self.size}, min_size {self.min_size}, rule {self.rule}"
        return f"ceph osd pool create {self.pool} ({kind}), tagged and initialised for rbd"


class PoolInit(_Step):
    """A pool's initialisation for RBD."""

    kind: Literal["pool-init"] = "pool-init"
    pool: str

    def __str__(self) -> str:
        return f"rbd pool init {self.pool}"


class PoolQuota(_Step):
    """A quota of a pool; 0: none."""

    kind: Literal["pool-quota"] = "pool-quota"
    wish: ClassVar[frozenset[str]] = frozenset({"value"})
    pool: str
    quota: Literal["max_bytes", "max_objects"]
    value: int

    def __str__(self) -> str:
        return f"ceph osd pool set-quota {self.pool} {self.quota} {self.value}"


class PoolOverride(_Step):
    """An option of librbd for one pool; with None it is taken out."""

    kind: Literal["pool-override"] = "pool-override"
    wish: ClassVar[frozenset[str]] = frozenset({"value"})
    pool: str
    option: str
    value: str | None

    def __str__(self) -> str:
        if self.value is None:
            return f"rbd config pool rm {self.pool} {self.option}"
        return f"rbd config pool set {self.pool} {self.option} {self.value}"


class PoolMirror(_Step):
    """How a pool is mirrored to another cluster."""

    kind: Literal["pool-mirror"] = "pool-mirror"
    wish: ClassVar[frozenset[str]] = frozenset({"mode"})
    pool: str
    mode: Literal["disabled", "image", "pool"]

    def __str__(self) -> str:
        return f"rbd mirror pool enable {self.pool} {self.mode}"


class TrashSchedule(_Step):
    """A schedule by which the manager purges a pool's trash of what is past its deferment."""

    kind: Literal["trash-schedule"] = "trash-schedule"
    wish: ClassVar[frozenset[str]] = frozenset({"interval"})
    pool: str
    interval: str

    def __str__(self) -> str:
        return f"rbd trash purge schedule add --pool {self.pool} {self.interval}"


class MinClient(_Step):
    """The oldest release whose clients may connect."""

    kind: Literal["min-client"] = "min-client"
    wish: ClassVar[frozenset[str]] = frozenset({"release"})
    release: str

    def __str__(self) -> str:
        return f"ceph osd set-require-min-compat-client {self.release}"


class Balancer(_Step):
    """The manager's balancer, switched on in a mode."""

    kind: Literal["balancer"] = "balancer"
    wish: ClassVar[frozenset[str]] = frozenset({"mode"})
    mode: str

    def __str__(self) -> str:
        return f"ceph balancer mode {self.mode}; ceph balancer on"


class DaemonOption(_Step):
    """What a running daemon was told beside all configuration; with None that is forgotten."""

    kind: Literal["daemon-option"] = "daemon-option"
    wish: ClassVar[frozenset[str]] = frozenset({"value"})
    daemon: str
    option: str
    value: str | None

    def __str__(self) -> str:
        if self.value is None:
            return f"ceph tell {self.daemon} config unset {self.option}"
        return f"ceph tell {self.daemon} config set {self.option} {self.value}"


class IntoTrash(_Step):
    """An image that goes into its pool's trash, from where it can be restored until somebody purges it."""

    kind: Literal["into-trash"] = "into-trash"
    disruption: Disruption | None = "destructive"
    pool: str
    image: str
    image_id: str

    def __str__(self) -> str:
        return f"rbd trash mv {self.pool}/{self.image}"


class FromTrash(_Step):
    """An image in the trash that is removed for good."""

    kind: Literal["from-trash"] = "from-trash"
    irreversible: ClassVar[str] = "what is removed from the trash is gone"
    disruption: Disruption | None = "destructive"
    pool: str
    image: str
    image_id: str

    def __str__(self) -> str:
        return f"rbd trash rm {self.pool}/{self.image_id}  # {self.image}"


class BreakLock(_Step):
    """A dead client's lock on an image that is taken from it; should that client live, it is kept out from then on."""

    kind: Literal["break-lock"] = "break-lock"
    irreversible: ClassVar[str] = "a lock is not given back to a client that is gone"
    disruption: Disruption | None = "destructive"
    pool: str
    image: str
    lock: str
    owner: str

    def __str__(self) -> str:
        return f"rbd lock rm {self.pool}/{self.image} '{self.lock}' {self.owner}"


class NewSnapshot(_Step):
    """A protected snapshot of an image as it is now; it is taken back only while nothing was cloned from it."""

    kind: Literal["new-snapshot"] = "new-snapshot"
    pool: str
    image: str
    snapshot: str

    def __str__(self) -> str:
        return "rbd snap create {0}; rbd snap protect {0}".format(f"{self.pool}/{self.image}@{self.snapshot}")


class OldSnapshot(_Step):
    """A snapshot that is removed for good, while nothing is cloned from it."""

    kind: Literal["old-snapshot"] = "old-snapshot"
    irreversible: ClassVar[str] = "what a snapshot held of former days is gone with it"
    disruption: Disruption | None = "destructive"
    pool: str
    image: str
    snapshot: str

    def __str__(self) -> str:
        return f"rbd snap rm {self.pool}/{self.image}@{self.snapshot}"


class ObjectMap(_Step):
    """An image's object map, made anew from the objects that are there."""

    kind: Literal["object-map"] = "object-map"
    irreversible: ClassVar[str] = (
        "nothing was lost that could be brought back: the map is made from the image's objects"
    )
    disruption: Disruption | None = "disruptive"
    pool: str
    image: str
    image_id: str

    def __str__(self) -> str:
        return f"rbd object-map rebuild {self.pool}/{self.image}"


HostStep = (
    Option
    | File
    | PolicyInYaml
    | Attributes
    | Folder
    | Secret
    | StoragePool
    | TgtAccess
    | TidyConf
    | SudoRule
    | HostName
    | Label
    | Packages
    | Unit
    | Daemons
    | Restart
    | Job
    | CinderRow
    | EmptyCache
    | BaseImages
    | GlanceSchema
    | CinderSchema
    | TokenKeys
    | CellHosts
)
PoolStep = PoolOption | PoolApplication | PoolQuota
MonStep = PoolStep | Caps | ClusterOption | DaemonOption | OsdFlag | MinClient | Balancer
RbdPoolStep = NewPool | PoolInit | PoolOverride | PoolMirror | TrashSchedule
RbdStep = RbdPoolStep | IntoTrash | FromTrash | BreakLock | ObjectMap | NewSnapshot | OldSnapshot
CephStep = MonStep | RbdStep
ApiStep = VolumeType | ImageStore | HardReboot | CatalogEndpoint
Step = HostStep | CephStep | ApiStep
AnyStep = Annotated[Step, Field(discriminator="kind")]


def caps_line(caps: dict[str, str]) -> str:
    """Return caps as they are written on a command line."""
    return " ".join(f"{service} '{text}'" for service, text in sorted(caps.items()))


def service_order(step: Step) -> int:
    """Rank within a place: what others name or lie in comes first, then options, then what must be running."""
    return _KINDS.index(step.kind) if step.kind in _KINDS else len(_KINDS)


_KINDS: Final = (
    *("new-pool", "caps"),
    *("packages", "folder", "policy-in-yaml", "file", "attributes", "label", "secret"),
    *("tidy-conf", "sudo-rule", "host-name", "option", "daemons", "unit", "restart", "tgt-access", "storage-pool"),
    "job",
)
