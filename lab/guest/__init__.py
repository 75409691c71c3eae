"""The heartbeat guest: a 64 MiB bootable disk that proves its own I/O (see `lab.guest.build`)."""
