"""Cells side by side: worker processes of the standard library, one cell each at a time."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    from hashzoo.plan import Plan
    from hashzoo.recipe import Cell

_worker: dict[str, Any] = {}  # of a worker process: the words of all plans, and the plan that it was last asked for


def train(
    plans: Sequence[Plan],
    tasks: Mapping[int, tuple[int, Cell]],
    fresh: bool,
    jobs: int,
    done: Callable[[int, dict[str, Any]], None],
) -> None:
    """Train cells in `jobs` processes; `done` is called in this process, in the order in which they finish.

    Args:
        plans: of all tracks.
        tasks: for each number of a task that of its plan, and its cell.
        done: is told the number of the task and its result.

    Each worker opens the data set and the cached features again; nothing but names and results travels. When
    this process is stopped its workers are ended with it: what they had finished is kept.
    """
    # What cannot be used was told by this process, and may have taken long: no worker tries it again.
    usable = {plugin.name for plugin in plans[0].zoo.plugins if plugin.state == "ok"}
    unusable = [plugin.name for plugin in plans[0].zoo.unusable() if plugin.name not in usable]
    # Spawned, not forked: torch, numba and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), context, _start, ([plan.words for plan in plans], unusable))
    try:
        futures = {pool.submit(_train, number, cell, fresh): task for task, (number, cell) in tasks.items()}
        for future in as_completed(futures):
            done(futures[future], future.result())
        pool.shutdown()
    except BrokenProcessPool as error:
        raise HashzooError(
            "a worker process was ended from outside, often for lack of memory; "
            "run the same command again with fewer --jobs",
            exit_code=1,
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()


def _start(words: list[dict[str, Any]], unusable: list[str]) -> None:
    """Keep what plans are made of, and end the worker when the process that started it is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["HASHZOO_BLOCK"] = ",".join([os.environ.get("HASHZOO_BLOCK", ""), *unusable])
    _worker["words"] = words


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next cell for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train(number: int, cell: Cell, fresh: bool) -> dict[str, Any]:
    from hashzoo.plan import plan_of

    if _worker.get("number") != number:  # cells come track by track, so that one plan at a time is enough
        _worker["plan"] = plan_of(**_worker["words"][number], like=_worker.get("plan"))
        _worker["number"] = number
    return _worker["plan"].train(cell, fresh, lambda line: None)
