"""Carries out one request on a host and answers with one line of JSON."""

import json
import os
import sys
from typing import Any, Callable, Dict, List

from remediate.hand.files import KEPT, Json, Refused
from remediate.hand.steps import KINDS, Hand

LOCK = "/run/ceph-openstack-conformance.lock"


def main(request: Json) -> None:
    """Answer, whatever happens, so that the other side never takes a broken run for silence."""
    os.umask(0o077)
    try:
        answer: Dict[str, Any] = {"answer": TASKS[request["task"]](request)}
    except (Refused, OSError, ValueError) as error:
        answer = {"refused": str(error)}
    sys.stdout.write("\n<<<%s %s>>>\n" % (request["nonce"], json.dumps(answer)))


def _hand(request: Json) -> Hand:
    store = os.path.join(request.get("kept") or KEPT, request["run"])
    return Hand(store, request["run"], request.get("keys", {}))


def _preview(request: Json) -> List[Json]:
    hand = _hand(request)
    return [_each(lambda step: KINDS[step["kind"]](hand, step).preview(), step) for step in request["steps"]]


def _look(request: Json) -> List[Json]:
    hand = _hand(request)
    return [_each(lambda step: {"state": KINDS[step["kind"]](hand, step).look()}, step) for step in request["steps"]]


def _each(act: Callable[[Json], Json], step: Json) -> Json:
    """One step that cannot be looked at says so in its own place."""
    try:
        return act(step)
    except (Refused, OSError, ValueError) as error:
        return {"refused": str(error)}


def _do(request: Json) -> Json:
    step = request["steps"][0]
    act = KINDS[step["kind"]](_hand(request), step)
    act.do(request["number"])
    state: Json = act.look()
    return state


def _undo(request: Json) -> Json:
    step = request["steps"][0]
    act = KINDS[step["kind"]](_hand(request), step)
    act.undo(request["number"], request["before"])
    state: Json = act.look()
    return state


def _lock(request: Json) -> Json:
    """Take the host for a run; answers with the holder, which may be another run."""
    path = request.get("lock") or LOCK
    new = "%s.%s" % (path, request["run"])
    with open(new, "w", encoding="utf-8") as file:
        json.dump(request["holder"], file)
    try:
        os.link(new, path)  # whole when it appears, and for one only
    except FileExistsError:
        pass
    finally:
        os.unlink(new)
    return _holder(path)


def _unlock(request: Json) -> Json:
    path = request.get("lock") or LOCK
    holder = _holder(path)
    if holder.get("run") == request["run"]:
        os.unlink(path)
    return holder


def _holder(path: str) -> Json:
    try:
        with open(path, encoding="utf-8") as file:
            holder: Json = json.load(file)
            return holder
    except FileNotFoundError:
        return {}


TASKS: Dict[str, Callable[[Json], Any]] = {
    "preview": _preview,
    "look": _look,
    "do": _do,
    "undo": _undo,
    "lock": _lock,
    "unlock": _unlock,
}
