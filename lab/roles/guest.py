"""The heartbeat guest: an image on the runner for journeys, and one in the cloud for tenants."""

from pathlib import Path

from lab.base import cache_folder
from lab.guest.build import build
from lab.machine import Machine
from lab.plan import Plan
from lab.roles import identity
from lab.roles.api import Api
from lab.roles.role import Role

IMAGE = "heartbeat-guest"
LARGE_MIB = 512


def _build(_machine: Machine, plan: Plan) -> None:
    cache = cache_folder() / "guest"
    for name, image in {"guest.raw": build(cache), "guest-large.raw": build(cache, LARGE_MIB, "random")}.items():
        link = plan.access / name
        link.unlink(missing_ok=True)
        link.symlink_to(image)


def _upload(_machine: Machine, plan: Plan) -> None:
    api = identity.admin(plan)
    if not api.get("image", f"/v2/images?name={IMAGE}")["images"]:
        _create(api, plan.access / "guest.raw")


def _create(api: Api, content: Path) -> None:
    wanted = {"name": IMAGE, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    made = api.post("image", "/v2/images", wanted)
    api.upload("image", f"/v2/images/{made['id']}/file", content.read_bytes())


ROLES = (
    Role("guest-image", (), (), _build),
    Role("tenant-image", (), (), _upload, after=("guest-image", "cloud", "glance")),
)
