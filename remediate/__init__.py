"""Repair: registry, plan, journal, converge. Nothing is repaired yet."""
