"""Cells side by side: worker processes of the standard library, one cell each at a time."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError

if TYPE_CHECKING:
    from hashzoo.benchmark import Plan
    from hashzoo.recipe import Cell

_worker: dict[str, Any] = {}  # of a worker process: its plan


def train(plan: Plan, cells: list[Cell], fresh: bool, jobs: int, done: Callable[[Cell, dict[str, Any]], None]) -> None:
    """Train cells in `jobs` processes; `done` is called in this process, in the order in which they finish.

    Each worker opens the data set and the cached features again; nothing but names and results travels. When
    this process is stopped its workers are ended with it: what they had finished is kept.
    """
    # What cannot be used was told by this process, and may have taken long: no worker tries it again.
    usable = {plugin.name for plugin in plan.zoo.plugins if plugin.state == "ok"}
    unusable = [plugin.name for plugin in plan.zoo.unusable() if plugin.name not in usable]
    # Spawned, not forked: torch, numba and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(jobs, len(cells)), context, _start, (plan.words, unusable))
    try:
        futures = {pool.submit(_train, cell, fresh): cell for cell in cells}
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


def _start(words: dict[str, Any], unusable: list[str]) -> None:
    """Make a worker's plan, and end the worker when the process that started it is gone."""
    from hashzoo.benchmark import plan_of

    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["HASHZOO_BLOCK"] = ",".join([os.environ.get("HASHZOO_BLOCK", ""), *unusable])
    _worker["plan"] = plan_of(**words)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next cell for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train(cell: Cell, fresh: bool) -> dict[str, Any]:
    return _worker["plan"].train(cell, fresh, lambda line: None)
