"""Where the cells of a bench are trained: in this process, in worker processes, or on a Ray cluster.

A runner is one method, `Runner.run`. What it is given are cells, and what it makes are the run folders of
`hashzoo.run`: these, and so every table, are the same whichever runner it was. Imports neither torch nor Ray.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.processors import available_threads

if TYPE_CHECKING:
    from hashzoo.plan import Plan
    from hashzoo.recipe import Cell

RUNNERS = ("local", "processes", "ray")
TRIES = 3  # of a cell whose worker is lost
Tell = Callable[[str, int, dict[str, Any]], None]


class Runner(Protocol):
    """Trains cells, in any order."""

    def run(self, plans: Sequence[Plan], tasks: Mapping[int, tuple[int, Cell]], fresh: bool, tell: Tell) -> None:
        """Train every cell, and return when there is a result of each.

        Args:
            plans: of all tracks; what they ask for has been checked.
            tasks: for each number of a task that of its plan, and its cell; no two are the same run.
            fresh: train again what is finished.
            tell: is called in this process with a kind of `benchmark.Event`, the number of the task, and the content.
                Each task is told "done" once, with its result: a failed one where its cell failed, or where its worker
                was lost `TRIES` times.

        Raises:
            HashzooError: what is wrong is wrong for all cells: a disk is full, weights are missing, a cluster is gone.
        """


def check_runner(name: str | None, jobs: int | None, address: str) -> None:
    """Raise for a runner that does not exist, is not installed, or does not go with the other options."""
    if name is not None and name not in RUNNERS:
        raise HashzooError(f"no runner is called '{name}'{did_you_mean(name, RUNNERS)}")
    if name == "local" and jobs not in (None, 1):
        raise HashzooError("--runner local trains one cell after another; leave --jobs out, or type --runner processes")
    if address and name != "ray":
        raise HashzooError(f"--ray-address is for --runner ray; type --runner ray --ray-address {address}")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise HashzooError("--runner ray needs Ray, which is not installed; run: pip install 'hashzoo[ray]'")


def choose_runner(name: str | None, jobs: int | None, address: str, plans: Sequence[Plan], count: int) -> Runner:
    """The runner for `count` cells of some plans; where none was named, worker processes if that is worth while."""
    if name == "ray":
        from hashzoo.runners.ray_tasks import RayTasks

        return RayTasks(jobs, address)
    if name is None:
        jobs = jobs or _usual_jobs(plans, count)
        name = "processes" if jobs > 1 and count > 1 else "local"
    if name == "local":
        from hashzoo.runners.local import Local

        return Local()
    from hashzoo.runners.processes import Processes

    return Processes(min(jobs or _most_jobs(plans), count))


def _usual_jobs(plans: Sequence[Plan], count: int) -> int:
    """One process for few cells: a worker takes seconds until it has loaded torch."""
    return 1 if count < 4 else max(1, min(_most_jobs(plans), count // 2))


def _most_jobs(plans: Sequence[Plan]) -> int:
    """As many processes as there are processors for the threads of the runs; one where runs share a GPU."""
    from hashzoo.plan import find_device

    if any(find_device(plan.device).type != "cpu" for plan in plans):
        return 1
    return max(1, available_threads() // max(plan.most_threads() for plan in plans))
