"""Running provisioning and readiness of all roles, each as early as it can."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from lab import process
from lab.errors import LabError

Key = TypeVar("Key")


def run_all(tasks: Mapping[Key, Callable[[], None]], after: Mapping[Key, set[Key]]) -> None:
    """Run every task in threads, each once those it comes after are done.

    The first failure, or an interrupt, stops all commands that still run.
    """
    _refuse_circles(tasks, after)
    # Named explicitly: leaving the `with` of an executor would wait before stopping anything.
    pool = ThreadPoolExecutor(max_workers=max(len(tasks), 1))
    try:
        _drive(pool, tasks, {key: set(after.get(key, ())) for key in tasks})
    except BaseException:
        process.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        process.resume()
        raise
    pool.shutdown(wait=True)


def in_parallel(tasks: Mapping[str, Callable[[], None]]) -> None:
    """Run tasks that do not depend on each other."""
    run_all(tasks, {})


def _drive(pool: ThreadPoolExecutor, tasks: Mapping[Key, Callable[[], None]], waiting: dict[Key, set[Key]]) -> None:
    running: dict[Future[None], Key] = {}
    while waiting or running:
        for key in [key for key, needs in waiting.items() if not needs]:
            del waiting[key]
            running[pool.submit(tasks[key])] = key
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            finished = running.pop(future)
            for needs in waiting.values():
                needs.discard(finished)


def _refuse_circles(tasks: Mapping[Key, Callable[[], None]], after: Mapping[Key, set[Key]]) -> None:
    left = {key: set(after.get(key, ())) for key in tasks}
    while left:
        free = {key for key, needs in left.items() if not needs & left.keys()}
        if not free:
            names = ", ".join(sorted(map(str, left)))
            raise LabError(f"these wait for each other, see `after` in lab/roles: {names}")
        for key in free:
            del left[key]
