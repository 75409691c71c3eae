"""Area security: a module for each file of suites/security; caps are in remediate/ceph.py."""

from remediate.security import hosts, services

__all__ = ["hosts", "services"]
