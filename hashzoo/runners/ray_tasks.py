"""Cells as tasks of a Ray cluster, each with the processors and the GPU that it needs; or of a Ray on this machine.

Ray itself runs a task again when its worker or its node is lost. All nodes see the folder in which the command was
typed and the runs folder, at the same paths; where one does not, the bench ends with a sentence that says so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError, one_line
from hashzoo.processors import available_threads
from hashzoo.runners import TRIES, worker

if TYPE_CHECKING:
    from hashzoo.plan import Plan
    from hashzoo.recipe import Cell
    from hashzoo.runners import Tell

BETWEEN_LOOKS = 0.5  # seconds, at what the workers say
PATIENCE = 60.0  # seconds until a node must be there that is large enough: clusters grow, and nodes start again


class RayTasks:
    """A task a cell; `jobs` of them at a time, or as many as the cluster takes.

    `address` is that of a cluster, "auto" or "HOST:6379"; "" is `$RAY_ADDRESS`, or else a Ray of this machine, which
    is started, and ended afterwards. A program that has called `ray.init` keeps the Ray that it has.
    """

    def __init__(self, jobs: int | None, address: str):
        self.jobs = jobs
        self.address = address

    def run(self, plans: Sequence[Plan], tasks: Mapping[int, tuple[int, Cell]], fresh: bool, tell: Tell) -> None:
        with _connected(self.address) as ray:
            gpus = {number: _takes_gpu(plans[number]) for number, _ in tasks.values()}
            # Ray hides the GPUs of a node from no task; one that asked for none must not find any.
            environment = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
            environment |= {} if any(gpus.values()) else {"CUDA_VISIBLE_DEVICES": ""}
            bench = _Bench(ray, worker.orders_for(plans, environment), tell)
            try:
                for number, gpu in gpus.items():
                    cells = [cell for of, cell in tasks.values() if of == number]
                    threads = max(plans[number].recipe(cell).threads(plans[number].threads) for cell in cells)
                    bench.submit(None, worker.order("prepare", number), threads, gpu)
                    bench.collect(plans, tasks)
                about = {"runner": "ray", "workers": self.jobs, "cells": len(tasks)}
                tell("workers", next(iter(tasks)), about)
                for task, (number, cell) in tasks.items():
                    while len(bench.pending) >= (self.jobs or len(tasks)):
                        bench.collect(plans, tasks, until=1)
                    words = worker.order("train", number, cell, fresh=fresh, request=plans[number].request(cell))
                    bench.submit(task, words, plans[number].recipe(cell).threads(plans[number].threads), gpus[number])
                bench.collect(plans, tasks)
            finally:
                bench.end()


class Board:
    """An actor beside the bench: what workers say on their way, until the bench asks for it."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def say(self, text: str) -> None:
        self._said.append(text)

    def take(self) -> list[str]:
        said, self._said = self._said, []
        return said


def obey(orders: str, one: str, task: int | None, board: Any) -> str:
    """What a task is: an answer of `worker.obey`."""

    def say(kind: str, content: dict[str, Any]) -> None:
        board.say.remote(json.dumps([kind, task, content]))

    if task is not None:
        say("start", {"node": socket.gethostname()})
    return worker.obey(orders, one, lambda line: say("epoch", line))


