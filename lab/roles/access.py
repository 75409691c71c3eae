"""The files by which the runner reaches the lab."""

from lab.plan import Plan, write_private


def hand_out(plan: Plan, name: str, text: str) -> None:
    """Write a file into the access folder, readable by its owner only."""
    plan.access.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(plan.access / name, text)
