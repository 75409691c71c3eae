"""Area hosts: a module for each file of suites/hosts."""

from remediate.hosts import ceph_conf, client_section, keyrings, packages, surroundings

__all__ = ["ceph_conf", "client_section", "keyrings", "packages", "surroundings"]
