"""Cells side by side on this machine: worker processes of the standard library, one cell each at a time.

A pool of `concurrent.futures` ends all of its workers when one is lost, and does not say which cell that one had.
Here a lost worker costs its own cell one try, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.processors import available_threads
from hashzoo.runners import TRIES, worker

if TYPE_CHECKING:
    from hashzoo.plan import Plan
    from hashzoo.recipe import Cell
    from hashzoo.runners import Tell


class Processes:
    """`jobs` worker processes; they end with this process, however it ends."""

    def __init__(self, jobs: int):
        self.jobs = jobs

    def run(self, plans: Sequence[Plan], tasks: Mapping[int, tuple[int, Cell]], fresh: bool, tell: Tell) -> None:
        for number in dict.fromkeys(number for number, _ in tasks.values()):
            plans[number].prepare()
        tell("workers", next(iter(tasks)), {"runner": "processes", "workers": self.jobs, "cells": len(tasks)})
        pool = _Pool(plans, tasks, fresh, tell, self.jobs)
        try:
            while pool.unfinished:
                pool.occupy()
                pool.listen()
        finally:
            pool.end()


class _Pool:
    """The workers of a bench, and which cells are still to be trained."""

    def __init__(
        self, plans: Sequence[Plan], tasks: Mapping[int, tuple[int, Cell]], fresh: bool, tell: Tell, jobs: int
    ):
        # The threads of a run are set while it trains; these are for what is computed around it.
        threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(max(1, available_threads() // jobs))}
        self._orders = worker.orders_for(plans, threads)
        self._plans, self._tasks, self._fresh, self._tell, self._jobs = plans, tasks, fresh, tell, jobs
        self._waiting, self._lost, self._stillborn = deque(tasks), Counter[int](), 0
        self._workers: list[_Worker] = []
        self.unfinished = set(tasks)

    def occupy(self) -> None:
        """As many workers as there is work for, and a cell for each that has none."""
        while len(self._workers) < min(self._jobs, len(self.unfinished)):
            self._workers.append(_Worker.start(self._orders))
        for one in self._workers:
            if one.ready and one.task is None and self._waiting:
                one.task = self._waiting.popleft()
                number, cell = self._tasks[one.task]
                one.send(worker.order("train", number, cell, fresh=self._fresh))
                self._tell("start", one.task, {})

    def listen(self) -> None:
        """Wait until something is heard of a worker, or for a second."""
        wait([handle for one in self._workers for handle in (one.connection, one.process.sentinel)], timeout=1)
        for one in list(self._workers):
            gone = one.process.exitcode is not None  # asked first: what it said before its end is still read
            for kind, content in one.messages():
                if kind == "ready":
                    one.ready, self._stillborn = True, 0
                elif one.task is not None and kind == "epoch":
                    self._tell("epoch", one.task, content)
                elif one.task is not None:
                    self._finish(one.task, worker.result_of(content))
                    one.task = None
            if gone:
                self._workers.remove(one)
                one.end()
                self._mourn(one)

    def _finish(self, task: int, result: dict[str, Any]) -> None:
        self.unfinished.remove(task)
        self._tell("done", task, result)

    def _mourn(self, one: _Worker) -> None:
        """The cell of a lost worker waits again, as the first; after `TRIES` it has failed."""
        if not one.ready:
            self._stillborn += 1
            if self._stillborn == TRIES:
                raise HashzooError(
                    f"worker processes cannot be started ({one.how()}); a script that calls bench does so under "
                    f"if __name__ == '__main__', and --runner local needs none",
                    exit_code=1,
                )
        if one.task is None:
            return
        self._lost[one.task] += 1
        self._tell("lost", one.task, {"reason": one.how(), "times": self._lost[one.task]})
        if self._lost[one.task] < TRIES:
            self._waiting.appendleft(one.task)
            return
        number, cell = self._tasks[one.task]
        result = self._plans[number].fail(cell, f"its worker process was lost {TRIES} times, {one.how()}")
        self._plans[number].close()
        self._finish(one.task, result)

    def end(self) -> None:
        for one in self._workers:
            one.process.terminate()
        for one in self._workers:
            one.end()


@dataclass(eq=False)
class _Worker:
    """A worker process, the pipe to it, and the task that it has."""

    process: SpawnProcess
    connection: Connection
    ready: bool = False
    task: int | None = None

    @classmethod
    def start(cls, orders: str) -> _Worker:
        # Spawned, not forked: torch, numba and their threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(orders, there))
        process.start()
        there.close()  # so that the pipe ends with the worker
        return cls(process, here)

    def send(self, text: str) -> None:
        with contextlib.suppress(OSError):  # it is gone, which is found out in a moment
            self.connection.send_bytes(text.encode())

    def messages(self) -> Iterator[tuple[str, Any]]:
        """All that it has said meanwhile."""
        try:
            while self.connection.poll():
                kind, content = json.loads(self.connection.recv_bytes())
                yield kind, content
        except (EOFError, OSError):
            self.process.join(5)

    def how(self) -> str:
        """How it ended."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"ended by {name}" + (", often for lack of memory" if name == "SIGKILL" else "")

    def end(self) -> None:
        self.process.terminate()
        self.process.join(5)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.connection.close()


def _serve(orders: str, connection: Connection) -> None:
    """A worker process: orders come and answers go through the pipe, until this process is ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which ends its workers
    os.dup2(2, 1)  # what methods print must not end up in the data on the parent's stdout
    os.environ.update(json.loads(orders)["environment"])  # before torch and numba read it
    import torch

    torch.set_num_threads(1)

    def say(kind: str, content: Any) -> None:
        connection.send_bytes(json.dumps([kind, content]).encode())

    say("ready", None)
    with contextlib.suppress(EOFError):  # the parent is gone
        while True:
            one = connection.recv_bytes().decode()
            say("answer", worker.obey(orders, one, lambda line: say("epoch", line)))


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
