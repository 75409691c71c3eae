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
    *("fn.volume.from_image_cow", "cap.cow_slo"),
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
manual(
    "it shows what ceph.auth.cinder.osd and cinder.config.* explain: their repairs heal it; else cinder-volume's log "
    "says why it copied, or did not flatten (rbd_flatten_volume_from_snapshot, rbd_max_clone_depth)",
    "fn.volume.snap_clone",
)
manual(
    "Cinder tells Nova of a volume's growth with the login of its section [nova]: see cinder-volume's log for "
    "os-server-external-events, and set that login right; nobody but you knows its password",
    "fn.volume.extend",
)
manual(
    "what failed is on the way through Cinder's host: room in image_conversion_dir, qemu-img there, and the rights "
    "that ceph.auth.cinder.osd and ceph.auth.glance.osd judge; cinder-volume's log says which",
    *("fn.volume.upload_image", "fn.image.qcow2_path"),
)
manual(
    "it shows what ceph.auth.glance.children_read and ceph.compat.min_client explain: their repairs heal it; an image "
    "that lost its snapshot gets it back by `rbd snap create` and `rbd snap protect` of POOL/ID@snap",
    "fn.image.delete_with_children",
)
manual(
    "it shows what ceph.auth.mon_blocklist and ceph.auth.*.osd explain: their repairs heal it; where these pass, the "
    "keyring on the service's host is of another user or cluster (host.keyring.*)",
    *("ceph.auth.blocklist_probe", "ceph.auth.pool_rw"),
)
manual(
    "it shows what sec.caps.least_privilege explains: its repair heals it; where that passes, see in `ceph auth ls` "
    "which grant covers the pool that was named",
    "ceph.auth.negative",
)
manual(
    "it shows what glance.config.show_multiple_locations explains: its repair heals it; where that is false and a "
    "tenant gets through, the endpoint leads to another glance-api than the cloud file names",
    "sec.image.location_patch",
)
manual(
    "it shows what nova.secret.*, lm.* and cinder.config.* explain: their repairs heal it; attachments that name "
    "another hypervisor than the server's are set right by its next move, or by detaching and attaching",
    "lm.volume",
)
manual(
    "it shows what ceph.auth.mon_blocklist and ceph.auth.blocklist_expire explain: their repairs heal it for guests "
    "that start from now on; those that hang need a stop and a start",
    "fn.server.crash_lock_break",
)
manual(
    "it shows what ceph.auth.mon_blocklist and nova.config.instance_dir_cleanup explain: their repairs heal it for "
    "what is evacuated from now on; else nova-compute's log of the hypervisor that it was to go to says why",
    "fn.server.evacuate",
)
manual(
    "it shows what host.client.* and nova.config.disk_cachemodes explain: their repairs heal it at each guest's next "
    "start; what was lost comes back from a backup only",
    "fn.rbd.persistence",
)
manual(
    "it shows what nova.config.*, ceph.auth.nova.* and glance.config.* explain: their repairs heal it; else there is "
    "no room in snapshots_directory of the hypervisor that nova-compute's log names",
    "fn.server.snapshot",
)
manual(
    "it says at which of the steps the server stopped: a resize wants hypervisors that log in to each other by ssh as "
    "Nova, whose keys are yours to hand out; for all else see nova.config.* and ceph.auth.nova.*",
    "fn.server.lifecycle",
)
manual(
    "it shows what nova.secret.* and ceph.auth.nova.volumes explain: their repairs heal it; else Cinder's policy or "
    "its release refuses multiattach: its log and nova-compute's say so",
    "fn.volume.special",
)
manual(
    "the key manager is yours, and so are its keys: with another one in its place no volume of before can be opened; "
    "give [key_manager] of Cinder and of each hypervisor's Nova the same, from the one that opens what there is",
    "fn.volume.encrypted",
)
manual(
    "it shows what ceph.auth.cinder.osd explains for the pool that was named in cinder.retype_to; a volume that was "
    "left in two pools is one that you compare before you remove either; cinder-volume's log says where it stopped",
    "fn.volume.retype_migrate",
)
manual(
    "it shows what the journeys through the API show, fn.volume.from_image_cow, fn.server.ephemeral_cow, "
    "fn.backup.full_incr_restore and lm.ephemeral: see these first; where they pass, install a python-openstackclient "
    "of the services' age",
    "fn.cli",
)
