"""Area journeys: what fails there has its cause elsewhere."""

from __future__ import annotations

from remediate.registry import manual

manual(
    "it shows what glance.config.*, host.keyring.* and ceph.auth.glance.osd explain: their repairs heal it; else read "
    "glance-api's log",
    "fn.image.upload",
)
manual(
    "it shows what cinder.config.*, cinder.backend.state and ceph.auth.cinder.osd explain: their repairs heal it; else "
    "read cinder-volume's log",
    "fn.volume.create",
)
manual(
    "it shows what glance.config.show_image_direct_url, glance.image.format_raw and ceph.auth.cinder.osd explain: "
    "their repairs heal it; else cinder-volume's log says why it copied",
    "fn.volume.from_image_cow",
)
manual(
    "it shows what nova.config.*, glance.config.show_image_direct_url and ceph.auth.nova.osd explain: their repairs "
    "heal it; else nova-compute's log says why it did not clone",
    "fn.server.ephemeral_cow",
)
manual(
    "it shows what nova.secret.*, cinder.config.rbd_secret_uuid and ceph.auth.nova.volumes explain: their repairs heal "
    "it; else read nova-compute's and libvirt's logs",
    *("fn.server.bfv", "fn.server.attach_io"),
)
manual(
    "what a deleted server left is listed by the checks of hygiene, with the lines to remove it; its usual causes are "
    "told by nova.config.rbd_timeouts and ceph.auth.mon_blocklist",
    "fn.server.delete_clean",
)
