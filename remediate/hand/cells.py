"""Cells of Nova, and the hypervisors that they lead to."""

from typing import Any, Dict, List

from remediate.hand.commands import run
from remediate.hand.files import Json, State


class CellHosts:
    """Hypervisors that a cell leads to, as `nova-manage cell_v2 list_hosts` tells them."""

    def __init__(self, hand: Any, step: Json) -> None:
        self.step = step

    def look(self) -> State:
        return {"mapped": sorted(set(self.step["hosts"]) & set(self._cells()))}

    def preview(self) -> Json:
        before, after = self.look(), {"mapped": sorted(self.step["hosts"])}
        lost = [name for name in after["mapped"] if name not in before["mapped"]]
        diff = ["nova-manage cell_v2 discover_hosts --by-service: %s: in no cell -> in its own" % ", ".join(lost)]
        return {"before": before, "after": after, "diff": diff if lost else [], "managed": ""}

    def do(self, number: int) -> None:
        self._manage("discover_hosts", "--by-service")

    def undo(self, number: int, before: State) -> None:
        """Take hosts out of their cells again; Nova refuses where one has got a server meanwhile."""
        cells = self._cells()
        for name in sorted(set(self.step["hosts"]) & set(cells) - set(before["mapped"])):
            self._manage("delete_host", "--cell_uuid", cells[name], "--host", name)

    def _cells(self) -> Dict[str, str]:
        """The uuid of the cell of each host that has one."""
        rows = [line.strip("| ").split("|") for line in self._manage("list_hosts").splitlines() if line.startswith("|")]
        return {host.strip(): uuid.strip() for _, uuid, host in rows[1:]}

    def _manage(self, *words: str) -> str:
        asked: List[str] = ["runuser", "-u", self.step["account"], "--", "nova-manage", "cell_v2", *words]
        return run(asked)
