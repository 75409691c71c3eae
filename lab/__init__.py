"""A real Ceph and a real OpenStack on one machine, in booted systemd containers."""
