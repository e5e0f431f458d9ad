"""Python threads over kernels and numpy calls, both of which release the GIL."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

QUERIES_AT_ONCE = 64  # queries that share one trip of a database block through the cache
SERIAL_WORK = 1 << 20  # operations, a millisecond or so: to start a thread and wait for it takes a good part of that


def in_parallel(
    task: Callable[[slice], None], count: int, at_once: int = QUERIES_AT_ONCE, each: int = SERIAL_WORK
) -> None:
    """Run `task` on slices of `count` queries or rows, at most about `at_once` long; one takes `each` operations.

    Where that is SERIAL_WORK or less in all, the caller does it alone. Else as many threads take part, the caller's
    among them, as `numba.set_num_threads` or NUMBA_NUM_THREADS allow. If tasks fail, the error of the first slice
    among them is raised, as one thread would.

    Threads and not a numba parallel loop: its default scheduler aborts the process when two Python threads or a forked
    child evaluate too.
    """
    threads = allowed_threads() if count * each > SERIAL_WORK else 1
    rounds = -(-count // (threads * at_once))
    size = -(-count // max(threads * rounds, 1))  # equal shares, so that no thread waits for another's last slice
    slices = [slice(start, start + size) for start in range(0, count, size or 1)]
    if threads == 1 or len(slices) < 2:
        for part in slices:
            task(part)
        return
    waiting, lock = iter(slices), threading.Lock()
    failed: list[tuple[int, BaseException]] = []

    def work() -> None:
        while not failed:  # an interrupt, too, waits for the slices under way only
            with lock:
                part = next(waiting, None)
            if part is None:
                return
            try:
                task(part)
            except BaseException as error:
                failed.append((part.start, error))

    with ThreadPoolExecutor(threads - 1) as pool:
        for _ in range(min(threads, len(slices)) - 1):
            pool.submit(work)
        work()
    if failed:
        raise min(failed, key=lambda failure: failure[0])[1]


def allowed_threads() -> int:
    """The number of threads that `numba.set_num_threads` or NUMBA_NUM_THREADS allow.

    To ask starts numba's threads, which gives OpenMP their number and with it torch: that is put back, so that what
    is evaluated in the middle of a training does not change how the rest of it computes.
    """
    import numba

    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    threads = int(numba.get_num_threads())
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)
    return threads
