"""Repair: what is to be done (a module an area), and how it is planned, recorded, carried out, proven and undone."""
