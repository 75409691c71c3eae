"""Area sec: what the services show and how they are reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fixtures.around import each_host
from fixtures.cloud import Cloud, Role
from fixtures.facts.run import Facts
from fixtures.policies import glance_rule
from fixtures.roles import role_on
from remediate.model import File, Folder, NeedsOperator, Option
from remediate.options import Configuration, refuse_container
from remediate.registry import manual, repairs

CONSOLES = (("vnc", "novncproxy_base_url", True), ("spice", "html5proxy_base_url", False))
POLICIES = "/etc/glance/policy.d"
PUBLICIZE = "# Only administrators make images public; the last file of this folder has the last word.\n{rule}\n"
ADMIN_ONLY = '"publicize_image": "role:admin"'
NOVA_ROLES: tuple[Role, ...] = ("nova-compute", "nova-control")


@repairs("sec.console_proxy", disruption="safe")
def hand_consoles_out_over_https(cloud: Cloud, facts: Facts) -> Iterator[Option]:
    """Give a host the https address that the others have; take patterns out of the allowed origins."""
    configs = [
        Configuration(cloud, facts, name, role)
        for name in each_host(cloud, facts, cloud.hosts_with(*NOVA_ROLES))
        for role in NOVA_ROLES
        if role in cloud.hosts[name].roles
    ]
    options = [option for config in configs for option in (*_addresses(config, configs), *_origins(config))]
    if not options:
        raise NeedsOperator(
            "no host has an https address of the console proxy, or its Nova lacks the fix of OSSN-0101: put the proxy "
            "behind TLS, upgrade, and name its address on every hypervisor",
            *("[DEFAULT]", "cert = PATH", "key = PATH", "[vnc]", "novncproxy_base_url = https://…/vnc_auto.html"),
        )
    yield from options


def _addresses(config: Configuration, every: Iterable[Configuration]) -> Iterator[Option]:
    for section, key, default in CONSOLES:
        url = config.now.get(section, key, "")
        if url and not url.startswith("https:") and config.now.boolean(section, "enabled", default):
            told = {other.now.get(section, key, "") for other in every}
            secure = [value for value in told if value.startswith("https:")]
            if len(secure) == 1:
                yield from config.set(section, key, secure[0])


def _origins(config: Configuration) -> Iterator[Option]:
    named = config.now.items("console", "allowed_origins")
    exact = [origin for origin in named if "*" not in origin]
    if exact and len(exact) < len(named):
        yield from config.set("console", "allowed_origins", ",".join(exact))
    elif named and not exact:
        yield from config.unset("console", "allowed_origins", "")


@repairs("sec.image_trust", disruption="safe")
def let_administrators_publish_images(cloud: Cloud, facts: Facts) -> Iterator[Folder | File]:
    """Add a policy file that is read last; Glance reads it without a restart."""
    found = False
    for name, host in each_host(cloud, facts, cloud.hosts_with("glance-api")).items():
        if "admin" in glance_rule(host, "publicize_image"):
            continue
        found = True
        refuse_container(facts, name, "glance-api", f"# policy.yaml: {ADMIN_ONLY}")
        group = role_on(cloud, name, "glance-api").group
        yield Folder(host=name, path=POLICIES, mode=0o755)
        text = PUBLICIZE.format(rule=ADMIN_ONLY)
        yield File(
            host=name, path=f"{POLICIES}/zz-publicize.yaml", text=text, owner="root", group=group, mode=CONFIG_MODE
        )
    if not found:
        raise NeedsOperator(
            "Nova is told to check signatures, which a cloned image never is: either clones go, or the promise; or "
            "Glance lacks the fix of OSSA-2026-004, which comes with an upgrade",
            *("[glance]", "verify_glance_signatures = false"),
        )


CONFIG_MODE = 0o640

manual(
    "clones need the locations that tenants must not see: run a second glance-api with show_image_direct_url for Nova "
    "and Cinder alone (their glance endpoint_override and glance_api_servers), then switch the option off for the "
    "public one; or set policy.location_mode to hardened, and images are copied",
    "sec.image.location_exposure",
)
manual(
    "encryption wants certificates that both ends trust, and a listener may be in use: a person makes certificates, "
    "then transport_url with ssl=1, connection with ssl_ca, https endpoints; `systemctl disable --now "
    "libvirtd-tcp.socket` where nothing migrates over it; consoles and libvirt on the management network only",
    "sec.transport",
)