class _Bench:
    """The tasks of a bench that Ray has, and those that it has finished."""

    def __init__(self, ray: Any, orders: str, tell: Tell):
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._ray, self._tell = ray, tell
        self._orders = ray.put(orders)
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._obey = ray.remote(obey)
        self._started: dict[int, int] = {}  # how often each task was started
        self._too_large_since = float("inf")
        self.pending: dict[Any, tuple[int | None, str, dict[str, float]]] = {}

    def submit(self, task: int | None, one: str, threads: int, gpu: bool, retries: int | None = None) -> None:
        need = {"CPU": float(threads), "GPU": float(gpu)}
        asking = self._obey.options(
            num_cpus=threads, num_gpus=int(gpu), max_retries=TRIES - 1 if retries is None else retries
        )
        self.pending[asking.remote(self._orders, one, task, self._board)] = task, one, need

    def collect(self, plans: Sequence[Plan], tasks: Mapping[int, tuple[int, Cell]], until: int | None = None) -> None:
        """Take what is finished: all that is pending, or `until` so many are."""
        taken = 0
        while self.pending and (until is None or taken < until):
            ready, _ = self._ray.wait(list(self.pending), num_returns=1, timeout=BETWEEN_LOOKS)
            self._listen()
            if not ready:
                self._check_size()
            for reference in ready:
                task, one, need = self.pending.pop(reference)
                answer = self._answer(reference, task, one, need)
                if answer is None:
                    continue
                taken += 1
                result = worker.result_of(answer)
                if task is not None:
                    self._started.pop(task, None)
                    self._tell("done", task, result)

    def _answer(self, reference: Any, task: int | None, one: str, need: dict[str, float]) -> str | None:
        """What a task answered; None where it was lost too often, and another is to note that down."""
        errors = self._ray.exceptions
        try:
            return str(self._ray.get(reference))
        except errors.RayTaskError as error:  # it never came as far as our own code
            raise HashzooError(
                f"a worker of the Ray cluster cannot run hashzoo ({one_line(error.cause)}); install hashzoo and its "
                f"plugins on every node",
                exit_code=1,
            ) from error
        except errors.RayError as error:
            asked = json.loads(one)
            how = f"lost {TRIES} times ({type(error).__name__}), often for lack of memory"
            if asked["do"] != "train":
                raise HashzooError(
                    f"a worker of the Ray cluster was {how}; run the same command again", exit_code=1
                ) from error
            self.submit(
                task,
                json.dumps(asked | {"do": "fail", "reason": f"its worker was {how}"}),
                int(need["CPU"]),
                bool(need["GPU"]),
                0,
            )
            return None

    def _listen(self) -> None:
        """Pass on what workers have said since the last look."""
        try:
            said = self._ray.get(self._board.take.remote(), timeout=5)
        except self._ray.exceptions.RayError:
            return  # a display that stands still is no reason to end
        open_tasks = {task for task, _, _ in self.pending.values()}
        for kind, task, content in map(json.loads, said):
            if task not in open_tasks:
                continue
            if kind == "start":
                self._started[task] = self._started.get(task, 0) + 1
                if self._started[task] > 1:
                    lost = {"reason": "its worker or its node is gone", "times": self._started[task] - 1}
                    self._tell("lost", task, lost)
            self._tell(kind, task, content)

    def _check_size(self) -> None:
        """End the bench when no node has been large enough for its tasks for so long that none will be."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        needs = [need for _, _, need in self.pending.values()]
        if any(all(node.get(name, 0) >= n for name, n in need.items()) for need in needs for node in nodes):
            self._too_large_since = float("inf")
            return
        self._too_large_since = min(self._too_large_since, time.monotonic())
        if time.monotonic() - self._too_large_since > PATIENCE:
            need = needs[0]
            what = f"{need['CPU']:.0f} CPUs" + (" and a GPU" if need["GPU"] else "")
            raise HashzooError(
                f"no node of the Ray cluster has had {what} for {PATIENCE:.0f} seconds, which a cell takes; give "
                f"--threads and --device to suit, or add a node",
                exit_code=1,
            )

    def end(self) -> None:
        """Leave nothing behind in a cluster that goes on."""
        with contextlib.suppress(Exception):  # it may be gone
            for reference in self.pending:
                self._ray.cancel(reference, force=True)
            self._ray.kill(self._board)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected for the block."""
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():
        yield loaded
        return
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    _check_address(address)
    # Whether something is told to the makers of Ray is for whoever runs a cluster to say.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    own: dict[str, Any] = {"num_cpus": available_threads(), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:
        raise _unreachable(address, error) from error
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise HashzooError(
            f"the Ray cluster is gone ({one_line(error)}); what is finished is kept, run the same command again",
            exit_code=1,
        ) from error
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise where nobody listens: Ray itself tries for minutes."""
    match = re.fullmatch(r"(?:ray://)?(.+):(\d{1,5})", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: BaseException) -> HashzooError:
    return HashzooError(
        f"Ray cannot be reached at '{address}' ({one_line(error)}); start one with ray start --head, or leave "
        f"--ray-address out",
        exit_code=1,
    )


def _takes_gpu(plan: Plan) -> bool:
    """Whether the cells of a plan are for a GPU: as this machine says, where the device is left to it."""
    from hashzoo.plan import find_device

    if plan.device.startswith("cuda:"):
        raise HashzooError(f"Ray gives each cell its GPU; type --device cuda, not {plan.device}")
    return plan.device == "cuda" or (plan.device == "auto" and find_device("auto").type == "cuda")
