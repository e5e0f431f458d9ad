"""Tasks side by side on this machine: worker processes of the standard library, one task each at a time.

A pool of `concurrent.futures` ends all of its workers when one is lost, and does not say which task that one had.
Here a lost worker costs its own task one try, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError
from hashzoo.processors import available_threads
from hashzoo.runners import TRIES, worker

if TYPE_CHECKING:
    from hashzoo.runners import Kind, Task, Tell


class Processes:
    """`jobs` worker processes; they end with this process, however it ends."""

    name = "processes"

    def __init__(self, jobs: int):
        self.jobs: int | None = jobs

    @contextlib.contextmanager
    def workers(self, kind: Kind) -> Iterator[_Pool]:
        assert self.jobs is not None, "it has a number"
        # The threads of a run are set while it trains; these are for what is computed around it.
        threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(max(1, available_threads() // self.jobs))}
        pool = _Pool(worker.orders_for(kind, threads), self.jobs)
        try:
            yield pool
        finally:
            pool.end()

    def gpu(self, device: str) -> bool:
        return False


class _Pool:
    """The workers, and which tasks are still to be done."""

    def __init__(self, orders: str, jobs: int):
        self._orders, self._jobs, self._stillborn = orders, jobs, 0
        self._workers: list[_Worker] = []

    def do(self, tasks: Mapping[int, Task], tell: Tell, held: bool = False) -> None:
        self._words = {number: dict(task.words) for number, task in tasks.items()}
        self._kin = {number: task.kin for number, task in tasks.items()}
        self._waiting, self._lost, self._tell = deque(tasks), Counter[int](), tell
        self._unfinished = set(tasks)
        while self._unfinished:
            self._occupy()
            self._listen()

    def _occupy(self) -> None:
        """As many workers as there is work for, and a task for each that has none."""
        while len(self._workers) < min(self._jobs, len(self._unfinished)):
            self._workers.append(_Worker.start(self._orders))
        for one in self._workers:
            if one.ready and one.task is None and self._waiting:
                one.task = self._next(one)
                one.kin = self._kin[one.task]
                one.send(json.dumps(self._words[one.task]))
                if self._lost[one.task] < TRIES:
                    self._tell("start", one.task, {})

    def _next(self, one: _Worker) -> int:
        """The first waiting task of those nearest to what the worker did last, and far from what the others do."""
        first = self._waiting[0]
        if self._lost[first] or not self._kin[first]:
            return self._waiting.popleft()
        others = [other.kin for other in self._workers if other is not one]

        def liking(task: int) -> tuple[bool, ...]:
            kin = self._kin[task]
            coarse = all(kin[:1] != other[:1] for other in others)
            return kin == one.kin, kin not in others, kin[:1] == one.kin[:1], coarse

        best = max(self._waiting, key=liking)
        self._waiting.remove(best)
        return best

    def _listen(self) -> None:
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
                    self._unfinished.remove(one.task)
                    self._tell("done", one.task, worker.result_of(content))
                    one.task = None
            if gone:
                self._workers.remove(one)
                one.end()
                self._mourn(one)

    def _mourn(self, one: _Worker) -> None:
        """The task of a lost worker waits again, as the first; after `TRIES` another is to note that it has failed."""
        if not one.ready:
            self._stillborn += 1
            if self._stillborn == TRIES:
                raise HashzooError(
                    f"worker processes cannot be started ({one.how()}); a script that calls hashzoo does so under "
                    f"if __name__ == '__main__', and --runner local needs none",
                    exit_code=1,
                )
        if one.task is None:
            return
        self._lost[one.task] += 1
        if self._lost[one.task] > TRIES:
            raise HashzooError(f"a worker process {one.how()}; run the same command again", exit_code=1)
        self._tell("lost", one.task, {"reason": one.how(), "times": self._lost[one.task]})
        if self._lost[one.task] == TRIES:
            self._words[one.task] |= {"do": "fail", "reason": f"its worker process was lost {TRIES} times, {one.how()}"}
        self._waiting.appendleft(one.task)

    def end(self) -> None:
        for one in self._workers:
            one.process.terminate()
        for one in self._workers:
            one.end()


@dataclass(eq=False)
class _Worker:
    """A worker process, the pipe to it, the task that it has, and the kin of its last one."""

    process: SpawnProcess
    connection: Connection
    ready: bool = False
    task: int | None = None
    kin: tuple[str, ...] = ()

    @classmethod
    def start(cls, orders: str) -> _Worker:
        # Spawned, not forked: torch, numba and their threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        try:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(orders, there))
            with _uninterrupted():
                process.start()
        except OSError as error:
            raise HashzooError(
                f"a worker process cannot be started ({error.strerror or error}); give fewer --jobs", exit_code=1
            ) from error
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


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that is started in the block holds a Ctrl-C back until it ignores it: none ends in its imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else the first start of a process does so, and takes the mask away
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
