"""Where work is done: in this process, in worker processes, or on a Ray cluster.

Work is tasks that do not depend on one another: the cells of a bench, parts of features, parts of a collection. A
runner opens workers, and these do tasks. What comes of them is the same whichever runner it was. Imports neither torch
nor Ray.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.processors import available_threads

if TYPE_CHECKING:
    from hashzoo.benches.plan import Plan

RUNNERS = ("local", "processes", "ray")
TRIES = 3  # of a task whose worker is lost
Tell = Callable[[str, int, dict[str, Any]], None]
Watch = Callable[[dict[str, Any]], None]


class Doer(Protocol):
    """Does what tasks say, in whichever process; it keeps what several of them need."""

    def do(self, one: dict[str, Any], watch: Watch) -> dict[str, Any] | None:
        """Do `Task.words`, and return what comes of it, plain JSON too.

        `watch` is told how far it is. A task {"do": "fail", "reason"} says that its worker was lost `TRIES` times.
        """


@dataclass(frozen=True)
class Kind:
    """What workers are for.

    Attributes:
        doer: "package.module:Class" of a `Doer`, whose constructor takes `told`; what a worker process makes.
        told: plain JSON.
        here: the same for this process, which may have what cannot be sent.
        gpu: whether some task takes a GPU.
    """

    doer: str
    told: Mapping[str, Any]
    here: Callable[[], Doer]
    gpu: bool = False


@dataclass(frozen=True)
class Task:
    """One thing to do: plain JSON for the `Doer`, the CPU threads that it takes, and whether it takes a GPU.

    `kin` says with which others it computes something alike, the nearest last: one worker does them better than two.
    """

    words: Mapping[str, Any]
    threads: int = 1
    gpu: bool = False
    kin: tuple[str, ...] = ()


class Workers(Protocol):
    """Workers of one kind."""

    def do(self, tasks: Mapping[int, Task], tell: Tell, held: bool = False) -> None:
        """Do every task, in any order, and return when there is a result of each.

        Args:
            tasks: by number.
            tell: is called in this process with "start", "epoch" (a line of how far it is), "lost" (why its worker is
                gone, and how often one was) or "done" (the result), the number of the task, and the content. Each task
                is told "done" once.
            held: the tasks are alike, and a worker holds something large for all that it does.

        Raises:
            HashzooError: what is wrong is wrong for all: a disk is full, weights are missing, a cluster is gone.
        """


class Runner(Protocol):
    """Opens workers.

    Attributes:
        name: as it is typed.
        jobs: how many tasks are done side by side; None: as many as fit.
    """

    name: str
    jobs: int | None

    def workers(self, kind: Kind) -> AbstractContextManager[Workers]:
        """Workers for the block."""

    def gpu(self, device: str) -> bool:
        """Whether tasks for a device have to ask for a GPU."""


def check_runner(name: str | None, address: str) -> None:
    """Raise for a runner that does not exist, is not installed, or does not go with the other options."""
    if name is not None and name not in RUNNERS:
        raise HashzooError(f"no runner is called '{name}'{did_you_mean(name, RUNNERS)}")
    if address and name != "ray":
        raise HashzooError(f"--ray-address is for --runner ray; type --runner ray --ray-address {address}")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise HashzooError("--runner ray needs Ray, which is not installed; run: pip install 'hashzoo[ray]'")


def check_jobs(name: str | None, jobs: int | None) -> None:
    """Raise for cells side by side in one process."""
    if name == "local" and jobs not in (None, 1):
        raise HashzooError("--runner local trains one cell after another; leave --jobs out, or type --runner processes")


def choose_runner(name: str | None, jobs: int | None, address: str, plans: Sequence[Plan], count: int) -> Runner:
    """The runner for `count` cells of some plans; where none was named, worker processes if that is worth while."""
    if name is None:
        jobs = jobs or _usual_jobs(plans, count)
        name = "processes" if jobs > 1 and count > 1 else "local"
    if name == "processes":
        jobs = min(jobs or _most_jobs(plans), count)
    return named_runner(name, jobs, address)


def named_runner(name: str, jobs: int | None, address: str, device: str = "cpu") -> Runner:
    """A runner by its name; of worker processes that share a GPU there is one, if no number is given."""
    if name == "ray":
        from hashzoo.runners.ray_tasks import RayTasks

        return RayTasks(jobs, address)
    if name == "local":
        from hashzoo.runners.local import Local

        return Local()
    from hashzoo.benches.plan import find_device
    from hashzoo.runners.processes import Processes

    return Processes(jobs or (available_threads() if device == "cpu" or find_device(device).type == "cpu" else 1))


def _usual_jobs(plans: Sequence[Plan], count: int) -> int:
    """One process for few cells: a worker takes seconds until it has loaded torch."""
    return 1 if count < 4 else max(1, min(_most_jobs(plans), count // 2))


def _most_jobs(plans: Sequence[Plan]) -> int:
    """As many processes as there are processors for the threads of the runs; one where runs share a GPU."""
    from hashzoo.benches.plan import find_device

    if any(find_device(plan.device).type != "cpu" for plan in plans):
        return 1
    return max(1, available_threads() // max(plan.most_threads() for plan in plans))
