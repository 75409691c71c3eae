"""Carries out one request on a host and answers with one line of JSON."""

import contextlib
import fcntl
import json
import os
import sys
from typing import Any, Callable, Dict, Iterator, List

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
    return _changed(request, lambda act: act.do(request["number"]))


def _undo(request: Json) -> Json:
    return _changed(request, lambda act: act.undo(request["number"], request["before"]))


def _changed(request: Json, change: Callable[[Any], None]) -> Json:
    step = request["steps"][0]
    with _turn(request):
        act = KINDS[step["kind"]](_hand(request), step)
        change(act)
        state: Json = act.look()
    return state


@contextlib.contextmanager
def _turn(request: Json) -> Iterator[None]:
    """Within the block nobody else takes the host; what a killed run had sent is not done once another holds it."""
    if "holder" not in request:
        yield
        return
    try:
        file = open(request.get("lock") or LOCK, encoding="utf-8")  # noqa: SIM115
    except FileNotFoundError:
        raise Refused("the host is not held by this run any more")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if json.load(file) != request["holder"] or not os.fstat(file.fileno()).st_nlink:
            raise Refused("the host is held by another run by now")
        yield


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
    """Let the host go, after a step that is under way."""
    path = request.get("lock") or LOCK
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115
    except FileNotFoundError:
        return {}
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        holder: Json = json.load(file)
        if holder.get("run") == request["run"] and os.fstat(file.fileno()).st_nlink:
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
